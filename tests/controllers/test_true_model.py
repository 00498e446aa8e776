"""NMPC with a known model: input references, known loads and previews of both, and plans handed over."""

import casadi
import numpy as np
import pytest

from koopctrl.controllers import NMPC
from koopctrl.errors import OptionError, ShapeError

A = np.array([[1.0, 0.1], [-0.2, 0.95]])
B = np.array([[0.005], [0.1]])
Q, R, N = np.diag([2.0, 0.5]), np.array([[0.3]]), 8


def linear(x, u, xp=None):
    del xp
    return [A[i, 0] * x[0] + A[i, 1] * x[1] + B[i, 0] * u[0] for i in range(2)]


def make(**options):
    return NMPC(linear, 2, 1, N, Q, R, dt=0.1, **options)


def least_squares(x0, r, u_r, load):
    """First input of the unconstrained problem, from its normal equations written out."""
    rows, right = [], []
    root_q, root_r = np.sqrt(Q), np.sqrt(R)
    for k in range(1, N + 1):
        power = [np.linalg.matrix_power(A, k - 1 - j) @ B for j in range(k)]
        rows.append(root_q @ np.hstack([*power, np.zeros((2, N - k))]))
        free = np.linalg.matrix_power(A, k) @ x0 + sum(p @ load[j] for j, p in enumerate(power))
        right.append(root_q @ (r[k] - free))
    rows.append(root_r[0, 0] * np.eye(N))
    right.append(root_r[0, 0] * u_r.ravel())
    return np.linalg.lstsq(np.vstack(rows), np.concatenate(right), rcond=None)[0][:1]


def test_previews_of_references_inputs_and_loads_are_those_of_the_problem():
    rng = np.random.default_rng(0)
    x0, r, u_r, load = (
        rng.normal(size=2),
        rng.normal(size=(N + 1, 2)),
        rng.normal(size=(N, 1)),
        rng.normal(size=(N, 1)),
    )
    found = make().control(x0, r, u_r, load)
    np.testing.assert_allclose(found, least_squares(x0, r, u_r, load), atol=1e-6)
    # A vector holds all along, and a short preview goes on with its last row.
    held = make().control(x0, r[0], u_r[0], load[0])
    tiled = (np.tile(v[0], (n, 1)) for v, n in ((r, N + 1), (u_r, N), (load, N)))
    np.testing.assert_allclose(held, least_squares(x0, *tiled), atol=1e-6)
    short = make().control(x0, r, u_r[:2], load)
    longer = np.concatenate([u_r[:2], np.tile(u_r[1], (N - 2, 1))])
    np.testing.assert_allclose(short, least_squares(x0, r, longer, load), atol=1e-6)


def test_an_input_reference_given_at_the_start_is_the_default():
    x0 = [0.3, -0.4]
    fixed, told = make(u_reference=[0.7]), make()
    np.testing.assert_allclose(fixed.control(x0), told.control(x0, None, [0.7]), atol=1e-7)
    np.testing.assert_allclose(fixed.control(x0, None, [0.0]), make().control(x0), atol=1e-6)


def test_loads_lie_beyond_the_bounds_of_inputs():
    mpc = make(u_min=-1.0, u_max=1.0)
    assert mpc.control([0.0, 0.0], load=[5.0]) == pytest.approx(-1.0)
    assert mpc.info.status == "optimal"


def test_a_casadi_function_with_outputs_behind_the_state_is_taken():
    x, u = casadi.MX.sym("x", 2), casadi.MX.sym("u")
    ahead = casadi.vertcat(*linear(casadi.vertsplit(x), [u]))
    two = casadi.Function("f", [x, u], [ahead, x[0]])
    np.testing.assert_allclose(
        NMPC(two, 2, 1, N, Q, R, dt=0.1).control([1.0, 0.0]), make().control([1.0, 0.0]), atol=1e-9
    )


def test_plans_are_handed_over_between_equal_sizes():
    first, second = make(), make()
    first.control([1.0, 0.0])
    second.take_over(first)
    np.testing.assert_array_equal(second._guess, first._guess)
    second.control([1.0, 0.0])
    with pytest.raises(OptionError, match="other has horizon, n_x and n_u of 5, 2 and 1"):
        second.take_over(NMPC(linear, 2, 1, 5, Q, R, dt=0.1))


def test_wrong_shapes_are_named():
    with pytest.raises(ShapeError, match="load has 2 columns; expected 1"):
        make().control([0.0, 0.0], load=np.zeros((3, 2)))
    with pytest.raises(ShapeError, match=r"input_reference has shape \(2,\)"):
        make().control([0.0, 0.0], None, [0.0, 0.0])
