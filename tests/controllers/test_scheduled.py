"""Controllers on models with measured parameters: frozen they are the plain ones, and previews are used."""

import copy
import sys
from pathlib import Path

import control
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from varying_plants import A, B, affine_step, pendulum_step, records

from koopctrl import LQR, RNNMPC, GainScheduled, KalmanFilter, KoopmanRNN, LinearMPC, load, run_closed_loop
from koopctrl.controllers import check_controller
from koopctrl.errors import DataError, OptionError

BOUNDS = {"u_min": -1.0, "u_max": 1.0}


@pytest.fixture(scope="module")
def model():
    return KoopmanRNN(0, parameters="p", input_coupling="linear", ridge=0.0).fit(records(affine_step))


@pytest.fixture(scope="module")
def family(model):
    return model.lift_family([0.0, 0.0], 0.0, method="linear")


def test_a_scheduled_gain_is_the_frozen_plants(family):
    """Against python-control's dlqr on the true matrices."""
    scheduled = GainScheduled(family, LQR, Q=[1.0, 2.0], R=0.5)
    y = np.array([0.3, -0.7])
    for p in (-0.8, 0.2, 0.9):
        K, _, _ = control.dlqr(A[0] + p * A[1], B[0] + p * B[1], np.diag([1.0, 2.0]), [[0.5]])
        np.testing.assert_allclose(scheduled.control(y, np.zeros(2), disturbance=p), -K @ y, atol=1e-8)
    assert scheduled.parameter[0] == 0.9


@pytest.mark.parametrize("kind", [LQR, LinearMPC])
@pytest.mark.parametrize("filtered", [False, True])
def test_at_a_frozen_parameter_it_is_the_plain_controller(family, kind, filtered):
    options = dict(BOUNDS, Q=1.0, R=0.1) | ({"horizon": 12} if kind is LinearMPC else {})
    lifted = family.without_network().frozen(0.6)

    def estimator(m):
        return KalmanFilter(m, 1e-3 * np.eye(m.n_z), 1e-3 * np.eye(2))

    plain = kind(lifted, **options, **({"estimator": estimator(lifted)} if filtered else {}))
    scheduled = GainScheduled(family, kind, **options, **({"estimator": estimator} if filtered else {}))
    rng, y = np.random.default_rng(0), np.array([2.0, -1.0])
    for _ in range(6):
        mine = scheduled.control(y, [0.5, 0.0], disturbance=0.6)
        np.testing.assert_allclose(mine, plain.control(y, [0.5, 0.0]), atol=1e-7)
        y = affine_step(y, mine, 0.6) + 0.01 * rng.normal(size=2)


def test_memory_goes_on_from_law_to_law(family):
    """A move bound holds across changes of the parameter, for the last input is remembered."""
    mpc = GainScheduled(family, LinearMPC, horizon=10, Q=1.0, R=1e-3, du_min=-0.05, du_max=0.05)
    rng, y, last = np.random.default_rng(0), np.array([3.0, 1.0]), np.zeros(1)
    for k in range(20):
        u = mpc.control(y, disturbance=[np.sin(k)])
        assert k == 0 or abs(u - last) <= 0.05 + 1e-9
        y, last = affine_step(y, u, np.sin(k)) + 0.01 * rng.normal(size=2), u


def test_the_protocol_and_what_is_not_told(family):
    for kind, options in ((LQR, {}), (LinearMPC, {"horizon": 8})):
        scheduled = GainScheduled(family, kind, Q=1.0, R=0.1, **BOUNDS, **options)
        check_controller(scheduled)
        y = np.array([0.5, 0.5])
        told = scheduled.control(y, disturbance=[0.5])
        scheduled.reset()
        scheduled.control(y, disturbance=[[0.5], [-0.5]])
        kept = copy.deepcopy(scheduled)
        np.testing.assert_array_equal(scheduled.control(y, disturbance=[np.nan]), kept.control(y))
        scheduled.reset()
        np.testing.assert_array_equal(scheduled.control(y, disturbance=[0.5]), told)
        # Outside the records' box it is the box's edge that counts.
        scheduled.control(y, disturbance=[1e3])
        assert scheduled.parameter[0] == family.model.p_max[0]


def test_a_resolution_keeps_laws(family):
    scheduled = GainScheduled(family, LQR, Q=1.0, R=0.1, resolution=0.2)
    y = np.array([0.5, 0.5])
    scheduled.control(y, disturbance=[0.5])
    law = scheduled.inner
    scheduled.control(y, disturbance=[0.6])
    assert scheduled.inner is law
    scheduled.control(y, disturbance=[-0.9])
    assert scheduled.inner is not law


def test_rnn_mpc_of_a_linear_varying_model_solves_the_time_varying_problem(model):
    """Its plan under a previewed parameter against the dense solution of the true time-varying problem."""
    N, Q, R = 8, 1.0, 0.05
    mpc = RNNMPC(model, N, Q, R, terminal="none", n_iterations=5)
    assert (mpc.input_names, mpc.disturbance_names) == (("u",), ("p",))
    p, x0 = np.linspace(0.9, -0.9, N), np.array([1.0, -0.5])
    u = mpc.control(x0, np.zeros(2), disturbance=p[:, None], input_reference=np.zeros((N, 1)))
    # Condensed: x_{k+1} = A_k x_k + B_k u_k.
    phi, gamma, state = np.empty((N, 2, 2)), np.zeros((N, 2, N)), np.eye(2)
    drive = np.zeros((2, N))
    for k in range(N):
        a, b = A[0] + p[k] * A[1], B[0] + p[k] * B[1]
        state, drive = a @ state, a @ drive
        drive[:, k] += b[:, 0]
        phi[k], gamma[k] = state, drive
    G = gamma.reshape(2 * N, N)
    free = (phi @ x0).reshape(2 * N)
    best = np.linalg.solve(Q * G.T @ G + R * np.eye(N), -Q * G.T @ free)
    np.testing.assert_allclose(u, best[:1], atol=1e-6)


def test_rnn_mpc_in_files(model, tmp_path):
    mpc = RNNMPC(model, 8, 1.0, 0.1, **BOUNDS)
    mpc.control([1.0, 0.0], disturbance=[0.5])
    mpc.save(tmp_path / "mpc.npz")
    again = load(tmp_path / "mpc.npz")
    np.testing.assert_array_equal(again.control([0.9, 0.1]), mpc.control([0.9, 0.1]))


class Drifting:
    """The pendulum as an env whose stiffness runs on its own: its action is the input alone."""

    dt = 0.1

    def __init__(self, p):
        import gymnasium

        self.p = p
        self.action_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))

    def reset(self, seed=None, options=None):
        self.x, self.k = np.array([0.8, 0.0]), 0
        return self.x.copy(), {}

    def step(self, action):
        self.x, self.k = pendulum_step(self.x, action, self.p[self.k]), self.k + 1
        return self.x.copy(), 0.0, False, False, {}

    def close(self):
        pass


def test_loops_on_a_plant_that_carries_its_parameter():
    data = records(pendulum_step, low=2.0, high=6.0, n_episodes=10, u_size=0.5)
    varying = KoopmanRNN(80, parameters="p", random_state=0).fit(data)
    p = np.linspace(2.2, 5.8, 60)
    family = varying.lift_family([0.0, 0.0], 0.0, method="jacobian")
    for controller in (
        RNNMPC(varying, 12, [1.0, 0.1], 0.05, u_min=-3.0, u_max=3.0),
        GainScheduled(family, LQR, Q=[1.0, 0.1], R=0.05, u_min=-3.0, u_max=3.0),
    ):
        result = run_closed_loop(
            Drifting(p), controller, 60, reference=np.zeros(2), disturbance=p[:, None], preview=True
        )
        assert np.abs(result.outputs[-10:]).max() < 1e-2
        np.testing.assert_array_equal(result.disturbances[:, 0], p)


def test_what_is_refused(family, model, tmp_path):
    lifted = family.frozen(0.0)
    with pytest.raises(OptionError, match="family is a LiftedModel"):
        GainScheduled(lifted, LQR, Q=1.0, R=1.0)
    with pytest.raises(OptionError, match="RNNMPC takes a model"):
        GainScheduled(family, RNNMPC, horizon=5, Q=1.0, R=1.0)
    with pytest.raises(OptionError, match="belongs to one model"):
        GainScheduled(family, LQR, Q=1.0, R=1.0, estimator=KalmanFilter(lifted, np.eye(2), np.eye(2)))
    with pytest.raises(OptionError, match="horizon, which LQR does not take"):
        GainScheduled(family, LQR, horizon=5, Q=1.0, R=1.0)
    with pytest.raises(OptionError, match="lack horizon, R"):
        GainScheduled(family, LinearMPC, Q=1.0)
    scheduled = GainScheduled(family, LQR, Q=1.0, R=1.0)
    with pytest.raises(OptionError, match="no C code"):
        scheduled.to_c(tmp_path)
    with pytest.raises(DataError, match="infinite"):
        scheduled.control([0.0, 0.0], disturbance=[np.inf])


@pytest.mark.parametrize("kind", [LQR, LinearMPC])
@pytest.mark.parametrize("filtered", [False, True])
def test_files_go_on_with_parameter_and_memory(family, kind, filtered, tmp_path):
    options = dict(BOUNDS, Q=1.0, R=0.1) | ({"horizon": 8, "du_max": 0.3} if kind is LinearMPC else {})
    if filtered:
        options["estimator"] = lambda m: KalmanFilter(m, 1e-3 * np.eye(m.n_z), 1e-3 * np.eye(2))
    made = GainScheduled(family, kind, resolution=0.01, **options)
    for k in range(4):
        made.control([1.0 - 0.2 * k, 0.3], [0.2, 0.0], disturbance=[0.2 * k])
    made.save(tmp_path / "scheduled.npz")
    again = load(tmp_path / "scheduled.npz")
    assert again.parameter == pytest.approx(made.parameter)
    assert again.resolution == 0.01
    for p in (None, [0.6], [-0.5]):
        y = [0.4, -0.1]
        np.testing.assert_allclose(
            again.control(y, [0.2, 0.0], disturbance=p), made.control(y, [0.2, 0.0], disturbance=p), atol=1e-9
        )


def test_filters_that_change_with_the_parameter_are_in_no_file(family, tmp_path):
    def estimator(m):
        return KalmanFilter(m, (1.0 + abs(m.A[0, 0])) * np.eye(m.n_z), np.eye(2))

    made = GainScheduled(family, LQR, Q=1.0, R=0.1, estimator=estimator)
    with pytest.raises(DataError, match="estimator makes filters"):
        made.save(tmp_path / "x.npz")
