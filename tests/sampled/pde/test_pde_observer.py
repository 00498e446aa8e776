"""Estimation and predictive control on the equation itself."""

import numpy as np
import pytest
from scipy.linalg import expm, solve_discrete_are
from scipy.optimize import minimize

from koopctrl.controllers import FieldMPC, check_controller
from koopctrl.errors import OptionError, ShapeError
from koopctrl.sampled.pde import (
    PDE,
    Derivative,
    Diffusion,
    Dirichlet,
    FieldObserver,
    Interval,
    Neumann,
    Product,
)

SHAPES = [
    lambda x: np.exp(-((15 * (x[:, 0] - 0.25)) ** 2)),
    lambda x: np.exp(-((15 * (x[:, 0] - 0.75)) ** 2)),
]


def flow(size, seed, pair_distance=0.1, n_points=150, **extra):
    pde = PDE(
        Interval(0, 1, periodic=True), [Diffusion(1.0, parameter="nu"), Product(-1.0, "u", "u_x")],
        actuators=SHAPES,
        sensors=np.arange(8) / 8, initial=0.5, parameters={"nu": 0.02},
        **extra,
    )  # fmt: skip
    return pde.discretise(
        200, n_points=n_points, pair_distance=pair_distance, max_states=size, random_state=seed
    )


@pytest.fixture(scope="module")
def model():
    return flow(24, 0)


def rod():
    pde = PDE(
        Interval(0, 1), [Diffusion(0.2), Derivative("u", -0.1)],
        [Neumann("left", shape=1.0), Dirichlet("right")],
        sensors=[0.1, 0.5],
    )  # fmt: skip
    return pde.discretise(80, pair_distance=0.3, max_states=8, random_state=0)


def test_the_observer_finds_a_field_from_eight_sensors(model):
    plant = flow(None, 5, pair_distance=0.06, n_points=250).step_face(0.1)
    observer = FieldObserver(model, 0.1, 1e-5, 1e-6, P0=0.1)
    y, v = plant.reset(lambda x: 0.5 + 0.3 * np.sin(2 * np.pi * x[:, 0])), np.zeros(2)
    grid = np.arange(64) / 64
    errors = []
    for k in range(40):
        if k % 7 == 3:
            y[k % 8] = np.nan  # a lost sensor is no lost sample
        observer.step(y, v)
        errors.append(np.abs(model.evaluate(observer.x, grid) - plant.model.evaluate(plant.x, grid)).max())
        v = 0.1 * np.array([np.sin(0.5 * k), np.cos(0.3 * k)])
        y = plant.step(v)
    assert errors[-1] < 2e-3
    assert errors[-1] < 0.02 * errors[0]


def test_of_a_linear_equation_it_is_the_stationary_kalman_filter():
    model, dt = rod(), 0.1
    observer = FieldObserver(model, dt, 1e-3, 1e-2)
    rng = np.random.default_rng(0)
    for _ in range(300):
        observer.step(rng.standard_normal(2), rng.standard_normal(1))
    a, _, c, _ = model.matrices()
    F, n = expm(dt * a), model.n_states
    before = solve_discrete_are(F.T, c.T, 1e-3 * np.eye(n), 1e-2 * np.eye(2))
    after = before - before @ c.T @ np.linalg.solve(c @ before @ c.T + 1e-2 * np.eye(2), c @ before)
    np.testing.assert_allclose(observer.P, after, atol=1e-7 * np.abs(after).max())


def cost_of(model, x, plan, r, Q, R, dt):
    face, total = model.step_face(dt), 0.0
    for v in plan:
        x = face.next_state(x, v)
        e = model.output(x, v) - r
        total += Q * e @ e + R * v @ v
    return total


def test_the_plan_is_a_minimum_of_the_roll_out(model):
    """SciPy's bounded quasi-Newton, from the plan and from zero, finds nothing that is noticeably better."""
    x, r, dt = model.coordinates(lambda z: 0.5 + 0.2 * np.sin(2 * np.pi * z[:, 0])), 0.55 * np.ones(8), 0.1
    mpc = FieldMPC(model, 5, 1.0, 0.05, dt=dt, u_min=-0.1, u_max=0.1, iterations=6)
    mpc.control(x, reference=r)
    objective = lambda p: cost_of(model, x, p.reshape(5, 2), r, 1.0, 0.05, dt)  # noqa: E731
    best = minimize(objective, np.zeros(10), bounds=[(-0.1, 0.1)] * 10, method="L-BFGS-B")
    found = objective(mpc.info.inputs.ravel())
    assert found == pytest.approx(mpc.info.objective, rel=1e-4)
    assert found <= best.fun * (1 + 1e-5)


def test_of_a_linear_equation_it_solves_the_quadratic_problem():
    """Unbounded, with moves weighted: the same as dense least squares on the exact matrices."""
    model, dt, N = rod(), 0.2, 6
    a, b, c, d = model.matrices()
    big = expm(dt * np.block([[a, b], [np.zeros((1, len(a) + 1))]]))
    F, G = big[:-1, :-1], big[:-1, -1:]
    x, r = np.random.default_rng(0).standard_normal(len(a)), np.array([0.3, -0.2])
    rows, right, state, moved = [], [], x.copy(), np.zeros((len(a), N))
    for k in range(N):
        state, moved = F @ state, F @ moved
        moved[:, k : k + 1] += G
        step = c @ moved
        step[:, k : k + 1] += d
        rows.append(np.sqrt(2.0) * step)
        right.append(np.sqrt(2.0) * (r - c @ state))
    rows += [np.sqrt(0.1) * np.eye(N), np.sqrt(0.3) * (np.eye(N) - np.eye(N, k=-1))]
    right += [np.zeros(N), np.zeros(N)]
    expected = np.linalg.lstsq(np.concatenate(rows), np.concatenate(right))[0]
    mpc = FieldMPC(model, N, 2.0, 0.1, R_rate=0.3, dt=dt)
    mpc.control(x, reference=r)
    np.testing.assert_allclose(mpc.info.inputs[:, 0], expected, atol=1e-8 * np.abs(expected).max())


def test_it_keeps_the_contract_of_controllers(model):
    mpc = FieldMPC(
        model, 4, 1.0, 0.1, dt=0.1, u_min=-0.1, u_max=0.1, estimator=FieldObserver(model, 0.1, 1e-4, 1e-4)
    )
    check_controller(mpc, n_steps=8)


def test_a_closed_loop_follows_a_level_and_a_measured_viscosity(model):
    dt, viscosity = 0.2, 0.05
    plant = flow(None, 5, n_points=200).at(nu=viscosity).step_face(dt)
    mpc = FieldMPC(
        model,
        8,
        1.0,
        0.05,
        dt=dt,
        u_min=-0.1,
        u_max=0.1,
        estimator=FieldObserver(model.at(nu=viscosity), dt, 1e-5, 1e-6, P0=0.1),
    )
    mpc.model = model.at(nu=viscosity)
    y = plant.reset(lambda x: 0.5 + 0.2 * np.cos(2 * np.pi * x[:, 0]))
    for _ in range(30):
        u = mpc.control(y, reference=0.55 * np.ones(8))
        assert (np.abs(u) <= 0.1).all()
        y = plant.step(u)
    np.testing.assert_allclose(y, 0.55, atol=5e-3)


def test_bad_settings_are_refused(model):
    blind = PDE(Interval(0, 1), [Diffusion(1.0)], actuators=[lambda x: x[:, 0]]).discretise(
        20, random_state=0
    )
    with pytest.raises(OptionError, match="no sensors"):
        FieldObserver(blind, 0.1, 1.0, 1.0)
    with pytest.raises(OptionError, match="0 sensors and 1 inputs"):
        FieldMPC(blind, 5, 1.0, 1.0, dt=0.1)
    with pytest.raises(OptionError, match="discretise"):
        FieldMPC(object(), 5, 1.0, 1.0, dt=0.1)
    with pytest.raises(OptionError, match="R has smallest eigenvalue"):
        FieldMPC(model, 5, 1.0, 0.0, dt=0.1)
    with pytest.raises(ShapeError, match="y has shape"):
        FieldObserver(model, 0.1, 1.0, 1.0).step(np.zeros(3))
    mpc = FieldMPC(model, 3, 1.0, 1.0, dt=0.1)
    u = mpc.control(np.full(model.n_states, np.nan))
    assert mpc.info.status == "fallback_hold"
    np.testing.assert_array_equal(u, 0.0)
    with pytest.raises(OptionError, match="outputs"):
        mpc.model = rod()


def test_decisions_do_not_depend_on_units():
    """One flow in other units of length, time, field and input: the same inputs up to the unit."""

    def run(length, second, size, push):
        pde = PDE(
            Interval(0, length, periodic=True),
            [Diffusion(0.02 * length**2 / second), Product(-length / (size * second), "u", "u_x")],
            actuators=[lambda x: size / (second * push) * np.exp(-((15 * (x[:, 0] / length - 0.25)) ** 2))],
            sensors=length * np.arange(6) / 6,
            initial=0.5 * size,
        )
        model = pde.discretise(120, n_points=120, max_states=21, random_state=0)
        dt = 0.1 * second
        observer = FieldObserver(
            model, dt, 1e-5 * size**2 * length, 1e-6 * size**2, P0=0.1 * size**2 * length
        )
        mpc = FieldMPC(
            model,
            5,
            1.0 / size**2,
            0.05 / push**2,
            dt=dt,
            u_min=-0.1 * push,
            u_max=0.1 * push,
            estimator=observer,
        )
        face = model.step_face(dt)
        y = face.reset(lambda x: size * (0.5 + 0.2 * np.sin(2 * np.pi * x[:, 0] / length)))
        inputs = []
        for _ in range(6):
            inputs.append(mpc.control(y, reference=0.52 * size * np.ones(6)))
            y = face.step(inputs[-1])
        return np.array(inputs) / push

    np.testing.assert_allclose(run(1e-6, 1e4, 1e6, 1e-9), run(1.0, 1.0, 1.0, 1.0), rtol=1e-8, atol=1e-9)
