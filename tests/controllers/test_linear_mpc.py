"""LinearMPC: against LQR, against the sparse QP, KKT certificates, bounds, fall-back policy, bad input."""

from dataclasses import replace

import casadi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koopctrl import LQR, KalmanFilter, LiftedModel, LinearMPC, run_closed_loop
from koopctrl.controllers.qp.soft import StepSolution
from koopctrl.errors import DataError, OptionError, ShapeError, SolverError


def sparse_optimum(
    model, z0, N, Q, R, P, u_min, u_max, *, S=None, u_last=None, du=None, y_bounds=None, r=None
):
    """The same problem with states kept as variables, solved by qpOASES: inputs `(N, n_u)`."""
    n_z, n_u, n_y = model.n_z, model.n_u, model.n_y
    opti = casadi.Opti("conic")
    z, u = opti.variable(n_z, N + 1), opti.variable(n_u, N)
    z_s, u_s, y_s = (np.zeros(n_z), np.zeros(n_u), np.zeros(n_y)) if r is None else r
    cost = 0
    opti.subject_to(z[:, 0] == z0)
    last = casadi.DM(np.zeros(n_u) if u_last is None else u_last)
    for k in range(N):
        opti.subject_to(z[:, k + 1] == model.A @ z[:, k] + model.B @ (u[:, k] - model.u_op) + model.c)
        opti.subject_to(opti.bounded(u_min, u[:, k], u_max))
        move = u[:, k] - (u[:, k - 1] if k else last)
        if du is not None:
            opti.subject_to(opti.bounded(-du, move, du))
        y_next = model.C @ z[:, k + 1] + model.y_op
        if y_bounds is not None:
            opti.subject_to(opti.bounded(y_bounds[0], y_next, y_bounds[1]))
        e, v = model.C @ z[:, k] + model.y_op - y_s, u[:, k] - u_s
        cost += casadi.bilin(casadi.DM(Q), e, e) + casadi.bilin(casadi.DM(R), v, v)
        if S is not None:
            cost += casadi.bilin(casadi.DM(S), move, move)
    end = z[:, N] - z_s
    cost += casadi.bilin(casadi.DM(P), end, end)
    opti.minimize(cost)
    opti.solver("qpoases", {"printLevel": "none", "error_on_fail": True})
    return np.array(opti.solve().value(u)).reshape(n_u, N).T


def random_model(seed, n_z=4, n_u=2, n_y=2, radius=1.1, drift=0.0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n_z, n_z))
    a *= radius / np.abs(np.linalg.eigvals(a)).max()
    model = LiftedModel.from_matrices(
        a, rng.standard_normal((n_z, n_u)), rng.standard_normal((n_y, n_z)), dt=0.1
    )
    return replace(
        model,
        c=drift * rng.standard_normal(n_z),
        u_op=drift * rng.standard_normal(n_u),
        y_op=drift * rng.standard_normal(n_y),
    )  # fmt: skip


@pytest.mark.parametrize("horizon", [1, 2, 20])
def test_without_active_constraints_it_is_the_lqr(lifted, horizon):
    Q, R = np.diag([1.0, 2.0, 3.0]), np.array([[1.0, 0.2], [0.2, 0.5]])
    mpc, lqr = LinearMPC(lifted, horizon, Q, R, u_min=-100, u_max=100), LQR(lifted, Q, R)
    for x in np.random.default_rng(0).uniform(-1, 1, (20, 3)):
        np.testing.assert_allclose(mpc.control(x), lqr.control(x), rtol=0, atol=1e-8)
        assert mpc.info.status == "optimal"
        assert mpc.info.kkt_residual < 1e-10


def test_on_a_lifted_network_it_is_the_lqr_too_at_set_points_and_with_weights_on_all_coordinates(van_der_pol):
    for Q in (1.0, np.eye(van_der_pol.n_z)):
        mpc = LinearMPC(van_der_pol, 15, Q, 0.1, terminal="riccati")
        lqr = LQR(van_der_pol, Q, 0.1)
        for x, r in zip(
            np.random.default_rng(0).uniform(-1, 1, (10, 2)), np.linspace(-1, 1, 10), strict=True
        ):
            np.testing.assert_allclose(
                mpc.control(x, [r, 0.0]), lqr.control(x, [r, 0.0]), atol=1e-8, rtol=1e-8
            )


def test_a_preview_of_a_constant_is_the_set_point(lifted):
    mpc = LinearMPC(lifted, 8, 1.0, 1.0, u_min=-1, u_max=1)
    x_s = lifted.B @ np.array([0.1, 0.2])
    r = np.linalg.solve(np.eye(3) - 0.5 * lifted.A, x_s) * 0
    for reference in (r, np.tile(r, (3, 1)), np.tile(r, (30, 1))):
        mpc.reset()
        u = mpc.control([1.0, 0.5, -0.5], reference)
        np.testing.assert_allclose(u, mpc.info.inputs[0], atol=1e-12)
    mpc.reset()
    np.testing.assert_allclose(mpc.control([1.0, 0.5, -0.5]), u, atol=1e-9)


def test_a_preview_is_acted_on_before_it_arrives():
    model = LiftedModel.from_matrices([[0.8]], [[0.2]], dt=0.1)
    mpc = LinearMPC(model, 10, 1.0, 0.01)
    later = np.concatenate([np.zeros(5), np.ones(10)])[:, None]
    u = mpc.control([0.0], later)
    planned = mpc.info.outputs
    assert planned.shape == (11, 1)
    assert 0.0 < planned[4, 0] < planned[5, 0]
    assert u[0] == mpc.info.inputs[0, 0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("drift", [0.0, 0.1])
@pytest.mark.parametrize("terminal", ["riccati", "none"])
def test_condensed_is_sparse_with_active_bounds(seed, drift, terminal):
    model = random_model(seed, drift=drift)
    rng = np.random.default_rng(seed)
    Q, R, S = np.diag([1.0, 3.0]), np.diag([0.1, 0.2]), np.diag([0.3, 0.1])
    N, du, u_last = 7, 0.4, np.array([0.1, -0.1])
    r = np.array([0.5, -0.3])
    mpc = LinearMPC(
        model, N, Q, R, R_rate=S, u_min=-0.5, u_max=0.6, du_min=-du, du_max=du, y_min=-4.0, y_max=4.0,
        terminal=terminal,
    )  # fmt: skip
    P = mpc.P if terminal == "riccati" else model.C.T @ Q @ model.C
    z0 = rng.uniform(-1.0, 1.0, model.n_z)
    mpc.applied(u_last)
    mpc.control(z0, r)
    assert mpc.info.status == "optimal"
    assert mpc.info.iterations > 0  # some bound is active
    assert mpc.info.kkt_residual < 1e-7
    # The model's steady state for r, or for what the inputs can hold of it.
    reachable, wish = mpc.law.reachable.nearest(r, np.empty(0))
    target = mpc.target(reachable, du=wish)
    if terminal == "none":  # the stage weight on y_N, completed to a weight on z_N - z_s
        assert np.allclose(model.C @ target[0] + model.y_op, target[2])
    expected = sparse_optimum(
        model, z0, N, Q, R, P, -0.5, 0.6, S=S, u_last=u_last, du=du, y_bounds=(-4.0, 4.0), r=target
    )
    np.testing.assert_allclose(mpc.info.inputs, expected, atol=2e-6)


def test_predicted_outputs_are_the_models(van_der_pol):
    mpc = LinearMPC(van_der_pol, 12, 1.0, 0.1, u_min=-1, u_max=1)
    mpc.control([1.5, -1.0], [0.5, 0.0])
    np.testing.assert_allclose(
        mpc.info.outputs, van_der_pol.simulate([1.5, -1.0], mpc.info.inputs), rtol=1e-9, atol=1e-9
    )


def test_move_blocking_holds_the_inputs_and_costs_little(lifted):
    x = [1.0, 0.5, -0.5]
    full = LinearMPC(lifted, 12, 1.0, 1.0, u_min=-0.3, u_max=0.3)
    short = LinearMPC(lifted, 12, 1.0, 1.0, u_min=-0.3, u_max=0.3, blocks=4)
    uneven = LinearMPC(lifted, 12, 1.0, 1.0, u_min=-0.3, u_max=0.3, blocks=[1, 1, 2, 8])
    for mpc in (full, short, uneven):
        mpc.control(x)
        assert mpc.info.status == "optimal"
    assert np.ptp(short.info.inputs[3:], axis=0).max() == 0
    assert np.ptp(uneven.info.inputs[4:], axis=0).max() == 0
    assert full.info.objective <= short.info.objective + 1e-9
    with pytest.raises(OptionError, match="add up to 5"):
        LinearMPC(lifted, 12, 1.0, 1.0, blocks=[1, 4])


def test_soft_output_bounds_are_exact_where_they_can_be_held_and_relaxed_where_not(linear_plant):
    model = LiftedModel.from_matrices([[1.0, 0.1], [0.0, 1.0]], [[0.005], [0.1]], dt=0.1)
    limits = {"u_min": -1.0, "u_max": 1.0, "y_min": [-10.0, -0.5], "y_max": [10.0, 0.5]}
    mpc = LinearMPC(model, 15, [1.0, 0.0], 0.01, **limits)
    result = run_closed_loop(linear_plant(model.A, model.B), mpc, 80, x0=[3.0, 0.0])
    assert result.states[:, 1].min() >= -0.5 - 1e-7
    assert result.states[:, 1].min() < -0.499
    assert set(result.statuses) == {"optimal"}
    np.testing.assert_allclose(result.states[-1], 0.0, atol=1e-2)
    # Too fast at the start: relaxed by the least that the input bound allows, and no more.
    result = run_closed_loop(linear_plant(model.A, model.B), mpc, 60, x0=[0.0, 1.0])
    assert result.statuses[0] == "softened"
    np.testing.assert_allclose(result.states[1:5, 1], [0.9, 0.8, 0.7, 0.6], atol=1e-6)
    assert result.statuses[-1] == "optimal"
    hard = LinearMPC(model, 15, [1.0, 0.0], 0.01, soft=False, **limits)
    hard.control([0.0, 1.0])
    assert hard.info.status == "fallback_lqr"
    assert "daqp" in hard.info.reason


def test_combinations_of_states_can_be_bounded(linear_plant):
    model = LiftedModel.from_matrices([[1.0, 0.1], [0.0, 1.0]], [[0.005], [0.1]], dt=0.1)
    E = np.array([[1.0, 1.0]])
    mpc = LinearMPC(model, 15, 1.0, 0.01, u_min=-2, u_max=2, constraints=(E, -0.2, None))
    result = run_closed_loop(linear_plant(model.A, model.B), mpc, 60, x0=[2.0, 0.0])
    assert (result.states @ E.T).min() >= -0.2 - 1e-7


@given(
    st.integers(0, 100_000), st.integers(1, 12), st.integers(1, 3), st.floats(-3, 3), st.floats(-3, 3),
    st.floats(-2, 1), st.booleans(), st.floats(0, 4),
)  # fmt: skip
@settings(deadline=None, max_examples=150)
def test_every_step_is_certified_or_says_so_and_never_leaves_the_bounds(
    seed, horizon, n_u, log_q, log_r, log_bound, outputs, size
):
    model = random_model(seed, n_u=n_u, drift=0.1 * (seed % 2))
    bound, rng = 10.0**log_bound, np.random.default_rng(seed)
    extra = {"y_min": -bound, "y_max": bound} if outputs else {}
    mpc = LinearMPC(
        model, horizon, 10.0**log_q, 10.0**log_r, R_rate=10.0**log_r, u_min=-bound, u_max=bound,
        du_min=-0.5 * bound, du_max=0.3 * bound, **extra,
    )  # fmt: skip
    last = np.clip(model.u_op, -1.3 * bound, 1.5 * bound)
    for _ in range(3):
        u = mpc.control(10.0**size * rng.standard_normal(4), rng.standard_normal(2))
        assert np.isfinite(u).all()
        assert np.abs(u).max() <= bound
        assert (u - last <= 0.3 * bound + 1e-8).all()
        assert (u - last >= -0.5 * bound - 1e-8).all()
        if mpc.info.status in ("optimal", "softened"):
            assert mpc.info.kkt_residual <= 1e-6
        else:
            assert mpc.info.status.startswith("fallback")
            assert mpc.info.reason
        last = u


@pytest.mark.parametrize("solver", ["daqp", "osqp", "qpoases", "proxqp", "piqp", "highs"])
def test_other_solvers_by_name_agree(lifted, solver):
    options = {"u_min": -0.4, "u_max": 0.4, "y_max": 2.0}
    expected = LinearMPC(lifted, 8, 1.0, 1.0, **options)
    mpc = LinearMPC(lifted, 8, 1.0, 1.0, solver=solver, **options)
    for x in ([1.0, 0.5, -0.5], [0.9, 0.4, -0.4], [-1.0, 0.2, 0.3]):
        u = mpc.control(x)
        assert mpc.info.status == "optimal", mpc.info.reason
        np.testing.assert_allclose(u, expected.control(x), atol=1e-4)


def test_fall_back_is_the_shifted_plan_then_the_saturated_lqr_then_the_last_input(lifted, monkeypatch):
    mpc = LinearMPC(lifted, 3, 1.0, 1.0, u_min=-0.3, u_max=0.3)
    x = np.array([1.0, 0.5, -0.5])
    mpc.control(x)
    plan = mpc.info.inputs.copy()
    broken = StepSolution(None, "solver crashed", float("inf"), 1)
    monkeypatch.setattr(mpc.law.solver, "solve", lambda *_: broken)
    for k in (1, 2):
        np.testing.assert_array_equal(mpc.control(x), plan[k])
        assert mpc.info.status == "fallback_plan"
        assert mpc.info.reason == "solver crashed"
    np.testing.assert_array_equal(mpc.control(x), LQR(lifted, 1.0, 1.0, u_min=-0.3, u_max=0.3).control(x))
    assert mpc.info.status == "fallback_lqr"
    last = mpc.info.inputs[0]
    np.testing.assert_array_equal(mpc.control([np.nan, 0.0, 0.0]), last)
    assert mpc.info.status == "fallback_hold"
    assert "NaN" in mpc.info.reason


def test_a_missing_measurement_follows_the_plan_and_an_observer_bridges_it(lifted):
    mpc = LinearMPC(lifted, 10, 1.0, 1.0, u_min=-0.3, u_max=0.3)
    mpc.control([1.0, 0.5, -0.5])
    plan = mpc.info.inputs
    np.testing.assert_array_equal(mpc.control(np.full(3, np.nan)), plan[1])
    assert mpc.info.status == "fallback_plan"
    observed = LinearMPC(
        lifted, 10, 1.0, 1.0, u_min=-0.3, u_max=0.3, observer=KalmanFilter(lifted, 1.0, 1e-6)
    )
    observed.control([1.0, 0.5, -0.5])
    np.testing.assert_allclose(observed.control(np.full(3, np.nan)), plan[1], atol=0.05)
    assert observed.info.status == "optimal"


def test_a_solver_that_raises_is_reported(lifted, monkeypatch):
    mpc = LinearMPC(lifted, 5, 1.0, 1.0, u_min=-0.1, u_max=0.1)

    def crash():
        raise RuntimeError("out of memory")

    healthy = mpc.control([1.0, 0.5, -0.5])
    mpc.reset()
    monkeypatch.setattr(mpc.law.solver._hard._first, "_evaluate", crash)
    np.testing.assert_allclose(mpc.control([1.0, 0.5, -0.5]), healthy, atol=1e-9)
    assert mpc.info.status == "optimal"  # a second solver was asked
    mpc.reset()
    monkeypatch.setattr(mpc.law.solver._hard._second, "_evaluate", crash)
    np.testing.assert_allclose(mpc.control([1.0, 0.5, -0.5]), healthy, atol=1e-9)
    assert mpc.info.status == "optimal"  # and the package's own
    mpc.reset()
    monkeypatch.setattr("koopctrl.controllers.qp.soft.solve_by_active_set", lambda *_: None)
    u = mpc.control([1.0, 0.5, -0.5])
    assert np.abs(u).max() <= 0.1
    assert mpc.info.status == "fallback_lqr"
    assert "out of memory" in mpc.info.reason


def test_the_plants_own_input_replaces_what_was_sent(linear_plant, lifted):
    mpc = LinearMPC(lifted, 5, 1.0, 1.0, u_min=-1, u_max=1, du_min=-0.2, du_max=0.2)
    result = run_closed_loop(linear_plant(lifted.A, lifted.B, u_limit=0.25), mpc, 20)
    assert np.abs(result.inputs).max() <= 0.25
    assert np.abs(np.diff(result.inputs, axis=0)).max() <= 0.2 + 1e-8


def test_lag_models_track_with_bounds(lag_model):
    model, plant = lag_model
    mpc = LinearMPC(model.lift_at(x_op=0, u_op=0), 15, 1.0, 0.01, u_min=-0.5, u_max=0.5, y_max=0.45)
    result = run_closed_loop(plant, mpc, 100, reference=[0.4], x0=[-1.0, 0.0])
    assert abs(result.outputs[-1, 0] - 0.4) < 1e-6
    assert result.outputs.max() < 0.45 + 1e-6
    assert np.abs(result.inputs).max() <= 0.5


def test_reset_makes_runs_equal_and_arguments_are_left_alone(van_der_pol):
    mpc = LinearMPC(van_der_pol, 10, 1.0, 0.1, u_min=-1, u_max=1, du_min=-0.5, du_max=0.5)
    x, r = np.array([1.0, -0.5]), np.array([[0.5, 0.0]])
    x.flags.writeable = r.flags.writeable = False
    runs = []
    for _ in range(2):
        mpc.reset()
        runs.append([mpc.control(x, r) for _ in range(4)])
    np.testing.assert_array_equal(runs[0], runs[1])


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"horizon": 0}, OptionError, "horizon"),
        ({"horizon": 2.5}, OptionError, "horizon"),
        ({"R": -1.0}, OptionError, "R has smallest"),
        ({"u_min": 1.0, "u_max": 0.0}, OptionError, "u_min <= u_max"),
        ({"du_min": 0.1}, OptionError, "must be allowed to stay"),
        ({"y_min": [0.0, 1.0]}, ShapeError, "y_min has shape"),
        ({"y_min": 1.0, "y_max": -1.0}, OptionError, "y_min <= y_max"),
        ({"constraints": (np.ones((1, 2)), 0.0, 1.0)}, ShapeError, "constraints"),
        ({"constraints": np.ones(3)}, OptionError, "tuple of three"),
        ({"terminal": "lqr"}, OptionError, "terminal is 'lqr'"),
        ({"solver": "gurobi9"}, OptionError, "this CasADi does not have"),
        ({"solver": "fatrop"}, OptionError, "dense problems"),
        ({"solver_options": {"no_such_option": 1}}, OptionError, "refuses its options"),
        ({"R_rate": [[1.0, 2.0], [0.0, 1.0]]}, OptionError, "R_rate is not symmetric"),
        ({"soft_weights": (1.0, 0.0)}, OptionError, "soft_weights"),
    ],
)
def test_problems_that_cannot_be_posed_are_refused(lifted, kwargs, error, match):
    with pytest.raises(error, match=match):
        LinearMPC(lifted, **{"horizon": 5, "Q": 1.0, "R": 1.0, **kwargs})


def test_an_unstabilisable_model_needs_no_terminal_weight():
    model = LiftedModel.from_matrices(np.diag([1.25, 0.5]), [[0.0], [1.0]], dt=0.1)
    with pytest.raises(SolverError, match="terminal='none'"):
        LinearMPC(model, 5, 1.0, 1.0)
    assert np.isfinite(LinearMPC(model, 5, 1.0, 1.0, terminal="none").control([1.0, 1.0])).all()


def test_bad_measurements_and_references_are_refused(lifted):
    mpc = LinearMPC(lifted, 5, 1.0, 1.0)
    with pytest.raises(ShapeError, match="measurement has shape"):
        mpc.control([1.0, 2.0])
    with pytest.raises(DataError, match="infinite"):
        mpc.control([1.0, 2.0, np.inf])
    with pytest.raises(ShapeError, match="reference"):
        mpc.control([1.0, 2.0, 0.0], [1.0])
    with pytest.raises(ShapeError, match="preview"):
        mpc.control([1.0, 2.0, 0.0], np.ones((0, 3)))
    with pytest.raises(DataError, match="reference has infinite"):
        mpc.control([1.0, 2.0, 0.0], [[1.0, np.inf, 0.0]])


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"soft_weights": 5.0}, "soft_weights is 5.0"),
        ({"soft_weights": (1.0,)}, "soft_weights is"),
        ({"soft_weights": None}, "soft_weights is None"),
        ({"observer": 3}, "observer is a int"),
        ({"offset_free": "yes"}, "offset_free is 'yes'"),
        ({"solver_options": 3}, "solver_options is 3"),
        ({"constraints": ("a", None, None)}, r"constraints\[0\] has dtype"),
    ],
)
def test_arguments_of_another_kind_are_refused_by_name(lifted, kwargs, match):
    with pytest.raises((OptionError, DataError), match=match):
        LinearMPC(lifted, 5, 1.0, 1.0, **kwargs)


def test_signals_that_are_not_real_numbers_are_refused_by_name(lifted):
    hidden = np.ma.masked_array([1.0, 9.0, 0.0], mask=[False, True, False])
    for controller in (LinearMPC(lifted, 5, 1.0, 1.0), LQR(lifted, 1.0, 1.0)):
        for bad in ("abc", [1j, 0.0, 0.0], hidden):
            with pytest.raises(DataError, match="reference"):
                controller.control([1.0, 0.0, 0.0], bad)
        with pytest.raises(DataError, match="measurement is a masked array"):
            controller.control(hidden)


def test_bounds_changed_by_the_caller_do_not_change_the_controller(lifted):
    u, y = np.full(lifted.n_u, -1.0), np.full(lifted.n_y, -5.0)
    controllers = [LQR(lifted, 1.0, 1.0, u_min=u), LinearMPC(lifted, 5, 1.0, 1.0, u_min=u, y_min=y)]
    told = np.zeros(lifted.n_u)
    for controller in controllers:
        controller.applied(told)
    u += 50.0
    y += 50.0
    told += 50.0
    assert (controllers[0].u_min == -1.0).all()
    assert (controllers[1].u_min == -1.0).all()
    assert (controllers[1].y_min == -5.0).all()
    assert (controllers[0].state.u_last == 0.0).all()
    assert (controllers[1].state.history.u_last == 0.0).all()
