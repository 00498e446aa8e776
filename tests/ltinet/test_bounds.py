"""Error bounds hold and are not absurd; truncation and neuron-by-neuron integration keep to theirs."""

from __future__ import annotations

import numpy as np
import pytest

from koopctrl import LTINetwork
from koopctrl.errors import NumericalWarning, OptionError
from tests.ltinet import oracles
from tests.ltinet.test_agreement import horizon, suite_model
from tests.plants_lti import SUITE, Matrices, chain, convection_diffusion_1d, diffusion_2d, random_mimo


def trying_inputs(model: Matrices, t: np.ndarray) -> list[np.ndarray]:
    """Inputs within [-1, 1] that bring out errors: a step, jumps, a square wave at the slowest pole."""
    n_u = model[1].shape[1]
    rng = np.random.default_rng(0)
    values = np.linalg.eigvals(model[0])
    slowest = abs(values.imag[np.argmin(np.abs(values))])
    wave = np.sign(np.cos(slowest * t + 1e-3))[:, None] * np.ones((1, n_u))
    jumps = np.repeat(rng.choice([-1.0, 1.0], (len(t) // 10 + 1, n_u)), 10, axis=0)[: len(t)]
    return [np.ones((len(t), n_u)), wave, jumps]


def looseness(net: LTINetwork, stable: bool) -> float:
    """What the bound may exceed the worst error of a few inputs by.

    A unit in the last place of a frequency is Q units of a response at resonance, and no input of the trial
    brings all modes to resonance at once; a growing system's bound counts every sign alike up to the horizon.
    """
    if not stable:
        return 3000.0
    values = net.eigenvalues
    resonance = float((np.abs(values) / -values.real).max())
    return 300.0 * max(1.0, resonance)


@pytest.mark.parametrize("method", ["auto", "schur"])
@pytest.mark.parametrize("name", SUITE)
def test_errors_stay_below_the_bound_which_is_not_absurd(name: str, method: str) -> None:
    model = suite_model(name)
    net = LTINetwork.from_statespace(model, method=method)
    T = horizon(model[0])
    stable = np.linalg.eigvals(model[0]).real.max() < 0
    t, worst = np.linspace(0, T, 201), np.zeros(len(model[2]))
    for u in trying_inputs(model, t):
        exact = oracles.step_exactly(model, t, u, np.zeros(len(model[0])), "zoh")
        worst = np.maximum(worst, np.abs(net.simulate(t, u).outputs - exact).max(axis=0))
    bound = net.error_bound(1.0, horizon=None if stable else T, step=t[1])
    assert (worst <= bound.total).all()
    assert bound.total.max() <= looseness(net, stable) * worst.max()
    assert not bound.chain.any()
    if not stable:
        assert np.isinf(net.error_bound(1.0).total).all()


def test_the_bound_scales_and_adds_up() -> None:
    net = LTINetwork.from_statespace(random_mimo(8, 2, 2, 1))
    one, ten = net.error_bound(1.0), net.error_bound(10.0)
    np.testing.assert_allclose(ten.total, 10 * one.total)
    with_tol = net.error_bound(1.0, tol=1e-6)
    np.testing.assert_allclose(with_tol.total, with_tol.transformation + with_tol.chain)
    assert (with_tol.chain > 0).all()
    assert (net.error_bound(1.0, x0_bound=1.0).total > one.total).all()
    with pytest.raises(OptionError, match="u_bound"):
        net.error_bound(-1.0)
    with pytest.raises(OptionError, match="tol"):
        net.error_bound(1.0, tol=-1e-3)


def test_the_bound_of_larger_models_holds_too() -> None:
    model = diffusion_2d(15)
    net = LTINetwork.from_statespace(model)
    assert net.defects.local is not None
    t = np.linspace(0, 0.3, 31)
    u = np.ones((31, 3))
    # the exact modal solution of the five-point Laplacian
    N = 15
    k = np.arange(1, N + 1)
    V = np.sqrt(2 / (N + 1)) * np.sin(np.pi * np.outer(k, k) / (N + 1))
    line = -4 * (N + 1) ** 2 * np.sin(np.pi * k / (2 * (N + 1))) ** 2
    poles, T = (line[:, None] + line).ravel(), np.kron(V, V)
    exact = (np.expm1(np.outer(t, poles)) / poles * (T.T @ model[1] @ np.ones(3))) @ (model[2] @ T).T
    error = np.abs(net.simulate(t, u).outputs - exact).max(axis=0)
    assert (error <= net.error_bound(1.0, step=t[1]).total).all()
    assert (net.error_bound(1.0).total < 1e-9).all()


@pytest.mark.parametrize("tol", [1e-6, 1e-3, 1e-1])
@pytest.mark.parametrize("model", [diffusion_2d(7), chain(8, 0.3, 0.2), random_mimo(24, 3, 3, 3)])
def test_truncation_keeps_to_its_bound(model: Matrices, tol: float) -> None:
    net = LTINetwork.from_statespace(model)
    result = net.truncate(tol)
    assert len(result.kept) + len(result.dropped) == len(net.layers)
    assert sum(result.contributions[list(result.dropped)]) <= tol * result.contributions.max()
    small = result.network
    assert np.abs(small.T_inv @ small.T - np.eye(small.n_states)).max() < 1e-10
    t = np.linspace(0, horizon(model[0]), 401)
    for u in trying_inputs(model, t):
        u = u / np.sqrt(u.shape[1])
        change = np.abs(net.simulate(t, u).outputs - small.simulate(t, u).outputs).max(axis=0)
        assert (change <= result.error_bound + 1e-12).all()
    for w in 1j * np.abs(net.eigenvalues[:: max(1, len(net.eigenvalues) // 5)]):
        full, part = (oracles.transfer((n.block_matrix().toarray(), n.B, n.C, n.D), w) for n in (net, small))
        assert (np.linalg.norm(full - part, axis=1) <= result.error_bound + 1e-12).all()
    np.testing.assert_allclose(small.error_bound().left_out, result.error_bound * np.sqrt(net.B.shape[1]))


def test_truncation_never_drops_what_does_not_decay() -> None:
    A, B, C = np.diag([-1.0, 0.0, 2.0, -50.0]), np.array([[1.0], [1e-9], [1e-9], [1.0]]), np.ones((1, 4))
    result = LTINetwork.from_statespace((A, B, C, 0)).truncate(10.0)
    assert sorted(result.network.eigenvalues.real) == [0.0, 2.0]
    assert result.network.truncate(0.0).dropped == ()


@pytest.mark.parametrize("method", ["auto", "schur"])
@pytest.mark.parametrize("model", [diffusion_2d(4), chain(5, 0.2, 0.1), random_mimo(10, 2, 2, 5)])
def test_neuron_by_neuron_integration_is_covered_by_the_chain_term(model: Matrices, method: str) -> None:
    net = LTINetwork.from_statespace(model, method=method)
    t = np.linspace(0, horizon(model[0]), 41)
    u = trying_inputs(model, t)[2]
    x0 = np.random.default_rng(0).standard_normal(len(model[0]))
    exact = net.simulate(t, u, x0).outputs
    coarse, fine = net.simulate_neurons(t, u, x0, tol=1e-3), net.simulate_neurons(t, u, x0, tol=1e-9)
    assert (
        np.abs(coarse.outputs - exact).max(axis=0) <= net.error_bound(1.0, tol=coarse.defects).chain + 1e-12
    ).all()
    assert np.abs(fine.outputs - exact).max() <= 1e-8 * max(np.abs(exact).max(), 1.0)
    assert fine.steps.min() < coarse.steps.min()
    assert fine.states is not None
    np.testing.assert_allclose(fine.states[0], x0, atol=1e-12)


def test_layers_choose_their_own_steps_and_inputs_may_be_functions() -> None:
    net = LTINetwork.from_statespace((np.diag([-1.0, -1e3]), np.ones((2, 1)), np.eye(2), np.zeros((2, 1))))
    t = np.linspace(0, 1, 11)
    response = net.simulate_neurons(t, lambda s: [np.sin(3 * s)], tol=1e-7)
    assert response.steps.max() >= 30 * response.steps.min()
    for i, a in enumerate((1.0, 1e3)):
        exact = (a * np.sin(3 * t) - 3 * np.cos(3 * t) + 3 * np.exp(-a * t)) / (a * a + 9)
        np.testing.assert_allclose(response.outputs[:, i], exact, atol=1e-8)


def test_an_unreachable_tolerance_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from koopctrl.ltinet.simulate import integrate

    net = LTINetwork.from_statespace(convection_diffusion_1d(12, 0.3))
    monkeypatch.setattr(integrate, "_MOST_POINTS", 100)
    with pytest.warns(NumericalWarning, match="use simulate"):
        net.simulate_neurons(np.linspace(0, 0.1, 6), 1.0, tol=1e-14)


def test_a_function_of_time_is_read_once_for_all_layers_and_followed_to_the_tolerance() -> None:
    net = LTINetwork.from_statespace(diffusion_2d(6))
    t, calls = np.linspace(0, 0.3, 61), []

    def u(s: float) -> np.ndarray:
        calls.append(s)
        return np.array([np.sin(40.0 * s), np.exp(-3.0 * s), 1.0 if s < 0.15 else -1.0])

    for tol in (1e-5, 1e-8):
        calls.clear()
        run = net.simulate_neurons(t, u, tol=tol)
        assert len(calls) < 61 * 100
        fine = np.linspace(0, 0.3, 60 * 512 + 1)
        inputs = np.column_stack(
            [np.sin(40.0 * fine), np.exp(-3.0 * fine), np.where(fine < 0.15 - 1e-12, 1.0, -1.0)]
        )
        # the jump lies on an instant, where first-order hold would smear it: that input apart, held
        smooth = net.simulate(fine, inputs * [1.0, 1.0, 0.0], hold="foh").outputs
        jump = net.simulate(fine, inputs * [0.0, 0.0, 1.0], hold="zoh").outputs
        exact = (smooth + jump)[::512]
        assert (
            np.abs(run.outputs - exact).max() <= 10 * tol * np.abs(exact).max() + 1e-7 * np.abs(exact).max()
        )
