"""Exact simulation: holds, grids, batches, chunks, long runs, overflow."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from koopctrl import LTINetwork
from koopctrl.errors import DataError, OptionError, ShapeError, SolverError, TimeBaseError
from koopctrl.ltinet.grouped import phi1, phi2
from koopctrl.ltinet.simulate import exact as engine
from tests.ltinet import oracles
from tests.plants_lti import chain, companion, diffusion_2d, jordan, random_mimo

BLOCKS = {
    "first order": diffusion_2d(3),
    "second order": chain(4),
    "mixed": random_mimo(9, 2, 2, 8),
    "Jordan": jordan(4),
    "double poles": companion(np.array([-1.0, -1.0, -2.0, -2.0, -0.5 + 1j, -0.5 - 1j])),
}


@pytest.mark.parametrize("hold", ["zoh", "foh"])
@pytest.mark.parametrize("steps", [1, 2, 5, 127, 128, 129, 700])
@pytest.mark.parametrize("name", BLOCKS)
def test_any_number_of_steps(name: str, steps: int, hold: str) -> None:
    model = BLOCKS[name]
    n, m = model[1].shape
    net = LTINetwork.from_statespace(model)
    rng = np.random.default_rng(steps)
    h = 0.7 / np.abs(net.eigenvalues).max()
    t, u, x0 = 1.5 + h * np.arange(steps + 1), rng.standard_normal((steps + 1, m)), rng.standard_normal(n)
    reference = oracles.step_exactly(model, t, u, x0, hold)
    limit = 1e-12 * net.cond * max(np.abs(reference).max(), 1.0)
    fast, slow = net.simulate(t, u, x0, hold=hold), net.simulate(t, u, x0, hold=hold, states=True)
    assert np.abs(fast.outputs - reference).max() <= limit
    assert np.abs(slow.outputs - reference).max() <= limit
    assert slow.states is not None
    assert slow.states.shape == (steps + 1, n)
    np.testing.assert_allclose(slow.states @ model[2].T + u @ model[3].T, reference, atol=limit)


def test_against_fifty_digits() -> None:
    A = np.array([[-1.0, 1.0, 0.0], [0.0, -1.0, 1e-3], [0.0, 0.0, -200.0]])
    B, C = np.array([[0.0], [0.0], [1.0]]), np.array([[1.0, 2.0, 3.0]])
    h, steps = 0.05, 12
    u = np.array([1.0, -2.0, 0.5] * 5)[: steps + 1]
    with mpmath.workdps(50):
        M = mpmath.zeros(4)
        for i in range(3):
            for j in range(3):
                M[i, j] = mpmath.mpf(float(A[i, j]))
            M[i, 3] = mpmath.mpf(float(B[i, 0]))
        E = mpmath.expm(M * mpmath.mpf(h))
        x, exact = mpmath.matrix([0, 0, 0]), []
        for k in range(steps + 1):
            exact.append(float(sum(float(C[0, i]) * x[i] for i in range(3))))
            x = mpmath.matrix(
                [sum(E[i, j] * x[j] for j in range(3)) + E[i, 3] * float(u[k]) for i in range(3)]
            )
    for method in ("auto", "schur"):
        net = LTINetwork.from_statespace((A, B, C, 0), method=method)
        y = net.simulate(h * np.arange(steps + 1), u).outputs[:, 0]
        # t = k h in float64 is uniform to rounding only
        np.testing.assert_allclose(y, exact, rtol=1e-13 * net.cond, atol=1e-16)


def test_held_inputs_may_jump_and_the_last_one_may_be_left_out() -> None:
    net = LTINetwork.from_statespace(([[-1.0]], [[1.0]], [[1.0]], [[0.5]]))
    t, u = np.linspace(0, 2, 5), np.array([1.0, 0.0, -3.0, 2.0])
    y = net.simulate(t, u).outputs[:, 0]
    a, x = np.exp(-0.5), 0.0
    for k in range(4):
        assert y[k] == pytest.approx(x + 0.5 * u[k], rel=1e-14, abs=1e-15)
        x = a * x + (1 - a) * u[k]
    assert y[4] == pytest.approx(x + 0.5 * u[3], rel=1e-14)
    np.testing.assert_array_equal(net.simulate(t, [*u, 7.0]).outputs[:4, 0], y[:4])


def test_batches_are_independent_runs() -> None:
    model = BLOCKS["mixed"]
    net = LTINetwork.from_statespace(model)
    rng = np.random.default_rng(0)
    t, u, x0 = 0.1 * np.arange(301), rng.standard_normal((4, 301, 2)), rng.standard_normal((4, 9))
    together = net.simulate(t, u, x0, states=True)
    assert together.outputs.shape == (4, 301, 2)
    for i in range(4):
        alone = net.simulate(t, u[i], x0[i])
        np.testing.assert_allclose(together.outputs[i], alone.outputs, atol=1e-12)
        np.testing.assert_allclose(net.simulate(t, u, x0).outputs[i], alone.outputs, atol=1e-12)


def test_memory_bounded_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    net = LTINetwork.from_statespace(BLOCKS["mixed"])
    t, u = 0.1 * np.arange(2001), np.random.default_rng(0).standard_normal((2001, 2))
    whole = net.simulate(t, u).outputs
    monkeypatch.setattr(engine, "_TABLE", 400)
    np.testing.assert_allclose(net.simulate(t, u).outputs, whole, atol=1e-12)


def test_inputs_are_not_touched() -> None:
    net = LTINetwork.from_statespace(BLOCKS["mixed"])
    t, u, x0 = 0.1 * np.arange(20), np.ones((20, 2)), np.ones(9)
    for states in (False, True):
        net.simulate(t, u, x0, states=states)
    assert (u == 1.0).all()
    assert (x0 == 1.0).all()
    np.testing.assert_array_equal(t, 0.1 * np.arange(20))


@pytest.mark.parametrize("hold", ["zoh", "foh"])
def test_stiff_and_slow_together(hold: str) -> None:
    """Poles from 1e-9 to 1e6 per second: phi functions must be right at both ends."""
    poles = -np.array([0.0, 1e-9, 1e-4, 1.0, 1e3, 1e6])
    net = LTINetwork.from_statespace((np.diag(poles), np.ones((6, 1)), np.eye(6), np.zeros((6, 1))))
    t = np.linspace(0.0, 1.0, 1001)
    y = net.simulate(t, np.ones(1001), hold=hold).outputs
    with np.errstate(invalid="ignore", divide="ignore"):
        exact = np.where(poles == 0.0, t[:, None], np.expm1(np.outer(t, poles)) / poles)
    np.testing.assert_allclose(
        y[1:], exact[1:][:, net.T.argmax(axis=0)] @ net.T.T if False else exact[1:], rtol=2e-12
    )


def test_phi_functions_against_mpmath() -> None:
    z = np.array(
        [0.0, 1e-300, -1e-9, 1e-3, -0.5, 0.999, 1.001, -30.0, 5.0, 1e-5 + 0.1j, -2.0 + 7.0j, 0.9j], complex
    )
    with mpmath.workdps(60):
        for k, function in ((1, phi1), (2, phi2)):
            exact = []
            for value in z:
                w = mpmath.mpc(value)
                series = mpmath.nsum(
                    lambda j, w=w, k=k: w**j / mpmath.factorial(j + k), [0, 150], method="direct"
                )
                exact.append(complex(series))
            np.testing.assert_allclose(function(z), exact, rtol=1e-14)


def test_an_unstable_run_that_overflows_says_when() -> None:
    net = LTINetwork.from_statespace(([[5.0]], [[1.0]], [[1.0]], 0))
    assert net.simulate(np.linspace(0, 100, 1001), 1.0).outputs[-1, 0] == pytest.approx(
        np.expm1(500.0) / 5, rel=1e-11
    )
    for states in (False, True):
        with pytest.raises(SolverError, match="unstable"):
            net.simulate(np.linspace(0, 200, 1001), 1.0, states=states)


def test_what_is_refused() -> None:
    net = LTINetwork.from_statespace(BLOCKS["mixed"])
    t = np.linspace(0, 1, 11)
    with pytest.raises(TimeBaseError, match="uniform"):
        net.simulate(t**2, np.ones((11, 2)))
    with pytest.raises(ShapeError, match="11 instants"):
        net.simulate(t, np.ones((9, 2)))
    with pytest.raises(ShapeError, match="expected 11"):
        net.simulate(t, np.ones((10, 2)), hold="foh")
    with pytest.raises(ShapeError, match="u has shape"):
        net.simulate(t, np.ones((11, 3)))
    with pytest.raises(ShapeError, match="x0"):
        net.simulate(t, None, np.ones(3))
    with pytest.raises(DataError, match="NaN"):
        net.simulate(t, np.full((11, 2), np.nan))
    with pytest.raises(OptionError, match="hold"):
        net.simulate(t, None, hold="linear")
    with pytest.raises(ShapeError, match="two instants"):
        net.simulate([0.0])
