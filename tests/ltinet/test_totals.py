"""Integrals over all time are integrals over all time: nearly defective chains, whose response comes late."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from koopctrl import LTINetwork
from koopctrl.ltinet.judge.decay import instants, kernel_sizes, responses
from koopctrl.ltinet.judge.totals import totals
from tests.ltinet import oracles
from tests.plants_lti import Matrices, chain, diffusion_2d, random_mimo


def tanks(rates: np.ndarray, gain: float = 1.0) -> Matrices:
    """Tanks in series, each filled by the one before; the static gain is `gain`, the impulse response
    positive.
    """
    n = len(rates)
    A = -np.diag(rates) + np.diag(rates[1:], -1)
    return A, np.eye(n)[:, :1] * rates[0], gain * np.eye(n)[-1:], np.zeros((1, 1))


@pytest.mark.parametrize("n", [2, 20, 100])
@pytest.mark.parametrize("spread", [0.0, 1e-9, 1e-3])
@pytest.mark.parametrize("order", [1, -1])
def test_gain_of_equal_tanks_is_one_and_truncation_knows(n: int, spread: float, order: int) -> None:
    rates = 1.0 + spread * np.linspace(-1.0, 1.0, n)
    A, B, C, D = tanks(rates)
    slow = 1e-12
    # beside the tanks a mode that really is negligible
    A = np.block([[A[::order, ::order], np.zeros((n, 1))], [np.zeros((1, n)), np.array([[-3.0]])]])
    model = (A, np.vstack([B[::order], [[slow]]]), np.hstack([C[:, ::order], [[1.0]]]), D)
    net = LTINetwork.from_statespace(model)
    result = net.truncate(1e-2)
    assert result.network.n_states == n
    assert result.error_bound[0] == pytest.approx(slow / 3.0, rel=1e-9)
    kept = [i for i, size in enumerate(map(len, net.blocks)) if size == n]
    if kept:
        # the impulse response is positive, so its integral is the static gain
        assert result.contributions[kept[0]] == pytest.approx(1.0, rel=0.2)
        assert result.contributions[kept[0]] >= 1.0 - 1e-9


def test_the_bound_of_a_hundred_tanks_covers_their_late_error() -> None:
    model = tanks(np.ones(100))
    net = LTINetwork.from_statespace(model)
    h, steps = 2.0, 120
    y = net.simulate(h * np.arange(steps), 1.0).outputs[:, 0]
    with mpmath.workdps(40):
        exact = [float(mpmath.gammainc(100, 0, h * k, regularized=True)) for k in range(steps)]
    bound = net.error_bound(1.0, step=h).total
    assert np.abs(y - exact).max() <= bound[0]
    assert bound[0] < 1e-9


@pytest.mark.parametrize(("n", "omega"), [(15, 3.0), (8, 10.0), (20, 0.5)])
@pytest.mark.parametrize("decades", [0.0, 4.0])
def test_equal_resonators_in_series_are_one_layer_with_a_useful_bound(
    n: int, omega: float, decades: float
) -> None:
    """They hand on at their frequency what they hardly let through elsewhere; a mode beside them goes."""
    A = np.kron(np.eye(n), [[-1.0, omega], [-omega, -1.0]]) + np.kron(np.eye(n, k=-1), np.eye(2))
    A = np.block([[A, np.zeros((2 * n, 1))], [np.zeros((1, 2 * n)), np.array([[-5.0]])]])
    B, C = np.eye(2 * n + 1)[:, :1], np.eye(2 * n + 1)[-3:-2].copy()
    B[-1], C[0, -1] = 1e-9, 1.0
    d = np.exp2(np.round(np.random.default_rng(n).uniform(-decades, decades, 2 * n + 1) / np.log10(2.0)))
    model = (A * d / d[:, None], B / d[:, None], C * d, np.zeros((1, 1)))
    net = LTINetwork.from_statespace(model)
    assert sorted(len(block) for block in net.blocks) == [1, 2 * n]
    result = net.truncate(1e-2)
    assert result.network.n_states == 2 * n
    assert result.error_bound[0] == pytest.approx(1e-9 / 5.0, rel=1e-6)
    h, u = 0.4, np.sign(np.sin(omega * 0.4 * np.arange(80) + 0.1))[:, None]
    t = h * np.arange(80)
    # powers of two change no digit, and the oracle likes even units
    y = net.simulate(t, u).outputs
    exact = oracles.step_exactly((A, B, C, model[3]), t, u, np.zeros(2 * n + 1), "zoh")
    bound = net.error_bound(1.0, step=h).total[0]
    assert np.abs(y - exact).max() <= bound
    assert bound <= 1e-5


def _shifted(model: Matrices) -> Matrices:
    """The same model with its rightmost pole at -0.3."""
    A, B, C, D = model
    return A - (np.linalg.eigvals(A).real.max() + 0.3) * np.eye(len(A)), B, C, D


@pytest.mark.parametrize("seed", range(6))
def test_totals_bound_the_integrals_they_stand_for(seed: int) -> None:
    rng = np.random.default_rng(seed)
    models = [
        _shifted(random_mimo(7, 2, 2, seed)), chain(3, 0.1, 0.05), diffusion_2d(3),
        tanks(10.0 ** rng.uniform(-1, 1, 5)),
    ]  # fmt: skip
    for model in models:
        for method in ("auto", "schur"):
            net = LTINetwork.from_statespace(model, method=method)
            found = totals(net)
            values, V = np.linalg.eig(net.block_matrix().toarray())
            W = np.linalg.inv(V)
            end = 40.0 / np.abs(values.real).min()
            t = np.concatenate([[0.0], np.geomspace(1e-4 / np.abs(values).max(), end, 4000)])
            E = np.real(np.einsum("ij,tj,jk->tik", V, np.exp(np.outer(t, values)), W))
            seen = np.trapezoid(np.abs(net.C @ E), t, axis=0)
            driven = np.trapezoid(np.abs(E @ net.B).sum(axis=2), t, axis=0)
            assert (seen <= found.S * (1 + 1e-3) + 1e-12).all()
            assert (driven <= found.W * (1 + 1e-3) + 1e-12).all()
            assert found.S.max() <= 20 * seen.max()


def test_layers_without_decay_have_no_total_and_a_horizon_gives_one() -> None:
    net = LTINetwork.from_statespace((np.diag([0.0, 1.0]), np.ones((2, 1)), np.eye(2), np.zeros((2, 1))))
    assert np.isinf(totals(net).W).all()
    within = np.sort(totals(net, 2.0).W)
    np.testing.assert_allclose(within, [2.0, np.expm1(2.0)], rtol=1e-12)


@pytest.mark.parametrize("model", [chain(6), diffusion_2d(3), random_mimo(14, 2, 3, 1)])
def test_kernels_all_at_once_are_those_of_the_steps(model: Matrices) -> None:
    net = LTINetwork.from_statespace(model)
    order, values = net.grouped.order, net.eigenvalues
    C, B = net.C[:, order], net.B[order]
    for end in (1e-3, 1.0, -30.0 / values.real.max()):
        steps = list(responses(net.grouped, C, B, values, end, nodes=8))
        t = instants(values, end, 8)
        np.testing.assert_allclose(t, [step[0] for step in steps], rtol=1e-12)
        sizes = np.array([np.linalg.norm(left @ B, axis=1) for _, left, _ in steps])
        np.testing.assert_allclose(kernel_sizes(net.grouped, C, B, t), sizes, atol=1e-13 * sizes.max())
