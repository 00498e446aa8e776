"""Steady inputs where there is a choice: nearest to the wish, in C too, and none that outputs cannot feel."""

import numpy as np
import pytest
from scipy import optimize

from koopctrl import LiftedModel, LinearMPC
from koopctrl.export.c.code import mpc_to_c
from koopctrl.export.c.sil import CompiledMPC


def three_inputs(seed):
    rng = np.random.default_rng(seed)
    B, root = rng.normal(size=(1, 3)), rng.normal(size=(3, 3))
    plant = LiftedModel.from_matrices([[0.9]], B, dt=1.0)
    return plant, root @ root.T + 0.1 * np.eye(3), rng


def nearest_input(B, R, r, wish, bound):
    """By vertices of the active set: `min |u - wish|_R` on `10 B u = y`, `y` as near to `r` as can be."""
    most = 10.0 * np.abs(B).sum() * bound
    y = float(np.clip(r, -most, most))
    best, value = None, np.inf
    for pattern in np.ndindex(3, 3, 3):
        fixed = np.array([(-bound, np.nan, bound)[p] for p in pattern])
        free = np.isnan(fixed)
        u = np.where(free, 0.0, fixed)
        if free.any():
            # Stationary on the free ones: R_ff (u_f - w_f) + R_fc (u_c - w_c) + 10 B_f m = 0, 10 B u = y.
            k = int(free.sum())
            kkt = np.block(
                [[R[np.ix_(free, free)], 10.0 * B[:, free].T], [10.0 * B[:, free], np.zeros((1, 1))]]
            )
            rhs = np.append(R[free] @ wish - R[np.ix_(free, ~free)] @ u[~free], y - 10.0 * B[0] @ u)
            u[free] = np.linalg.solve(kkt, rhs)[:k]
        if np.abs(u).max() <= bound * (1 + 1e-9) and abs(10.0 * B[0] @ u - y) <= 1e-9 * (1.0 + abs(y)):
            cost = (u - wish) @ R @ (u - wish)
            if cost < value:
                best, value = u, cost
    return best


@pytest.mark.parametrize("seed", range(8))
def test_of_the_inputs_that_hold_a_set_point_the_one_nearest_to_the_wish(seed, tmp_path):
    """One at its bound, so that the others share what is left; the loop settles there, in C as well."""
    plant, R, rng = three_inputs(seed)
    bound = 0.5
    mpc = LinearMPC(plant, 6, 1.0, R, u_min=-bound, u_max=bound)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=("-std=c99", "-O0")) if seed < 2 else None
    most = 10.0 * np.abs(plant.B).sum() * bound
    at_bound = 0
    for part in (0.4, 0.7, -0.9, 0.97, 1.5):
        r, x, z = part * most, np.zeros(1), np.zeros(1)
        for _ in range(300):
            u = mpc.control(x, [r])
            x = plant.A @ x + plant.B @ u
            if compiled is not None:
                v = compiled.control(z, [r])
                z = plant.A @ z + plant.B @ v
                np.testing.assert_allclose(v, u, atol=1e-7)
        expected = nearest_input(plant.B, R, r, np.zeros(3), bound)
        at_bound += bool((np.abs(expected) > bound - 1e-9).any())
        np.testing.assert_allclose(u, expected, atol=1e-6)
        wish = rng.uniform(-0.4, 0.4, 3)
        reached, du = mpc.law.reachable.nearest(np.array([0.8 * most]), np.empty(0), du=wish)
        steady = mpc.target(reached, du=du)[1]
        np.testing.assert_allclose(steady, nearest_input(plant.B, R, 0.8 * most, wish, bound), atol=1e-7)
    assert at_bound >= 2


@pytest.mark.parametrize("seed", range(10))
def test_set_points_out_of_reach_are_the_nearest(seed):
    """Against bounded least squares over the steady inputs."""
    rng = np.random.default_rng(seed)
    n_u, n_y = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    A = rng.normal(size=(3, 3))
    A *= 0.8 / np.abs(np.linalg.eigvals(A)).max()
    B, C, Q = rng.normal(size=(3, n_u)), rng.normal(size=(n_y, 3)), rng.uniform(0.1, 3.0, n_y)
    mpc = LinearMPC(LiftedModel.from_matrices(A, B, C, dt=1.0), 4, Q, 1.0, u_min=-0.3, u_max=0.7)
    gain = C @ np.linalg.solve(np.eye(3) - A, B)
    for _ in range(30):
        r = rng.normal(size=n_y) * 10.0 ** rng.uniform(-1, 2)
        reached, du = mpc.law.reachable.nearest(r, np.empty(0))
        _, u, y = mpc.target(reached, du=du)
        assert (u >= -0.3 - 1e-9).all()
        assert (u <= 0.7 + 1e-9).all()
        np.testing.assert_allclose(y, gain @ u, atol=1e-8)
        best = optimize.lsq_linear(
            np.sqrt(Q)[:, None] * gain, np.sqrt(Q) * r, (-0.3, 0.7), method="bvls", tol=1e-15
        )
        np.testing.assert_allclose(np.sqrt(Q) * y, np.sqrt(Q) * (gain @ best.x), atol=1e-6 * np.abs(r).max())


@pytest.mark.parametrize("noise", [1e-9, -1e-9, 1e-12])
def test_entries_that_cannot_be_told_from_zero_move_no_input(noise):
    """A small load where the second input would need 1e7 times as much for a gain of 1e-8: left alone."""
    load = np.array([1e-3, 2e-3])
    found = []
    for entry in (0.0, noise):
        plant = LiftedModel.from_matrices(np.diag([0.9, 0.8]), [[1.0, 0.5], [0.0, entry]], dt=1.0)
        mpc = LinearMPC(plant, 8, 1.0, 0.1, u_min=-1.0, u_max=1.0, offset_free=True)
        x, inputs = np.zeros(2), []
        for _ in range(40):
            inputs.append(mpc.control(x, [0.5, 0.0]))
            x = plant.A @ x + plant.B @ inputs[-1] + load
        found.append(inputs)
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)


def test_moves_alone_may_be_weighted():
    """`R = 0` with `R_rate`: the optimum of the documented cost; without either it is refused."""
    from koopctrl.errors import OptionError

    a, b, S, N = 0.8, 0.5, 0.3, 4
    plant = LiftedModel.from_matrices([[a]], [[b]], dt=1.0)
    mpc = LinearMPC(plant, N, 1.0, 0.0, R_rate=S, terminal="none", u_min=-2.0, u_max=2.0)
    mpc.applied([0.2])
    u = mpc.control([1.0], [0.5])

    def cost(v):
        x, last, total = 1.0, 0.2, 0.0
        for move in v:
            x = a * x + b * move
            total += (x - 0.5) ** 2 + S * (move - last) ** 2
            last = move
        return total

    best = optimize.minimize(cost, np.zeros(N), method="BFGS", options={"gtol": 1e-10})
    np.testing.assert_allclose(u, best.x[:1], atol=1e-6)
    for terminal in ("riccati", "none"):
        x, loop = np.array([1.0]), LinearMPC(plant, N, 1.0, 0.0, R_rate=S, terminal=terminal)
        for _ in range(80):
            x = plant.A @ x + plant.B @ loop.control(x, [0.5])
        np.testing.assert_allclose(x, [0.5], atol=1e-6)
    for R_rate in (None, 0.0):
        with pytest.raises(OptionError, match="R"):
            LinearMPC(plant, N, 1.0, 0.0, R_rate=R_rate)
