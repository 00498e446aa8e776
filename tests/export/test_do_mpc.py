"""do-mpc's simulator, MPC, MHE and EKF on exported models."""

import sys
import warnings
from dataclasses import replace

import casadi
import numpy as np
import plants
import pytest

from koopctrl import KoopmanRNN, LiftedModel, Trajectories
from koopctrl.errors import KoopctrlError, NotFittedError, OptionError
from koopctrl.network.coupling import COUPLINGS

# do-mpc 5.1: on import, extras that are not installed; later, its NumPy calls on CasADi 3.8 values.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .* feature:UserWarning"),
    pytest.mark.filterwarnings(r"ignore:\s*casadi. a numpy function:FutureWarning"),
]

STEP = plants.sampled(plants.duffing, 0.1)
DUFFING = plants.record(STEP, 2, 1, 0.1, n_episodes=20, n_steps=40, x_max=1.5, last_input=True)
NAMED = Trajectories.from_arrays(
    [e.outputs for e in DUFFING],
    [e.inputs for e in DUFFING],
    dt=0.1,
    state_names=["pos", "vel"],
    input_names=["force"],
)
A, B, DT = plants.three_states()
QUIET = {"ipopt.print_level": 0, "ipopt.sb": "yes", "print_time": 0, "ipopt.tol": 1e-10}


def fitted(data=NAMED, **options) -> KoopmanRNN:
    return KoopmanRNN(**{"n_features": 20, "random_state": 0, "rcond": 1e-8, **options}).fit(data)


def first_window(model, episode) -> np.ndarray:
    window = model.network_.window
    return window.initial(episode.outputs, episode.inputs, window.n_samples)


def simulated(peer, x0, u, t_step) -> tuple[np.ndarray, np.ndarray]:
    """States from the start on, and measurements after each step."""
    import do_mpc

    simulator = do_mpc.simulator.Simulator(peer)
    simulator.settings.t_step = t_step
    simulator.setup()
    simulator.x0 = np.asarray(x0)
    states, measured = [np.asarray(x0, dtype=float)], []
    for row in u:
        measured.append(simulator.make_step(row[:, None]).ravel())
        states.append(simulator.x0.cat.full().ravel())
    return np.array(states), np.array(measured)


def controller(peer, t_step, n_horizon, lterm, mterm, u_max):
    import do_mpc

    mpc = do_mpc.controller.MPC(peer)
    mpc.settings.n_horizon, mpc.settings.t_step = n_horizon, t_step
    mpc.settings.nlpsol_opts = dict(QUIET)
    mpc.set_objective(mterm=mterm, lterm=lterm)
    names = peer.u.keys()[1:]
    mpc.set_rterm(**dict.fromkeys(names, 0.0))
    for name in names:
        mpc.bounds["lower", "_u", name], mpc.bounds["upper", "_u", name] = -u_max, u_max
    mpc.setup()
    return mpc


# --- simulation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symvar_type", ["SX", "MX"])
@pytest.mark.parametrize(
    ("p", "q", "feedthrough"), [(1, 1, False), (3, 2, False), (1, 1, True), (2, 3, True)]
)
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_its_simulator_is_the_roll_out(coupling, p, q, feedthrough, symvar_type):
    model = fitted(input_coupling=coupling, output_lags=p, input_lags=q, feedthrough=feedthrough)
    peer = model.to_do_mpc(symvar_type=symvar_type)
    x0 = first_window(model, NAMED[0])
    u = np.random.default_rng(1).uniform(-1, 1, (15, 1))
    states, measured = simulated(peer, x0, u, model.dt_)
    expected = model.simulate(x0, u)
    np.testing.assert_allclose(states[:, :2], expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(measured, expected[1:], rtol=1e-10, atol=1e-10)


def test_names_survive():
    model = fitted(output_lags=2, input_lags=2)
    peer = model.to_do_mpc(measured_inputs=True, process_noise=True)
    assert (peer.model_type, peer.symvar_type) == ("discrete", "SX")
    assert tuple(peer.x.keys()) == model.state_names_ == ("pos", "vel", "pos[k-1]", "vel[k-1]", "force[k-1]")
    assert peer.u.keys()[1:] == ["force"]
    assert peer.y.keys()[1:] == ["pos", "vel", "force"]
    assert peer.aux.keys()[1:] == ["pos", "vel"]
    assert peer.w.keys()[1:] == ["pos_noise", "vel_noise"]  # the window's shift is exact
    assert peer.v.keys()[1:] == ["pos_noise", "vel_noise"]  # inputs are known
    assert model.to_do_mpc(measurement_noise=False).n_v == 0


@pytest.mark.parametrize("symvar_type", ["SX", "MX"])
@pytest.mark.parametrize(("q", "feedthrough"), [(1, False), (2, True)])
@pytest.mark.parametrize("bilinear", [False, True])
def test_the_linear_face_too(bilinear, q, feedthrough, symvar_type):
    lifted = fitted(input_lags=q, feedthrough=feedthrough).lift_at(rank_tol=1e-3, bilinear=bilinear)
    x0 = lifted.x_op + 0.1
    u = np.random.default_rng(1).uniform(-0.5, 0.5, (12, 1))
    states, measured = simulated(lifted.to_do_mpc(symvar_type=symvar_type), lifted.lift(x0), u, 0.1)
    z = lifted.lift(x0)
    for k, row in enumerate(u):
        z = lifted.step(z, row)
        np.testing.assert_allclose(states[k + 1], z, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(measured[k], lifted.unlift(z)[:2], rtol=1e-9, atol=1e-10)


def test_a_continuous_linear_model_stays_continuous():
    a, b = plants.THREE_STATES_A, plants.THREE_STATES_B
    lifted = replace(LiftedModel.from_matrices(a, b, dt=DT), dt=0.0)
    peer = lifted.to_do_mpc()
    assert peer.model_type == "continuous"
    u = np.random.default_rng(1).uniform(-1, 1, (5, 2))
    states, _ = simulated(peer, np.ones(3), u, DT)
    np.testing.assert_allclose(
        states, plants.roll(plants.linear_step(A, B), np.ones(3), u), rtol=1e-6, atol=1e-6
    )


def test_a_model_without_inputs():
    step = plants.koopman_polynomial()
    model = fitted(plants.record(step, 2, 0, 0.1))
    states, _ = simulated(model.to_do_mpc(), [0.5, 0.3], np.empty((10, 0)), 0.1)
    np.testing.assert_allclose(states, model.simulate([0.5, 0.3], 10), rtol=1e-10, atol=1e-10)


# --- control ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symvar_type", ["SX", "MX"])
def test_its_mpc_reaches_the_other_well_of_the_true_plant_within_bounds(symvar_type):
    model = fitted(n_features=60, input_coupling="quadratic")
    peer = model.to_do_mpc(symvar_type=symvar_type)
    pos, vel, force = peer.x["pos"], peer.aux["vel"], peer.u["force"]
    cost = (pos - 1.0) ** 2 + vel**2
    mpc = controller(peer, model.dt_, 20, cost + 0.1 * force**2, 10.0 * cost, 0.6)
    x = np.array([-1.0, 0.0])
    mpc.x0 = x
    mpc.set_initial_guess()
    inputs = []
    for _ in range(80):
        u = mpc.make_step(x[:, None]).ravel()
        inputs.append(u)
        x = STEP(x, u)
    assert np.abs(x - [1.0, 0.0]).max() < 5e-3
    assert np.abs(inputs).max() <= 0.6 + 1e-7
    assert np.abs(inputs).max() > 0.59  # the bound was met


def test_its_mpc_on_the_linear_face_agrees_with_ours():
    from koopctrl import LinearMPC

    lifted = LiftedModel.from_matrices(A, B, dt=DT)
    ours = LinearMPC(lifted, 10, 1.0, 0.1, u_min=-0.3, u_max=0.3)
    peer = lifted.to_do_mpc()
    y, u = casadi.vertcat(*(peer.aux[n] for n in lifted.output_names)), peer.u.cat
    end = casadi.bilin(casadi.DM(ours.P), peer.x["z"], peer.x["z"])
    mpc = controller(peer, DT, 10, casadi.sumsqr(y) + 0.1 * casadi.sumsqr(u), end, 0.3)
    for x in ([1.0, -0.5, 0.5], [0.05, 0.02, -0.03]):
        mpc.reset_history()
        mpc.x0 = np.array(x)
        mpc.set_initial_guess()
        ours.reset()
        np.testing.assert_allclose(
            mpc.make_step(np.array(x)[:, None]).ravel(), ours.control(np.array(x)), atol=1e-6
        )


# --- estimation ------------------------------------------------------------------------------------------


def estimator(peer, n_horizon, t_step, arrival, v, w):
    import do_mpc

    mhe = do_mpc.estimator.MHE(peer)
    mhe.settings.n_horizon, mhe.settings.t_step, mhe.settings.meas_from_data = n_horizon, t_step, True
    mhe.settings.nlpsol_opts = dict(QUIET)
    mhe.set_default_objective(
        arrival * np.eye(peer.n_x), v * np.eye(peer.n_v), P_w=w * np.eye(peer.n_w) if peer.n_w else None
    )
    mhe.setup()
    return mhe


def test_its_mhe_finds_the_lag_window_from_a_wrong_start():
    data = Trajectories.from_arrays(
        [e.outputs[:, :1] for e in NAMED], [e.inputs for e in NAMED], dt=0.1, input_names=["force"]
    )
    model = fitted(data, n_features=40, output_lags=3, input_lags=2, input_coupling="network")
    peer = model.to_do_mpc(measured_inputs=True)
    u = 0.5 * np.random.default_rng(2).uniform(-1, 1, (25, 1))
    x0 = first_window(model, data[0])
    states, measured = simulated(peer, x0, u, model.dt_)
    mhe = estimator(peer, 8, model.dt_, 1e-6, 1.0, None)
    mhe.x0 = x0 + 0.5
    mhe.set_initial_guess()
    errors = [
        np.abs(mhe.make_step(y[:, None]).ravel() - x).max() for y, x in zip(measured, states[1:], strict=True)
    ]
    assert errors[0] > 1e-3
    assert max(errors[-10:]) < 1e-5


def test_its_mhe_reduces_noise_on_the_true_plant():
    model = fitted(n_features=60, input_coupling="quadratic")
    peer = model.to_do_mpc(measured_inputs=True, process_noise=True)
    rng = np.random.default_rng(3)
    u = rng.uniform(-0.5, 0.5, (60, 1))
    x = plants.roll(STEP, np.array([0.5, 0.5]), u)
    noisy = x[1:] + 0.1 * rng.standard_normal((60, 2))
    mhe = estimator(peer, 10, model.dt_, 1.0, 1.0, 1e4)
    mhe.x0 = np.array([0.5, 0.5])
    mhe.set_initial_guess()
    estimates = np.array(
        [mhe.make_step(np.concatenate([y, row])[:, None]).ravel() for y, row in zip(noisy, u, strict=True)]
    )
    error, raw = (np.sqrt(np.mean((e - x[1:])[10:] ** 2)) for e in (estimates, noisy))
    assert error < 0.6 * raw


def test_its_ekf_follows_the_true_plant():
    import do_mpc

    model = fitted(n_features=60, input_coupling="quadratic")
    peer = model.to_do_mpc()
    ekf = do_mpc.estimator.EKF(peer)
    ekf.settings.n_horizon, ekf.settings.t_step = 1, model.dt_
    ekf.setup()
    ekf.x0 = np.zeros(2)
    ekf.set_initial_guess()
    rng = np.random.default_rng(3)
    u = rng.uniform(-0.5, 0.5, (60, 1))
    x = plants.roll(STEP, np.array([0.5, 0.5]), u)
    noisy = x[1:] + 0.1 * rng.standard_normal((60, 2))
    estimates = np.array(
        [
            np.asarray(ekf.make_step(y[:, None], row[:, None], 1e-5 * np.eye(2), 1e-2 * np.eye(2))).ravel()
            for y, row in zip(noisy, u, strict=True)
        ]
    )
    error, raw = (np.sqrt(np.mean((e - x[1:])[10:] ** 2)) for e in (estimates, noisy))
    assert error < 0.6 * raw


# --- refusals --------------------------------------------------------------------------------------------


def test_refusals(monkeypatch):
    model = fitted()
    with pytest.raises(OptionError, match="symvar_type is 'DM'"):
        model.to_do_mpc(symvar_type="DM")
    with pytest.raises(NotFittedError):
        KoopmanRNN().to_do_mpc()
    clash = Trajectories.from_arrays(NAMED[0].outputs, NAMED[0].inputs, dt=0.1, state_names=["a", "default"])
    with pytest.raises(OptionError, match="keeps for itself"):
        fitted(clash).to_do_mpc()
    both = LiftedModel.from_matrices(A, B, dt=DT, output_names=["a", "b", "c"], input_names=["a", "v"])
    assert both.to_do_mpc().n_y == 3
    with pytest.raises(OptionError, match="name inputs and outputs"):
        both.to_do_mpc(measured_inputs=True)
    monkeypatch.setitem(sys.modules, "do_mpc", None)
    with pytest.raises(KoopctrlError, match="pip install do-mpc"):
        model.to_do_mpc()


def test_the_export_itself_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted().to_do_mpc()
