"""The chaotic flows, simulated side by side, and their largest Lyapunov exponents.

Exponents are those that `benchmarks.experiments.data.lyapunov` finds (Benettin's method on these very
discretisations): Lorenz-63 0.906(5), Roessler 0.071(1), Lorenz-96 1.69(1), Kuramoto-Sivashinsky 0.0480(7),
Mackey-Glass 0.0051(1). Published: 0.9056 and 0.0714 (Sprott, *Chaos and Time-Series Analysis*, 2003), 1.67 to
1.68, 0.043 to 0.048 on L = 22 (Edson, Bunder, Mattner & Roberts 2019), and 0.005 to 0.007 for tau = 17.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Step = Callable[[Array], Array]


@dataclass(frozen=True)
class Flow:
    """A chaotic system.

    Attributes
    ----------
    step : callable
        States `(n, n_x)` after one sample.
    start : callable
        `start(rng, n)` states near the attractor.
    output : callable
        What is measured of states `(..., n_x)`.
    dt, lyapunov : float
        Sample time and largest exponent, of one unit of time.
    settle : int
        Samples until the attractor is reached.
    ring : bool
        Whether the outputs are the places of a ring with one law for all.
    """

    name: str
    step: Step
    start: Callable[[np.random.Generator, int], Array]
    dt: float
    lyapunov: float
    settle: int = 1000
    output: Callable[[Array], Array] = lambda x: x
    kind: str = "state"
    ring: bool = False

    def simulate(self, x0: Array, n_steps: int) -> Array:
        """Outputs `(n, n_steps + 1, n_y)`."""
        x, found = x0, [self.output(x0)]
        for _ in range(n_steps):
            x = self.step(x)
            found.append(self.output(x))
        return np.stack(found, axis=1)

    def on_attractor(self, rng: np.random.Generator, n: int) -> Array:
        """States after the transient."""
        x = self.start(rng, n)
        for _ in range(self.settle):
            x = self.step(x)
        return x


def runge_kutta(rhs: Callable[[Array], Array], dt: float, substeps: int) -> Step:
    """Classical Runge-Kutta steps of order four."""
    h = dt / substeps

    def step(x: Array) -> Array:
        for _ in range(substeps):
            k1 = rhs(x)
            k2 = rhs(x + 0.5 * h * k1)
            k3 = rhs(x + 0.5 * h * k2)
            k4 = rhs(x + h * k3)
            x = x + h / 6.0 * (k1 + 2.0 * (k2 + k3) + k4)
        return x

    return step


def _lorenz63(s: Array) -> Array:
    a, b, d = s.T
    return np.stack([10.0 * (b - a), a * (28.0 - d) - b, a * b - 8.0 / 3.0 * d], axis=1)


def _roessler(s: Array) -> Array:
    a, b, d = s.T
    return np.stack([-b - d, a + 0.2 * b, 0.2 + d * (a - 5.7)], axis=1)


def _lorenz96(s: Array) -> Array:
    return (np.roll(s, -1, 1) - np.roll(s, 2, 1)) * np.roll(s, 1, 1) - s + 8.0


def repeated(step: Step, times: int) -> Step:
    """Several steps as one."""

    def several(x: Array) -> Array:
        for _ in range(times):
            x = step(x)
        return x

    return several


def kuramoto_sivashinsky(length: float, n: int, dt: float) -> Step:
    """Exponential time differencing of order four (Kassam & Trefethen, SIAM J. Sci. Comput. 26, 2005)."""
    k = 2.0 * np.pi / length * np.fft.rfftfreq(n, 1.0 / n)
    lin = k**2 - k**4
    e, half = np.exp(dt * lin), np.exp(0.5 * dt * lin)
    circle = dt * lin[:, None] + np.exp(1j * np.pi * (np.arange(1, 33) - 0.5) / 32)
    ec = np.exp(circle)
    q = dt * np.mean((np.exp(circle / 2.0) - 1.0) / circle, axis=1).real
    f1 = dt * np.mean((-4.0 - circle + ec * (4.0 - 3.0 * circle + circle**2)) / circle**3, axis=1).real
    f2 = dt * np.mean((2.0 + circle + ec * (-2.0 + circle)) / circle**3, axis=1).real
    f3 = dt * np.mean((-4.0 - 3.0 * circle - circle**2 + ec * (4.0 - circle)) / circle**3, axis=1).real
    g = -0.5j * k

    def nonlinear(v: Array) -> Array:
        return g * np.fft.rfft(np.fft.irfft(v, n) ** 2)

    def step(x: Array) -> Array:
        v = np.fft.rfft(x)
        nv = nonlinear(v)
        a = half * v + q * nv
        na = nonlinear(a)
        b = half * v + q * na
        nb = nonlinear(b)
        c = half * a + q * (2.0 * nb - nv)
        nc = nonlinear(c)
        return np.fft.irfft(e * v + nv * f1 + 2.0 * (na + nb) * f2 + nc * f3, n)

    return step


def mackey_glass(delay: int, substeps: int) -> Step:
    """`x' = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x`, sampled once a unit of time.

    The state is the history, newest first, `substeps` to a sample; what lies between is interpolated.
    """
    h = 1.0 / substeps

    def rhs(x: Array, past: Array) -> Array:
        return 0.2 * past / (1.0 + past**10) - 0.1 * x

    def step(history: Array) -> Array:
        for _ in range(substeps):
            x, old, older = history[:, 0], history[:, -1], history[:, -2]
            middle = 0.5 * (old + older)
            k1 = rhs(x, old)
            k2 = rhs(x + 0.5 * h * k1, middle)
            k3 = rhs(x + 0.5 * h * k2, middle)
            k4 = rhs(x + h * k3, older)
            x = x + h / 6.0 * (k1 + 2.0 * (k2 + k3) + k4)
            history = np.concatenate([x[:, None], history[:, :-1]], axis=1)
        return history

    return step


_MG_STEPS, _TAU = 10, 17
FLOWS = (
    Flow(
        "lorenz63", runge_kutta(_lorenz63, 0.02, 10),
        lambda rng, n: rng.normal(scale=8.0, size=(n, 3)) + np.array([0.0, 0.0, 25.0]), 0.02, 0.9056,
    ),
    Flow(
        "roessler", runge_kutta(_roessler, 0.1, 10), lambda rng, n: rng.uniform(-4.0, 4.0, (n, 3)),
        0.1, 0.0714, 2000,
    ),
    Flow(
        "lorenz96", runge_kutta(_lorenz96, 0.05, 5), lambda rng, n: 8.0 + rng.normal(size=(n, 40)),
        0.05, 1.68, ring=True,
    ),
    Flow(
        "kuramoto_sivashinsky", repeated(kuramoto_sivashinsky(22.0, 64, 0.125), 2),
        lambda rng, n: rng.normal(scale=0.3, size=(n, 64)) @ _smooth(64), 0.25, 0.048, 2000,
        ring=True,
    ),
    Flow(
        "mackey_glass", mackey_glass(_TAU * _MG_STEPS, _MG_STEPS),
        lambda rng, n: 1.2 + 0.2 * rng.uniform(-1.0, 1.0, (n, 1)) * np.ones((1, _TAU * _MG_STEPS + 1)),
        1.0, 0.0051, 1000, lambda x: x[..., :1], "window",
    ),
)  # fmt: skip


def _smooth(n: int) -> Array:
    """Circular mean of neighbours without the mean over all, which the equation keeps."""
    kernel = np.exp(-0.5 * (np.minimum(np.arange(n), n - np.arange(n)) / 3.0) ** 2)
    kernel -= kernel.mean()
    return np.stack([np.roll(kernel, i) for i in range(n)])
