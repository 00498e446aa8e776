"""The model's faces agree: matrices, python-control, CasADi, steps, reduction, networks; a closed loop."""

import control
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from scipy import sparse
from scipy.integrate import solve_ivp
from scipy.sparse.linalg import spsolve

from koopctrl import KalmanFilter, LiftedModel, LinearMPC, LTINetwork, run_closed_loop
from koopctrl.errors import OptionError, ShapeError
from koopctrl.sampled.pde import PDE, Box, Diffusion, Dirichlet, Interval, Neumann, Product, StepFace
from koopctrl_envs import FieldEnv

SENSORS = [[0.2, 0.2], [0.8, 0.3], [0.5, 0.5]]


def plate(order=1):
    heater = lambda part, name: Neumann(part, loss=0.5, shape=1.0, name=name)  # noqa: E731
    return PDE(
        Box([0, 0], [1, 1]),
        [Diffusion(0.1)],
        [heater("x-", "west"), heater("x+", "east"), Neumann("y-", loss=0.5)],
        sensors=SENSORS,
        initial=lambda x: np.cos(np.pi * x[:, 0]),
        order=order,
        damping=0.3 * (order == 2),
        output_names=["a", "b", "c"],
    )


def burgers(**extra):
    shapes = [
        lambda x: np.exp(-((15 * (x[:, 0] - 0.25)) ** 2)),
        lambda x: np.exp(-((15 * (x[:, 0] - 0.75)) ** 2)),
    ]
    return PDE(
        Interval(0, 1, periodic=True),
        [Diffusion(1.0, parameter="nu"), Product(-1.0, "u", "u_x")],
        initial=lambda x: np.exp(np.sin(2 * np.pi * x[:, 0])) / 2,
        actuators=shapes,
        parameters={"nu": 0.02},
        sensors=np.arange(5) / 5,
        **extra,
    )


@pytest.fixture(scope="module")
def warm():
    return plate().discretise(150, pair_distance=0.3, n_points=600, max_states=40, random_state=0)


@pytest.fixture(scope="module")
def flow():
    return burgers().discretise(200, pair_distance=0.08, random_state=0)


def test_static_gains_are_those_of_a_finite_volume_model():
    warm = plate().discretise(250, pair_distance=0.3, n_points=900, random_state=0)
    n = 60
    h = 1.0 / n
    loss = (1 - 0.25 * h) / (1 + 0.25 * h)
    push = 0.1 / h / (1 + 0.25 * h)

    def line(low, high):
        t = sparse.diags_array(
            [np.ones(n - 1), -2.0 * np.ones(n), np.ones(n - 1)], offsets=[-1, 0, 1]
        ).tolil()
        t[0, 0] += low
        t[-1, -1] += high
        return sparse.csr_array(t) / h**2

    eye = sparse.eye_array(n)
    a = 0.1 * (sparse.kron(line(loss, loss), eye) + sparse.kron(eye, line(loss, 1.0)))
    b = np.zeros((n, n, 2))
    b[0, :, 0] = b[-1, :, 1] = push
    field = -spsolve(a.tocsc(), b.reshape(n * n, 2)).reshape(n, n, 2)
    at = [(round(x / h - 0.5), round(y / h - 0.5)) for x, y in [(0.2, 0.2), (0.8, 0.3), (0.5, 0.5)]]
    centres = (np.array(at) + 0.5) * h
    a, b, _, _ = warm.matrices()
    found = np.array([warm.evaluate(-np.linalg.solve(a, b)[:, j], centres) for j in range(2)])
    np.testing.assert_allclose(found.T, [field[i, j] for i, j in at], rtol=2e-4)


@pytest.mark.parametrize("order", [1, 2])
def test_state_space_simulates_what_the_solver_does(order):
    model = plate(order).discretise(100, pair_distance=0.4, n_points=600, max_states=20, random_state=0)
    system = model.to_statespace()
    assert list(system.input_labels) == ["west", "east"]
    assert list(system.output_labels) == ["a", "b", "c"]
    t = np.linspace(0, 1, 201)
    v = np.stack([np.ones_like(t), -0.5 * np.ones_like(t)])
    response = control.forced_response(system, t, v, model.initial_state())
    found = model.solve(t, [1.0, -0.5])
    np.testing.assert_allclose(found.outputs.T, response.outputs, rtol=1e-6, atol=1e-8)


def test_a_network_of_the_equation_has_its_transfer_function(warm):
    system = warm.to_statespace()
    net = LTINetwork.from_statespace(system)
    for s in (0.3j, 5.0j):
        np.testing.assert_allclose(net.to_statespace()(s), system(s), rtol=1e-8, atol=1e-11)


def test_casadi_step_face_and_solver_take_the_same_step(flow):
    rng = np.random.default_rng(0)
    face = flow.step_face(0.05)
    x, v = flow.initial_state(), np.array([0.1, -0.05])
    function = flow.to_casadi()
    slope, y = function(x, v, [0.02])
    np.testing.assert_allclose(slope.full().ravel(), flow.derivative(x, v), atol=1e-12)
    np.testing.assert_allclose(y.full().ravel(), flow.output(x, v), atol=1e-12)
    face.step(v)
    stepped = flow.to_casadi(0.05, face.n_substeps)(x, v, [0.02])[0].full().ravel()
    np.testing.assert_allclose(stepped, face.x, atol=1e-12)
    exact = solve_ivp(
        lambda t, s: flow.derivative(s, v), (0, 0.05), x, rtol=1e-10, atol=1e-12, method="Radau"
    ).y[:, -1]
    np.testing.assert_allclose(face.x, exact, atol=1e-6 * np.abs(exact).max())
    # The parameter is live: at another value the function is the other model.
    other = flow.at(nu=0.05)
    x = 0.1 * rng.standard_normal(flow.n_states)
    np.testing.assert_allclose(function(x, v, [0.05])[0].full().ravel(), other.derivative(x, v), atol=1e-12)


def test_nlsys_reads_parameters(flow):
    system = flow.to_nlsys()
    x, v = flow.initial_state(), np.array([0.1, 0.0])
    np.testing.assert_allclose(
        system.dynamics(0.0, x, v, params={"nu": 0.05}), flow.at(nu=0.05).derivative(x, v)
    )
    np.testing.assert_allclose(system.output(0.0, x, v), flow.output(x, v))
    assert system.nstates == flow.n_states


def test_parameters_enter_affinely():
    pde = PDE(
        Interval(0, 1),
        [Diffusion(1.0, parameter="k"), Diffusion(0.1)],
        [Neumann("left", loss=1.0, shape=2.0)],
        sensors=[0.3],
        parameters={"k": 0.5},
    )
    model = pde.discretise(60, pair_distance=0.4, random_state=0)
    parts = model.affine_matrices()
    for k in (0.1, 3.0):
        a, b, _, _ = model.at(k=k).matrices()
        np.testing.assert_allclose(parts[None][0] + k * parts["k"][0], a, atol=1e-12)
        np.testing.assert_allclose(parts[None][1] + k * parts["k"][1], b, atol=1e-12)


def test_linearisation_predicts_small_deviations(flow):
    x, v = flow.initial_state(), np.zeros(2)
    a, b, c, d = flow.linearise(x, v)
    dx, dv = 1e-6 * np.ones(flow.n_states), np.array([1e-6, -1e-6])
    change = flow.derivative(x + dx, v + dv) - flow.derivative(x, v)
    np.testing.assert_allclose(a @ dx + b @ dv, change, atol=1e-4 * np.abs(change).max())
    np.testing.assert_allclose(c @ dx + d @ dv, flow.output(x + dx, v + dv) - flow.output(x, v), atol=1e-12)


def test_few_directions_of_snapshots_carry_the_flow(flow):
    t = np.linspace(0, 1.5, 61)
    inputs = np.random.default_rng(0).uniform(-0.1, 0.1, (60, 2))
    whole = flow.solve(t, inputs, rtol=1e-6)
    small = flow.reduce(16, whole.coordinates)
    assert small.n_states == 16
    found = small.solve(t, inputs, rtol=1e-6)
    grid = np.arange(100) / 100
    assert np.linalg.norm(found(grid) - whole(grid)) < 2e-3 * np.linalg.norm(whole(grid))


def test_inputs_at_a_dirichlet_boundary():
    """u(0, t) = v: the steady state is a straight line, and the model's own static gain says so."""
    pde = PDE(
        Interval(0, 1),
        [Diffusion(1.0)],
        [Dirichlet("left", shape=1.0, name="hot"), Dirichlet("right")],
        sensors=[0.25],
    )
    model = pde.discretise(100, pair_distance=0.2, random_state=0)
    a, b, c, d = model.matrices()
    np.testing.assert_allclose(d - c @ np.linalg.solve(a, b), [[0.75]], rtol=1e-6)
    held = model.solve([0.0, 5.0], [2.0])
    np.testing.assert_allclose(held(np.array([0.0, 0.5, 1.0]))[-1], [2.0, 1.0, 0.0], atol=1e-6)


def test_the_environment_keeps_gymnasiums_contract(warm):
    def draw(rng):
        size = rng.uniform(-1, 1)
        return lambda x: size * np.cos(np.pi * x[:, 0])

    env = FieldEnv(
        warm, 0.2, u_min=-2.0, u_max=2.0, y_min=-3.0, y_max=3.0, draw_start=draw, measurement_noise=0.01
    )
    check_env(FieldEnv(warm, 0.2, y_min=-3.0, y_max=3.0, draw_start=draw), skip_render_check=True)
    y, info = env.reset(seed=1, options={"initial": lambda x: 1.0 + 0 * x[:, 0]})
    np.testing.assert_allclose(y, 1.0, atol=0.05)
    face = warm.step_face(0.2)
    face.reset(lambda x: 1.0 + 0 * x[:, 0])
    _, reward, ended, _, info = env.step([5.0, 0.0])
    expected = face.step([2.0, 0.0])
    np.testing.assert_allclose(info["x"], face.x)
    np.testing.assert_array_equal(info["u"], [2.0, 0.0])
    assert reward == pytest.approx(-(expected @ expected) - 0.1 * 4.0)
    assert not ended
    hot = FieldEnv(warm, 0.2, y_min=-0.5, y_max=0.5)
    hot.reset(options={"initial": lambda x: 1.0 + 0 * x[:, 0]})
    _, _, ended, _, info = hot.step([0.0, 0.0])
    assert ended
    assert info["failure"].startswith("a = ")
    with pytest.raises(ValueError, match="u_min < u_max"):
        FieldEnv(warm, 0.2, u_min=1.0, u_max=1.0)


def test_predictive_control_warms_the_plate_from_its_sensors(warm):
    env = FieldEnv(warm, 0.2, u_min=-2.0, u_max=2.0)
    system = control.sample_system(warm.to_statespace(), 0.2)
    lifted = LiftedModel.from_matrices(system.A, system.B, system.C, system.D, dt=0.2)
    mpc = LinearMPC(
        lifted,
        20,
        Q=1.0,
        R=1e-3,
        u_min=-2.0,
        u_max=2.0,
        estimator=KalmanFilter(lifted, Qn=1e-4 * np.eye(warm.n_states), Rn=1e-6 * np.eye(3)),
        terminal="none",
    )
    target = np.array([0.5, 0.5, 0.45])
    a, b, c, d = warm.matrices()
    gain = d - c @ np.linalg.solve(a, b)
    reachable = gain @ np.linalg.lstsq(gain, target)[0]
    result = run_closed_loop(env, mpc, n_steps=60, reference=target, seed=0)
    np.testing.assert_allclose(result.outputs[-1], reachable, atol=0.01)


def test_what_a_face_cannot_do_is_said(flow, warm):
    with pytest.raises(OptionError, match="nonlinear"):
        flow.to_statespace()
    forced = PDE(Interval(0, 1), [Diffusion(1.0)], [Dirichlet()], forcing=lambda x, t: x[:, 0]).discretise(
        30, random_state=0
    )
    with pytest.raises(OptionError, match="forcing"):
        forced.to_statespace()
    with pytest.raises(OptionError, match="forcing"):
        forced.to_casadi()
    with pytest.raises(OptionError, match="no parameter"):
        flow.at(mu=1.0)
    with pytest.raises(ShapeError, match="v"):
        flow.step_face(0.1).step([0.0])
    with pytest.raises(ShapeError, match="x has shape"):
        warm.output(np.zeros(3))
    assert isinstance(warm.step_face(0.1), StepFace)
