"""Balanced reduction: against dense Gramians, Hankel singular values, bounds, and what must be kept."""

from __future__ import annotations

import control
import numpy as np
import pytest
from scipy import sparse
from scipy.linalg import solve_continuous_lyapunov, solve_discrete_lyapunov

from koopctrl import LTINetwork
from koopctrl.errors import OptionError, SolverError
from koopctrl.ltinet.reduce.adi import penzl_shifts, wachspress_shifts
from tests.ltinet.test_discrete import identified
from tests.ltinet.test_totals import tanks
from tests.plants_lti import (
    Matrices,
    boundary_inputs_2d,
    chain,
    convection_diffusion_1d,
    convection_diffusion_2d,
    diffusion_2d,
    laplacian_2d,
    random_mimo,
)


def settled(model: Matrices, rate: float = 0.2) -> Matrices:
    A, B, C, D = model
    return A - (np.linalg.eigvals(A).real.max() + rate) * np.eye(len(A)), B, C, D


MODELS = {
    "plate": diffusion_2d(6),
    "channel": convection_diffusion_1d(30, 0.1),
    "channel with strong flow": convection_diffusion_1d(16, 0.6),
    "plate with flow": convection_diffusion_2d(5, 0.3),
    "masses": chain(12),
    "random": settled(random_mimo(20, 2, 3, 4)),
    "tanks": tanks(np.ones(12)),
}


def axis(net: LTINetwork) -> np.ndarray:
    sizes = np.abs(net.eigenvalues)
    if net.discrete:
        return np.exp(1j * np.linspace(0.0, np.pi, 400))
    w = np.concatenate(
        [[0.0], np.geomspace(1e-3 * sizes.min(), 1e3 * sizes.max(), 400), net.eigenvalues.imag]
    )
    return 1j * w


def worst(net: LTINetwork, other: LTINetwork) -> float:
    points = axis(net)
    gap = net.transfer_function(points) - other.transfer_function(points)
    return float(np.linalg.norm(gap, 2, axis=(1, 2)).max())


def dense_hankel(model: Matrices, discrete: bool = False) -> np.ndarray:
    A, B, C, _ = model
    if discrete:
        P, Q = solve_discrete_lyapunov(A, B @ B.T), solve_discrete_lyapunov(A.T, C.T @ C)
    else:
        P, Q = solve_continuous_lyapunov(A, -B @ B.T), solve_continuous_lyapunov(A.T, -C.T @ C)
    return np.sort(np.sqrt(np.maximum(np.linalg.eigvals(P @ Q).real, 0.0)))[::-1]


@pytest.mark.parametrize("match_dc", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_error_lies_between_the_next_hankel_value_and_the_bound(name: str, match_dc: bool) -> None:
    model = MODELS[name]
    net = LTINetwork.from_statespace(model)
    exact = dense_hankel(model)
    for order in (2, 4, 7):
        small = net.reduce(order, match_dc=match_dc)
        told = small.reduction
        assert small.n_states == told.order == order
        assert small.stable
        known = np.flatnonzero(exact > 1e-4 * exact[0])
        np.testing.assert_allclose(told.hankel[known], exact[known], rtol=1e-4)
        assert told.bound == pytest.approx(2.0 * told.hankel[order:].sum())
        error = worst(net, small)
        # no model of this order is better than the next Hankel singular value
        assert told.hankel[order] * (1 - 1e-2) <= error + 1e-12 * exact[0]
        assert error <= told.bound * (1 + 1e-6) + 1e-12 * exact[0]
        static = net.transfer_function([0.0]), small.transfer_function([0.0])
        if match_dc:
            np.testing.assert_allclose(*static, atol=1e-10 * np.abs(static[0]).max())
        else:
            np.testing.assert_array_equal(small.D, net.D)


@pytest.mark.parametrize("name", ["plate", "masses", "random"])
def test_as_good_as_pythons_control_at_equal_order(name: str) -> None:
    pytest.importorskip("slycot")
    model = MODELS[name]
    net = LTINetwork.from_statespace(model)
    theirs = LTINetwork.from_statespace(control.balred(control.StateSpace(*model), 6, method="truncate"))
    assert worst(net, net.reduce(6, match_dc=False)) <= 1.02 * worst(net, theirs)


@pytest.mark.parametrize("name", MODELS)
def test_the_smallest_order_within_a_tolerance_and_the_peak_of_the_difference(name: str) -> None:
    model = MODELS[name]
    net = LTINetwork.from_statespace(model)
    small = net.reduce(tol=1e-2)
    told = small.reduction
    assert told.bound <= 1e-2 * told.hankel[0]
    assert told.order == 0 or told.bound + 2 * told.hankel[told.order - 1] > 1e-2 * told.hankel[0]
    # inputs that may do anything within [-1, 1] change no output by more than left_out says
    rng = np.random.default_rng(0)
    end = 8.0 / -net.eigenvalues.real.max()
    t = np.linspace(0.0, end, 1201)
    n_u = net.B.shape[1]
    for u in (np.ones((1201, n_u)), np.repeat(rng.choice([-1.0, 1.0], (121, n_u)), 10, axis=0)[:1201]):
        change = np.abs(net.simulate(t, u).outputs - small.simulate(t, u).outputs).max(axis=0)
        assert (change <= small.error_bound(1.0).total * (1 + 1e-9) + 1e-10).all()


def test_a_state_goes_through_the_projection() -> None:
    net = LTINetwork.from_statespace(MODELS["plate"])
    small = net.reduce(8)
    assert np.abs(small.T_inv @ small.T - np.eye(8)).max() <= 1e-9
    t = np.linspace(0, 0.3, 31)
    full = net.simulate(t, 1.0 * np.ones((31, 3)), states=True).states
    part = small.simulate(t, np.ones((31, 3)), states=True).states
    assert np.abs(full - part)[10:].max() <= 2e-2 * np.abs(full).max()


def test_poles_that_are_not_stable_are_kept() -> None:
    rng = np.random.default_rng(0)
    A, B, C, D = random_mimo(14, 2, 2, 5)
    for shift in (0.0, 0.6):
        model = (A + shift * np.eye(14), B, C, D)
        for method in ("auto", "schur"):
            net = LTINetwork.from_statespace(model, method=method)
            unstable = net.eigenvalues[net.eigenvalues.real >= 0.0]
            order = len(unstable) + 6
            small = net.reduce(order)
            assert small.n_states == order
            mine = small.eigenvalues[small.eigenvalues.real >= 0.0]
            np.testing.assert_allclose(np.sort_complex(mine), np.sort_complex(unstable), rtol=1e-8)
            assert small.reduction.kept == len(unstable)
            error = worst(net, small)
            assert error <= small.reduction.bound * (1 + 1e-6)
    integrator = LTINetwork.from_statespace(
        (np.diag([0.0, -1.0, -2.0, -30.0]), np.ones((4, 1)), np.ones((1, 4)), 0)
    )
    small = integrator.reduce(2)
    assert 0.0 in small.eigenvalues.real
    with pytest.raises(OptionError, match="always kept"):
        net.reduce(max(len(unstable) - 1, 0))
    assert rng is not None


@pytest.mark.parametrize("match_dc", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_discrete_networks_stay_discrete(seed: int, match_dc: bool) -> None:
    *model, dt = identified(14, 2, 2, seed, 0.9)
    net = LTINetwork.from_statespace((*model, dt), time="discrete")
    np.testing.assert_allclose(net.reduce(14).reduction.hankel, dense_hankel(tuple(model), True), rtol=1e-5)
    small = net.reduce(6, match_dc=match_dc)
    assert small.discrete
    assert small.dt == dt
    assert small.stable
    assert worst(net, small) <= small.reduction.bound * (1 + 1e-6)
    if match_dc:
        np.testing.assert_allclose(small.transfer_function([1.0]), net.transfer_function([1.0]), rtol=1e-9)


def test_units_of_a_state_change_no_hankel_value() -> None:
    A, B, C, D = MODELS["random"]
    d = 10.0 ** np.random.default_rng(0).uniform(-6, 6, len(A))
    one = LTINetwork.from_statespace((A, B, C, D)).reduce(6)
    two = LTINetwork.from_statespace((A * d / d[:, None], B / d[:, None], C * d, D)).reduce(6)
    np.testing.assert_allclose(one.reduction.hankel[:15], two.reduction.hankel[:15], rtol=1e-8)


@pytest.mark.parametrize("peclet", [0.0, 0.5])
def test_low_rank_gramians_of_a_sparse_model_give_the_dense_answer(peclet: float) -> None:
    N = 14
    flow = sparse.diags_array([-np.ones(N - 1), np.ones(N - 1)], offsets=[1, -1]) * peclet * (N + 1) ** 2
    A = laplacian_2d(N) + sparse.kron(flow, sparse.eye_array(N))
    B, C = boundary_inputs_2d(N)
    B, C = B[:, :2], C[1:]
    net = LTINetwork.from_statespace((A.toarray(), B, C, 0))
    large, small = LTINetwork.from_reduced((A, B, C, 0), 8), net.reduce(8)
    np.testing.assert_allclose(large.reduction.hankel[:12], small.reduction.hankel[:12], rtol=1e-6)
    assert max(large.reduction.residuals) <= 1e-20
    assert worst(net, large) == pytest.approx(worst(net, small), rel=1e-3)
    np.testing.assert_allclose(large.transfer_function([0.0]), net.transfer_function([0.0]), rtol=1e-9)
    x = large.to_states(large.to_neurons(A.diagonal()))
    np.testing.assert_allclose(large.to_neurons(x), large.to_neurons(A.diagonal()), rtol=1e-6)


@pytest.mark.parametrize("N", [40, pytest.param(100, marks=pytest.mark.slow)])
def test_thousands_of_sparse_states(N: int) -> None:
    B, C = boundary_inputs_2d(N)
    A = laplacian_2d(N)
    net = LTINetwork.from_reduced((A, B[:, :1], C[2:], 0), 20)
    assert net.stable
    assert max(net.reduction.residuals) <= 1e-20
    for s in (0.0, 30.0, 1000j):
        M = sparse.csc_array(s * sparse.eye_array(N * N) - A)
        G = (C[2:] @ sparse.linalg.spsolve(M, B[:, 0].astype(M.dtype)))[0]
        assert abs(net.transfer_function([s])[0, 0, 0] - G) <= 1e-11 * abs(
            net.transfer_function([0.0])[0, 0, 0]
        )


def test_shifts() -> None:
    low, high = 1.0, 1e5
    grid = -np.geomspace(low, high, 2000)
    for tol in (1e-8, 1e-16, 1e-24):
        shifts = wachspress_shifts(low, high, tol)
        factor = np.prod([(grid - p) / (grid + p) for p in shifts], axis=0)
        assert (factor**2).max() <= tol
        assert len(shifts) <= 1.4 * np.log(1.0 / tol) + 6
    ritz = np.array([-1.0, -3.0 + 4j, -3.0 - 4j, -100.0])
    chosen = penzl_shifts(ritz, 3)
    assert len(chosen) == 3
    assert (chosen.imag >= 0).all()


def test_refitted_output_weights_are_better_and_keep_to_their_bound() -> None:
    net = LTINetwork.from_statespace(diffusion_2d(8))
    for tol in (0.03, 0.3):
        plain, fitted = net.truncate(tol), net.truncate(tol, refit=True)
        assert plain.kept == fitted.kept
        points = axis(net)
        G = net.transfer_function(points)
        # refitting minimises the energy of the impulse response's error
        t = np.linspace(0, 0.3, 3001)
        energy = [
            np.sum(
                np.abs(net.simulate(t, None, b).outputs - part.network.simulate(t, None, b).outputs)[1:] ** 2
            )
            for part in (plain, fitted)
            for b in [net.T @ net.B[:, 0]]
        ]
        assert energy[1] <= energy[0] * (1 + 1e-9)
        gap = np.linalg.norm(G - fitted.network.transfer_function(points), axis=2).max(axis=0)
        assert (gap <= fitted.error_bound * (1 + 1e-9)).all()


def test_what_is_refused() -> None:
    net = LTINetwork.from_statespace(MODELS["masses"])
    for arguments in ({}, {"order": 2, "tol": 0.1}):
        with pytest.raises(OptionError, match="one of them"):
            net.reduce(**arguments)
    with pytest.raises(OptionError, match="at most"):
        net.reduce(100)
    with pytest.raises(OptionError, match="tol"):
        net.reduce(tol=-1.0)
    with pytest.raises(SolverError, match="not stable"):
        LTINetwork.from_reduced((sparse.eye_array(40), np.ones((40, 1)), np.ones((1, 40)), 0), 2)
    with pytest.raises(OptionError, match="discrete"):
        LTINetwork.from_reduced((0.5 * sparse.eye_array(4), np.ones((4, 1)), np.ones((1, 4)), 0, 0.1), 2)
    assert net.reduce(0).simulate([0.0, 1.0], 1.0).outputs.shape == (2, 2)
