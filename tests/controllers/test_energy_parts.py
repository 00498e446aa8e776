"""The regulator of a swing-up and its region, the law's errors, the integrator: on a pendulum."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import linalg
from scipy.integrate import solve_ivp

from koopctrl.controllers.energy_catch import Catch, make_catch, runge_kutta
from koopctrl.controllers.energy_law import EnergyInfo, EnergyLaw, SwingFrame, with_time
from koopctrl.errors import SolverError

DT, TORQUE = 0.05, 2.0
ZERO = np.zeros(1)


def rhs(x, u):
    """Upright at zero: `theta'' = sin(theta) - 0.1 theta' + u`."""
    return np.stack([x[..., 1], np.sin(x[..., 0]) - 0.1 * x[..., 1] + u[..., 0]], axis=-1)


def linearize(x, u):
    return np.array([[0.0, 1.0], [np.cos(x[0]), -0.1]]), np.array([[0.0], [1.0]])


class Energy:
    """`p^2 / 2 + cos(theta)`, as a model's parts tell it."""

    def value(self, x):
        return 0.5 * x[..., 1] ** 2 + np.cos(x[..., 0])

    def gradient(self, x):
        return np.stack([-np.sin(x[..., 0]), x[..., 1]], axis=-1)


MODEL = SimpleNamespace(
    linearize=linearize,
    parts_=SimpleNamespace(
        rhs=rhs, energy=Energy(), gain=SimpleNamespace(matrix=lambda q: np.ones((len(q), 1, 1)))
    ),
)


@pytest.fixture(scope="module")
def catch():
    bounds = (np.array([-TORQUE]), np.array([TORQUE]))
    return make_catch(MODEL, np.zeros(2), ZERO, DT, np.eye(2), np.eye(1), bounds, np.array([1.0, 2.0]))


def test_the_integrator_is_solve_ivps():
    x, u = np.array([[2.0, -1.0], [0.3, 0.5]]), np.array([[0.7], [-1.0]])
    for start, held, found in zip(x, u, runge_kutta(MODEL.parts_, x, u, DT), strict=True):
        truth = solve_ivp(lambda _, s, v=held: rhs(s, v), (0, DT), start, rtol=1e-11, atol=1e-12).y[:, -1]
        np.testing.assert_allclose(found, truth, atol=1e-8)


def test_the_regulator_solves_the_riccati_equation_of_the_sampled_model(catch):
    slope, push = linearize(np.zeros(2), ZERO)
    whole = linalg.expm(DT * np.block([[slope, push], [np.zeros((1, 3))]]))
    a, b = whole[:2, :2], whole[:2, 2:]
    P = linalg.solve_discrete_are(a, b, np.eye(2), np.eye(1))
    np.testing.assert_allclose(catch.P, P, rtol=1e-6)
    np.testing.assert_allclose(catch.K, np.linalg.solve(1.0 + b.T @ P @ b, b.T @ P @ a), rtol=1e-6)


def test_from_the_edge_of_its_region_it_comes_in_on_the_true_equation(catch):
    rng = np.random.default_rng(5)
    directions = rng.normal(size=(6, 2))
    starts = directions * np.sqrt(catch.level / catch.cost(directions))[:, None]
    np.testing.assert_allclose(catch.cost(starts), catch.level)
    for x in starts:
        for _ in range(300):
            u = np.clip(-catch.K @ x, -TORQUE, TORQUE)
            x = solve_ivp(lambda _, s, v=u: rhs(s, v), (0, DT), x, rtol=1e-8, atol=1e-10).y[:, -1]
        assert catch.cost(x) < 1e-3 * catch.level


def test_inputs_too_weak_for_any_region_are_named():
    bounds = (np.array([0.5]), np.array([0.6]))  # never zero: nothing can be held
    with pytest.raises(SolverError, match="holds no neighbourhood"):
        make_catch(MODEL, np.zeros(2), ZERO, DT, np.eye(2), np.eye(1), bounds, np.array([1.0, 2.0]))


def law(catch, **changes):
    frame = SwingFrame(np.ones(1), None, np.ones((1, 1)), np.zeros((1, 1)), np.ones(1), np.ones(1))
    parts = {
        "parts": MODEL.parts_, "to_state": np.asarray, "x_target": np.zeros(2), "u_target": ZERO,
        "angles": (0,), "gain": 1.0, "energy_scale": 2.0, "u_span": np.array([TORQUE]),
        "u_min": np.array([-TORQUE]), "u_max": np.array([TORQUE]), "frame": frame, "catch": catch,
        "n_measured": 2,
    }  # fmt: skip
    return EnergyLaw(**{**parts, **changes})


def test_angles_are_wrapped_to_half_a_turn_and_targets_taken_off(catch):
    turned = law(catch, x_target=np.array([0.5, 1.0]))
    np.testing.assert_allclose(turned.error(np.array([0.5 + 4 * np.pi + 0.1, 0.0])), [0.1, -1.0])
    np.testing.assert_allclose(law(catch).error(np.array([-1.5 * np.pi, 0.0])), [0.5 * np.pi, 0.0])
    np.testing.assert_allclose(law(catch, angles=()).error(np.array([7.0, 0.0])), [7.0, 0.0])


def test_a_step_is_pure_swings_outside_and_holds_what_it_has_caught(catch):
    small, held = law(Catch(catch.K, catch.P, catch.level)), np.array([0.3])
    start = small.initial()
    assert not start.caught
    far = np.array([2.5, 0.7])
    u, after, info = small.step(start, far)
    assert (info.status, after.caught) == ("swing", False)
    # u = -k U eps nu, and V = eps^2 / 2 with eps = (H - H*) / H_s.
    eps = (0.5 * 0.7**2 + np.cos(2.5) - 1.0) / 2.0
    np.testing.assert_allclose(u, np.clip(-TORQUE * eps * 0.7, -TORQUE, TORQUE))
    assert info.lyapunov == pytest.approx(0.5 * eps**2)
    assert info.lyapunov_rate == pytest.approx(eps * 0.7 * (u[0] - 0.1 * 0.7) / 2.0)
    np.testing.assert_array_equal(u, small.step(start, far)[0])
    x = np.array([1.0, 0.0])
    edge = x * np.sqrt(2.0 * catch.level / catch.cost(x))  # outside, but within what is kept
    assert small.step(start, edge)[2].status == "swing"
    u, caught, info = small.step(start, 0.1 * edge)
    assert (info.status, caught.caught) == ("balance", True)
    np.testing.assert_allclose(u, -catch.K @ (0.1 * edge))
    assert small.step(caught, edge)[2].status == "balance"
    u, same, info = small.step(type(start)(held, True), np.array([np.nan, 0.0]))
    assert (info.status, same.caught) == ("fallback_hold", True)
    np.testing.assert_array_equal(u, held)


def test_time_is_added_to_what_there_is_to_say():
    info = EnergyInfo("swing", 0.0, lyapunov=0.2, energy=-1.0)
    timed = with_time(info, 0.5)
    assert (timed.solve_time, timed.lyapunov, timed.energy, info.solve_time) == (0.5, 0.2, -1.0, 0.0)
