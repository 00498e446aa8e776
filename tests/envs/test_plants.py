"""The dynamics of every registered plant: against solve_ivp, python-control, CasADi, finite differences."""

from dataclasses import replace

import casadi
import control
import gymnasium
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import koopctrl_envs
from koopctrl_envs import Duffing, Pendulum, Plant, VanDerPol

REGISTERED = {
    name.split("/")[1]: gymnasium.make(name).unwrapped.plant  # pyright: ignore[reportAttributeAccessIssue]
    for name in sorted(gymnasium.registry)
    if name.startswith("koopctrl/")
}
OTHERS = {
    "VanDerPol, mu 2": VanDerPol(mu=2.0, n_substeps=40),
    "Pendulum, long": Pendulum(m=0.5, l=2.0, b=0.3),
}
each_plant = pytest.mark.parametrize(
    "plant", [*REGISTERED.values(), *OTHERS.values()], ids=[*REGISTERED, *OTHERS]
)


def draw(plant: Plant, shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = np.array([plant.draw_start(rng) for _ in range(int(np.prod(shape)))]).reshape(*shape, plant.n_x)
    return x, rng.uniform(plant.u_min, plant.u_max, (*shape, plant.n_u))


def width(plant: Plant) -> np.ndarray:
    return np.subtract(plant.x0_high, plant.x0_low)


def exact_step(plant: Plant, x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """States after `dt`, all starts in one call of the reference integrator."""

    def slope(_t: float, flat: np.ndarray) -> np.ndarray:
        return plant.rhs(flat.reshape(x.shape), u).ravel()

    solution = solve_ivp(slope, (0.0, plant.dt), x.ravel(), rtol=1e-11, atol=1e-13, method="DOP853")
    return solution.y[:, -1].reshape(x.shape)


@pytest.mark.parametrize(
    ("plant", "x", "u", "slope"),
    [
        (VanDerPol(), [2.0, 3.0], [0.5], [3.0, -3.0 * 3.0 - 2.0 + 0.5]),
        (VanDerPol(mu=2.0), [0.5, 1.0], [0.0], [1.0, 2.0 * 0.75 - 0.5]),
        (Duffing(), [2.0, 3.0], [0.5], [3.0, -1.5 + 2.0 - 8.0 + 0.5]),
        (Duffing(delta=1.0, alpha=2.0, beta=3.0), [1.0, 1.0], [0.0], [1.0, -6.0]),
        (Pendulum(), [np.pi / 2, 2.0], [1.0], [2.0, 9.81 - 0.2 + 1.0]),
        (Pendulum(m=2.0, l=0.5, b=0.4), [np.pi / 6, 1.0], [0.0], [1.0, 9.81 - 0.8]),
    ],
)
def test_the_formulas_are_those_worked_out_by_hand(plant, x, u, slope):
    np.testing.assert_allclose(plant.rhs(x, u), slope, rtol=1e-14)


@each_plant
def test_steps_along_an_episode_equal_solve_ivp_to_the_stated_error(plant):
    x, _ = draw(plant, (12,))
    rng = np.random.default_rng(1)
    for _ in range(5 if plant.n_x > 10 else 25):
        u = rng.uniform(plant.u_min, plant.u_max, (len(x), plant.n_u))
        reference = exact_step(plant, x, u)
        error = np.abs(plant.step(x, u) - reference) / width(plant)
        assert error.max() <= plant.step_error
        x = reference[[plant.failure(row) == "" for row in reference]]
        if not len(x):
            break


@each_plant
def test_the_other_integrator_equals_solve_ivp(plant):
    x, u = draw(plant, (2,), seed=5)
    for x_k, u_k, reference in zip(x, u, exact_step(plant, x, u), strict=True):
        np.testing.assert_allclose((plant.exact_step(x_k, u_k) - reference) / width(plant), 0.0, atol=1e-8)


@each_plant
def test_a_batch_equals_a_loop_and_leading_axes_broadcast(plant):
    x, u = draw(plant, (3, 4))
    for function in (plant.rhs, plant.step):
        batch = function(x, u)
        loop = [[function(x[i, j], u[i, j]) for j in range(4)] for i in range(3)]
        np.testing.assert_allclose(batch, loop, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(function(x[0, 0], u), function(np.tile(x[0, 0], (3, 4, 1)), u), rtol=1e-12)
        assert function(x[0], u[0, 0]).shape == (4, plant.n_x)
    np.testing.assert_allclose(plant.output(x)[1, 2], plant.output(x[1, 2]), rtol=1e-13)
    assert plant.output(x).shape == (3, 4, plant.n_y)
    assert plant.step(np.ones((0, plant.n_x)), np.ones((0, plant.n_u))).shape == (0, plant.n_x)


@each_plant
def test_nothing_passed_in_is_written_to(plant):
    x, u = draw(plant, (5,))
    kept = x.copy(), u.copy()
    x.flags.writeable = u.flags.writeable = False
    plant.rhs(x, u), plant.step(x, u), plant.output(x), plant.jacobians(x, u)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(u, kept[1])


@each_plant
@pytest.mark.parametrize("kind", [casadi.SX, casadi.MX])
def test_the_same_formulas_run_on_casadi_symbols(plant, kind):
    x, u = kind.sym("x", plant.n_x), kind.sym("u", plant.n_u)
    parts = casadi.vertsplit(x), casadi.vertsplit(u)
    rhs = casadi.Function("rhs", [x, u], [casadi.vertcat(*plant.rhs_components(*parts, xp=casadi))])
    step = casadi.Function("step", [x, u], [casadi.vertcat(*plant.step_components(*parts, xp=casadi))])
    output = casadi.Function("output", [x], [casadi.vertcat(*plant.output_components(parts[0], xp=casadi))])
    slopes = width(plant) / plant.dt
    for x_k, u_k in zip(*draw(plant, (5,)), strict=True):
        np.testing.assert_allclose(
            np.array(rhs(x_k, u_k))[:, 0] / slopes, plant.rhs(x_k, u_k) / slopes, atol=1e-10
        )
        np.testing.assert_allclose(
            np.array(step(x_k, u_k))[:, 0], plant.step(x_k, u_k), rtol=1e-10, atol=1e-12
        )
        np.testing.assert_allclose(np.array(output(x_k))[:, 0], plant.output(x_k), rtol=1e-12, atol=1e-13)


@each_plant
def test_jacobians_equal_central_differences(plant):
    n = 2 if plant.n_x > 10 else 6
    x, u = draw(plant, (n,))
    for dt in (0.0, plant.dt):
        function = plant.step if dt else plant.rhs
        A, B = plant.jacobians(x, u, dt)
        assert A.shape == (n, plant.n_x, plant.n_x)
        assert B.shape == (n, plant.n_x, plant.n_u)
        ways = [
            (A, width(plant), lambda e, f=function: f(x + e, u)),
            (B, np.subtract(plant.u_max, plant.u_min), lambda e, f=function: f(x, u + e)),
        ]
        for matrix, scale, moved in ways:
            for i, e in enumerate(1e-5 * np.diag(scale)):
                slope = (moved(e) - moved(-e)) / 2e-5
                largest = np.abs(slope).max()
                np.testing.assert_allclose(matrix[..., i] * scale[i], slope, rtol=1e-6, atol=1e-6 * largest)
    alone, _ = plant.jacobians(x[0], u[0])
    np.testing.assert_array_equal(alone, plant.jacobians(x, u)[0][0])


def test_jacobians_are_the_matrices_of_the_textbook():
    A, B = Pendulum().jacobians([0.0, 0.0], [0.0])
    np.testing.assert_allclose(A, [[0.0, 1.0], [9.81, -0.1]], rtol=1e-15)
    np.testing.assert_allclose(B, [[0.0], [1.0]], rtol=1e-15)
    A, _ = Duffing().jacobians([1.0, 0.0], [0.0])
    np.testing.assert_allclose(A, [[0.0, 1.0], [-2.0, -0.5]], rtol=1e-15)


@each_plant
def test_equilibria_stay_put(plant):
    assert len(plant.equilibria) >= 1
    assert plant.equilibrium_inputs.shape == (len(plant.equilibria), plant.n_u)
    for x, u in zip(plant.equilibria, plant.equilibrium_inputs, strict=True):
        np.testing.assert_allclose((plant.step(x, u) - x) / width(plant), 0.0, atol=1e-13)
        A, _ = plant.jacobians(x, u)
        stable = np.linalg.eigvals(A).real.max() < 0.0
        ahead = x
        for _ in range(1000 if stable and plant.n_x < 10 else 1):
            ahead = plant.step(ahead, u)
        np.testing.assert_allclose((ahead - x) / width(plant), 0.0, atol=1e-12)


@each_plant
def test_steady_states_are_found_from_their_outputs(plant):
    x, u = plant.equilibria[0], plant.equilibrium_inputs[0]
    rng = np.random.default_rng(2)
    guess = x + 0.02 * width(plant) * rng.uniform(-1, 1, plant.n_x)
    found_x, found_u = plant.steady_state(plant.output(x), guess, u)
    np.testing.assert_allclose(plant.rhs(found_x, found_u) * plant.dt / width(plant), 0.0, atol=1e-8)
    np.testing.assert_allclose((found_x - x) / width(plant), 0.0, atol=1e-6)


def test_steady_states_of_other_set_points_and_those_that_do_not_exist():
    tanks = koopctrl_envs.TwoTanks()
    x, (q, v) = tanks.steady_state([1.5, 0.6])
    np.testing.assert_allclose(x, [1.5, 0.6], rtol=1e-9)
    np.testing.assert_allclose([q, v], [0.3 * 0.6**0.5, 0.3 * 0.6**0.5 / (0.5 * 1.5**0.5)], rtol=1e-5)
    x, _ = koopctrl_envs.CSTR().steady_state([np.nan, 345.0])
    assert x[1] == pytest.approx(345.0)
    with pytest.raises(ValueError, match="no state at rest"):
        Pendulum().steady_state([0.5, 0.5, 0.0])
    with pytest.raises(ValueError, match="expected \\(2,\\) finite numbers or NaN"):
        tanks.steady_state([1.0, np.inf])


def test_duffing_has_its_wells_only_with_negative_stiffness():
    np.testing.assert_allclose(np.sort(Duffing(alpha=-4.0).equilibria[:, 0]), [-2.0, 0.0, 2.0])
    assert Duffing(alpha=1.0).equilibria.tolist() == [[0.0, 0.0]]


@each_plant
def test_a_roll_out_equals_the_continuous_nlsys_face(plant):
    (x0,), (u,) = draw(plant, (1,), seed=3)
    time = plant.dt * np.arange(6)
    response = control.input_output_response(
        plant.to_nlsys(),
        time,
        np.tile(u[:, None], (1, 6)),
        x0,
        squeeze=False,
        solve_ivp_kwargs={"rtol": 1e-10, "atol": 1e-12},
    )
    x = x0
    for k in range(6):
        np.testing.assert_allclose(
            (response.states[:, k] - x) / width(plant), 0.0, atol=10 * plant.step_error + 1e-8
        )
        np.testing.assert_allclose(response.outputs[:, k], plant.output(response.states[:, k]), rtol=1e-12)
        x = plant.step(x, u)
    assert list(plant.to_nlsys().state_labels) == list(plant.state_names)
    assert list(plant.to_nlsys().output_labels) == list(plant.output_names)


@each_plant
def test_a_roll_out_equals_the_discrete_nlsys_face(plant):
    (x0, *_), u = draw(plant, (21,), seed=4)
    u = plant.equilibrium_inputs[0] + 0.1 * (u - plant.equilibrium_inputs[0])
    time = plant.dt * np.arange(21)
    response = control.input_output_response(plant.to_nlsys(plant.dt), time, u.T, x0, squeeze=False)
    x = x0
    for k in range(21):
        np.testing.assert_allclose(response.outputs[:, k], plant.output(x), rtol=1e-12, atol=1e-12)
        x = plant.step(x, u[k])


def test_another_dt_keeps_the_length_of_the_sub_steps():
    plant = VanDerPol()
    x, u = draw(plant, (5,))
    twice = plant.step(plant.step(x, u), u)
    np.testing.assert_allclose(plant.step(x, u, 2 * plant.dt), twice, rtol=1e-13)
    np.testing.assert_allclose(plant.step(x, u, 1e-4), x + 1e-4 * plant.rhs(x, u), atol=1e-5)
    np.testing.assert_array_equal(replace(plant, dt=0.2, n_substeps=40).step(x, u), plant.step(x, u, 0.2))


def test_plants_are_frozen_hashable_and_keep_plain_floats():
    plant = VanDerPol(mu=np.float64(2.0), u_min=-1, u_max=np.array([1.0]))
    assert type(plant.mu) is float
    assert plant.u_max == (1.0,)
    assert plant == VanDerPol(mu=2.0, u_min=(-1.0,), u_max=(1.0,))
    assert hash(plant) == hash(VanDerPol(mu=2.0, u_min=(-1.0,), u_max=(1.0,)))
    assert (plant.n_x, plant.n_u, plant.n_y) == (2, 1, 2)
    with pytest.raises(AttributeError):
        plant.mu = 1.0  # pyright: ignore


@each_plant
def test_every_signal_has_a_name_and_a_unit(plant):
    for kind in ("state", "input", "output"):
        names, units = getattr(plant, f"{kind}_names"), getattr(plant, f"{kind}_units")
        assert len(set(names)) == len(names) == len(units)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VanDerPol(mu=0.0), "mu is 0.0; expected a positive number"),
        (lambda: Duffing(delta=-1.0), "delta"),
        (lambda: Pendulum(l=float("nan")), "l is nan"),
        (lambda: Pendulum(m="heavy"), "m is 'heavy'"),
        (lambda: VanDerPol(dt=0.0), "dt is 0.0; expected a positive"),
        (lambda: VanDerPol(n_substeps=0), "n_substeps is 0"),
        (lambda: VanDerPol(n_substeps=2.5), "n_substeps is 2.5"),
        (lambda: VanDerPol(u_min=3.0, u_max=-3.0), "u_min"),
        (lambda: VanDerPol(u_max=(1.0, 2.0)), r"u_max has shape \(2,\)"),
        (lambda: VanDerPol(x0_high=9.0), "widen x_min"),
        (lambda: VanDerPol().rhs([1.0, 2.0, 3.0], [0.0]), r"x has shape \(3,\); expected \(..., 2\)"),
        (lambda: VanDerPol().step([1.0, 2.0], 0.0), r"u has shape \(\)"),
        (lambda: VanDerPol().step([1.0, 2.0], [0.0], dt=-0.1), "dt is -0.1"),
        (lambda: VanDerPol().rhs([1j, 2.0], [0.0]), "x has dtype complex128"),
        (lambda: VanDerPol().rhs([[1.0], [1.0, 2.0]], [0.0]), "ragged"),
    ],
)
def test_bad_parameters_and_shapes_are_refused_clearly(make, message):
    with pytest.raises(ValueError, match=message):
        make()
