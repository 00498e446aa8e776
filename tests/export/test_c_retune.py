"""Weights and bounds changed between samples: generated C goes on as Python does with `with_`."""

import numpy as np
import pytest
from c_tools import FLAGS

from koopctrl import (
    RNNMPC,
    ExtendedKalmanFilter,
    KalmanFilter,
    KoopmanRNN,
    LiftedModel,
    LinearMPC,
    Trajectories,
)
from koopctrl.errors import OptionError
from koopctrl.export.c.sil import CompiledMPC

A = np.array([[0.9, 0.3, 0.0], [-0.2, 0.8, 0.1], [0.0, 0.1, 0.6]])
B = np.array([[0.2, 0.0], [0.5, 0.1], [0.0, 1.0]])
C = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
LOAD = np.array([0.05, -0.02])


def along(mpc, tunings, folder, advance, x, observe, references, atol):
    """Both along Python's loop, retuned every 17 samples; inputs sent, by tuning."""
    made = {name: mpc.with_(**changes) for name, changes in tunings.items()}
    compiled = CompiledMPC(mpc.to_c(folder, tunings=made), flags=FLAGS)
    assert compiled.code.tunings == ("base", *tunings)
    rng, acting, sent = np.random.default_rng(4), mpc, {}
    names = ["base", *tunings]
    name = "base"
    for k in range(260):
        if k % 17 == 16:
            name = names[int(rng.integers(len(names)))]
            acting = acting.with_(**({} if name == "base" else tunings[name]) | _undone(mpc, tunings, name))
            compiled.retune(name)
        if k == 200:
            acting.reset()
            compiled.reset()
            acting = mpc.with_()
            acting.reset()
            name = "base"
        y = observe(x)
        if rng.random() < 0.04:
            y[rng.integers(len(y))] = np.nan
        r = references[k // 10]
        u, v = acting.control(y, r), compiled.control(y, r)
        assert acting.info.status == compiled.info.status, (k, name)
        np.testing.assert_allclose(v, u, atol=atol, err_msg=f"{k} {name}")
        sent.setdefault(name, []).append(u)
        x = advance(x, u, rng)
    assert set(sent) == set(names)
    return {name: np.array(inputs) for name, inputs in sent.items()}


def _undone(mpc, tunings, name):
    """What other tunings changed, back at the controller's own."""
    changed = {key for changes in tunings.values() for key in changes}
    own = {} if name == "base" else tunings[name]
    return {key: mpc.settings[key] for key in changed - set(own)}


@pytest.mark.parametrize(
    "case", ["bounds", "filtered", "moves", pytest.param("unstable", marks=pytest.mark.slow)]
)
def test_a_linear_controller(case, tmp_path):
    a = 1.25 * A if case == "unstable" else A
    lifted = LiftedModel.from_matrices(a, B, C, dt=1.0)
    options = {"u_min": -0.8, "u_max": 0.9, "y_max": [0.9, 1.2], "soft_weights": (1e3, 1e3)}
    if case == "filtered":
        options["estimator"] = KalmanFilter(lifted, 1e-3, 1e-2, disturbance="output")
    tunings = {
        "quiet": {"R": 3.0, "u_max": 0.4},
        "second": {"Q": [0.01, 4.0], "y_max": [0.2, 2.0], "soft_weights": (10.0, 1e4)},
        "none": {"Q": 0.0},
    }
    if case == "moves":
        options |= {"R_rate": 0.0, "du_max": 0.5}
        tunings["slow"] = {"R_rate": 5.0, "du_max": 0.1}
    if case == "unstable":
        tunings.pop("none")
    mpc = LinearMPC(lifted, 45 if case == "unstable" else 9, 1.0, 0.1, **options)

    def advance(x, u, rng):
        x = a @ x + B @ u + 0.02 * rng.normal(size=3)
        return np.clip(x, -1.0, 1.0) if case == "unstable" else x

    references = np.random.default_rng(2).normal(size=(26, 2))
    references[::5, 1] = np.nan
    observe = (lambda x: C @ x) if case == "filtered" else (lambda x: x.copy())
    sent = along(mpc, tunings, tmp_path, advance, np.zeros(3), observe, references, 2e-6)
    assert sent["quiet"].max() <= 0.4 + 1e-12
    assert sent["base"].max() > 0.5


def tanks(x, u):
    x = x.copy()
    x[..., 0] += 0.1 * (u[..., 0] + 0.3 * u[..., 1] - np.tanh(x[..., 0]) - 0.2 * x[..., 1])
    x[..., 1] += 0.1 * (0.5 * x[..., 0] - x[..., 1] + 0.4 * u[..., 1])
    return x


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(0)
    u, x = rng.uniform(-1.5, 1.5, (20, 60, 2)), np.empty((20, 61, 2))
    x[:, 0] = rng.uniform(-1, 1, (20, 2))
    for k in range(60):
        x[:, k + 1] = tanks(x[:, k], u[:, k])
    return KoopmanRNN(20, input_coupling="network", random_state=0).fit(
        Trajectories.from_arrays(x, u, dt=0.1)
    )


@pytest.mark.parametrize("filtered", [False, True])
def test_a_network_controller(network, filtered, tmp_path):
    options = {"estimator": ExtendedKalmanFilter(network, disturbance="output")} if filtered else {}
    mpc = RNNMPC(network, 8, 1.0, 0.05, u_min=-1.2, u_max=1.2, y_max=[0.9, 2.0], **options)
    tunings = {
        "quiet": {"R": 2.0, "u_max": [0.5, 0.5]},
        "second": {"Q": [0.01, 4.0], "y_max": [0.3, 3.0]},
        "slow": {"R_rate": 3.0},
    }
    references = 0.6 * np.random.default_rng(2).normal(size=(26, 2))
    references[::5, 1] = np.nan
    sent = along(
        mpc, tunings, tmp_path, lambda x, u, rng: tanks(x, u) + 0.01 * rng.normal(size=2), np.zeros(2),
        lambda x: x.copy(), references, 5e-6,
    )  # fmt: skip
    assert sent["quiet"].max() <= 0.5 + 1e-12
    assert sent["base"].max() > 0.6


def test_what_does_not_fit_is_named(network, tmp_path):
    lifted = LiftedModel.from_matrices(A, B, C, dt=1.0)
    mpc = LinearMPC(lifted, 6, 1.0, 0.1, u_max=1.0)
    cases = [
        ({"longer": mpc.with_(horizon=7)}, "longer does not fit"),
        ({"soft": mpc.with_(y_max=1.0)}, "soft does not fit"),
        ({"net": RNNMPC(network, 6, 1.0, 0.1)}, "is a RNNMPC; expected a LinearMPC"),
        ({"base": mpc}, "identifier other than 'base'"),
        ({"two words": mpc}, "identifier"),
        ({"Base": mpc}, "'base' and 'Base', which are one constant"),
        ({"night": mpc, "NIGHT": mpc}, "'night' and 'NIGHT'"),
        ([mpc], "expected a mapping"),
        ({"other": LinearMPC(LiftedModel.from_matrices(0.9 * A, B, C, dt=1.0), 6, 1.0, 0.1, u_max=1.0)},
         "another model or estimator"),
        ({"seen": mpc.with_(estimator=KalmanFilter(lifted, 1.0, 1.0))}, "seen does not fit"),
    ]  # fmt: skip
    for tunings, message in cases:
        with pytest.raises(OptionError, match=message):
            mpc.to_c(tmp_path / "refused", tunings=tunings)
    filtered = mpc.with_(estimator=KalmanFilter(lifted, 1.0, 1.0))
    with pytest.raises(OptionError, match="another model or estimator"):
        filtered.to_c(tmp_path, tunings={"trusting": mpc.with_(estimator=KalmanFilter(lifted, 1.0, 9.0))})
    plain = CompiledMPC(mpc.to_c(tmp_path / "plain"), flags=FLAGS)
    plain.retune("base")
    with pytest.raises(OptionError, match="tuning is 'quiet'"):
        plain.retune("quiet")


@pytest.mark.parametrize("kind", ["linear", "network"])
def test_retuning_at_rest_moves_no_input(kind, network, tmp_path):
    """Bumpless: at a set-point held under an unmeasured load, other weights ask for the same input."""
    if kind == "linear":
        lifted = LiftedModel.from_matrices(A, B, C, dt=1.0)
        estimator = KalmanFilter(lifted, 1e-3, 1e-2, disturbance="input")
        mpc, r = (
            LinearMPC(lifted, 9, 1.0, 0.1, R_rate=0.1, u_min=-3.0, u_max=3.0, estimator=estimator),
            [0.4, 0.3],
        )

        def advance(x, u):
            return A @ x + B @ (u + LOAD)

        x, n_x = np.zeros(3), 2
    else:
        estimator = ExtendedKalmanFilter(network, disturbance="input")
        mpc = RNNMPC(network, 8, 1.0, 0.05, R_rate=0.1, u_min=-1.2, u_max=1.2, estimator=estimator)
        r = [0.3, 0.2]

        def advance(x, u):
            return tanks(x, u + LOAD)

        x, n_x = np.zeros(2), 2
    tunings = {"quiet": mpc.with_(R=5.0), "second": mpc.with_(Q=[0.01, 4.0]), "slow": mpc.with_(R_rate=9.0)}
    compiled = CompiledMPC(mpc.to_c(tmp_path, tunings=tunings), flags=FLAGS)
    measured = (lambda x: C @ x) if kind == "linear" else (lambda x: x)
    held = np.full(2, np.nan)
    for k in range(400):
        if k >= 300 and k % 25 == 0:
            compiled.retune(["quiet", "second", "slow", "base"][k // 25 - 12])
        u = compiled.control(measured(x), r)
        if k >= 300:
            assert u == pytest.approx(held, abs=1e-5)
        held, x = u, advance(x, u)
    assert measured(x)[:n_x] == pytest.approx(r, abs=1e-4)
