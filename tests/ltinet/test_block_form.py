"""Block forms: structure, conditioning, and what keeps eigenvalues together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.linalg import block_diag, schur

from koopctrl.errors import DataError, OptionError, ShapeError
from koopctrl.ltinet import LTINetwork, block_form
from koopctrl.ltinet.construct.residuals import cancelling_product
from koopctrl.ltinet.construct.splitting import separate, sylvester
from koopctrl.ltinet.quasi_triangular import quasi_eigenvalues, quasi_starts
from tests.ltinet import oracles
from tests.plants_lti import SUITE, chain, convection_diffusion_1d, diffusion_2d, jordan, random_mimo


@pytest.mark.parametrize("method", ["auto", "schur"])
@pytest.mark.parametrize("name", SUITE)
def test_block_form_is_a_similarity(name: str, method: str) -> None:
    A = SUITE[name]()[0]
    before = A.copy()
    form = block_form(A, method=method)
    assert np.array_equal(A, before)
    assert form.cond <= 1e8
    assert form.residual <= 1e-13
    assert np.linalg.norm(A @ form.T - form.T @ block_diag(*form.blocks)) <= 1e-13 * len(A) * np.linalg.norm(
        A
    )
    assert np.abs(form.T @ form.T_inv - np.eye(len(A))).max() <= 10 * form.cond * len(A) * oracles.EPS
    assert np.linalg.cond(form.T) == pytest.approx(form.cond, rel=1e-3)
    assert sum(form.sizes) == len(A)
    for block in form.blocks:
        assert np.array_equal(np.tril(block, -2), np.zeros_like(block))


@pytest.mark.parametrize("N", [8, 14, 20])
def test_diffusion_falls_apart_into_first_order_neurons(N: int) -> None:
    net = LTINetwork.from_statespace(diffusion_2d(N))
    assert len(net.blocks) == net.n_neurons == N * N
    assert {len(block) for block in net.blocks} == {1}
    assert abs(net.cond - 1.0) <= 1e-10
    k = np.arange(1, N + 1)
    line = -4 * (N + 1) ** 2 * np.sin(np.pi * k / (2 * (N + 1))) ** 2
    exact = np.sort((line[:, None] + line).ravel())
    np.testing.assert_allclose(np.sort(net.eigenvalues.real), exact, rtol=1e-11)


@pytest.mark.parametrize("m", [2, 10, 60])
def test_proportionally_damped_chain_becomes_oscillators(m: int) -> None:
    net = LTINetwork.from_statespace(chain(m))
    summary = net.summary()
    assert (summary.first_order, summary.second_order, summary.n_layers) == (0, m, m)
    assert net.cond < 1.01
    stiffness = 4 * np.sin(np.pi * np.arange(1, m + 1) / (2 * (m + 1))) ** 2
    frequencies = np.array([layer.neurons[0].natural_frequency for layer in net.layers])
    dampings = np.array([layer.neurons[0].damping for layer in net.layers])
    order = np.argsort(frequencies)
    np.testing.assert_allclose(frequencies[order], np.sqrt(stiffness), rtol=1e-10)
    np.testing.assert_allclose(
        dampings[order], (0.02 + 0.01 * stiffness) / (2 * np.sqrt(stiffness)), rtol=1e-8
    )


def test_balancing_equalises_couplings_and_its_cost_is_reported() -> None:
    model = chain(12)
    plain, balanced = (LTINetwork.from_statespace(model, balance=b) for b in (False, True))
    for block in balanced.blocks:
        assert abs(block[0, 1]) == pytest.approx(abs(block[1, 0]), rel=1e-12)
    assert balanced.cond > 2 * plain.cond
    assert balanced.cond == pytest.approx(np.linalg.cond(balanced.T), rel=1e-6)


@pytest.mark.parametrize("n", [2, 5, 12])
def test_a_jordan_block_stays_one_layer_and_says_why(n: int) -> None:
    form = block_form(jordan(n)[0])
    assert form.sizes == (n,)
    assert form.cond == 1.0
    assert form.merges
    assert "-1" in form.merges[0].reason
    assert form.merges[0].needed > form.merges[0].bound


def test_separate_jordan_blocks_become_separate_layers() -> None:
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.standard_normal((9, 9)))[0] @ np.diag(np.linspace(1, 3, 9))
    A = X @ block_diag(jordan(3, -1.0)[0], jordan(4, -5.0)[0], [[0.0, 2.0], [-2.0, 0.0]]) @ np.linalg.inv(X)
    form = block_form(A, cond_max=1e4)
    assert sorted(form.sizes) == [2, 3, 4]
    assert form.cond <= 1e4
    members = {merge.layer for merge in form.merges}
    assert members == {i for i, size in enumerate(form.sizes) if size > 2}


def test_convection_diffusion_keeps_what_cannot_be_split() -> None:
    """At cell Peclet number 0.5 eigenvectors are useless, though all eigenvalues are real and distinct."""
    model = convection_diffusion_1d(60, 0.5)
    points = oracles.random_points(model[0], 20)
    reference = np.array([oracles.transfer(model, s) for s in points])

    def error(net: LTINetwork) -> float:
        mine = (net.block_matrix().toarray(), net.B, net.C, net.D)
        return oracles.relative(np.array([oracles.transfer(mine, s) for s in points]), reference)

    net = LTINetwork.from_statespace(model)
    assert error(net) < 1e-12
    reckless = block_form(model[0], cond_max=1e17)
    assert len(reckless.blocks) == 60
    blocks, (_, B, C, D) = np.diag(reckless.eigenvalues.real), model
    raw = np.array([oracles.transfer((blocks, reckless.T_inv @ B, C @ reckless.T, D), s) for s in points])
    assert oracles.relative(raw, reference) > 1e-6
    # a network is never built of it: layers that refinement cannot tell apart are merged
    assert error(LTINetwork.from_statespace(model, cond_max=1e17)) < 1e-6


def test_a_tighter_bound_gives_fewer_larger_layers() -> None:
    A = convection_diffusion_1d(40, 0.12)[0]
    counts = [len(block_form(A, cond_max=c).blocks) for c in (1e1, 1e3, 1e6)]
    assert counts[0] <= counts[1] <= counts[2] == 40
    assert counts[0] < 40


@pytest.mark.parametrize(("seed", "cond_max"), [(0, 1e8), (1, 1e4), (2, 30.0), (3, 10.0)])
def test_no_fewer_blocks_than_slycot(seed: int, cond_max: float) -> None:
    control = pytest.importorskip("control")
    pytest.importorskip("slycot")
    A = random_mimo(80, 1, 1, seed)[0]
    form = block_form(A, cond_max=cond_max)
    _, _, theirs = control.bdschur(A, condmax=cond_max)
    assert len(form.blocks) >= 0.95 * len(theirs)
    assert form.cond <= cond_max


def test_merging_splits_where_all_or_nothing_would_keep_one_layer() -> None:
    """Just beyond the Peclet number at which complete splitting breaks the bound."""
    A = convection_diffusion_1d(60, 0.32)[0]
    form = block_form(A)
    assert form.method == "clustered"
    assert len(form.blocks) >= 30
    assert form.cond <= 1e8
    assert form.residual <= 1e-13
    assert "cond(T)" in form.merges[0].reason
    assert {merge.layer for merge in form.merges} == {i for i, size in enumerate(form.sizes) if size > 1}
    for merge in form.merges:
        here = quasi_eigenvalues(form.blocks[merge.layer])
        for value in (merge.eigenvalue, merge.joined):
            assert np.abs(here - value).min() <= 1e-3 * abs(value)


def test_schur_eigenvalues_and_sylvester_against_definitions() -> None:
    A = random_mimo(31, 1, 1, 5)[0]
    S, _ = schur(A)
    np.testing.assert_allclose(
        np.sort_complex(quasi_eigenvalues(S)), np.sort_complex(np.linalg.eigvals(A)), rtol=1e-9
    )
    cut = 16 + int(S[16, 15] != 0)
    P = sylvester(S[:cut, :cut], S[cut:, cut:], S[:cut, cut:])
    np.testing.assert_allclose(S[:cut, :cut] @ P - P @ S[cut:, cut:], -S[:cut, cut:], atol=1e-12)
    starts = quasi_starts(S)
    V = separate(S, starts)
    assert V is not None
    Lambda = block_diag(*(S[i:j, i:j] for i, j in itertools.pairwise([*starts, 31])))
    np.testing.assert_allclose(S @ V, V @ Lambda, atol=1e-13)


def test_large_recursive_sylvester_agrees_with_lapack() -> None:
    S, _ = schur(random_mimo(230, 1, 1, 6)[0])
    cut = 110 + int(S[110, 109] != 0)
    P = sylvester(S[:cut, :cut], S[cut:, cut:], S[:cut, cut:])
    residual = S[:cut, :cut] @ P - P @ S[cut:, cut:] + S[:cut, cut:]
    assert np.abs(residual).max() <= 1e-12 * (1 + np.abs(P).max())


def test_cancelling_product_against_extended_precision() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 30)) * 10.0 ** rng.integers(-5, 5, 30)
    left, right = np.hstack([X, -np.eye(30)]), np.vstack([np.linalg.inv(X), np.eye(30)])
    exact = left.astype(np.longdouble) @ right.astype(np.longdouble)
    assert np.abs(cancelling_product(left, right) - exact).max() <= 1e-3 * np.abs(exact).max()


def test_progress_is_told_and_changes_nothing() -> None:
    A, told = convection_diffusion_1d(60, 0.32)[0], []
    form = block_form(A, on_step=lambda done, total: told.append(done / total))
    assert told
    assert 0.0 < max(told) <= 1.0
    np.testing.assert_array_equal(form.T, block_form(A).T)
    model = (A, np.ones((60, 1)), np.ones((1, 60)), 0)
    nets = [LTINetwork.from_statespace(model, progress=progress) for progress in (True, False)]
    np.testing.assert_array_equal(nets[0].B, nets[1].B)


@pytest.mark.parametrize("A", [np.zeros((0, 0)), np.zeros((1, 1)), np.zeros((3, 3)), np.full((1, 1), -2.5)])
def test_tiny_and_zero(A: np.ndarray) -> None:
    form = block_form(A)
    assert form.sizes == (1,) * len(A)
    assert form.cond == 1.0
    np.testing.assert_array_equal(block_diag(*form.blocks) if len(A) else A, A)


def test_what_is_refused() -> None:
    with pytest.raises(ShapeError, match="square"):
        block_form(np.ones((2, 3)))
    with pytest.raises(DataError, match="NaN"):
        block_form([[np.nan]])
    with pytest.raises(OptionError, match="cond_max"):
        block_form(np.eye(2), cond_max=0.5)
    with pytest.raises(OptionError, match="method"):
        block_form(np.eye(2), method="jordan")
    with pytest.raises(ShapeError, match="symmetric"):
        block_form([[0.0, 1.0], [0.0, 0.0]], method="symmetric")
    with pytest.raises(DataError, match="unit"):
        block_form([[0.0, 1e-310], [0.0, 0.0]])
