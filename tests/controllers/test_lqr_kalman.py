"""LQR and Kalman filter: Riccati residuals, python-control's answers, steady targets, bad input."""

from dataclasses import replace

import control
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koopctrl import LQR, KalmanFilter, LiftedModel, LinearMPC, run_closed_loop
from koopctrl.controllers.estimation.augmented import augment_by_kind
from koopctrl.controllers.riccati import solve_riccati
from koopctrl.controllers.steady_state.linear import steady_target
from koopctrl.errors import DataError, OptionError, ShapeError, SolverError


def random_model(seed, n_z=5, n_u=2, n_y=2, radius=1.2):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n_z, n_z))
    a *= radius / np.abs(np.linalg.eigvals(a)).max()
    b, c = rng.standard_normal((n_z, n_u)), rng.standard_normal((n_y, n_z))
    return LiftedModel.from_matrices(a, b, c, dt=0.1)


def test_gain_is_that_of_python_control(lifted):
    Q, R = np.diag([1.0, 2.0, 3.0]), np.array([[1.0, 0.2], [0.2, 0.5]])
    K, P, poles = control.dlqr(lifted.A, lifted.B, Q, R)
    lqr = LQR(lifted, Q, R)
    np.testing.assert_allclose(lqr.K, K, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(lqr.P, P, rtol=1e-9)
    assert lqr.residual < 1e-12
    assert lqr.spectral_radius == pytest.approx(np.abs(poles).max(), rel=1e-9)
    np.testing.assert_allclose(lqr.control([1.0, -1.0, 0.5]), -K @ [1.0, -1.0, 0.5], rtol=1e-9)


@given(st.integers(0, 10_000), st.floats(0.3, 1.5), st.floats(-3, 3), st.floats(-3, 3))
@settings(deadline=None, max_examples=60)
def test_riccati_solutions_hold_for_random_systems_and_weights(seed, radius, log_q, log_r):
    model = random_model(seed, radius=radius)
    Q, R = 10.0**log_q * model.C.T @ model.C, 10.0**log_r * np.eye(2)
    Q = 0.5 * (Q + Q.T)
    found = solve_riccati(model.A, model.B, Q, R, "the pair")
    _, P, _ = control.dlqr(model.A, model.B, Q, R)
    assert found.residual < 1e-9
    assert found.spectral_radius < 1
    np.testing.assert_allclose(found.P, P, rtol=1e-5, atol=1e-7 * np.abs(P).max())


@pytest.mark.slow
def test_a_thousand_states_are_solved_and_certified():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((1000, 1000)) / np.sqrt(1000) * 1.02
    model = LiftedModel.from_matrices(a, rng.standard_normal((1000, 2)), np.eye(2, 1000), dt=0.1)
    lqr = LQR(model, 1.0, 0.1)
    assert lqr.residual < 1e-9
    assert lqr.spectral_radius < 1


def test_modes_that_cannot_be_moved_or_seen_are_named():
    stuck = LiftedModel.from_matrices(np.diag([1.25, 0.5]), [[0.0], [1.0]], dt=0.1)
    with pytest.raises(SolverError, match=r"1\.25.*cannot be moved by the inputs"):
        LQR(stuck, 1.0, 1.0)
    unseen = LiftedModel.from_matrices(np.diag([1.25, 0.5]), [[1.0], [1.0]], [[0.0, 1.0]], dt=0.1)
    with pytest.raises(SolverError, match=r"1\.25"):
        KalmanFilter(unseen, 1.0, 1.0)


def test_set_points_that_can_be_held_are_steady_states_of_the_model(lifted):
    # Two inputs hold any two independent outputs.
    c = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    model = LiftedModel.from_matrices(lifted.A, lifted.B, c, dt=0.1)
    target = steady_target(augment_by_kind(model, "none"), np.eye(2), np.eye(2))
    z, u, y = target(np.array([0.7, -0.3]))
    np.testing.assert_allclose(y, [0.7, -0.3], atol=1e-12)
    np.testing.assert_allclose(model.step(z, u), z, atol=1e-12)


def test_unreachable_set_points_give_the_weighted_nearest_and_least_input():
    # y1 = y2 = x whatever the input: r = (1, 3) is met at the weighted mean.
    model = LiftedModel.from_matrices([[0.5]], [[0.25, 0.25]], [[1.0], [1.0]], dt=0.1)
    target = steady_target(augment_by_kind(model, "none"), np.diag([3.0, 1.0]), np.diag([1.0, 4.0]))
    _, u, y = target(np.array([1.0, 3.0]))
    np.testing.assert_allclose(y, [1.5, 1.5], rtol=1e-12)
    # 0.25 (u1 + u2) = 0.75 at the least u1^2 + 4 u2^2.
    np.testing.assert_allclose(u, [2.4, 0.6], rtol=1e-12)


def test_a_drift_no_input_can_hold_is_refused(lifted):
    model = LiftedModel.from_matrices(np.diag([1.0, 0.5]), [[0.0], [1.0]], dt=0.1)
    with pytest.raises(SolverError, match="drifts at its operating point"):
        steady_target(augment_by_kind(replace(model, c=np.array([0.1, 0.0])), "none"), np.eye(2), np.eye(1))


def test_lqr_regulates_the_true_van_der_pol_and_saturates(van_der_pol):
    gymnasium = pytest.importorskip("gymnasium")
    import koopctrl_envs  # noqa: F401

    env = gymnasium.make("koopctrl/VanDerPol-v0")
    lqr = LQR(van_der_pol, 1.0, 0.1, u_min=-2, u_max=2)
    result = run_closed_loop(env, lqr, 150, x0=[2.5, 1.0])
    assert np.abs(result.states[-1]).max() < 1e-3
    assert np.abs(result.inputs).max() <= 2.0
    assert result.metrics()["statuses"]["saturated"] > 0
    # Its cost is within 3 % of the LQR made on the plant's own linearisation.
    a, b = env.unwrapped.plant.jacobians([0.0, 0.0], [0.0], dt=0.1)
    local = LQR(LiftedModel.from_matrices(a, b, dt=0.1), 1.0, 0.1, u_min=-2, u_max=2)
    assert result.cost < 1.03 * run_closed_loop(env, local, 150, x0=[2.5, 1.0]).cost


def test_kalman_gain_is_that_of_python_control(lifted):
    model = LiftedModel.from_matrices(lifted.A, lifted.B, [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dt=0.1)
    Qn, Rn = np.diag([0.1, 0.2, 0.3]), np.diag([0.5, 0.1])
    L, P, _ = control.dlqe(model.A, np.eye(3), model.C, Qn, Rn)
    kf = KalmanFilter(model, Qn, Rn)
    np.testing.assert_allclose(kf.L, L, rtol=1e-8)
    np.testing.assert_allclose(kf.P, P, rtol=1e-8)
    assert kf.residual < 1e-12
    assert kf.spectral_radius < 1


def test_the_estimate_converges_without_noise_and_skips_missing_samples(lifted):
    model = LiftedModel.from_matrices(lifted.A, lifted.B, [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dt=0.1)
    kf, rng = KalmanFilter(model, 1.0, 0.1), np.random.default_rng(0)
    z = np.array([1.0, -2.0, 0.5])
    for k in range(120):
        y = model.C @ z
        before = kf.estimate
        estimate = kf.update(np.full(2, np.nan) if k % 7 == 3 else y)
        if k % 7 == 3:
            np.testing.assert_array_equal(estimate, before)
        u = rng.uniform(-1, 1, 2)
        z = model.A @ z + model.B @ u
        kf.predict(u)
    np.testing.assert_allclose(kf.estimate, z, atol=1e-6 * np.abs(z).max())


def test_the_time_varying_gain_is_the_textbook_recursion_and_becomes_the_steady_one(lifted):
    model = LiftedModel.from_matrices(lifted.A, lifted.B, [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dt=0.1)
    Qn, Rn, P = np.diag([0.1, 0.2, 0.3]), np.diag([0.5, 0.1]), 4.0 * np.eye(3)
    kf = KalmanFilter(model, Qn, Rn, steady=False, P0=4.0)
    rng, z = np.random.default_rng(0), np.zeros(3)
    for k in range(40):
        y = rng.standard_normal(2)
        if k == 0:
            kf.reset(np.zeros(3))
        rows = [0] if k == 5 else [0, 1]
        C, R = model.C[rows], Rn[np.ix_(rows, rows)]
        gain = P @ C.T @ np.linalg.inv(C @ P @ C.T + R)
        z, P = z + gain @ (y[rows] - C @ z), (np.eye(3) - gain @ C) @ P
        np.testing.assert_allclose(kf.update([y[0], np.nan if k == 5 else y[1]]), z, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(kf.covariance, P, rtol=1e-7, atol=1e-9)
        u = rng.standard_normal(2)
        z, P = model.A @ z + model.B @ u, model.A @ P @ model.A.T + Qn
        kf.predict(u)
    np.testing.assert_allclose(kf.covariance, KalmanFilter(model, Qn, Rn).P, rtol=1e-5)


@pytest.mark.parametrize("steady", [True, False])
def test_the_gate_rejects_outliers_and_says_so_but_not_for_ever(lifted, steady):
    kf = KalmanFilter(lifted, 1e-3, 1e-2, gate=5.0, steady=steady, P0=0.1)
    z = np.array([0.1, -0.1, 0.05])
    kf.reset(z)
    before = kf.update(z)
    np.testing.assert_array_equal(kf.update([50.0, 0.0, 0.0]), before)
    assert kf.rejected
    kf.update(z)
    assert not kf.rejected
    for _ in range(6):
        after = kf.update([5.0, 0.0, 0.0])
    assert not kf.rejected
    assert kf.n_rejected == 6
    assert abs(after[0] - before[0]) > 0.05


def test_an_observer_closes_the_loop_through_outputs_alone(linear_plant, lifted):
    c = [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    model = LiftedModel.from_matrices(lifted.A, lifted.B, c, dt=0.1)
    lqr = LQR(model, 1.0, 1.0, observer=KalmanFilter(model, 1.0, 1e-3))
    result = run_closed_loop(linear_plant(lifted.A, lifted.B, c), lqr, 150)
    assert np.abs(result.states[-1]).max() < 1e-6
    with pytest.raises(OptionError, match="another model"):
        LQR(lifted, 1.0, 1.0, observer=KalmanFilter(model, 1.0, 1e-3))


def test_lag_models_keep_their_window_from_measurements_and_sent_inputs(lag_model):
    model, plant = lag_model
    face = model.lift_at(x_op=0, u_op=0)
    result = run_closed_loop(
        plant, LQR(face, 1.0, 0.1, u_min=-1, u_max=1), 120, reference=[0.4], x0=[1.0, 0.0]
    )
    assert abs(result.outputs[-1, 0] - 0.4) < 1e-6


def test_a_missing_measurement_holds_the_last_input(lifted):
    lqr = LQR(lifted, 1.0, 1.0)
    first = lqr.control([1.0, 1.0, 1.0])
    np.testing.assert_array_equal(lqr.control([1.0, np.nan, 1.0]), first)
    assert lqr.info.status == "fallback_hold"


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"Q": -1.0}, OptionError, "Q has smallest eigenvalue"),
        ({"Q": np.ones((2, 3))}, ShapeError, "Q has shape"),
        ({"R": 0.0}, OptionError, "positive definite"),
        ({"R": [1.0, np.nan]}, DataError, "R has 1 NaN"),
        ({"u_min": 1.0, "u_max": -1.0}, OptionError, "u_min <= u_max"),
        ({"u_min": np.nan}, DataError, "u_min has NaN"),
    ],
)
def test_weights_and_bounds_that_do_not_fit_are_refused(lifted, kwargs, error, match):
    with pytest.raises(error, match=match):
        LQR(lifted, **{"Q": 1.0, "R": 1.0, **kwargs})


def test_models_that_cannot_be_controlled_are_refused(lifted):
    with pytest.raises(OptionError, match="lifted is a ndarray"):
        LQR(lifted.A, 1.0, 1.0)
    direct = LiftedModel.from_matrices([[0.5]], [[1.0]], [[1.0]], [[1.0]], dt=0.1)
    with pytest.raises(OptionError, match="feedthrough"):
        LQR(direct, 1.0, 1.0)
    with pytest.raises(ShapeError, match="measurement has shape"):
        LQR(lifted, 1.0, 1.0).control([1.0])
    with pytest.raises(DataError, match="infinite"):
        LQR(lifted, 1.0, 1.0).control([1.0, np.inf, 0.0])
    lqr = LQR(lifted, 1.0, 1.0)
    with pytest.raises(DataError, match="reference has infinite"):
        lqr.control([1.0, 1.0, 0.0], [np.inf, 0.0, 0.0])


@pytest.mark.parametrize("seed", range(20))
def test_set_points_of_integrators_are_kept_at_a_bound_on_the_steady_input(seed):
    """A tank holds any level without input: bounds that start at zero leave every level within reach."""
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 4)
    a = np.eye(n + 1)
    a[1:, 1:] = np.diag(rng.uniform(0.3, 0.95, n)) + np.triu(rng.normal(0.0, 0.2, (n, n)), 1)
    a[0, 1:] = rng.uniform(0.005, 0.03, n)
    b = np.append(0.0, rng.uniform(0.1, 1.0, n))[:, None]
    tank = LiftedModel.from_matrices(a, b, np.eye(n + 1)[:1], dt=0.1)
    for low in (0.0, 0.1):
        lqr = LQR(tank, 1.0, 0.1, u_min=low, u_max=1.0)
        np.testing.assert_allclose(
            lqr.law.reachable.nearest(np.array([2.5]), np.zeros(0))[0], [2.5], atol=1e-12
        )


def test_bounds_without_a_steady_input_do_not_drive_an_integrator_away():
    plant = LiftedModel.from_matrices([[1.0, 0.1], [0.0, 0.9]], [[0.0], [0.1]], dt=0.1)
    for controller in (
        LQR(plant, 1.0, 1.0, u_min=1.0, u_max=2.0),
        LinearMPC(plant, 5, 1.0, 1.0, u_min=1.0, u_max=2.0),
    ):
        np.testing.assert_allclose(controller.control([3.0, 0.0]), [1.0])


@pytest.mark.parametrize("coupling", [0.1, 0.11, 0.09, 0.12, 0.08])
def test_output_disturbances_that_cannot_be_told_from_an_integrator_are_refused(coupling):
    plant = LiftedModel.from_matrices([[1.0, coupling], [0.0, 0.9 - coupling]], [[0.0], [0.1]], dt=0.1)
    with pytest.raises(SolverError, match="output disturbances"):
        KalmanFilter(plant, 1.0, 1.0, disturbance="output")
    found = KalmanFilter(plant, 1.0, 1.0, disturbance="input")
    assert np.linalg.eigvalsh(found.P).min() > 0.0


def test_a_measurement_that_overflows_holds_the_input():
    plant = LiftedModel.from_matrices([[1.0, 0.1], [0.0, 0.9]], [[0.0], [0.1]], dt=0.1)
    lqr = LQR(plant, 1.0, 1.0)
    np.testing.assert_array_equal(lqr.control([1e308, 1e308]), [0.0])
    assert lqr.info.status == "fallback_hold"


@pytest.mark.parametrize("value", [1e308, 1e100])
@pytest.mark.parametrize("controller", [LQR, LinearMPC])
def test_an_absurd_measurement_is_forgotten_with_and_without_a_filter(lifted, controller, value):
    filtered = {"observer": KalmanFilter(lifted, 1e-3, 1e-2, disturbance="input")}
    for options in (filtered, {"offset_free": True}, {"offset_free": 0.3}):
        arguments = (lifted, 1.0, 0.1) if controller is LQR else (lifted, 10, 1.0, 0.1)
        loop = controller(*arguments, u_min=-2.0, u_max=2.0, **options)
        x = np.array([0.3, 0.2, 0.1])
        for k in range(80):
            u = loop.control(np.full(3, value) if k == 5 else x, np.zeros(3))
            assert np.isfinite(u).all()
            x = lifted.A @ x + lifted.B @ u
        assert np.abs(x).max() < 1e-2


def test_a_regulator_says_why_it_holds(lifted):
    lqr = LQR(lifted, 1.0, 0.1)
    lqr.control([np.nan, 0.0, 0.0])
    assert lqr.info.status == "fallback_hold"
    assert "NaN" in lqr.info.reason
    lqr.control(np.zeros(3))
    assert lqr.info.reason == ""


def test_a_filter_starts_from_the_first_measurement_although_an_input_was_held_before(lifted):
    """Nothing is known that the input could have moved."""
    settings = {"Qn": 1e-4, "Rn": 1e-1}
    told, fresh = (
        LinearMPC(lifted, 8, 1.0, 0.1, observer=KalmanFilter(lifted, **settings)) for _ in range(2)
    )
    told.applied(lifted.u_op)
    np.testing.assert_array_equal(told.control([5.0, 4.0, 3.0]), fresh.control([5.0, 4.0, 3.0]))
    np.testing.assert_allclose(told.observer.estimate, [5.0, 4.0, 3.0])


def test_a_filter_takes_only_flags_for_its_kind_of_gain(lifted):
    with pytest.raises(OptionError, match="steady is 'no'"):
        KalmanFilter(lifted, 1e-3, 1e-2, steady="no")


@pytest.mark.parametrize("cheap", [1e-9, 1e-18, 1e-24])
def test_an_input_that_costs_next_to_nothing_beside_a_dear_one(cheap):
    """Two plants that do not touch: each has the gain of its own equation, `P = 1 + a^2 r P / (r + P)`."""
    poles, r = np.array([0.9, 0.8]), np.array([cheap, 1.0 / cheap])
    lqr = LQR(LiftedModel.from_matrices(np.diag(poles), np.eye(2), dt=1.0), np.eye(2), np.diag(r))
    half = 0.5 * (r * (poles**2 - 1.0) + 1.0)
    far = np.sqrt(half**2 + r) + np.abs(half)
    P = np.where(half > 0.0, far, r / far)
    np.testing.assert_allclose(np.diag(lqr.K), poles * P / (r + P), rtol=1e-9)
