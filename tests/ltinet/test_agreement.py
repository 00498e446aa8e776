"""The network computes what its model computes: transfer function, Markov parameters, responses."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from koopctrl import LTINetwork
from tests.ltinet import oracles
from tests.plants_lti import SUITE, Matrices


@cache
def suite_model(name: str) -> Matrices:
    return SUITE[name]()


def in_blocks(net: LTINetwork) -> Matrices:
    return net.block_matrix().toarray(), net.B, net.C, net.D


def horizon(A: np.ndarray) -> float:
    """Long enough for the slowest mode and for transport through the chain; less where the system grows."""
    growth = max(float(np.linalg.eigvals(A).real.max()), 0.0)
    settled = 5.0 * float(np.linalg.norm(np.linalg.inv(A), 2))
    return min(settled, 10.0 / growth) if growth else settled


@pytest.mark.parametrize("method", ["auto", "schur"])
@pytest.mark.parametrize("name", SUITE)
def test_transfer_function_and_markov_parameters(name: str, method: str) -> None:
    model = suite_model(name)
    net = LTINetwork.from_statespace(model, method=method)
    limit = 10 * net.cond * oracles.EPS
    assert net.cond <= 1e8
    if method == "schur":
        assert len(net.blocks) == 1
        assert net.cond == 1.0
    for s in oracles.random_points(model[0], 50):
        G, H = oracles.transfer(model, s), oracles.transfer(in_blocks(net), s)
        assert np.linalg.norm(H - G, 2) <= limit * oracles.transfer_scale(model, s)
        if method == "schur":
            assert oracles.relative(H, G) <= 1e-12 or np.abs(G).max() < 1e-3 * oracles.transfer_scale(
                model, s
            )
    assert oracles.markov_difference(model, in_blocks(net), 10) <= limit


@pytest.mark.parametrize("hold", ["zoh", "foh"])
@pytest.mark.parametrize("name", SUITE)
def test_step_and_random_responses(name: str, hold: str) -> None:
    model = suite_model(name)
    A, B, C, D = model
    rng = np.random.default_rng(3)
    t = np.linspace(0.0, horizon(A), 151)
    step = np.ones((151, B.shape[1]))
    jumps = np.repeat(rng.choice([-1.0, 1.0], (31, B.shape[1])), 5, axis=0)[:151]
    for u, x0 in ((step, np.zeros(len(A))), (jumps, rng.standard_normal(len(A)))):
        full = (A, B, np.eye(len(A)), np.zeros((len(A), B.shape[1])))
        x = oracles.step_exactly(full, t, u, x0, hold)
        reference = x @ C.T + u @ D.T
        scale = np.linalg.norm(C, 2) * np.abs(x).max() + np.abs(u @ D.T).max()
        # rounding of A moves a response over the time T by |A| T eps, whatever computes it
        moved = max(1.0, np.linalg.norm(A, 2) * t[-1])
        for method in ("auto", "schur"):
            net = LTINetwork.from_statespace(model, method=method)
            y = net.simulate(t, u, x0, hold=hold).outputs
            assert np.abs(y - reference).max() <= 10 * net.cond * oracles.EPS * moved * scale
            if method == "schur":
                assert np.abs(y - reference).max() <= 1e-12 * max(scale, np.abs(reference).max())
