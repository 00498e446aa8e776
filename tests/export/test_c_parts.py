"""Models and estimators by themselves in C: equal to the package's over hundreds of steps."""

import ctypes

import numpy as np
import pytest
from c_tools import call, loaded

from koopctrl import ExtendedKalmanFilter, KalmanFilter, KoopmanRNN, LiftedModel, Trajectories
from koopctrl.errors import OptionError
from koopctrl.network.folded import Rollout


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    u, x = rng.uniform(-1, 1, (10, 81, 2)), np.zeros((10, 81, 2))
    for k in range(80):
        x[:, k + 1, 0] = 0.9 * x[:, k, 0] + 0.2 * np.tanh(x[:, k, 1]) + 0.1 * u[:, k, 0] * u[:, k, 1]
        x[:, k + 1, 1] = 0.8 * x[:, k, 1] - 0.1 * x[:, k, 0] + 0.3 * u[:, k, 1]
    return Trajectories.from_arrays(5.0 + 3.0 * x, 1e3 * u, dt=0.1)


KINDS = {
    "network": {"input_coupling": "network"},
    "quadratic relu": {"input_coupling": "quadratic", "activation": "relu"},
    "linear": {"input_coupling": "linear", "n_features": 0},
    "affine parameter": {"parameters": "u1", "input_coupling": "linear"},
    "affine parameter, bilinear": {"parameters": ["u0"], "input_coupling": "bilinear"},
    "parameter in the layer": {"parameters": ["u1"], "parameter_coupling": "layer"},
    "lags": {"output_lags": 3, "input_lags": 3, "rcond": 1e-8},
    "feedthrough": {"output_lags": 2, "input_lags": 2, "feedthrough": True, "rcond": 1e-8},
    "hidden": {"n_states": 2, "n_features": 8, "max_iter": 3, "rounds": 0},
    "hidden, readout": {"n_states": 2, "n_features": 6, "n_output_features": 5, "max_iter": 3, "rounds": 0,
                        "feedthrough": True},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_networks(data, kind, tmp_path):
    options = {"n_features": 15, "random_state": 0, **KINDS[kind]}
    model = KoopmanRNN(**options).fit(data)
    net = model._network
    lib, roll = loaded(model.to_c(tmp_path, "plant")), Rollout(net.state if model.hidden else net)
    rng, x = np.random.default_rng(1), np.zeros(roll.n_x)
    if not model.hidden:
        x = net.x_mean + net.x_scale * rng.normal(size=roll.n_x)
    for _ in range(300):
        u, found = 1e3 * rng.uniform(-1, 1, 2), np.empty(roll.n_x)
        call(lib.plant_step, x, u, found)
        expected = (net.state if model.hidden else net).step(x[None], u[None])[0]
        scale = np.abs(expected).max() + np.abs(x).max()
        np.testing.assert_allclose(found, expected, atol=1e-10 * scale)
        a, b = np.empty((roll.n_x, roll.n_x)), np.empty((roll.n_x, 2))
        call(lib.plant_jacobian, x, u, a, b)
        exact = roll.jacobians(x[None], u[None])
        np.testing.assert_allclose(a, exact[0][0], atol=1e-9 * np.abs(exact[0]).max())
        np.testing.assert_allclose(b, exact[1][0], atol=1e-9 * np.abs(exact[1]).max())
        y = np.empty(model.n_y)
        call(lib.plant_output, x, u, y)
        np.testing.assert_allclose(y, net.readout(x, u) if model.hidden else x[: model.n_y], rtol=1e-10)
        x = expected if np.abs(expected - x).max() < 1e4 else x


@pytest.mark.parametrize("bilinear", [False, True])
def test_lifted_models(data, bilinear, tmp_path):
    lifted = KoopmanRNN(15, random_state=0).fit(data).lift_at(bilinear=bilinear, rank_tol=1e-4)
    lib, rng = loaded(lifted.to_c(tmp_path, "lin")), np.random.default_rng(1)
    x, z = lifted.x_op + lifted.observables.x_scale, np.empty(lifted.n_z)
    call(lib.lin_lift, x, z)
    np.testing.assert_allclose(z, lifted.lift(x), atol=1e-12 * np.abs(z).max())
    for _ in range(200):
        u, found, y = 1e3 * rng.uniform(-1, 1, 2), np.empty(lifted.n_z), np.empty(2)
        call(lib.lin_step, z, u, found)
        call(lib.lin_output, z, u, y)
        np.testing.assert_allclose(found, lifted.step(z, u), atol=1e-11 * (1.0 + np.abs(z).max()))
        np.testing.assert_allclose(y, lifted.output(z, u), rtol=1e-11)
        z = lifted.step(z, u)


def check_filter(given, folder, draw):
    part = given.to_c(folder, "seer")
    lib, rng = loaded(part), np.random.default_rng(2)
    state = ctypes.create_string_buffer(part.state_bytes)
    lib.seer_reset(state)
    estimate = np.empty(
        len(given.law.initial().z if hasattr(given.law.initial(), "z") else given.law.initial().s)
    )
    n_rejected, u = ctypes.c_int(0), None
    for k in range(300):
        y = draw(k, rng)
        y = np.where(rng.random(len(y)) < 0.1, np.nan, y) if k else np.full(len(y), np.nan)
        y = np.where(rng.random(len(y)) < 0.02, 1e4, y)
        given.observe(y, u)
        pointers = [None if a is None else ctypes.c_void_p(a.ctypes.data) for a in (y, u, estimate)]
        there = lib.seer_observe(state, *pointers)
        expected = given.estimate
        assert bool(there) == (expected is not None)
        if expected is not None:
            np.testing.assert_allclose(estimate, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())
        assert bool(lib.seer_rejected(state, ctypes.byref(n_rejected))) == given.rejected
        assert n_rejected.value == given.n_rejected
        u = 1e3 * rng.uniform(-1, 1, 2)
    assert given.n_rejected > 0


@pytest.mark.parametrize("steady", [False, True])
@pytest.mark.parametrize("options", [{}, {"disturbance": "output"}, {"measured": [1]}])
def test_kalman_filters(data, steady, options, tmp_path):
    lifted = KoopmanRNN(15, random_state=0).fit(data).lift_at(method="linear")
    kf = KalmanFilter(lifted, Qn=1e-2, Rn=1e-1, steady=steady, gate=6.0, **options)
    check_filter(kf, tmp_path, lambda k, rng: 5.0 + rng.normal(size=kf.n_measured))


@pytest.mark.parametrize("lags", [False, True])
@pytest.mark.parametrize(
    "options", [{"disturbance": "input"}, {"measured": [0], "disturbance": "output"}, {}]
)
def test_extended_filters(data, lags, options, tmp_path):
    given = {"output_lags": 2, "input_lags": 2, "rcond": 1e-8} if lags else {}
    model = KoopmanRNN(15, random_state=0, **given).fit(data)
    ekf = ExtendedKalmanFilter(model, Qn=1e-2, Rn=1e-1, gate=6.0, **options)
    check_filter(ekf, tmp_path, lambda k, rng: 5.0 + rng.normal(size=ekf.n_measured))


def test_names_and_folders_are_checked(tmp_path):
    plant = LiftedModel.from_matrices([[0.9]], [[1.0]], dt=1.0)
    with pytest.raises(OptionError, match="identifier"):
        plant.to_c(tmp_path, "math")
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="is a file"):
        plant.to_c(tmp_path / "file")
