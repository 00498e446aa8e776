"""Linear equations against closed forms: error, energy, stability, units."""

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.special import jn_zeros, jv

from koopctrl.sampled.pde import (
    PDE,
    Advection,
    Ball,
    Box,
    Condition,
    Derivative,
    Diffusion,
    Dirichlet,
    Interval,
    Neumann,
)
from koopctrl.sampled.pde.discretise import eigenvalues_of
from koopctrl.sampled.pde.phi import phi_functions

X = np.linspace(0.0, 1.0, 301)


def error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("speed", [40.0, 1e4])
@pytest.mark.parametrize("seed", range(3))
def test_advection_goes_around_without_loss(speed, seed):
    pde = PDE(Interval(0, 2 * np.pi, periodic=True), [Advection(speed)], initial=lambda x: np.sin(x[:, 0]))
    model = pde.discretise(200, random_state=seed)
    x = 2 * np.pi * X
    assert error(model.solve([0.0, 1.0])(x)[-1], np.sin(x - speed)) < 1e-7
    eigenvalues = eigenvalues_of(model)
    assert eigenvalues.real.max() < 1e-5 * np.abs(eigenvalues).max()


def test_a_wave_keeps_its_energy_and_its_shape():
    pde = PDE(
        Interval(0, 1),
        [Diffusion(4.0)],
        [Dirichlet()],
        order=2,
        initial=lambda x: np.sin(np.pi * x[:, 0]) + 0.5 * np.sin(4 * np.pi * x[:, 0]),
    )
    model = pde.discretise(300, pair_distance=0.05, random_state=0)
    solution = model.solve(np.linspace(0, 1, 11))
    t = solution.t[:, None]
    exact = np.sin(np.pi * X) * np.cos(2 * np.pi * t) + 0.5 * np.sin(4 * np.pi * X) * np.cos(8 * np.pi * t)
    assert error(solution(X), exact) < 1e-6
    # Kinetic and elastic energy: |u_t|^2 + 4 |u_x|^2, from the orthonormal coordinates and the operator.
    n = model.n_coordinates
    operator = -model.combined(model.linear) @ model.null
    c, rate = solution.coordinates[:, :n], solution.coordinates[:, n:]
    energy = np.sum(rate**2, axis=1) + np.einsum("ki,ij,kj->k", c, operator, c)
    np.testing.assert_allclose(energy, energy[0], rtol=1e-7)


def test_a_supported_beam_under_load():
    pde = PDE(
        Interval(0, np.pi),
        [Derivative("u_xxxx", -1.0)],
        [Dirichlet(), Condition("all", "u_xx")],
        order=2,
        initial=lambda x: np.sin(x[:, 0]),
        forcing=lambda x, t: (1 - 16 * np.pi**2) * np.sin(x[:, 0]) * np.cos(4 * np.pi * t),
    )
    solution = pde.discretise(200, random_state=0).solve(np.linspace(0, 1, 6))
    exact = np.sin(np.pi * X) * np.cos(4 * np.pi * solution.t[:, None])
    assert error(solution(np.pi * X), exact) < 1e-7


def manufactured(right):
    def u(x, t):
        return np.exp(-t) * np.sin(3 * x[:, 0] + t)

    def forcing(x, t):
        phase = 3 * x[:, 0] + t
        return np.exp(-t) * (-np.sin(phase) + np.cos(phase) + 9 * np.sin(phase))

    slope = lambda x, t: 3 * np.exp(-t) * np.cos(3 * x[:, 0] + t)  # noqa: E731
    condition = {
        "value": Dirichlet("right", u),
        "flux": Neumann("right", slope),
        "flux with loss": Neumann("right", lambda x, t: slope(x, t) + 2.0 * u(x, t), loss=2.0),
        "slope held": Condition("right", "u_x", slope),
    }[right]
    return PDE(
        Interval(0, 1),
        [Diffusion(1.0)],
        [Dirichlet("left", u), condition],
        lambda x: u(x, 0.0),
        forcing=forcing,
    ), u


@pytest.mark.parametrize("right", ["value", "flux", "flux with loss", "slope held"])
def test_moving_boundary_data(right):
    pde, u = manufactured(right)
    solution = pde.discretise(200, random_state=0).solve([0.0, 0.5, 1.0])
    for k, t in enumerate(solution.t):
        assert error(solution(X)[k], u(X[:, None], t)) < 1e-7


def test_variable_coefficients():
    """(1 + x) u_x as a derivative term, and div((1 + x) grad u), with a manufactured solution."""

    def u(x, t):
        return np.exp(-t) * np.sin(np.pi * x[:, 0])

    def forcing(x, t):
        s, c, k = np.sin(np.pi * x[:, 0]), np.cos(np.pi * x[:, 0]), 1 + x[:, 0]
        return np.exp(-t) * (-s - k * np.pi * c - (np.pi * c - k * np.pi**2 * s))

    pde = PDE(
        Interval(0, 1),
        [Derivative("u_x", lambda x: 1 + x[:, 0]), Diffusion(lambda x: 1 + x[:, 0])],
        [Dirichlet()],
        lambda x: u(x, 0.0),
        forcing=forcing,
    )
    assert error(pde.discretise(200, random_state=0).solve([0.0, 0.3])(X)[-1], u(X[:, None], 0.3)) < 1e-7


def test_a_disc_cools_as_a_bessel_function():
    j = jn_zeros(0, 1)[0]
    pde = PDE(
        Ball([0.0, 0.0]), [Diffusion(0.5)], [Dirichlet()], lambda x: jv(0, j * np.linalg.norm(x, axis=1))
    )
    model = pde.discretise(250, pair_distance=0.3, n_points=1200, random_state=0)
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (200, 2))
    exact = np.exp(-0.5 * j**2 * 0.4) * jv(0, j * np.linalg.norm(points, axis=1))
    assert error(model.solve([0.0, 0.4])(points)[-1], exact) < 1e-4


def test_heat_in_a_box_with_one_periodic_axis():
    pde = PDE(
        Box([0, 0], [1, 1], periodic=[True, False]),
        [Diffusion([0.1, 0.2])],
        [Dirichlet()],
        lambda x: np.sin(2 * np.pi * x[:, 0]) * np.sin(np.pi * x[:, 1]),
    )
    model = pde.discretise(400, pair_distance=0.15, n_points=900, random_state=0)
    points = np.random.default_rng(0).uniform(size=(200, 2))
    rate = 0.1 * 4 * np.pi**2 + 0.2 * np.pi**2
    exact = np.exp(-0.2 * rate) * np.sin(2 * np.pi * points[:, 0]) * np.sin(np.pi * points[:, 1])
    assert error(model.solve([0.0, 0.2])(points)[-1], exact) < 1e-4


def test_no_flux_keeps_the_heat():
    pde = PDE(Box([0, 0], [1, 2]), [Diffusion(0.3)], initial=lambda x: np.exp(x[:, 0] - x[:, 1]))
    model = pde.discretise(150, pair_distance=0.3, n_points=600, random_state=0)
    solution = model.solve(np.linspace(0, 3, 4))
    q = pde.domain.quadrature(600, np.random.default_rng(0))
    heat = solution(q.points) @ q.weights
    np.testing.assert_allclose(heat, (np.e - 1) * (1 - np.exp(-2.0)), rtol=1e-6)
    assert eigenvalues_of(model).real.max() < 1e-9 * np.abs(eigenvalues_of(model)).max()


def test_the_error_falls_exponentially_with_the_number_of_states():
    pde, u = manufactured("value")
    sizes = np.array([6, 8, 10, 12, 16])
    errors = []
    for n in sizes:
        model = pde.discretise(200, random_state=0, max_states=int(n), pair_distance=0.3)
        errors.append(error(model.solve([0.0, 1.0])(X)[-1], u(X[:, None], 1.0)))
    digits_per_state = np.polyfit(sizes, np.log10(errors), 1)[0]
    assert digits_per_state < -0.3
    assert (np.diff(errors) < 0).all()


def test_heat_in_ten_dimensions():
    d = 10
    u = lambda x, t: np.sum(x**2, axis=1) / d + 2 * t  # noqa: E731
    pde = PDE(Ball(np.zeros(d)), [Diffusion(1.0)], [Dirichlet("all", u)], initial=lambda x: u(x, 0.0))
    model = pde.discretise(100, n_points=2000, pair_distance=5.0, directions="axes", cut=1e-8, random_state=0)
    points = pde.domain.quadrature(500, np.random.default_rng(5)).points
    assert error(model.solve([0.0, 1.0], rtol=1e-6)(points)[-1], u(points, 1.0)) < 1e-3


def test_phi_functions_are_those_of_the_augmented_exponential():
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 40.0):
        a = scale * rng.standard_normal((6, 6))
        b, k = rng.standard_normal(6), 3
        # exp([[A, b e_1'], [0, shift]]) holds phi_j(A) b in its last columns.
        big = np.zeros((6 + k, 6 + k))
        big[:6, :6], big[:6, 6] = a, b
        big[6:-1, 7:] = np.eye(k - 1)
        whole = expm(big)
        for j in range(1, k + 1):
            found = phi_functions(a, k)[j] @ b
            np.testing.assert_allclose(found, whole[:6, 5 + j], rtol=1e-9, atol=1e-11 * np.abs(whole).max())


@pytest.mark.parametrize(
    ("length", "time", "size"), [(1e-9, 1.0, 1.0), (1e9, 1e-6, 1.0), (1.0, 1e9, 1e-9), (1e3, 1.0, 1e9)]
)
def test_units_do_not_matter(length, time, size):
    """One equation in other units of length, time and field: the same states up to the unit, and a volume."""

    def model(L, T, S):
        pde = PDE(
            Interval(0, L), [Diffusion(0.1 * L**2 / T), Advection(0.3 * L / T)],
            [
                Dirichlet("left", lambda x, t: S * np.sin(3 * t / T)),
                Neumann("right", 0.2 * S / L, loss=0.5 / L),
            ],
            initial=lambda x: S * np.sin(np.pi * x[:, 0] / L),
            forcing=lambda x, t: S / T * np.cos(x[:, 0] / L + t / T),
        )  # fmt: skip
        return pde.discretise(100, random_state=0).solve(T * np.array([0.0, 0.4, 1.0]))(L * X) / S

    np.testing.assert_allclose(model(length, time, size), model(1.0, 1.0, 1.0), rtol=1e-8, atol=1e-9)


def test_data_too_steep_for_the_basis_are_not_lifted_to_any_size():
    """A front of width 0.05 moves through a square on a basis that represents it to a few per cent."""
    u = lambda x, t: np.tanh((x[:, 0] + 0.5 * x[:, 1] - 0.5 - 0.3 * t) / 0.05)  # noqa: E731

    def forcing(x, t):
        value = u(x, t)
        slope = 1 - value**2
        return -6.0 * slope + 0.02 * 1.25 * 400.0 * 2 * value * slope

    pde = PDE(
        Box([0, 0], [1, 1]), [Diffusion(0.02)], [Dirichlet("all", u)], lambda x: u(x, 0.0), forcing=forcing
    )
    model = pde.discretise(250, pair_distance=0.1, n_points=1600, random_state=0)
    points = np.random.default_rng(0).uniform(size=(300, 2))
    assert error(model.solve([0.0, 0.2], rtol=1e-4)(points)[-1], u(points, 0.2)) < 0.3
