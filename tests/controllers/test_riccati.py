"""Riccati equations of models that no regulator can be made for."""

from dataclasses import replace

import numpy as np
import pytest

from koopctrl import LinearMPC
from koopctrl.controllers.riccati import solve_riccati
from koopctrl.errors import SolverError


def test_the_equation_holds_and_the_loop_is_stable():
    """Its own residual, computed here."""
    rng = np.random.default_rng(0)
    A, B = 1.2 * rng.normal(size=(4, 4)), rng.normal(size=(4, 2))
    Q, R = np.eye(4), np.diag([1.0, 0.1])
    found = solve_riccati(A, B, Q, R, "a random pair")
    K = np.linalg.solve(R + B.T @ found.P @ B, B.T @ found.P @ A)
    residual = A.T @ found.P @ (A - B @ K) + Q - found.P
    assert np.abs(residual).max() < 1e-9 * np.abs(found.P).max()
    np.testing.assert_allclose(found.K, K, rtol=1e-7, atol=1e-9 * np.abs(K).max())
    assert np.abs(np.linalg.eigvals(A - B @ K)).max() < 1.0


@pytest.mark.parametrize("terminal", ["auto", "none", "riccati"])
def test_models_that_grow_beyond_all_measure_are_refused_by_name(lifted, terminal):
    """Rounding makes what inputs cost negative or infinite: scipy and numpy said so in their own words."""
    refused = 0
    for decades in range(1, 150, 4):
        wild = replace(lifted, A=10.0**decades * lifted.A)
        try:
            LinearMPC(wild, horizon=20, Q=1.0, R=1.0, u_min=-1.0, u_max=1.0, terminal=terminal)
        except SolverError:
            refused += 1
    assert refused > 20
