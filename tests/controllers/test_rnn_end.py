"""The weight at the end of RNNMPC's plans: where the LQR's cost to go holds, and swing-ups by it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from koopctrl import KoopmanRNN, Trajectories, run_closed_loop
from koopctrl.controllers import RNNMPC
from koopctrl.controllers.mpc.rnn_end import weight_holds
from koopctrl.controllers.mpc.rnn_outlook import Found, Goal, Outlook
from koopctrl.controllers.riccati import solve_riccati
from koopctrl.errors import OptionError
from koopctrl_envs import CartPole

A, B = np.array([[1.1, 0.2], [0.0, 0.9]]), np.array([[0.0], [0.5]])


def linear_network(scale=1.0, A=A, B=B):
    """Exactly `x+ = A x + B u`; states in units of `scale`."""
    rng = np.random.default_rng(0)
    x, u = np.zeros((20, 21, 2)), rng.uniform(-1, 1, (20, 20, 1))
    x[:, 0] = rng.uniform(-1, 1, (20, 2))
    for k in range(20):
        x[:, k + 1] = x[:, k] @ A.T + u[:, k] @ B.T
    data = Trajectories.from_arrays(scale * x, u, dt=0.1)
    return KoopmanRNN(0, input_coupling="linear", ridge=0.0).fit(data)


def judged(mpc, ends, scale=1.0, A=A, B=B):
    """Whether the weight holds at each of some last states, which the cost of the plan does not hide."""
    law = mpc.law
    lqr = solve_riccati(A, scale * B, mpc.problem.Q[-1], mpc.problem.input_weight, "")
    N, zero = mpc.problem.horizon, np.zeros(2)
    goal = Goal(
        np.zeros((N + 1, 2)), np.zeros((N, 1)), zero, lqr.P, lqr.K, np.zeros(1), mpc.problem.Q, np.empty(0)
    )
    now = Outlook(zero, zero, np.empty((N, 0)), None, np.zeros(1))
    return [
        weight_holds(
            Found(np.zeros((N, 1)), np.tile(scale * end, (N + 1, 1)), 0.0, None, 0, ""),
            goal, now, law.rollout, law.channels, mpc.problem, 0.0,
        )
        for end in ends
    ]  # fmt: skip


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_on_a_linear_plant_the_cost_to_go_holds_until_the_inputs_saturate(scale):
    model = linear_network(scale)
    Q = np.full(2, 1.0 / scale**2)
    ends = np.random.default_rng(1).normal(size=(50, 2))
    free = RNNMPC(model, 10, Q, 0.1, u_min=-1e3, u_max=1e3)
    assert all(judged(free, ends, scale))
    # Beyond |x1| = B u_max / (A11 - 1) or so no input holds the unstable state back.
    bound = RNNMPC(model, 10, Q, 0.1, u_min=-0.05, u_max=0.05)
    far = np.array([[0.5, 0.5], [-1.0, -0.2], [2.0, 0.0]])
    assert not any(judged(bound, far, scale))
    assert all(judged(bound, 1e-3 * far, scale))


@pytest.mark.parametrize(("effect", "holds"), [(0.1, True), (1e-2, True), (1e-7, False), (-1e-9, False)])
def test_a_cost_to_go_that_is_never_paid_does_not_hold(effect, holds):
    # Weather that stays as it is drives a room; what heating does to it was identified as next to nothing.
    A, B = np.array([[0.8, 0.2], [0.0, 1.0]]), np.array([[0.5], [effect]])
    mpc = RNNMPC(linear_network(A=A, B=B), 10, [1.0, 0.0], 0.1, u_min=-1e3, u_max=1e3)
    ends = [np.array([0.0, 1.0]), np.array([1.0, -0.5])]
    assert judged(mpc, ends, A=A, B=B) == [holds, holds]
    # Where nothing but the room has to be moved, the weight does hold.
    assert judged(mpc, [np.array([1.0, 0.0])], A=A, B=B) == [True]


def test_a_room_is_kept_warm_under_weather_that_nothing_moves():
    A, B = np.array([[0.8, 0.2], [0.0, 0.9999]]), np.array([[0.5], [1e-8]])
    mpc = RNNMPC(linear_network(A=A, B=B), 10, [1.0, 0.0], 0.01, u_min=-2.0, u_max=2.0)
    x, late = np.array([0.0, 1.0]), []
    for k in range(40):
        u = mpc.control(x, [0.0, 0.0])
        x = A @ x + B[:, 0] * u
        late += [abs(x[0])] if k >= 10 else []
    # The input that holds the room is -0.4; the weather's cost to go would have it at a bound.
    assert max(late) < 0.05


def test_what_hardly_counts_is_not_judged():
    model = linear_network()
    mpc = RNNMPC(model, 10, 1.0, 0.1, u_min=-0.05, u_max=0.05)
    assert judged(mpc, [np.array([2.0, 0.0])]) == [False]
    law, zero = mpc.law, np.zeros(2)
    goal = Goal(
        np.zeros((11, 2)), np.zeros((10, 1)), zero, np.eye(2), np.zeros((1, 2)), np.zeros(1), mpc.problem.Q,
        np.empty(0),
    )  # fmt: skip
    found = Found(np.zeros((10, 1)), np.full((11, 2), 2.0), 1e3, None, 0, "")
    now = Outlook(zero, zero, np.empty((10, 0)), None, np.zeros(1))
    assert weight_holds(found, goal, now, law.rollout, law.channels, mpc.problem, 0.0)
    assert weight_holds(found, replace(goal, P=None), now, law.rollout, law.channels, mpc.problem, 0.0)


def test_without_bounds_the_plan_is_the_lqrs_at_every_horizon():
    lqr = solve_riccati(A, B, np.eye(2), 0.1 * np.eye(1), "")
    model, y = linear_network(), np.array([0.7, -0.4])
    for horizon in (1, 2, 10, 40):
        u = RNNMPC(model, horizon, 1.0, 0.1, u_min=-1e3, u_max=1e3).control(y, [0.0, 0.0])
        np.testing.assert_allclose(u, -lqr.K @ y, rtol=1e-5)


@pytest.fixture(scope="module")
def cart_pole():
    """Identified from episodes all around the circle, under held levels of the force."""
    plant, rng = CartPole(), np.random.default_rng(3)
    spread = np.array([1.0, 2.0, np.pi, 8.0])
    x, u = np.empty((100, 61, 4)), np.empty((100, 60, 1))
    x[:, 0] = rng.uniform(-spread, spread, (100, 4))
    for i in range(100):
        u[i, :, 0] = np.repeat(rng.uniform(-10, 10, 60), rng.integers(1, 9, 60))[:60]
    for k in range(60):
        x[:, k + 1] = plant.step(x[:, k], u[:, k])
    data = Trajectories.from_arrays(plant.output(x), u, dt=plant.dt)
    return plant, KoopmanRNN(300, random_state=0).fit(data)


class Measured:
    """The plant behind its outputs, noise-free."""

    def __init__(self, plant):
        self.plant, self.dt, self.x = plant, plant.dt, np.zeros(4)

    def reset(self, *, seed=None, options=None):
        self.x = np.asarray(options["x0"], dtype=float)
        return self.plant.output(self.x), {"x": self.x}

    def step(self, u):
        self.x = self.plant.step(self.x, u)
        return self.plant.output(self.x), 0.0, False, False, {"x": self.x}


@pytest.mark.slow
@pytest.mark.parametrize("start", [[0.0, 0.0, np.pi, 0.0], [0.5, 0.0, np.pi - 0.5, 0.0]])
def test_a_cart_pole_is_swung_up_by_default(cart_pole, start):
    plant, model = cart_pole
    upright = np.array([0.0, 0.0, 1.0, 0.0, 0.0])
    mpc = RNNMPC(model, 40, [1.0, 0.1, 10.0, 10.0, 0.1], 0.01, u_min=-10.0, u_max=10.0)
    result = run_closed_loop(Measured(plant), mpc, 100, upright, x0=start)
    assert np.abs(result.outputs[-1] - upright).max() < 0.3
    # The cost to go at the end of every plan, arrived or not, is what used to lead it astray.
    insisted = RNNMPC(
        model, 40, [1.0, 0.1, 10.0, 10.0, 0.1], 0.01, u_min=-10.0, u_max=10.0, terminal="riccati"
    )
    assert result.cost < 0.8 * run_closed_loop(Measured(plant), insisted, 100, upright, x0=start).cost


def test_wrong_settings_are_refused():
    model = linear_network()
    with pytest.raises(OptionError, match="terminal is 'lqr'"):
        RNNMPC(model, 5, 1.0, 0.1, terminal="lqr")
    with pytest.raises(OptionError, match="n_iterations"):
        RNNMPC(model, 5, 1.0, 0.1, n_iterations="many")


@pytest.mark.parametrize(
    ("end", "dear", "weighted"), [(0.01, 100.0, False), (0.01, 0.5, True), (1.0, 20.0, True)]
)
def test_a_plan_that_arrives_may_cost_what_waiting_would(monkeypatch, end, dear, weighted):
    # Without the weight a plan is found that costs 0.8 and ends `end` off its target, where the weight does
    # not hold; with it one that costs `dear`, where it does: a full turn of a pendulum that had only to lean.
    mpc, zero, N = RNNMPC(linear_network(), 10, 1.0, 0.1, u_min=-1.0, u_max=1.0), np.zeros(2), 10
    law = mpc.law
    goal = Goal(
        np.zeros((N + 1, 2)), np.zeros((N, 1)), zero, np.eye(2), np.zeros((1, 2)), np.zeros(1), mpc.problem.Q,
        np.empty(0),
    )  # fmt: skip

    def found(merit, x_end):
        states = np.zeros((N + 1, 2))
        states[-1, 0] = x_end
        return Found(np.zeros((N, 1)), states, merit, object(), 1, "")

    def from_cold(self, now, ahead, goal, n):
        return found(0.8, end) if goal.P is None else found(dear, 0.0)

    monkeypatch.setattr(type(law), "_from_cold", from_cold)
    monkeypatch.setattr(type(law), "_holds", lambda self, found, goal, ahead: found.states[-1, 0] == 0.0)
    now = SimpleNamespace(deadline=np.inf)
    best, chosen = law._cold(now, Outlook(zero, zero, np.empty((N, 0)), None, np.zeros(1)), goal)
    assert best.merit == (dear if weighted else 0.8)
    assert (chosen.P is not None) == weighted


def test_a_weight_that_does_not_hold_leaves_what_it_has_found(monkeypatch):
    # From the shifted plan alone the iteration ends in a bad optimum; from the weighted plan it does not.
    mpc, zero, N = RNNMPC(linear_network(), 10, 1.0, 0.1, u_min=-1.0, u_max=1.0), np.zeros(2), 10
    law, merits = mpc.law, []

    def optimise(self, now, plan, goal, *_):
        merits.append(108.0 if not plan.any() else 0.7)
        return Found(plan, np.zeros((N + 1, 2)), merits[-1], object(), 3, "")

    monkeypatch.setattr(type(law.iteration), "optimise", optimise)
    history = SimpleNamespace(shifted_plan=lambda: np.zeros((N, 1)), age=1)
    now = SimpleNamespace(history=history, deadline=np.inf)
    goal = Goal(
        np.zeros((N + 1, 2)), np.zeros((N, 1)), zero, None, None, np.zeros(1), mpc.problem.Q, np.empty(0)
    )
    ahead = Outlook(zero, zero, np.empty((N, 0)), None, np.zeros(1))
    weighted = Found(np.full((N, 1), 0.5), np.zeros((N + 1, 2)), 0.8, object(), 5, "")
    best = law._unweighted(now, ahead, goal, weighted, 1, None)
    assert merits == [108.0, 0.7]
    assert best.merit == 0.7
    assert best.n_solves == 6
