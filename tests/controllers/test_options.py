"""Options of both predictive controllers, against a cost added up by simulation and minimised by brute force.

The oracle knows the documented problem only: it rolls the plant out sample by sample, delay included, adds up
the cost, and finds the quadratic's minimum under the bounds from its values.
"""

import copy

import casadi
import gymnasium
import numpy as np
import pytest

import koopctrl_envs  # noqa: F401
from koopctrl import ExtendedKalmanFilter, KoopmanRNN, LinearMPC, Trajectories, run_closed_loop
from koopctrl.controllers import RNNMPC
from koopctrl.errors import OptionError

A = np.array([[0.9, 0.3, 0.0], [-0.2, 0.8, 0.1], [0.0, 0.1, 0.6]])
# Three inputs of the model: the middle one is a disturbance in most tests.
B = np.array([[0.0, 0.2, 0.4], [0.5, 0.1, 0.0], [0.1, 0.4, 0.2]])
N = 6


@pytest.fixture(scope="module")
def model():
    """Exactly linear, measured states."""
    rng = np.random.default_rng(0)
    x, u = np.empty((40, 21, 3)), rng.uniform(-1, 1, (40, 20, 3))
    x[:, 0] = rng.uniform(-1, 1, (40, 3))
    for k in range(20):
        x[:, k + 1] = x[:, k] @ A.T + u[:, k] @ B.T
    data = Trajectories.from_arrays(x, u, dt=0.1, input_names=["pump", "load", "valve"])
    return KoopmanRNN(0, input_coupling="linear", random_state=0).fit(data)


def make(kind, model, *args, **options):
    """Either controller; both start from zero inputs."""
    if kind == "linear":
        return LinearMPC(model.lift_at(x_op=0.0, u_op=0.0), *args, **options)
    return RNNMPC(model, *args, **options)


def quadratic(cost, n):
    """`H`, `g` of a quadratic function from its values."""
    zero, unit = cost(np.zeros(n)), np.eye(n)
    plus = np.array([cost(e) for e in unit])
    minus = np.array([cost(-e) for e in unit])
    H = np.array([[cost(a + b) for b in unit] for a in unit])
    H = H - plus[:, None] - plus[None, :] + zero
    return H, 0.5 * (plus - minus)


def minimum(cost, n, low, high, rows=None):
    """Its minimum within bounds, and under affine `rows(v) >= 0`."""
    H, g = quadratic(cost, n)
    at_zero = np.empty(0) if rows is None else rows(np.zeros(n))
    matrix = np.empty((0, n)) if rows is None else np.array([rows(e) - at_zero for e in np.eye(n)]).T
    options = {"error_on_fail": True, "printLevel": "none"}
    shapes = {"h": casadi.Sparsity.dense(n, n), "a": casadi.Sparsity.dense(len(matrix), n)}
    solver = casadi.conic("oracle", "qpoases", shapes, options)
    answer = solver(h=H, g=g, a=matrix, lbx=low, ubx=high, lba=-at_zero, uba=np.inf)
    return np.array(answer["x"]).ravel()


@pytest.mark.parametrize("kind", ["linear", "rnn"])
@pytest.mark.parametrize("delay", [0, 3])
def test_all_together_they_minimise_the_documented_cost(model, kind, delay):
    rng = np.random.default_rng(delay)

    def weights(n, scale):
        factors = rng.normal(size=(N, n, n))
        return scale * (factors @ factors.transpose(0, 2, 1) + np.eye(n))

    Q, R, S = weights(3, 1.0), weights(2, 0.2), weights(2, 0.3)
    reference = rng.uniform(-1, 1, (N + delay + 1, 3))
    wished = rng.uniform(-0.5, 0.5, (N, 2))
    load = rng.uniform(-1, 1, (N + delay, 1))
    mpc = make(
        kind, model, N, Q, R, R_rate=S, u_min=-0.8, u_max=0.8, y_max=0.6, terminal="none",
        measured_disturbances=["load"], input_delay=delay, blocks=[1, 2, 3],
    )  # fmt: skip
    assert mpc.input_names == ("pump", "valve")
    assert mpc.disturbance_names == ("load",)
    # A first sample fills the line of inputs on their way.
    mpc.applied([0.0, 0.0])
    x = rng.uniform(-1, 1, 3)
    sent = mpc.control(x, reference, disturbance=load)
    pending = np.concatenate([np.zeros((delay, 2)), sent[None]])
    x = A @ x + B[:, 1] * load[0] + B[:, [0, 2]] @ pending[0]
    pending = pending[1:]

    def roll(v):
        plan = np.repeat(v.reshape(3, 2), [1, 2, 3], axis=0)
        acting, now, seen = np.concatenate([pending, plan]), x, []
        for k in range(delay + N):
            now = A @ now + B[:, [0, 2]] @ acting[k] + B[:, 1] * load[k]
            seen.append(now)
        return plan, np.array(seen[delay:])

    def cost(v):
        plan, y = roll(v)
        e, du = y - reference[delay + 1 :], plan - wished
        moves = np.diff(plan, axis=0, prepend=sent[None])
        return sum(e[k] @ Q[k] @ e[k] + du[k] @ R[k] @ du[k] + moves[k] @ S[k] @ moves[k] for k in range(N))

    low, high = np.full(6, -0.8), np.full(6, 0.8)
    v = minimum(lambda v: 0.5 * cost(v), 6, low, high, lambda v: (0.6 - roll(v)[1]).ravel())
    mpc.control(x, reference, input_reference=wished, disturbance=load)
    assert mpc.info.status == "optimal"
    np.testing.assert_allclose(mpc.info.inputs, np.repeat(v.reshape(3, 2), [1, 2, 3], axis=0), atol=2e-6)
    np.testing.assert_allclose(mpc.info.outputs[1:], roll(v)[1], atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "rnn"])
def test_a_terminal_set_is_kept_from_the_target_and_the_terminal_weight_counts(model, kind):
    E = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    options = {"u_min": -1, "u_max": 1, "measured_disturbances": ["load"]}
    r, load = np.array([0.3, 0.2, -0.1]), np.array([0.2])
    x0 = np.array([1.0, -1.0, 0.5])
    ends = {}
    for bound in (np.inf, 1e-3):
        mpc = make(kind, model, N, np.eye(3), 0.1, terminal_set=(E, [-bound] * 2, [bound] * 2), **options)
        mpc.applied([0.0, 0.0])
        mpc.control(x0, r, disturbance=load)
        assert mpc.info.status == "optimal"
        ends[bound] = mpc.info.outputs[-1]
    # The steady states nearest r in the least-squares sense, from the plant itself.
    gain = np.linalg.solve(np.eye(3) - A, B)
    u_s = np.linalg.lstsq(gain[:, [0, 2]], r - gain[:, 1] * load, rcond=None)[0]
    assert (np.abs(u_s) < 1).all()
    distance = {b: np.abs(E @ (y - gain[:, [0, 2]] @ u_s - gain[:, 1] * load)) for b, y in ends.items()}
    assert (distance[np.inf] > 2e-3).any()
    assert (distance[1e-3] <= 1e-3 + 1e-7).all()


@pytest.mark.parametrize("kind", ["linear", "rnn"])
def test_idle_freedom_brings_the_inputs_near_the_wish_and_the_output_to_its_set_point(
    model, kind, linear_plant
):
    plant = linear_plant(A, B)
    wish = np.array([0.4, -0.1, 0.3])
    mpc = make(kind, model, 15, [1.0, 0.0, 0.0], 0.01, u_min=-1, u_max=1)
    x = plant.reset(options={"x0": np.zeros(3)})[0]
    for _ in range(120):
        u = mpc.control(x, [0.7, 0.0, 0.0], input_reference=wish)
        x = plant.step(u)[0]
    gain = np.linalg.solve(np.eye(3) - A, B)[0]
    nearest = wish + gain * (0.7 - gain @ wish) / (gain @ gain)
    assert abs(x[0] - 0.7) < 1e-6
    np.testing.assert_allclose(u, nearest, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "rnn"])
def test_set_points_within_reach_are_held_although_the_nearest_inputs_are_not(model, kind, linear_plant):
    """Three inputs for one output: where one runs into its bound, the others take over."""
    plant = linear_plant(A, B)
    high = np.array([0.05, 2.0, 2.0])
    mpc = make(kind, model, 15, [1.0, 0.0, 0.0], 0.01, u_min=-high, u_max=high)
    result = run_closed_loop(plant, mpc, 150, [1.5, 0.0, 0.0], x0=np.zeros(3))
    assert abs(result.outputs[-1, 0] - 1.5) < 1e-6
    assert result.inputs[-1, 0] == pytest.approx(0.05, abs=1e-9)


class Delayed:
    """A plant behind a dead time."""

    def __init__(self, delay):
        self.delay, self.dt = delay, 0.1

    def reset(self, *, seed=None, options=None):
        self.x, self.line = np.array([1.0, 0.0, 0.0]), [np.zeros(3)] * self.delay
        return self.x.copy(), {}

    def step(self, u):
        self.line.append(np.asarray(u))
        self.x = A @ self.x + B @ (self.line.pop(0) + np.array([0.1, 0.0, -0.2]))
        return self.x.copy(), 0.0, False, False, {}


@pytest.mark.parametrize("kind", ["linear", "rnn"])
def test_a_known_dead_time_is_predicted_through_and_offsets_still_vanish(model, kind):
    costs = {}
    for delay in (0, 4):
        mpc = make(
            kind, model, 12, 1.0, 0.01, u_min=-1, u_max=1, input_delay=delay, offset_free=0.5,
        )  # fmt: skip
        result = run_closed_loop(Delayed(4), mpc, 200, [0.3, 0.2, 0.1], Q=1.0, R=0.01)
        costs[delay] = result.cost
    assert np.abs(result.outputs[-1] - [0.3, 0.2, 0.1]).max() < 1e-7
    assert costs[4] < 0.8 * costs[0]


@pytest.mark.parametrize("kind", ["linear", "rnn"])
def test_a_disturbance_that_is_foreseen_hurts_less_and_a_missing_one_is_taken_to_stay(model, kind):
    load = np.zeros((60, 1))
    load[20:] = 1.0
    size = {}
    for shown in ("nothing", "present", "preview"):
        mpc = make(kind, model, 10, [1.0, 0.1, 0.1], 1e-3, measured_disturbances=["load"], R_rate=1.0)
        x, seen = np.zeros(3), []
        for k in range(40):
            told = {
                "nothing": None, "present": load[k] if k != 25 else [np.nan], "preview": load[k : k + 10],
            }[shown]  # fmt: skip
            u = mpc.control(x, np.zeros(3), disturbance=told)
            x = A @ x + B @ mpc.join(u, load[k])
            seen.append(x[0] ** 2)
        size[shown] = sum(seen)
    assert size["preview"] < 0.8 * size["present"]
    assert size["present"] < 0.8 * size["nothing"]
    u, v = mpc.split_inputs([1.0, 2.0, 3.0])
    assert (u == [1.0, 3.0]).all()
    assert (v == [2.0]).all()


@pytest.mark.parametrize("kind", ["state", "input"])
def test_an_extended_kalman_filter_sees_the_rest_and_leaves_no_offset(network, kind):
    """Of the oscillator's state the position alone is measured, under an unknown constant input."""
    env = gymnasium.make("koopctrl/VanDerPol-v0", disturbance=0.3, max_episode_steps=400).unwrapped
    measured = [0, 1] if kind == "state" else [0]
    observer = ExtendedKalmanFilter(network, 1e-6, 1e-4, measured=measured, disturbance=kind)
    mpc = RNNMPC(network, 20, 1.0, 0.1, u_min=-3, u_max=3, observer=observer)
    assert mpc.n_measured == len(measured)
    y, _ = env.reset(seed=0, options={"x0": [1.5, -1.0]})
    for k in range(300):
        seen = y[measured] if k % 7 else np.full(len(measured), np.nan)
        u = mpc.control(seen, [0.4, 0.0])
        y = env.step(u)[0]
    assert mpc.info.status == "optimal"
    # The model's own error is a disturbance too; where only position is measured, what is left of it shows.
    assert abs(y[0] - 0.4) < (1e-6 if kind == "state" else 2e-3)
    with pytest.raises(OptionError, match="another model"):
        RNNMPC(copy.deepcopy(network), 20, 1.0, 0.1, observer=observer)
    with pytest.raises(OptionError, match="expected one of them"):
        RNNMPC(network, 20, 1.0, 0.1, observer=observer, offset_free=True)
    with pytest.raises(OptionError, match="ExtendedKalmanFilter"):
        RNNMPC(network, 20, 1.0, 0.1, observer="yes")


@pytest.mark.parametrize("kind", ["linear", "rnn"])
def test_a_relaxation_costs_what_is_documented(kind):
    """`y^2 + 10 u^2 + 5 s e + e^2` with `y = 3 + u`, `e = y - 1`: `24 u = -10 - 5 s`; hard, `u` would be -2.

    `s` is how far the bound is from the operating value: 0, or the mean of a network's data.
    """
    u = np.random.default_rng(0).uniform(-1, 1, (10, 50, 1))
    y = np.concatenate([np.zeros((10, 1, 1)), np.cumsum(u, axis=1)], axis=1)
    integrator = KoopmanRNN(0, input_coupling="linear", random_state=0).fit(
        Trajectories.from_arrays(y, u, dt=0.1)
    )
    options = {"u_min": -1.0, "u_max": 1.0, "y_max": 1.0, "soft_weights": (5.0, 1.0), "terminal": "none"}
    mpc = make(kind, integrator, 1, 1.0, 10.0, **options)
    s = 1.0 if kind == "linear" else abs(1.0 - float(integrator._network.x_mean[0]))
    np.testing.assert_allclose(mpc.control(3.0, 0.0), -(10.0 + 5.0 * s) / 24.0, atol=1e-6)
    assert mpc.info.status == "softened"
