"""Bounds of models with more than 200 states: held by the worst input there is, and within a decade of it.

Chains of masses and plates have closed forms, evaluated here in extended precision; their entries are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import mpmath
import numpy as np
import pytest

from koopctrl import LTINetwork
from koopctrl.ltinet.judge.known_error import absolute_integral, known_gain, response_gain
from koopctrl.ltinet.powers import exponents
from tests.plants_lti import chain, diffusion_2d, random_mimo

PI = np.longdouble("3.14159265358979323846264338327950288")


@dataclass
class Modes:
    """`y = Re sum c exp(z t) b` in extended precision, of one output and all inputs."""

    z: np.ndarray
    b: np.ndarray  # (m, n_u)
    c: np.ndarray  # (m,)

    def impulse(self, t: np.ndarray) -> np.ndarray:
        """(N, n_u)"""
        parts = [
            np.exp(np.outer(part, self.z)) @ (self.c[:, None] * self.b) for part in np.array_split(t, 50)
        ]
        return np.concatenate(parts).real

    def held(self, u: np.ndarray, h: float) -> np.ndarray:
        """Outputs at the instants, (N,)."""
        step = np.exp(self.z * np.longdouble(h))
        push = ((step - 1) / self.z)[:, None] * self.b
        x, out = np.zeros(len(self.z), dtype=np.clongdouble), []
        for row in u:
            out.append((self.c @ x).real)
            x = step * x + push @ row
        return np.array(out)


def masses(m: int, alpha: float, beta: float) -> Modes:
    """Position of the last mass of `chain(m, alpha, beta)`."""
    k = np.arange(1, m + 1).astype(np.longdouble)
    square = 4 * np.sin(PI * k / (2 * (m + 1))) ** 2
    half = (np.longdouble(alpha) + np.longdouble(beta) * square) / 2
    turn = np.sqrt(square - half**2)
    shape = np.sqrt(np.longdouble(2) / (m + 1)) * np.sin(PI * np.outer([1, m], k) / (m + 1))
    # x'' + 2 half x' + square x = b: exp(-half t) sin(turn t) / turn
    return Modes(-half + 1j * turn, shape[0][:, None] * (1 + 0j), shape[1] / (1j * turn))


def plate(N: int) -> Modes:
    """Average temperature of `diffusion_2d(N)`."""
    k = np.arange(1, N + 1).astype(np.longdouble)
    V = np.sqrt(np.longdouble(2) / (N + 1)) * np.sin(PI * np.outer(k, k) / (N + 1))
    line = -4 * np.longdouble((N + 1) ** 2) * np.sin(PI * k / (2 * (N + 1))) ** 2
    T = np.kron(V, V)
    _, B, C, _ = diffusion_2d(N)
    return Modes((line[:, None] + line).ravel() + 0j, T.T @ B, C[2] @ T)


def weights(net: LTINetwork, output: int) -> Modes:
    """The network's own numbers, taken as they are."""
    z, b, c = [], [], []
    for start, block in zip(net.starts, net.blocks, strict=True):
        M = block.astype(np.longdouble)
        B = net.B[start : start + len(M)].astype(np.clongdouble)
        C = net.C[output, start : start + len(M)].astype(np.clongdouble)
        if len(M) == 1:
            z, b, c = [*z, M[0, 0]], [*b, B[0]], [*c, C[0]]
            continue
        a, J = (M[0, 0] + M[1, 1]) / 2, M - (M[0, 0] + M[1, 1]) / 2 * np.eye(2)
        omega = np.sqrt(-J[0, 1] * J[1, 0] - J[0, 0] ** 2)
        # Re exp(z t) (I - i J / omega) has rank one
        P = np.eye(2) - 1j * J / omega
        z, b, c = [*z, a + 1j * omega], [*b, P[0] @ B], [*c, C[0] + C[1] * P[1, 0] / P[0, 0]]
    return Modes(np.array(z, dtype=np.clongdouble), np.array(b), np.array(c))


# damping in powers of two, so that the entries of the matrices are exact; the first one's error of 1e-14 is
# nothing but rounding, which is a third less on some processors
CASES = {
    "masses, Q 35": (chain(110, 2.0**-6, 2.0**-7), masses(110, 2.0**-6, 2.0**-7), 0, 0.5, 2000, 13.0),
    "masses, Q 500": (chain(120, 2.0**-10, 2.0**-10), masses(120, 2.0**-10, 2.0**-10), 0, 0.5, 12_000, 10.0),
    "plate": (diffusion_2d(15), plate(15), 2, 1e-3, 400, 10.0),
}


@pytest.mark.parametrize("name", CASES)
def test_the_worst_input_comes_within_a_decade_of_the_bound(name: str) -> None:
    model, exact, output, h, steps, factor = CASES[name]
    net = LTINetwork.from_statespace(model)
    t = h * np.arange(steps + 1)
    k = exact.impulse(t + h / 2) - weights(net, output).impulse(t + h / 2)
    reached, (known, covered) = float(np.abs(k).sum()) * h, known_gain(net)
    assert covered.all()
    # what is known of the defects is what there is: the integral of the difference, here by the midpoint rule
    assert 0.95 * reached <= known[output] <= 1.3 * reached
    rng = np.random.default_rng(0)
    worst = np.where(k[::-1] >= 0.0, 1.0, -1.0).astype(float)
    worst = np.vstack([worst[1:], worst[-1:]])
    inputs = [
        worst,
        np.ones_like(worst),
        np.repeat(rng.choice([-1.0, 1.0], worst.shape)[: steps // 8 + 1], 8, 0),
    ]
    error = 0.0
    for u in inputs:
        u = u[: steps + 1]
        y = exact.held(u, h)
        for states in (False, True):
            error = max(error, float(np.abs(net.simulate(t, u, states=states).outputs[:, output] - y).max()))
    for step in (None, h):
        bound = net.error_bound(1.0, step=step).total[output]
        assert error <= bound <= factor * error


@pytest.mark.parametrize("n", [220, 300, 450])
def test_many_equal_neurons_lose_their_digits_all_alike(n: int) -> None:
    """Hundreds of copies of one neuron: nothing is independent, and the bound must not say so.

    A sum of `n` equal terms is rounded the same way again and again, which the bound had left out: it was
    passed by up to a third.
    """
    for rate, gain, share in ((0.3, 0.7, 0.013), (0.11, 1.3, 0.048), (0.7, 0.1, 0.032), (2.0, 1.0, 0.078)):
        model = (-rate * np.eye(n), np.full((n, 1), gain), np.ones((1, n)), np.zeros((1, 1)))
        net = LTINetwork.from_statespace(model)
        h = share / rate
        t, a = h * np.arange(3001), np.longdouble(rate)
        exact = n * np.longdouble(gain) / a * -np.expm1(-a * (h * np.arange(3001).astype(np.longdouble)))
        for states in (False, True):
            y = net.simulate(t, np.ones(3001), states=states).outputs[:, 0]
            assert np.abs(y - exact).max() <= net.error_bound(1.0, step=h).total[0]


@pytest.mark.parametrize("seed", range(4))
def test_integrals_of_sizes_against_a_fine_sum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m = 5
    z = -(10.0 ** rng.uniform(-1, 1, m)) * (1 + 1j * 10.0 ** rng.uniform(-1, 1.5, m))
    r, d = (rng.standard_normal(m) + 1j * rng.standard_normal(m) for _ in range(2))
    t = np.linspace(0.0, 60.0 / np.abs(z.real).min(), 300_001)
    k = np.abs(sum(((r[i] + d[i] * t) * np.exp(z[i] * t)).real for i in range(m)))
    for horizon in (None, 0.05 * t[-1]):
        inside = t <= (horizon or np.inf)
        fine = np.trapezoid(k[inside], t[inside])
        assert fine * (1 - 1e-4) <= absolute_integral(z, r, d, horizon) <= 1.02 * fine


def test_terms_too_fast_to_follow_count_with_their_envelopes() -> None:
    """Eleven decades between a ringing mode and the slowest: an upper bound all the same."""
    z = np.array([-1e-6 + 0j, -1e-3 + 1e5j])
    found = absolute_integral(z, np.array([1e-3 + 0j, 1.0 + 0j]), np.zeros(2, complex))
    assert 1e3 + 2.0 / np.pi * 1e3 <= found * 1.001
    assert found <= 2.0e3 * 1.01


@pytest.mark.parametrize("decay", [1e-31, 1e-14, 1e-5])
def test_modes_that_hardly_decay(decay: float) -> None:
    """`|cos t|` has 2 / pi of its height on the average, and `t |cos t|` half of that times `t`."""
    z, one, end = np.array([-decay + 1j]), np.ones(1, complex), 200.0 * np.pi
    assert absolute_integral(z, one, 0.0 * one, end) == pytest.approx(2.0 / np.pi * end, rel=2e-2)
    assert absolute_integral(z, 0.0 * one, one, end) == pytest.approx(end**2 / np.pi, rel=2e-2)
    whole = absolute_integral(z, one, 0.0 * one)
    assert 2.0 / np.pi / decay * (1 - 1e-3) <= whole <= 1.01 / decay


def test_gains_of_responses_are_their_integrals() -> None:
    for model in (diffusion_2d(5), chain(4, 0.1, 0.2), random_mimo(12, 2, 2, 3)):
        net = LTINetwork.from_statespace(model)
        gain, covered = response_gain(net)
        assert covered.all()
        h = 0.02 / np.abs(net.eigenvalues).max()
        steps = int(30.0 / np.abs(net.eigenvalues.real).min() / h) if len(model[0]) > 12 else 60_000
        t, total = h * np.arange(min(steps, 60_000)), np.zeros(len(model[2]))
        for j in range(model[1].shape[1]):
            y = net.simulate(t, None, model[1][:, j]).outputs
            total += np.trapezoid(np.abs(y), t, axis=0)
        assert (total <= gain * (1 + 1e-3)).all()


def test_exponentials_over_many_turns_are_right_to_the_last_digits() -> None:
    rng = np.random.default_rng(0)
    net = LTINetwork.from_statespace(chain(6, 1e-6, 1e-6))
    grouped, steps = net.grouped, np.array([1.0, 2.0, 64.0, 127.0, 128.0])
    for h in 10.0 ** rng.uniform(-3, 3, 4):
        found = exponents(grouped, float(h))
        powers, first = found.exp(steps), found.phi1()
        with mpmath.workdps(50):
            for i, block in enumerate(grouped.pairs):
                M = [[mpmath.mpf(float(v)) for v in row] for row in block]
                half, gap = (M[0][0] + M[1][1]) / 2, (M[0][0] - M[1][1]) / 2
                z = mpmath.mpc(half, mpmath.sqrt(-M[0][1] * M[1][0] - gap**2)) * mpmath.mpf(float(h))
                for k, power in zip(steps, powers[:, i], strict=True):
                    exact = mpmath.exp(z * int(k))
                    # extended precision keeps 64 bits of the angle
                    size = abs(complex(z)) * k * float(np.finfo(np.longdouble).eps)
                    assert abs(complex(exact) - power) <= (1e-15 + 4.0 * size) * abs(complex(exact))
                one = complex((mpmath.exp(z) - 1) / z)
                size = (1.0 + abs(complex(z))) * float(np.finfo(np.longdouble).eps)
                assert abs(one - first[i]) <= 1e-15 * (1.0 + 2.0 / abs(complex(z))) + 4.0 * size
