"""FMUs, run by fmpy: valid, equal to Python's objects sample by sample, honest about what they cannot."""

import zipfile

import control
import numpy as np
import pytest
from fmu_tools import Slave, validate_fmu
from scipy import linalg

from koopctrl import (
    LQR,
    RNNMPC,
    ExtendedKalmanFilter,
    KalmanFilter,
    KoopmanRNN,
    LiftedModel,
    LinearMPC,
    LTINetwork,
    Trajectories,
)
from koopctrl.errors import OptionError
from koopctrl.export.c.sil import STATUS

A = np.array([[0.9, 0.3, 0.0], [-0.2, 0.8, 0.1], [0.0, 0.1, 0.6]])
B = np.array([[0.2, 0.0], [0.5, 0.1], [0.0, 1.0]])
C = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
NAMES = {"output_names": ["level", "flow"], "input_names": ["valve", "pump"]}
BOTH = pytest.mark.parametrize("fmi", ["3.0", "2.0"])
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def lifted():
    return LiftedModel.from_matrices(A, B, C, dt=0.1, **NAMES)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    u, x = rng.uniform(-1, 1, (10, 81, 2)), np.zeros((10, 81, 2))
    for k in range(80):
        x[:, k + 1, 0] = 0.9 * x[:, k, 0] + 0.2 * np.tanh(x[:, k, 1]) + 0.1 * u[:, k, 0] * u[:, k, 1]
        x[:, k + 1, 1] = 0.8 * x[:, k, 1] - 0.1 * x[:, k, 0] + 0.3 * u[:, k, 1]
    return Trajectories.from_arrays(
        x, u, dt=0.1, state_names=["level", "flow"], input_names=["valve", "pump"]
    )


@pytest.fixture(scope="module")
def network(data):
    return KoopmanRNN(15, random_state=0).fit(data)


def checked(made):
    """The instance of a valid FMU."""
    assert validate_fmu(str(made.path)) == []
    assert made.platform in {
        n.split("/")[1] for n in zipfile.ZipFile(made.path).namelist() if "binaries" in n
    }
    return Slave(made.path)


@pytest.mark.parametrize(
    ("kind", "fmi"),
    [
        ("linear", "3.0"),
        pytest.param("linear", "2.0", marks=pytest.mark.slow),
        ("network", "2.0"),
        pytest.param("network", "3.0", marks=pytest.mark.slow),
    ],
)
def test_controllers(kind, fmi, lifted, network, tmp_path):
    """Missing measurements, outputs that are not tracked, and weights that change between samples."""
    bounds = {"u_min": -0.8, "u_max": 0.9, "y_max": [0.9, 1.2]}
    if kind == "linear":
        kf = KalmanFilter(lifted, 1e-3, 1e-2, disturbance="output")
        mpc = LinearMPC(lifted, 9, 1.0, 0.1, estimator=kf, **bounds)
    else:
        mpc = RNNMPC(network, 6, 1.0, 0.1, **bounds)
    quiet = mpc.with_(R=3.0)
    made = mpc.to_fmu(
        tmp_path / "ctl.fmu", fmi=fmi, tunings={"quiet": quiet}, units={"level": "m", "valve": "%"}
    )
    slave = checked(made)
    assert (made.inputs, made.outputs) == (("level", "flow", "r_level", "r_flow"), ("valve", "pump"))
    by_name = {v.name: v for v in slave.description.modelVariables}
    assert [by_name[n].unit for n in ("level", "r_level", "valve", "pump")] == ["m", "m", "%", None]
    assert float(slave.description.defaultExperiment.stepSize) == 0.1
    # The network's solver and C's agree to their tolerance; C in Python is the same to the last digit.
    exact = 1e-10 if kind == "linear" else 1e-6
    compiled = mpc.compile()
    rng, acting = np.random.default_rng(1), mpc
    for k in range(60):
        y, r = 0.4 * rng.normal(size=2), 0.5 * rng.normal(size=2)
        y[rng.random(2) < 0.05] = np.nan
        r[rng.random(2) < 0.2] = np.nan
        if k in (20, 40):
            slave.set_whole("tuning", int(k == 20))
            acting = acting.with_(R=3.0 if k == 20 else 0.1)
        slave.set(dict(zip(made.inputs, [*y, *r], strict=True)))
        slave.step(0.1 * k, 0.1)
        u = acting.control(y, r)
        np.testing.assert_allclose(slave.get(made.outputs), u, atol=exact)
        assert STATUS[slave.get_whole("status")] == acting.info.status
        if k < 20:
            np.testing.assert_allclose(slave.get(made.outputs), compiled.control(y, r), atol=1e-12)
    with pytest.raises(Exception, match="etInt"):
        slave.set_whole("tuning", 2)
    slave.close()


@BOTH
@pytest.mark.filterwarnings("ignore::koopctrl.errors.RolloutWarning")
def test_filters(fmi, lifted, network, tmp_path):
    filters = {
        "kf": KalmanFilter(lifted, 1e-3, 1e-2, gate=5.0),
        "ekf": ExtendedKalmanFilter(network, gate=5.0),
    }
    for name, given in filters.items():
        made = given.to_fmu(tmp_path / f"{name}.fmu", fmi=fmi)
        slave = checked(made)
        rng, u = np.random.default_rng(2), None
        for k in range(50):
            y = 0.4 * rng.normal(size=2)
            y[rng.random(2) < 0.2] = np.nan
            if k == 0:
                y[:] = np.nan
            if k == 30:
                y[0] = 1e6
            given.observe(y, u)
            slave.set(dict(zip(made.inputs, [*y, *(u if u is not None else [np.nan] * 2)], strict=True)))
            slave.step(0.1 * k, 0.1)
            assert slave.get_whole("known") == (given.estimate is not None)
            assert slave.get_whole("rejected") == given.rejected
            if given.estimate is not None:
                np.testing.assert_allclose(slave.get(made.outputs), given.estimate, atol=1e-10)
            u = rng.uniform(-1, 1, 2)
        slave.close()


MODELS = {
    "network": {"input_coupling": "network"},
    "held": {"rollout_margin": 0.1},
    "lags": {"output_lags": 3, "input_lags": 2, "rcond": 1e-8},
    "feedthrough": {"output_lags": 2, "input_lags": 2, "feedthrough": True, "rcond": 1e-8},
    "hidden": {"n_states": 2, "n_features": 8, "max_iter": 3, "rounds": 0, "feedthrough": True},
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_identified_models(data, kind, tmp_path):
    """Against the package's python-control block, which has tests of its own."""
    model = KoopmanRNN(**{"n_features": 15, "random_state": 0, **MODELS[kind]}).fit(data)
    block, rng = model.to_nlsys(), np.random.default_rng(1)
    inner = model._network.state if model.hidden else model._network
    x = inner.x_mean + 0.3 * inner.x_scale * rng.normal(size=inner.window.n_x)
    made = model.to_fmu(tmp_path / "plant.fmu", x0=x)
    slave = checked(made)
    given = [v for v in slave.description.modelVariables if v.causality == "parameter"]
    np.testing.assert_allclose([float(v.start) for v in given], x, rtol=1e-15)
    size = 3.0 if kind == "held" else 1.0
    for k in range(60):
        u = size * rng.uniform(-1, 1, 2)
        slave.set(dict(zip(made.inputs, u, strict=True)))
        np.testing.assert_allclose(slave.get(made.outputs), block.output(0.0, x, u, {}), atol=1e-10)
        slave.step(0.1 * k, 0.1)
        x = np.asarray(block.dynamics(0.0, x, u, {}))
    slave.close()


@BOTH
def test_linear_models_and_networks(lifted, fmi, tmp_path):
    d = np.array([[0.3, 0.0], [0.0, -0.2]])
    fed = LiftedModel.from_matrices(A, B, C, d, dt=0.1, **NAMES)
    rng = np.random.default_rng(1)
    inputs = rng.uniform(-1, 1, (40, 2))
    for name, model in {"plain": lifted, "fed": fed}.items():
        made = model.to_fmu(tmp_path / f"{name}.fmu", fmi=fmi)
        slave, x = checked(made), np.array([0.2, -0.1, 0.4])
        slave.close()
        slave = Slave(made.path, dict(zip(made.parameters, x, strict=True)))
        for k, u in enumerate(inputs):
            slave.set(dict(zip(made.inputs, u, strict=True)))
            np.testing.assert_allclose(
                slave.get(made.outputs), C @ x + (d @ u if name == "fed" else 0), atol=1e-12
            )
            slave.step(0.1 * k, 0.1)
            x = A @ x + B @ u
        slave.close()
    a = linalg.logm(A).real / 0.1
    net = LTINetwork.from_statespace(control.ss(a, B, C, 0))
    made = net.to_fmu(tmp_path / "net.fmu", fmi=fmi, dt=0.1)
    slave, x = checked(made), np.zeros(3)
    step = linalg.expm(np.block([[a, B], [np.zeros((2, 5))]]) * 0.1)
    for k, u in enumerate(inputs):
        slave.set(dict(zip(made.inputs, u, strict=True)))
        np.testing.assert_allclose(slave.get(made.outputs), C @ x, atol=1e-10)
        slave.step(0.1 * k, 0.1)
        x = step[:3, :3] @ x + step[:3, 3:] @ u
    slave.close()


@BOTH
def test_a_controller_against_a_plant(lifted, fmi, tmp_path):
    """Both as FMUs, connected by the names that the signals have; the loop is Python's."""
    mpc = LinearMPC(lifted, 9, 1.0, 0.1, u_min=-0.8, u_max=0.9, estimator=KalmanFilter(lifted, 1e-3, 1e-2))
    made = [o.to_fmu(tmp_path / f"{n}.fmu", fmi=fmi) for n, o in (("ctl", mpc), ("plant", lifted))]
    x = np.array([0.5, 0.0, -0.3])
    ctl, plant = Slave(made[0].path), Slave(made[1].path, dict(zip(made[1].parameters, x, strict=True)))
    for k in range(60):
        reference = {"r_level": 0.4 if k < 30 else -0.2, "r_flow": float("nan")}
        shared = made[1].outputs
        ctl.set(dict(zip(shared, plant.get(shared), strict=True)) | reference)
        ctl.step(0.1 * k, 0.1)
        plant.set(dict(zip(made[1].inputs, ctl.get(made[1].inputs), strict=True)))
        plant.step(0.1 * k, 0.1)
        x = A @ x + B @ mpc.control(C @ x, list(reference.values()))
        np.testing.assert_allclose(plant.get(shared), C @ x, atol=1e-10)
    ctl.close()
    plant.close()


@BOTH
def test_states_can_be_kept_and_communication_steps_chosen(lifted, fmi, tmp_path):
    mpc = LinearMPC(lifted, 9, 1.0, 0.1, u_max=0.9, estimator=KalmanFilter(lifted, 1e-3, 1e-2))
    made = mpc.to_fmu(tmp_path / "ctl.fmu", fmi=fmi)
    rng = np.random.default_rng(3)
    signals = 0.4 * rng.normal(size=(30, 4))

    def run(slave, first, last, n=1):
        found = []
        for k in range(first, last):
            slave.set(dict(zip(made.inputs, signals[k], strict=True)))
            for j in range(n):
                slave.step(0.1 * (k + j / n), 0.1 / n)
            found.append(slave.get(made.outputs))
        return np.array(found)

    slave = Slave(made.path)
    before = run(slave, 0, 10)
    held = slave.kept()
    after = run(slave, 10, 30)
    slave.restore(held)
    np.testing.assert_array_equal(run(slave, 10, 30), after)
    slave.fmu.reset()
    slave.begin()
    np.testing.assert_array_equal(run(slave, 0, 10), before)
    slave.fmu.reset()
    slave.begin()
    np.testing.assert_array_equal(run(slave, 0, 10, n=4), before)
    slave.close()
    # Three samples in one communication step, a start that is not at zero, and steps that only nearly fit.
    plant = lifted.to_fmu(tmp_path / "plant.fmu", fmi=fmi, x0=[0.5, 0.0, 0.0])
    slave, x = Slave(plant.path), np.array([0.5, 0.0, 0.0])
    slave.fmu.reset()
    slave.begin(time=7.0)
    for k in range(10):
        slave.set(dict(zip(plant.inputs, signals[k, :2], strict=True)))
        slave.step(7.0 + 0.3 * k, 0.3 * (1 + 1e-9))
        for _ in range(3):
            x = A @ x + B @ signals[k, :2]
        np.testing.assert_allclose(slave.get(plant.outputs), C @ x, atol=1e-12)
    with pytest.raises(Exception, match=r"etFloat64|etReal"):
        slave.set({plant.outputs[0]: 1.0})
    with pytest.raises(Exception, match="oStep"):
        slave.step(10.0, -1.0)
    slave.close()


def test_the_same_object_gives_the_same_file(lifted, tmp_path):
    first, second = (lifted.to_fmu(tmp_path / n / "plant.fmu").path.read_bytes() for n in "ab")
    assert first == second


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "plant.zip"}, r"ends in \.fmu"),
        ({"path": "a plant.fmu"}, "identifier"),
        ({"path": 3}, "path is 3"),
        ({"fmi": "1.0"}, "fmi is '1.0'"),
        ({"units": {"speed": "m"}}, "units has 'speed'"),
        ({"units": {"level": 3}}, "expected text"),
        ({"units": ["m"]}, "expected a mapping"),
        ({"tunings": {}}, "was given tunings"),
        ({"dt": 0.1}, "was given dt"),
        ({"compiler": "no-such-cc"}, r"to_fmu\(\) needs a C compiler"),
    ],
)
def test_what_cannot_be_is_named(lifted, options, message, tmp_path):
    path = options.pop("path", "plant.fmu")
    with pytest.raises(OptionError, match=message):
        lifted.to_fmu(tmp_path / path if isinstance(path, str) else path, **options)


def test_what_has_no_c_is_named(lifted, tmp_path):
    from koopctrl.export.fmu.archive import to_fmu

    with pytest.raises(OptionError, match="a LQR has no C code"):
        to_fmu(LQR(lifted, 1.0, 1.0), tmp_path / "lqr.fmu")
    net = LTINetwork.from_statespace(control.ss(-np.eye(2), np.eye(2), np.eye(2), 0))
    with pytest.raises(OptionError, match="dt is None"):
        net.to_fmu(tmp_path / "net.fmu")
