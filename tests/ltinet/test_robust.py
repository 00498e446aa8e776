"""Thousands of awkward small systems: agreement within the reported bound, or a clear error."""

from __future__ import annotations

import numpy as np
import pytest
from effort import many
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from koopctrl import LTINetwork
from koopctrl.errors import KoopctrlError
from tests.ltinet import digits, oracles
from tests.plants_lti import Matrices

KINDS = (
    *("integers", "sparse", "repeated", "nilpotent", "zero", "symmetric", "skew", "permutation", "companion"),
    *("near-defective", "triangular", "graded"),
)
SCALES = (0.0, 0.0, 0.0, 8.0, -8.0, 150.0, -150.0, 290.0, -290.0, -310.0)


def awkward_matrix(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    A = rng.integers(-3, 4, (n, n)).astype(float)
    if kind == "sparse":
        A *= rng.random((n, n)) < 0.3
    elif kind in ("repeated", "near-defective"):
        # unimodular similarity: integer entries, exactly repeated eigenvalues, Jordan blocks of all sizes
        J = np.diag(rng.integers(-2, 3, n).astype(float)[rng.integers(0, max(n // 2, 1), n)])
        J += np.diag(rng.integers(0, 2, max(n - 1, 0)).astype(float), 1)[:n, :n]
        L = np.tril(rng.integers(-1, 2, (n, n)), -1) + np.eye(n)
        A = L @ J @ np.round(np.linalg.inv(L))
        if kind == "near-defective":
            A += 10.0 ** rng.integers(-16, -3) * rng.standard_normal((n, n))
    elif kind == "nilpotent":
        order = rng.permutation(n)
        A = np.triu(A, 1)[np.ix_(order, order)]
    elif kind == "zero":
        A = np.zeros((n, n))
    elif kind == "symmetric":
        A = A + A.T
    elif kind == "skew":
        A = A - A.T
    elif kind == "permutation":
        A = np.eye(n)[rng.permutation(n)] * rng.choice([-1.0, 1.0], n)
    elif kind == "companion" and n:
        A = np.vstack([A[:1], np.eye(n)[:-1]])
    elif kind == "triangular":
        A = np.triu(A)
    elif kind == "graded":
        d = 10.0 ** rng.integers(-6, 7, n)
        A = A * d[:, None] / d
    return A


def check(kind: str, n: int, scale: float, seed: int, thorough: bool = False) -> str:
    """Build, compare, and say how it went: "agrees" or "error".

    A third is also simulated and a third held to the bound of its frequency response; `thorough`: all are.
    """
    rng = np.random.default_rng(seed)
    A = awkward_matrix(kind, n, rng) * 10.0**scale
    n_u, n_y = (int(k) for k in rng.integers(0, 3, 2))
    model = (
        A,
        rng.integers(-2, 3, (n, n_u)) * 1.0,
        rng.integers(-2, 3, (n_y, n)) * 1.0,
        rng.standard_normal((n_y, n_u)),
    )
    before = [M.copy() for M in model]
    try:
        net = LTINetwork.from_statespace(model)
    except KoopctrlError:
        return "error"
    assert all(np.array_equal(a, b) for a, b in zip(model, before, strict=True))
    assert 1.0 <= net.cond <= 1e8 * (1 + 1e-6)
    identity = (net.T @ net.T_inv) * net.scales / net.scales[:, None]
    assert np.abs(identity - np.eye(n)).max(initial=0.0) <= 10 * max(n, 1) * net.cond * oracles.EPS
    if n == 0:
        return "agrees"
    # in units of the largest entry, so that the oracle neither over- nor underflows
    exponent = int(np.frexp(np.abs(A).max())[1])
    unit = np.ldexp(A, -exponent) * net.scales / net.scales[:, None]
    T, T_inv = net.T / net.scales[:, None], net.T_inv * net.scales
    blocks = np.ldexp(net.block_matrix().toarray(), -exponent)
    size = max(float(np.linalg.norm(unit, 2)), 1e-3)
    limit = 10 * net.cond * oracles.EPS
    for s in size * rng.uniform(1.5, 4.0, 3) * np.exp(1j * rng.uniform(-np.pi, np.pi, 3)):
        R = np.linalg.inv(s * np.eye(n) - unit)
        G, H = R, T @ np.linalg.inv(s * np.eye(n) - blocks) @ T_inv
        # in balanced coordinates; R itself is known to cond(sI - A) eps only
        assert np.linalg.norm(H - G, 2) <= limit * n * np.linalg.norm(R, 2)
    if n_u and n_y and abs(scale) < 100.0:
        if thorough or seed % 3 == 0:
            hold_to_bound_in_time(model, net, rng)
        if thorough or seed % 3 == 1:
            hold_to_bound_in_frequency(model, net, size * 2.0**exponent)
    return "agrees"


def hold_to_bound_in_time(model: Matrices, net: LTINetwork, rng: np.random.Generator) -> None:
    A, B, C, _ = model
    n, n_u = B.shape
    h = 0.3 / max(float(np.linalg.norm(A, 2)), 1e-3)
    t, u = h * np.arange(9), rng.choice([-1.0, 1.0], (9, n_u))
    y = net.simulate(t, u).outputs
    full = (A, B, np.eye(n), np.zeros((n, n_u)))
    x = oracles.step_exactly(full, t, u, np.zeros(n), "zoh")
    reference = oracles.step_exactly(model, t, u, np.zeros(n), "zoh")
    # what the oracle itself knows: its own rounding of the states, and rounding to float64
    known = 10 * n * float(np.finfo(np.longdouble).eps) * np.abs(x).max(axis=0) @ np.abs(C).T
    known += 4 * oracles.EPS * np.abs(reference).max(axis=0)
    bound = net.error_bound(1.0, horizon=8 * h, step=h).total
    assert (np.abs(y - reference).max(axis=0) <= bound + known).all()


def hold_to_bound_in_frequency(model: Matrices, net: LTINetwork, size: float) -> None:
    omega = size * np.array([0.013, 0.31, 2.7])
    mine = (net.block_matrix().toarray(), net.B, net.C, net.D)
    gap = np.linalg.norm(digits.transfer_difference(model, mine, 1j * omega), axis=2)
    assert (gap <= net.accuracy(omega).bound).all()


systems = given(
    kind=st.sampled_from(KINDS),
    n=st.integers(0, 8),
    scale=st.sampled_from(SCALES),
    seed=st.integers(0, 2**32 - 1),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@systems
def test_awkward_systems(kind: str, n: int, scale: float, seed: int) -> None:
    check(kind, n, scale, seed)


@pytest.mark.slow
@settings(
    max_examples=many(10_000), deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@systems
def test_thousands_of_awkward_systems(kind: str, n: int, scale: float, seed: int) -> None:
    check(kind, n, scale, seed)


def test_a_skew_matrix_whose_rounding_lies_left_of_the_axis() -> None:
    """Poles at -4e-31 +- 8j: stable, as far as that goes."""
    assert check("skew", 6, 0.0, 678879616, thorough=True) == "agrees"


def test_errors_are_rare_among_awkward_systems() -> None:
    outcomes = [check(kind, n, 0.0, n) for kind in KINDS for n in range(1, 9)]
    assert outcomes.count("error") == 0
