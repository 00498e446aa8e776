"""Equations of `pde.py` with their exact or independent solutions, one function a case.

Every case is `case(seed) -> {"error", "seconds", "states"}`: relative L2 error over all times and points that
are compared, and wall time of sampling, assembling and solving.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import _pde_references as ref
import numpy as np

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
    NonlinearDiffusion,
    Pointwise,
    Polygon,
    Product,
    solve_in_blocks,
)

Array = np.ndarray
Figures = dict[str, Any]
X = np.linspace(0.0, 1.0, 1001)


def relative(found: Array, exact: Array) -> float:
    """Relative L2 error."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def judged(start: float, found: Array, exact: Array, states: int) -> Figures:
    """Figures of a case that began at `start` and whose solving ended before `found` was evaluated."""
    return {"error": relative(found, exact), "seconds": start, "states": states}


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Result and seconds."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def advection(speed: float, seed: int) -> Figures:
    """u_t + speed u_x = 0 on [0, 2 pi), from sin x, to t = 1."""
    pde = PDE(Interval(0, 2 * np.pi, periodic=True), [Advection(speed)], initial=lambda x: np.sin(x[:, 0]))
    s, seconds = timed(lambda: pde.discretise(200, random_state=seed).solve([0.0, 1.0]))
    x = 2 * np.pi * X
    return judged(seconds, s(x)[-1], np.sin(x - speed), s.final.n_states)


def beam(seed: int) -> Figures:
    """u_tt + u_xxxx = f on [0, pi], simply supported, u = sin x cos 4 pi t."""
    pde = PDE(
        Interval(0, np.pi), [Derivative("u_xxxx", -1.0)], [Dirichlet(), Condition("all", "u_xx")], order=2,
        initial=lambda x: np.sin(x[:, 0]),
        forcing=lambda x, t: (1 - 16 * np.pi**2) * np.sin(x[:, 0]) * np.cos(4 * np.pi * t),
    )  # fmt: skip
    s, seconds = timed(lambda: pde.discretise(200, random_state=seed).solve(np.linspace(0, 1, 11)))
    exact = np.sin(np.pi * X) * np.cos(4 * np.pi * s.t[:, None])
    return judged(seconds, s(np.pi * X), exact, s.final.n_states)


def wave(seed: int) -> Figures:
    """u_tt = 4 u_xx on [0, 1], u = sin(pi x) cos(2 pi t) + 0.5 sin(4 pi x) cos(8 pi t)."""
    pde = PDE(
        Interval(0, 1), [Diffusion(4.0)], [Dirichlet()], order=2,
        initial=lambda x: np.sin(np.pi * x[:, 0]) + 0.5 * np.sin(4 * np.pi * x[:, 0]),
    )  # fmt: skip
    s, seconds = timed(
        lambda: pde.discretise(300, pair_distance=0.05, random_state=seed).solve(np.linspace(0, 1, 11))
    )
    t = s.t[:, None]
    exact = np.sin(np.pi * X) * np.cos(2 * np.pi * t) + 0.5 * np.sin(4 * np.pi * X) * np.cos(8 * np.pi * t)
    return judged(seconds, s(X), exact, s.final.n_states)


NU = 0.01 / np.pi
TIMES = np.linspace(0.0, 1.0, 11)


@lru_cache
def shock_exact() -> tuple[Array, Array]:
    """Points, and Cole and Hopf's solution on them at all times."""
    x = np.linspace(-1, 1, 2001)
    return x, np.array([ref.cole_hopf(x, t, NU) for t in TIMES])


def shock(fine: bool, seed: int) -> Figures:
    """u_t + u u_x = 0.01 / pi u_xx on [-1, 1], zero ends, from -sin pi x, to t = 1."""
    pde = PDE(
        Interval(-1, 1), [Diffusion(NU), Product(-1.0, "u", "u_x")], [Dirichlet()],
        initial=lambda x: -np.sin(np.pi * x[:, 0]),
    )  # fmt: skip
    rough = {"n_features": 300, "n_panels": 40, "pair_distance": 0.04, "method": "bdf", "rtol": 1e-5}
    careful = {"blocks": 3, "n_panels": 60, "pair_distance": 0.05, "method": "radau"}
    s, seconds = timed(lambda: solve_in_blocks(pde, TIMES, random_state=seed, **(careful if fine else rough)))
    x, exact = shock_exact()
    return judged(seconds, s(x), exact, max(m.n_states for m in s.models))


def _circle(centre: tuple[float, float], radius: float) -> Array:
    angle = 2 * np.pi * np.arange(24) / 24
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], axis=1)


def holes(seed: int) -> Figures:
    """u_t = div((1 + u^2) grad u) + f on the unit square without two 24-gons, u = exp(-t) sin(x + 2 y), to t
    = 1.
    """
    domain = Polygon([[0, 0], [1, 0], [1, 1], [0, 1]], [_circle((0.3, 0.3), 0.1), _circle((0.7, 0.6), 0.15)])

    def u(x: Array, t: float) -> Array:
        return np.exp(-t) * np.sin(x[:, 0] + 2 * x[:, 1])

    def forcing(x: Array, t: float) -> Array:
        value, slope = u(x, t), np.exp(-t) * np.cos(x[:, 0] + 2 * x[:, 1])
        return -value - ((1 + value**2) * (-5 * value) + 2 * value * 5 * slope**2)

    pde = PDE(
        domain, [NonlinearDiffusion(lambda u: 1 + u**2, lambda u: 2 * u)], [Dirichlet("all", u)],
        lambda x: u(x, 0.0), forcing=forcing,
    )  # fmt: skip
    s, seconds = timed(
        lambda: pde.discretise(
            400, pair_distance=0.3, n_points=4000, boundary_tolerance=1e-6, random_state=seed
        ).solve([0.0, 0.5, 1.0], method="radau")
    )
    points = np.random.default_rng(99).uniform(size=(2000, 2))
    points = points[domain.contains(points)]
    return judged(seconds, s(points), np.array([u(points, t) for t in s.t]), s.final.n_states)


def reaction(seed: int) -> Figures:
    """u_t = 0.1 lap u + u - u^3 + f on [-1, 1]^5, u = exp(-t) sin(pi x0) cos(x0 + x1), to t = 1.

    That it varies in two directions is found from the data (`directions="data"`).
    """

    def u(x: Array, t: float) -> Array:
        return np.exp(-t) * np.sin(np.pi * x[:, 0]) * np.cos(x[:, 0] + x[:, 1])

    def forcing(x: Array, t: float) -> Array:
        s, c = np.sin(np.pi * x[:, 0]), np.cos(np.pi * x[:, 0])
        cc, ss = np.cos(x[:, 0] + x[:, 1]), np.sin(x[:, 0] + x[:, 1])
        laplacian = -(np.pi**2) * s * cc - 2 * np.pi * c * ss - 2 * s * cc
        value = np.exp(-t) * s * cc
        return -2 * value + value**3 - 0.1 * np.exp(-t) * laplacian

    pde = PDE(
        Box(-np.ones(5), np.ones(5)), [Diffusion(0.1), Pointwise(lambda u: u - u**3)], [Dirichlet("all", u)],
        lambda x: u(x, 0.0), forcing=forcing,
    )  # fmt: skip
    s, seconds = timed(
        lambda: pde.discretise(
            200, pair_distance=0.3, n_points=2000, cut=1e-8, directions="data", random_state=seed
        ).solve([0.0, 0.5, 1.0], method="radau", rtol=1e-6)
    )
    points = np.random.default_rng(99).uniform(-1, 1, (2000, 5))
    return judged(seconds, s(points), np.array([u(points, t) for t in s.t]), s.final.n_states)


def heat(dim: int, directions: str, seed: int) -> Figures:
    """u_t = lap u in the unit ball of many dimensions, u = |x|^2 / dim + 2 t, to t = 1."""

    def u(x: Array, t: float) -> Array:
        return np.sum(x**2, axis=1) / dim + 2 * t

    pde = PDE(Ball(np.zeros(dim)), [Diffusion(1.0)], [Dirichlet("all", u)], lambda x: u(x, 0.0))
    width = 300 if directions == "any" else max(100, 6 * dim)
    cut = 1e-6 if directions == "any" else 1e-8
    s, seconds = timed(
        lambda: pde.discretise(
            width, pair_distance=10.0, n_points=1500, cut=cut,
            directions=directions, random_state=seed,
        ).solve([0.0, 0.5, 1.0], rtol=1e-6)
    )  # fmt: skip
    points = pde.domain.quadrature(2000, np.random.default_rng(99)).points
    return judged(seconds, s(points), np.array([u(points, t) for t in s.t]), s.final.n_states)


LENGTH = 32 * np.pi


def _wrinkle(x: Array) -> Array:
    return np.cos(x / 16) * (1 + np.sin(x / 16))


@lru_cache
def flame_reference(t: float) -> tuple[Array, Array]:
    """512 modes, steps of 1/800."""
    solver = ref.Pseudospectral(LENGTH, 512, lambda k: k**2 - k**4, 1 / 800)
    return solver.x, solver.run(_wrinkle(solver.x), round(800 * t))


def flame(t: float, seed: int) -> Figures:
    """Kuramoto-Sivashinsky on [0, 32 pi), from cos(x/16) (1 + sin(x/16))."""
    pde = PDE(
        Interval(0, LENGTH, periodic=True),
        [Derivative("u_xx", -1.0), Derivative("u_xxxx", -1.0), Product(-1.0, "u", "u_x")],
        initial=lambda x: _wrinkle(x[:, 0]),
    )
    s, seconds = timed(
        lambda: pde.discretise(400, pair_distance=0.02, random_state=seed).solve([0.0, t], rtol=1e-8)
    )
    x, exact = flame_reference(t)
    return judged(seconds, s(x)[-1], exact, s.final.n_states)


CASES: dict[str, tuple[Callable[[int], Figures], float, str]] = {
    "advection, speed 40": (lambda s: advection(40.0, s), 1e-7, "8.4e-9, 0.7 s"),
    "advection, speed 1e4": (lambda s: advection(1e4, s), 1e-5, "1e-6"),
    "Euler-Bernoulli beam": (beam, 1e-7, "9.3e-9, 6.9 s"),
    "wave, two scales": (wave, 1e-6, "1.8e-6, 0.56 s"),
    "Burgers shock, rough": (lambda s: shock(False, s), 1e-3, "1.0e-3, 0.52 s"),
    "Burgers shock, fine": (lambda s: shock(True, s), 1e-6, "2.3e-7, 5.3 s"),
    "nonlinear diffusion around holes": (holes, 1e-5, "6.5e-8, 61 s"),
    "reaction-diffusion, 5 dimensions": (reaction, 1e-3, "1.0e-4"),
    "heat, 10 dimensions": (lambda s: heat(10, "axes", s), 1e-3, "4.4e-4"),
    "heat, 10 dimensions, any directions": (lambda s: heat(10, "any", s), 1e-3, "4.4e-4"),
    "heat, 100 dimensions": (lambda s: heat(100, "axes", s), 1e-3, "4.1e-4, 0.13 s"),
    "Kuramoto-Sivashinsky, t = 5": (lambda s: flame(5.0, s), 1e-4, "6.9 s"),
    "Kuramoto-Sivashinsky, t = 50": (lambda s: flame(50.0, s), float("nan"), ""),
}
