"""Nonlinear equations against Cole-Hopf, pseudospectral and manufactured solutions, conserved quantities."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from koopctrl.sampled.pde import (
    PDE,
    Box,
    Derivative,
    Diffusion,
    Dirichlet,
    Interval,
    NonlinearDiffusion,
    Pointwise,
    Polygon,
    Product,
    solve_in_blocks,
)
from koopctrl.sampled.pde.steepness import steep_panels


def error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def cole_hopf(x, t, nu):
    """Burgers from -sin(pi x), by Gauss-Hermite quadrature of the heat kernel."""
    if t == 0.0:
        return -np.sin(np.pi * x)
    nodes, weights = np.polynomial.hermite.hermgauss(200)
    y = x[:, None] - np.sqrt(4 * nu * t) * nodes
    e = -np.cos(np.pi * y) / (2 * np.pi * nu)
    f = np.exp(e - e.max(axis=1, keepdims=True)) * weights
    return -(np.sin(np.pi * y) * f).sum(axis=1) / f.sum(axis=1)


def pseudospectral(u0, length, t, linear, rtol=1e-9):
    """u_t = linear(k) u - u u_x on a circle, by FFT and SciPy's implicit BDF."""
    n = len(u0)
    k = 2j * np.pi / length * np.fft.fftfreq(n, 1 / n)

    def slope(_, u):
        return np.real(np.fft.ifft(linear(k) * np.fft.fft(u) - 0.5 * k * np.fft.fft(u * u)))

    return solve_ivp(slope, (0, t), u0, method="BDF", rtol=rtol, atol=1e-11).y[:, -1]


def test_a_shock_with_blocks_and_resampling():
    nu = 0.01 / np.pi
    pde = PDE(
        Interval(-1, 1),
        [Diffusion(nu), Product(-1.0, "u", "u_x")],
        [Dirichlet()],
        initial=lambda x: -np.sin(np.pi * x[:, 0]),
    )
    x, t = np.linspace(-1, 1, 1001), np.linspace(0, 1, 6)
    exact = np.array([cole_hopf(x, s, nu) for s in t])
    rough = solve_in_blocks(
        pde, t, n_features=300, n_panels=40, pair_distance=0.05, method="bdf", rtol=1e-5, random_state=0
    )
    assert error(rough(x), exact) < 1e-3
    fine = solve_in_blocks(pde, t, blocks=3, n_panels=60, pair_distance=0.05, method="radau", random_state=0)
    assert error(fine(x), exact) < 1e-6
    assert len(fine.models) == 3


def test_panels_are_finest_where_it_is_steep():
    x = np.linspace(-1, 1, 2001)
    edges = steep_panels(-1.0, 1.0, x, 1 / np.cosh(x / 0.01) ** 2, 20, 0.5)
    width = np.diff(edges)
    assert width.min() < 0.01
    assert edges[np.argmin(width)] == pytest.approx(0.0, abs=0.02)
    np.testing.assert_allclose(steep_panels(0.0, 3.0, x + 1, 0 * x, 4, 0.5)[1:-1], [0.5, 1.0, 1.5], atol=3e-3)


@pytest.mark.parametrize("method", ["etdrk4", "radau", "dop853"])
def test_periodic_burgers_by_every_kind_of_step(method):
    start = lambda x: np.exp(np.sin(2 * np.pi * x)) - 1.0  # noqa: E731
    grid = np.arange(256) / 256
    reference = pseudospectral(start(grid), 1.0, 1.0, lambda k: 0.02 * k**2)
    pde = PDE(
        Interval(0, 1, periodic=True),
        [Diffusion(0.02), Product(-1.0, "u", "u_x")],
        initial=lambda x: start(x[:, 0]),
    )
    model = pde.discretise(300, pair_distance=0.05, random_state=0)
    solution = model.solve([0.0, 1.0], method=method, rtol=1e-7)
    assert error(solution(grid)[-1], reference) < 1e-5
    # Momentum is conserved: the mean of u stays.
    q = pde.domain.quadrature(300, np.random.default_rng(0))
    means = solution(q.points) @ q.weights
    assert means[1] == pytest.approx(means[0], rel=1e-9)


def test_kuramoto_sivashinsky():
    length = 32 * np.pi
    start = lambda x: np.cos(x / 16) * (1 + np.sin(x / 16))  # noqa: E731
    grid = length * np.arange(256) / 256
    reference = pseudospectral(start(grid), length, 5.0, lambda k: -(k**2) - k**4)
    pde = PDE(
        Interval(0, length, periodic=True),
        [Derivative("u_xx", -1.0), Derivative("u_xxxx", -1.0), Product(-1.0, "u", "u_x")],
        initial=lambda x: start(x[:, 0]),
    )
    solution = pde.discretise(300, pair_distance=0.03, random_state=0).solve([0.0, 5.0])
    assert error(solution(grid)[-1], reference) < 1e-4


def test_nonlinear_diffusion_around_holes():
    def circle(centre, radius):
        angle = 2 * np.pi * np.arange(20) / 20
        return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], axis=1)

    domain = Polygon([[0, 0], [1, 0], [1, 1], [0, 1]], [circle((0.3, 0.3), 0.1), circle((0.7, 0.6), 0.15)])
    u = lambda x, t: np.exp(-t) * np.sin(x[:, 0] + 2 * x[:, 1])  # noqa: E731

    def forcing(x, t):
        value, slope = u(x, t), np.exp(-t) * np.cos(x[:, 0] + 2 * x[:, 1])
        return -value - ((1 + value**2) * (-5 * value) + 2 * value * 5 * slope**2)

    pde = PDE(
        domain,
        [NonlinearDiffusion(lambda u: 1 + u**2)],
        [Dirichlet("all", u)],
        lambda x: u(x, 0.0),
        forcing=forcing,
    )
    model = pde.discretise(250, pair_distance=0.3, n_points=2500, boundary_tolerance=1e-6, random_state=0)
    points = np.random.default_rng(0).uniform(size=(300, 2))
    points = points[domain.contains(points)]
    solution = model.solve([0.0, 0.5], method="bdf", rtol=1e-6)
    assert error(solution(points)[-1], u(points, 0.5)) < 1e-4


def test_nonlinear_diffusion_loses_nothing_without_flux():
    pde = PDE(
        Interval(0, 1),
        [NonlinearDiffusion(lambda u: 0.05 + u**2, lambda u: 2 * u)],
        initial=lambda x: 1 + np.cos(np.pi * x[:, 0]),
    )
    solution = pde.discretise(100, pair_distance=0.2, random_state=0).solve([0, 0.05, 0.2], method="radau")
    q = pde.domain.quadrature(200, np.random.default_rng(0))
    np.testing.assert_allclose(solution(q.points) @ q.weights, 1.0, rtol=1e-6)


def test_reaction_diffusion_in_five_dimensions_that_varies_in_two():
    u = lambda x, t: np.exp(-t) * np.sin(2 * x[:, 0]) * np.cos(x[:, 1] + x[:, 0])  # noqa: E731

    def forcing(x, t):
        s, c = np.sin(2 * x[:, 0]), np.cos(2 * x[:, 0])
        cc, ss = np.cos(x[:, 0] + x[:, 1]), np.sin(x[:, 0] + x[:, 1])
        value = np.exp(-t) * s * cc
        laplacian = np.exp(-t) * (-4 * s * cc - 4 * c * ss - 2 * s * cc)
        return -2 * value + value**3 - 0.1 * laplacian

    pde = PDE(
        Box(-np.ones(5), np.ones(5)),
        [Diffusion(0.1), Pointwise(lambda u: u - u**3)],
        [Dirichlet("all", u)],
        initial=lambda x: u(x, 0.0),
        forcing=forcing,
    )
    model = pde.discretise(150, n_points=1500, pair_distance=0.4, directions="data", cut=1e-8, random_state=0)
    points = np.random.default_rng(0).uniform(-1, 1, (300, 5))
    assert error(model.solve([0.0, 0.5], method="bdf", rtol=1e-6)(points)[-1], u(points, 0.5)) < 1e-3


def test_a_wave_with_a_nonlinear_spring_keeps_its_energy():
    """u_tt = u_xx - u^3 (first integral: |u_t|^2 / 2 + |u_x|^2 / 2 + |u|^4 / 4)."""
    pde = PDE(
        Interval(0, 1, periodic=True),
        [Diffusion(1.0), Pointwise(lambda u: -(u**3))],
        order=2,
        initial=lambda x: 2 * np.cos(2 * np.pi * x[:, 0]),
    )
    model = pde.discretise(200, random_state=0)
    solution = model.solve([0.0, 0.3, 1.0], method="dop853", rtol=1e-9)
    q = pde.domain.quadrature(400, np.random.default_rng(0))
    n = model.n_coordinates
    rates = np.array([model.evaluate(np.concatenate([x[n:], x[:n]]), q.points) for x in solution.states])
    u, slope = solution(q.points), solution(q.points, of="u_x")
    energy = (rates**2 / 2 + slope**2 / 2 + u**4 / 4) @ q.weights
    np.testing.assert_allclose(energy, energy[0], rtol=1e-6)


def test_jacobians_against_finite_differences():
    pde = PDE(
        Interval(0, 1),
        [
            Diffusion(0.1),
            Product(-1.0, "u", "u_x", parameter="p"),
            Pointwise(lambda u, s: np.exp(-u) * s**2, ("u", "u_x")),
            NonlinearDiffusion(lambda u: 1 + u**2),
        ],
        [Dirichlet("left", 0.0, shape=1.0)],
        actuators=[lambda x: x[:, 0]],
        parameters={"p": 1.7},
    )
    model = pde.discretise(60, pair_distance=0.3, random_state=0)
    rng = np.random.default_rng(0)
    x, v = 0.3 * rng.standard_normal(model.n_states), rng.standard_normal(2)
    a, b = model.jacobian(x, v)
    for found, at in ((a, 0), (b, 1)):
        for i in range(found.shape[1]):
            h = np.zeros(found.shape[1])
            h[i] = 1e-5
            if at == 0:
                slope = (model.derivative(x + h, v) - model.derivative(x - h, v)) / 2e-5
            else:
                slope = (model.derivative(x, v + h) - model.derivative(x, v - h)) / 2e-5
            np.testing.assert_allclose(found[:, i], slope, rtol=1e-5, atol=1e-6 * np.abs(found).max())


def test_etdrk4_converges_with_order_four():
    from koopctrl.sampled.pde.etdrk4 import ETDRK4, linear_part

    pde = PDE(
        Interval(0, 1, periodic=True),
        [Diffusion(0.02), Product(-1.0, "u", "u_x")],
        initial=lambda x: np.sin(2 * np.pi * x[:, 0]),
    )
    model = pde.discretise(100, random_state=0)
    matrix, v = linear_part(model), np.zeros(0)

    def run(n):
        integrator, x = ETDRK4(matrix, 0.2 / n), model.initial_state()
        for _ in range(n):
            x = integrator.step(x, 0.0, lambda s, t: model.derivative(s, v) - matrix @ s)
        return x

    exact = run(256)
    errors = [np.linalg.norm(run(n) - exact) for n in (4, 8, 16)]
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (slopes > 3.6).all()
