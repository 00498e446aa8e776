"""One step of a linear problem by other packages: the sparse form, do-mpc's linear model, python-control."""

from __future__ import annotations

import warnings

import _common as c
import casadi
import control
import control.optimal
import numpy as np
from _do_mpc import import_do_mpc

from koopctrl import LinearMPC

# The problem: horizon, inputs, bound on them, weights on outputs and inputs.
N, N_U, LIMIT, Q, R = 20, 2, 0.3, 1.0, 0.1


def sparse_time(mpc: LinearMPC, x: np.ndarray, repeats: int) -> tuple[list[float], float]:
    """The same step with the states kept as variables, and the largest difference of its first input."""
    model = mpc.lifted
    n_z = model.n_z
    eye = casadi.DM.eye(n_z)
    A, B = casadi.DM(model.A), casadi.DM(model.B)
    # Variables z_1 .. z_N, u_0 .. u_{N-1}; rows z_{k+1} - A z_k - B u_k = 0.
    rows = [
        casadi.horzcat(
            *[(-A if j == k - 1 else eye if j == k else casadi.DM(n_z, n_z)) for j in range(N)],
            *[(-B if j == k else casadi.DM(n_z, N_U)) for j in range(N)],
        )
        for k in range(N)
    ]
    a = casadi.sparsify(casadi.vertcat(*rows))
    stage = casadi.sparsify(casadi.DM(2.0 * Q * model.C.T @ model.C))
    end = casadi.DM(2.0 * mpc.P)
    h = casadi.diagcat(*[stage] * (N - 1), end, 2.0 * R * casadi.DM.eye(N * N_U))
    options = {
        "osqp": {"verbose": False, "eps_abs": 1e-6, "eps_rel": 1e-6, "max_iter": 20000},
        "print_time": False,
        "error_on_fail": False,
    }
    qp = casadi.conic("sparse", "osqp", {"h": h.sparsity(), "a": a.sparsity()}, options)
    z0 = model.lift(x)
    b = np.concatenate([model.A @ z0, np.zeros((N - 1) * n_z)])
    bound = np.concatenate([np.full(N * n_z, np.inf), np.full(N * N_U, LIMIT)])
    data = {"h": h, "g": np.zeros(N * (n_z + N_U)), "a": a, "lba": b, "uba": b, "lbx": -bound, "ubx": bound}
    answer, first = c.timed(lambda: qp(**data))
    times = [first] + [c.timed(lambda: qp(**data))[1] for _ in range(repeats - 1)]
    u0 = np.array(answer["x"]).ravel()[N * n_z : N * n_z + N_U]
    mpc.reset()
    return times, float(np.abs(u0 - mpc.control(x)).max())


def do_mpc_time(mpc: LinearMPC, x: np.ndarray, repeats: int) -> tuple[list[float], float]:
    """do-mpc's linear model and MPC."""
    do_mpc = import_do_mpc()
    model = mpc.lifted
    peer = do_mpc.model.LinearModel("discrete")
    z = peer.set_variable("_x", "z", (model.n_z, 1))
    u = peer.set_variable("_u", "u", (N_U, 1))
    peer.setup(model.A, model.B, np.eye(model.n_z), np.zeros((model.n_z, N_U)))
    controller = do_mpc.controller.MPC(peer)
    controller.settings.n_horizon = N
    controller.settings.t_step = model.dt
    controller.settings.store_full_solution = False
    controller.settings.supress_ipopt_output()
    y = casadi.DM(model.C) @ z
    controller.set_objective(
        mterm=casadi.bilin(casadi.DM(mpc.P), z, z), lterm=Q * casadi.dot(y, y) + R * casadi.dot(u, u)
    )
    controller.set_rterm(u=np.zeros((N_U, 1)))
    controller.bounds["lower", "_u", "u"] = -LIMIT
    controller.bounds["upper", "_u", "u"] = LIMIT
    controller.setup()
    z0 = model.lift(x)
    controller.x0 = z0
    controller.set_initial_guess()
    u0 = controller.make_step(z0[:, None])
    times = [c.timed(lambda: controller.make_step(z0[:, None]))[1] for _ in range(repeats)]
    mpc.reset()
    return times, float(np.abs(u0.ravel() - mpc.control(x)).max())


def optimal_time(mpc: LinearMPC, x: np.ndarray) -> tuple[list[float], float]:
    """python-control's `control.optimal`."""
    model = mpc.lifted
    weight, P = Q * model.C.T @ model.C, mpc.P
    system = control.ss(model.A, model.B, np.eye(model.n_z), np.zeros((model.n_z, N_U)), dt=model.dt)
    z0 = model.lift(x)
    problem = control.optimal.OptimalControlProblem(
        system,
        np.arange(N + 1) * model.dt,
        lambda z, u: float(z @ weight @ z + R * u @ u),
        terminal_cost=lambda z, u: float(z @ P @ z),
        trajectory_constraints=control.optimal.input_range_constraint(system, [-LIMIT] * N_U, [LIMIT] * N_U),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer, taken = c.timed(lambda: problem.compute_trajectory(z0, squeeze=False, print_summary=False))
    mpc.reset()
    return [taken], float(np.abs(np.asarray(answer.inputs)[:, 0] - mpc.control(x)).max())
