"""RNNMPC with costs and constraints of one's own, beside IPOPT on the same network and finite differences."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import casadi
import numpy as np
import pytest

from koopctrl import RNNMPC, KoopmanRNN, Trajectories, run_closed_loop
from koopctrl.controllers import check_controller
from koopctrl.controllers.mpc.rnn_economic import EconomicIteration, convexified
from koopctrl.controllers.mpc.rnn_outlook import Outlook
from koopctrl.controllers.mpc.stage_function import StageFunction
from koopctrl.controllers.mpc.stage_terms import EconomicGoal
from koopctrl.errors import DataError, KoopctrlError, OptionError

X0 = np.array([-0.3, 0.2])
N = 12


def plant(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    push = -x[0] - 0.5 * x[1] + (1.0 + 0.3 * x[0]) * u[0] - 0.3 * x[0] ** 3
    return x + 0.1 * np.array([x[1], push])


def records(unit: tuple[Any, float] = (np.ones(2), 1.0)) -> Trajectories:
    rng = np.random.default_rng(0)
    outputs, inputs = [], []
    for _ in range(15):
        x, u = [rng.uniform(-1.5, 1.5, 2)], rng.uniform(-2.0, 2.0, (50, 1))
        for v in u:
            x.append(plant(x[-1], v))
        outputs.append(np.array(x) * unit[0])
        inputs.append(u * unit[1])
    return Trajectories.from_arrays(outputs, inputs, dt=0.1)


def profit(y: Any, u: Any, p: Any) -> Any:
    """Not convex: what `y0` earns falls off, and inputs cost a price."""
    return p[0] * u[0] - 2.0 * y[0] + 0.5 * y[0] ** 2 + 0.05 * y[0] ** 4 + 0.3 * y[0] * u[0]


def disc(y: Any, u: Any) -> Any:
    return [y[0] ** 2 + y[1] ** 2 - 0.3]


def residuals(y: Any, u: Any) -> Any:
    return [y[0] - 0.4 * y[1] ** 2 - 0.2, 0.3 * u[0] + 0.1 * y[0] * u[0]]


def in_numpy(y: Any, u: Any, p: Any) -> float:
    return float(profit(np.array(y), np.array(u), p)) * math.cos(0.0)


@pytest.fixture(scope="module")
def model() -> KoopmanRNN:
    return KoopmanRNN(n_features=40, random_state=0).fit(records())


def make(model: KoopmanRNN, **options: Any) -> RNNMPC:
    given: dict[str, Any] = {"Q": 0.0, "R": 1e-3, "u_min": -2.0, "u_max": 2.0, "n_iterations": 80}
    return RNNMPC(model, N, **(given | options))


def by_ipopt(
    model: KoopmanRNN, mpc: RNNMPC, cost: Any, constraint: Any = None, x0: np.ndarray = X0
) -> tuple[float, np.ndarray]:
    """The whole problem on the network, written down anew."""
    step, u, x, total, g = model.to_casadi(), casadi.MX.sym("u", N), casadi.MX(x0), 0.0, []
    u_r = float(mpc.law.u_rest[0])
    for k in range(N):
        x = step(x, u[k])
        y = casadi.vertsplit(x)
        total += cost(y, [u[k]]) + 1e-3 * (u[k] - u_r) ** 2
        if constraint is not None:
            g += constraint(y, [u[k]])
    quiet = {"ipopt": {"print_level": 0, "tol": 1e-10, "sb": "yes"}, "print_time": False}
    solver = casadi.nlpsol("s", "ipopt", {"x": u, "f": total, "g": casadi.vertcat(*g)}, quiet)
    start = mpc.info.inputs.ravel() if mpc.info is not None else np.zeros(N)
    found = solver(x0=start, lbx=-2.0, ubx=2.0, ubg=0.0)
    assert solver.stats()["success"]
    return float(found["f"]), np.array(found["x"]).ravel()


@pytest.mark.parametrize(
    ("cost", "constraint"),
    [(profit, None), (profit, disc), (residuals, None), (residuals, disc), (in_numpy, disc)],
)
def test_it_finds_what_ipopt_finds_on_the_same_network(model: KoopmanRNN, cost: Any, constraint: Any) -> None:
    has_price = cost is not residuals
    options = {"cost_parameters": [0.5]} if has_price else {}
    mpc = make(model, stage_cost=cost, nonlinear_constraints=constraint, **options)
    mpc.control(X0)
    assert mpc.info is not None
    assert mpc.info.status == "optimal"
    truth: Any = (lambda y, u: profit(y, u, [0.5])) if has_price else (
        lambda y, u: sum(r**2 for r in residuals(y, u))
    )  # fmt: skip
    best, plan = by_ipopt(model, mpc, truth, constraint)
    assert mpc.info.objective == pytest.approx(best, rel=1e-4, abs=1e-4)
    assert mpc.info.inputs.ravel() == pytest.approx(plan, abs=0.02)


def test_the_reduced_hessian_is_that_of_the_roll_out(model: KoopmanRNN) -> None:
    mpc = make(model, stage_cost=profit, cost_parameters=[0.5])
    iteration: Any = mpc.law.iteration
    plan = np.random.default_rng(1).uniform(-1.0, 1.0, (N, 1))
    now = Outlook(X0, np.zeros(2), np.empty((N, 0)), None, np.zeros(1))
    blank = np.zeros((N + 1, 2)), np.zeros((N, 1)), X0, None, None, np.zeros(1), mpc.problem.Q, np.empty(0)
    goal = EconomicGoal(*blank, np.full((N, 1), 0.5), np.zeros(2))

    def total(plan: np.ndarray) -> float:
        y = iteration.roll(now, plan[None])[0, 1:]
        return float(sum(profit(list(y[k]), [plan[k, 0]], [0.5]) for k in range(N)))

    states, passed = mpc.law.rollout.trace(X0, plan, np.zeros(2))
    a, b = mpc.law.rollout.jacobians(states[:-1], plan, passed)
    from koopctrl.controllers.mpc.rnn_sums import sensitivities

    H, g = iteration._cost_terms(states, plan, sensitivities(a, b), now, goal)
    h = 1e-4
    for i in range(N):
        e = h * np.eye(N)[i][:, None]
        assert 2.0 * g[i] == pytest.approx((total(plan + e) - total(plan - e)) / (2 * h), rel=1e-5, abs=1e-6)
        for j in range(i + 1):
            f = h * np.eye(N)[j][:, None]
            four = total(plan + e + f) - total(plan + e - f) - total(plan - e + f) + total(plan - e - f)
            assert 2.0 * H[i, j] == pytest.approx(four / (4 * h * h), rel=1e-3, abs=1e-4)


def test_convexified() -> None:
    H, units = np.array([[1.0, 2.0], [2.0, -1.0]]), np.array([1.0, 10.0])
    found = convexified(H, units)
    assert np.linalg.eigvalsh(found).min() > 0.0
    assert convexified(H / units / units[:, None], units) == pytest.approx(
        convexified(H, np.ones(2)) / units / units[:, None]
    )
    positive = np.array([[2.0, 0.5], [0.5, 1.0]])
    assert convexified(positive, units) == pytest.approx(positive)


def test_prices_along_the_horizon(model: KoopmanRNN) -> None:
    # A price that falls in four samples puts inputs off until then.
    mpc = make(model, stage_cost=lambda y, u, p: p[0] * u[0] - 0.5 * y[0], cost_parameters=[0.01], u_min=0.0)
    prices = np.r_[np.full(4, 5.0), np.full(N, 0.01)][:, None]
    mpc.control(X0, cost_parameters=prices)
    assert mpc.info is not None
    assert mpc.info.inputs[:4] == pytest.approx(0.0, abs=1e-6)
    assert mpc.info.inputs[4, 0] == pytest.approx(2.0, abs=1e-6)
    mpc.reset()
    assert mpc.control(X0) == pytest.approx([2.0])


def test_constraints_hold_in_closed_loop_and_are_relaxed_where_they_cannot(model: KoopmanRNN) -> None:
    mpc = make(
        model, stage_cost=profit, nonlinear_constraints=disc, cost_parameters=[0.1], n_iterations="auto"
    )
    x, statuses = X0, []
    for _ in range(40):
        x = plant(x, mpc.control(x))
        assert mpc.info is not None
        statuses.append(mpc.info.status)
        assert disc(x, 0)[0] < 2e-3  # what the model errs by
    assert set(statuses) <= {"optimal", "inexact", "softened"}
    mpc.reset()
    mpc.control([1.2, 1.0])
    assert mpc.info.status == "softened"
    assert mpc.info.slack > 0.1


def test_constraints_beside_set_points(model: KoopmanRNN) -> None:
    mpc = RNNMPC(
        model, N, [1.0, 0.0], 1e-3, u_min=-2.0, u_max=2.0, nonlinear_constraints=lambda y, u: y[0] - 0.25
    )
    x = X0
    for _ in range(50):
        x = plant(x, mpc.control(x, [0.6, 0.0]))
    assert x[0] == pytest.approx(0.25, abs=5e-3)
    free = RNNMPC(model, N, [1.0, 0.0], 1e-3, u_min=-2.0, u_max=2.0)
    for controller in (mpc, free):
        controller.reset()
    assert mpc.control(X0, [0.0, 0.0]) == pytest.approx(free.control(X0, [0.0, 0.0]), abs=1e-5)


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_other_units(unit: float) -> None:
    y_unit, u_unit = np.array([unit, 1.0 / unit]), unit**0.5
    plans = []
    for y, u in ((np.ones(2), 1.0), (y_unit, u_unit)):
        model = KoopmanRNN(n_features=30, random_state=0).fit(records((y, u)))
        mpc = make(
            model, R=1e-3 / u**2, u_min=-2.0 * u, u_max=2.0 * u,
            stage_cost=lambda a, b, p, y=y, u=u: 7.0 * profit([a[0] / y[0], a[1] / y[1]], [b[0] / u], p),
            nonlinear_constraints=lambda a, b, y=y: 1e-6 * disc([a[0] / y[0], a[1] / y[1]], b)[0],
            cost_parameters=[0.5],
        )  # fmt: skip
        mpc.control(X0 * y)
        assert mpc.info is not None
        plans.append(mpc.info.inputs / u)
    assert plans[1] == pytest.approx(plans[0], abs=1e-4)


def test_copies_and_contract(model: KoopmanRNN, tmp_path: Path) -> None:
    mpc = make(model, stage_cost=profit, nonlinear_constraints=disc, cost_parameters=[0.5], n_iterations=3)
    check_controller(mpc)
    mpc.control(X0)
    others = [copy.deepcopy(mpc), pickle.loads(pickle.dumps(mpc)), mpc.with_()]
    u = mpc.control(X0 + 0.01)
    for other in others:
        assert other.control(X0 + 0.01) == pytest.approx(u, abs=1e-9)
    assert mpc.with_(u_max=0.5).control(X0) <= 0.5
    with pytest.raises(DataError, match="stage_cost"):
        mpc.save(tmp_path / "mpc.npz")
    with pytest.raises(OptionError, match="C cannot follow"):
        mpc.to_c(tmp_path)


def test_derivatives_by_symbols_and_by_differences_agree() -> None:
    sizes, point = (2, 1, 1), (np.zeros(2), np.zeros(1), np.ones(1))
    exact = StageFunction(profit, "f", sizes, point, np.ones(3))
    given = StageFunction(in_numpy, "f", sizes, point, np.ones(3))
    vector = casadi.MX.sym("y", 2), casadi.MX.sym("u", 1), casadi.MX.sym("p", 1)
    whole = casadi.Function("f", list(vector), [profit(*(casadi.vertsplit(v) for v in vector))])
    ready = StageFunction(whole, "f", sizes, point, np.ones(3))
    assert exact.symbolic
    assert not given.symbolic
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((5, 2)), rng.standard_normal((5, 1)), rng.standard_normal((5, 1))
    for other in (given, ready):
        assert other.values(*rows) == pytest.approx(exact.values(*rows))
        assert other.gradients(*rows) == pytest.approx(exact.gradients(*rows), abs=1e-6)
        assert other.hessians(*rows) == pytest.approx(exact.hessians(*rows), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stage_cost": 3}, "stage_cost is a int"),
        ({"stage_cost": lambda y: y[0]}, "stage_cost cannot be called"),
        ({"stage_cost": lambda y, u: y[7]}, "stage_cost failed on numbers"),
        ({"stage_cost": lambda y, u: float("nan")}, "stage_cost is not finite"),
        ({"stage_cost": lambda y, u: []}, "stage_cost returned nothing"),
        ({"stage_cost": lambda y, u: None}, "it returned None"),
        ({"cost_parameters": [1.0]}, "cost_parameters are given without"),
        ({"stage_cost": residuals, "terminal": "riccati"}, "terminal is 'riccati'"),
        ({"stage_cost": residuals, "offset_free": True}, "offset_free is True"),
        ({"stage_cost": residuals, "terminal_set": (np.eye(2), -1.0, 1.0)}, "terminal_set"),
        ({"nonlinear_constraints": "y > 0"}, "nonlinear_constraints is a str"),
    ],
)  # fmt: skip
def test_bad_inputs_by_name(model: KoopmanRNN, options: dict[str, Any], words: str) -> None:
    with pytest.raises(KoopctrlError, match=words):
        make(model, **options)


def test_bad_parameters_by_name(model: KoopmanRNN) -> None:
    mpc = make(model, stage_cost=profit, cost_parameters=[0.5])
    for value in ([1.0, 2.0], [[np.nan]]):
        with pytest.raises(KoopctrlError, match="cost_parameters"):
            mpc.control(X0, cost_parameters=value)
    with pytest.raises(OptionError, match="no stage functions"):
        RNNMPC(model, N, 1.0, 1.0).control(X0, cost_parameters=[1.0])


def test_the_curvature_of_constraints_makes_ten_steps_enough(
    model: KoopmanRNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Along a circle: what ten QPs find is what IPOPT finds, and obeys the constraint to rounding."""
    begin = np.array([0.3, 0.2])

    def found(n_iterations: int) -> tuple[RNNMPC, list[float], list[str]]:
        mpc = make(
            model, stage_cost=profit, nonlinear_constraints=disc, cost_parameters=[-0.4],
            n_iterations=n_iterations,
        )  # fmt: skip
        x, costs, statuses = begin, [], []
        for _ in range(12):
            x = plant(x, mpc.control(x))
            assert mpc.info is not None
            costs.append(mpc.info.objective)
            statuses.append(mpc.info.status)
        return mpc, costs, statuses

    mpc, costs, statuses = found(10)
    assert set(statuses) == {"optimal"}
    mpc.reset()
    mpc.control(begin)
    best, _ = by_ipopt(model, mpc, lambda y, u: profit(y, u, [-0.4]), disc, begin)
    assert costs[0] == pytest.approx(best, rel=1e-6)
    monkeypatch.setattr(EconomicIteration, "_multipliers_of", lambda *_: None)
    assert "inexact" in found(10)[2]


def test_a_step_that_its_curvature_breaks_is_corrected(model: KoopmanRNN) -> None:
    """The correction is feasible to third order where the full step is to second."""
    mpc = make(model, stage_cost=profit, nonlinear_constraints=disc, cost_parameters=[-0.4])
    iteration: Any = mpc.law.iteration
    plan = np.full((N, 1), 0.3)
    now = Outlook(X0, np.zeros(2), np.empty((N, 0)), None, np.zeros(1))
    blank = np.zeros((N + 1, 2)), np.zeros((N, 1)), X0, None, None, np.zeros(1), mpc.problem.Q, np.empty(0)
    goal = EconomicGoal(*blank, np.full((N, 1), -0.4), np.zeros(2))
    states, features = mpc.law.rollout.trace(X0, plan, np.zeros(2))
    answer, direction, _ = iteration._iterate(states, features, plan, now, goal, np.inf)
    full = plan + direction[0]
    rolled = iteration.roll(now, full[None])[0]
    before, obeyed = iteration.excess(rolled, goal, full)
    assert not obeyed
    corrected, states, _ = iteration._mended(plan, rolled, answer, now, goal, np.inf)
    assert iteration.excess(states, goal, corrected)[0] < 0.2 * before


def test_prices_in_a_closed_loop(model: KoopmanRNN) -> None:
    """`run_closed_loop` shows the parameters, ahead or one row at a time, as calls by hand do."""
    prices = np.repeat([0.01, 5.0, 0.01], 8)[:, None]

    def cost(y: Any, u: Any, p: Any) -> Any:
        return p[0] * u[0] - 0.5 * y[0]

    for preview in (True, False):
        mpc = make(model, stage_cost=cost, cost_parameters=[1.0], u_min=0.0, n_iterations=5)
        found = run_closed_loop(
            lambda x, u: plant(x, u), mpc, 20, x0=X0, cost_parameters=prices, preview=preview
        )
        mpc.reset()
        x, inputs = X0, []
        for k in range(20):
            inputs.append(mpc.control(x, cost_parameters=prices[k:] if preview else prices[k]))
            x = plant(x, inputs[-1])
        assert found.inputs == pytest.approx(np.array(inputs), abs=1e-7)
        assert np.ptp(found.inputs) > 0.1
    by_time = run_closed_loop(
        lambda x, u: plant(x, u), mpc, 20, x0=X0, cost_parameters=lambda t: [prices[round(t / 0.1), 0]]
    )
    assert by_time.inputs == pytest.approx(found.inputs)
    with pytest.raises(OptionError, match="cost_parameters"):
        run_closed_loop(plant, RNNMPC(model, N, 1.0, 1.0), 2, x0=X0, cost_parameters=prices)
    with pytest.raises(KoopctrlError, match="cost_parameters"):
        run_closed_loop(plant, mpc, 2, x0=X0, cost_parameters=np.ones((4, 3)))
