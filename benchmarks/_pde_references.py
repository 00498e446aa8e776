"""Independent solutions of the equations in `pde.py`: series and quadrature, FFT, finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse
from scipy.integrate import solve_ivp

Array = np.ndarray


def cole_hopf(x: Array, t: float, nu: float) -> Array:
    """Burgers from `-sin(pi x)`, by 200-point Gauss-Hermite quadrature of the heat kernel."""
    if t == 0.0:
        return -np.sin(np.pi * x)
    nodes, weights = np.polynomial.hermite.hermgauss(200)
    y = x[:, None] - np.sqrt(4.0 * nu * t) * nodes
    exponent = -np.cos(np.pi * y) / (2.0 * np.pi * nu)
    f = np.exp(exponent - exponent.max(axis=1, keepdims=True)) * weights
    return -(np.sin(np.pi * y) * f).sum(axis=1) / f.sum(axis=1)


class Pseudospectral:
    """`u_t = linear(k) u - speed u u_x` on a circle, ETDRK4 with contour integrals, 2/3 rule.

    Kassam, Trefethen, *Fourth-order time-stepping for stiff PDEs*, SIAM J. Sci. Comput. 26, 2005.
    """

    def __init__(self, length: float, n: int, linear: Callable[[Array], Array], h: float) -> None:
        self.x = length * np.arange(n) / n
        k = 2.0 * np.pi / length * np.fft.rfftfreq(n, 1.0 / n)
        symbol = np.asarray(linear(k), dtype=complex)
        # A whole circle of points: the symbol may be imaginary.
        circle = np.exp(2j * np.pi * (np.arange(64) + 0.5) / 64)
        z = h * symbol[:, None] + circle
        e = np.exp(z)
        self.whole, self.half = np.exp(h * symbol), np.exp(0.5 * h * symbol)
        self.q = h * np.mean((np.exp(z / 2) - 1) / z, axis=1)
        self.f1 = h * np.mean((-4 - z + e * (4 - 3 * z + z**2)) / z**3, axis=1)
        self.f2 = h * np.mean((2 + z + e * (z - 2)) / z**3, axis=1)
        self.f3 = h * np.mean((-4 - 3 * z - z**2 + e * (4 - z)) / z**3, axis=1)
        self.push, self.n = -0.5j * k, n
        self.keep = np.arange(len(k)) <= n // 3

    def run(self, u: Array, n_steps: int, force: Array | float = 0.0) -> Array:
        """Field after steps under a constant force on the grid."""
        added = np.fft.rfft(np.broadcast_to(force, self.n))

        def rest(v: Array) -> Array:
            return self.push * np.fft.rfft(np.fft.irfft(v * self.keep, self.n) ** 2) * self.keep + added

        v = np.fft.rfft(u)
        for _ in range(n_steps):
            n0 = rest(v)
            a = self.half * v + self.q * n0
            na = rest(a)
            b = self.half * v + self.q * na
            nb = rest(b)
            c = self.half * a + self.q * (2 * nb - n0)
            v = self.whole * v + self.f1 * n0 + 2 * self.f2 * (na + nb) + self.f3 * rest(c)
        return np.fft.irfft(v, self.n)


def burgers_by_differences(n: int, nu: float, t: Array, rtol: float) -> tuple[Array, Array]:
    """Burgers from `-sin(pi x)` with zero ends: central differences in conservative form, BDF."""
    x = np.linspace(-1.0, 1.0, n + 2)
    h = x[1] - x[0]
    pattern = sparse.diags_array([np.ones(n - 1), np.ones(n), np.ones(n - 1)], offsets=[-1, 0, 1])

    def slope(_: float, u: Array) -> Array:
        w = np.concatenate([[0.0], u, [0.0]])
        flux = 0.5 * w**2
        return -(flux[2:] - flux[:-2]) / (2 * h) + nu * (w[2:] - 2 * w[1:-1] + w[:-2]) / h**2

    found = solve_ivp(
        slope, (t[0], t[-1]), -np.sin(np.pi * x[1:-1]), method="BDF", t_eval=t, rtol=rtol, atol=rtol * 1e-3,
        jac_sparsity=pattern,
    )  # fmt: skip
    return x, np.pad(found.y.T, ((0, 0), (1, 1)))


def advection_by_differences(n: int, speed: float, t: float) -> tuple[Array, Array]:
    """Periodic advection of `sin x`: fourth-order central differences, explicit Runge-Kutta of order 8."""
    x = 2.0 * np.pi * np.arange(n) / n
    h = x[1]

    def slope(_: float, u: Array) -> Array:
        return -speed * (8 * (np.roll(u, -1) - np.roll(u, 1)) - np.roll(u, -2) + np.roll(u, 2)) / (12 * h)

    return x, solve_ivp(slope, (0.0, t), np.sin(x), method="DOP853", rtol=1e-9, atol=1e-11).y[:, -1]


def plate_by_volumes(n: int, conductivity: float, loss: float) -> tuple[sparse.csc_array, Array, Array]:
    """Finite volumes of the unit square with losses and a heater along each edge: `(A, B, centres)`."""
    h = 1.0 / n
    line = sparse.diags_array([np.ones(n - 1), -2.0 * np.ones(n), np.ones(n - 1)], offsets=[-1, 0, 1]).tolil()
    ghost = (1.0 - 0.5 * loss * h) / (1.0 + 0.5 * loss * h)
    line[0, 0] += ghost
    line[-1, -1] += ghost
    line = sparse.csr_array(line) / h**2
    eye = sparse.eye_array(n)
    a = conductivity * (sparse.kron(line, eye) + sparse.kron(eye, line))
    b = np.zeros((n, n, 4))
    b[0, :, 0] = b[-1, :, 1] = b[:, 0, 2] = b[:, -1, 3] = conductivity / h / (1.0 + 0.5 * loss * h)
    centres = (np.arange(n) + 0.5) * h
    return sparse.csc_array(a), b.reshape(n * n, 4), centres
