"""One step of LinearMPC: beside the bare QP solver, against lifted dimension, and beside peers.

Plant: a linear model on tanh features of 4 states, with 2 inputs and 2 outputs; horizon 20, |u| <= 0.3,
LQR's cost to go at the end. Its first 50 lifted coordinates hold all that acts on the outputs; larger models
add coordinates that do not, so that all of them pose the same QPs and only the lift differs. Every timed step
has active bounds, so that the QP solver is called.

- bare solver: `casadi.conic("daqp")` on the very QPs of these steps, called as its documentation shows
(keyword
  arguments, NumPy arrays), and through preallocated buffers, as the package does.
- sparse: the same problem with the states kept as variables, OSQP through CasADi to 1e-6.
- do-mpc: its linear model and MPC (ipopt), the same weights and bounds, from the second step on.
- control.optimal: python-control's `OptimalControlProblem` (SciPy's SLSQP), one solve.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import warnings
from collections.abc import Callable
from typing import Any

import _common as c
import casadi
import control
import control.optimal
import numpy as np

from koopctrl import LiftedModel, LinearMPC
from koopctrl.features import Layer
from koopctrl.features.lags import LagWindow
from koopctrl.lifted import Observables

SIZES = (50, 100, 300, 1000)
N, N_X, N_U, N_Y, N_CORE = 20, 4, 2, 2, 50
LIMIT, Q, R = 0.3, 1.0, 0.1


def make_model(n_z: int, seed: int) -> LiftedModel:
    """Linear model on `n_z` coordinates, of which the first 50 act on the outputs."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((N_CORE, N_CORE))
    a *= 1.02 / np.abs(np.linalg.eigvals(a)).max()
    b = rng.standard_normal((N_CORE, N_U))
    C = np.zeros((N_Y, n_z))
    C[:, :N_CORE] = rng.standard_normal((N_Y, N_CORE)) / np.sqrt(N_CORE)
    core = rng.standard_normal((N_CORE - N_X, N_X)), rng.standard_normal(N_CORE - N_X)
    extra = n_z - N_CORE
    A, B = np.zeros((n_z, n_z)), np.zeros((n_z, N_U))
    A[:N_CORE, :N_CORE], B[:N_CORE] = a, b
    A[N_CORE:, N_CORE:] = np.diag(rng.uniform(0.0, 0.9, extra))
    A[N_CORE:, :N_CORE] = 0.1 * rng.standard_normal((extra, N_CORE))
    B[N_CORE:] = rng.standard_normal((extra, N_U))
    layer = Layer(
        np.vstack([core[0], rng.standard_normal((extra, N_X))]),
        np.concatenate([core[1], rng.standard_normal(extra)]),
        "tanh",
    )
    lift = Observables(layer, np.zeros(N_X), np.ones(N_X), np.eye(n_z - N_X), np.zeros((N_X, n_z - N_X)))
    zeros = np.zeros((N_Y, N_U)), np.zeros(n_z)
    return LiftedModel(
        A, B, C, zeros[0], zeros[1], None, 0.1, np.zeros(N_U), np.zeros(N_Y), lift,
        LagWindow(1, 1, False, N_X, N_U), ("y1", "y2"), ("u1", "u2"), np.ones(1),
    )  # fmt: skip


def make_mpc(model: LiftedModel) -> LinearMPC:
    """Ours."""
    return LinearMPC(model, N, Q, R, u_min=-LIMIT, u_max=LIMIT)


def bare_calls(mpc: LinearMPC, x: np.ndarray) -> tuple[Callable[[], Any], Callable[[], Any]] | None:
    """The bare solver on the QP of one step: by keywords, and by buffers. None if no bound is active."""
    recorded: list[Any] = []
    step_solver = mpc._solver
    solve = step_solver.solve
    step_solver.solve = lambda *args: recorded.append(args) or solve(*args)  # pyright: ignore
    mpc.reset()
    mpc.control(x)
    step_solver.solve = solve
    if mpc.info is None or mpc.info.iterations == 0:
        return None
    g, lower, upper = recorded[0]
    H, A = mpc._qp.H, mpc._qp.rows
    n, m = len(H), len(A)
    qp = casadi.conic(
        "bare",
        "daqp",
        {"h": casadi.Sparsity.dense(n, n), "a": casadi.Sparsity.dense(m, n)},
        {"print_time": False},
    )
    data = {"h": H, "g": g, "a": A, "lbx": lower[:n], "ubx": upper[:n], "lba": lower[n:], "uba": upper[n:]}
    buffer, evaluate = qp.buffer()
    kept = {k: np.asfortranarray(v).ravel("F").copy() for k, v in data.items()}
    for name, value in kept.items():
        buffer.set_arg(qp.index_in(name), memoryview(value))
    out = np.zeros(n)
    buffer.set_res(qp.index_out("x"), memoryview(out))

    def buffered() -> Any:
        evaluate()
        return out, kept, qp, buffer  # CasADi does not keep them alive

    return (lambda: qp(**data)), buffered


def step_times(seed: int, n_starts: int, repeats: int) -> dict[str, Any]:
    """Median times of our step at every size and of the bare solver, taken in turns."""
    rng = np.random.default_rng(seed + 100)
    controllers = {n: make_mpc(make_model(n, seed)) for n in SIZES}
    times: dict[str, list[float]] = {k: [] for k in (*map(str, SIZES), "bare", "buffered")}
    starts = 0
    while starts < n_starts:
        x = rng.uniform(-1.0, 1.0, N_X)
        bare = bare_calls(controllers[300], x)
        if bare is None:
            continue
        starts += 1

        def ours(mpc: LinearMPC, x: np.ndarray = x) -> None:
            mpc.control(x)

        calls = {str(n): (lambda mpc=mpc: ours(mpc)) for n, mpc in controllers.items()}
        for _ in range(repeats):
            for name, call in {**calls, "bare": bare[0], "buffered": bare[1]}.items():
                call()  # so that none pays for what the one before it pushed out of the cache
                times[name].append(c.timed(call)[1])
    return {name: float(np.median(values)) for name, values in times.items()}


def sparse_time(mpc: LinearMPC, x: np.ndarray, repeats: int) -> tuple[list[float], float]:
    """The same step with the states kept as variables, and the largest difference of its first input."""
    model = mpc.lifted
    n_z = model.n_z
    eye, zero = casadi.DM.eye(n_z), casadi.DM(n_z, n_z)
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
    del zero
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import do_mpc

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


def main() -> None:
    """Run."""
    warnings.simplefilter("ignore", FutureWarning)
    p = c.parser(__doc__, seeds=5)
    p.set_defaults(threads=1)
    p.add_argument("--peer-sizes", type=int, nargs="+", default=[50, 300], help="lifted sizes for the peers")
    args = p.parse_args()
    with c.threads(args.threads):
        by_seed = [step_times(seed, n_starts=30, repeats=12) for seed in range(args.seeds)]
        median = {k: float(np.median([t[k] for t in by_seed])) for k in by_seed[0]}
        ratios = {
            "step_over_bare_solver": c.spread([t["300"] / t["bare"] for t in by_seed]),
            "step_over_buffered_solver": c.spread([t["300"] / t["buffered"] for t in by_seed]),
            "step_1000_over_50": c.spread([t["1000"] / t["50"] for t in by_seed]),
        }
        rows = [
            [f"LinearMPC, {n} lifted states", 1e6 * median[str(n)], median[str(n)] / median["bare"]]
            for n in SIZES
        ]
        rows += [
            ["bare casadi.conic call", 1e6 * median["bare"], 1.0],
            ["bare solver through buffers", 1e6 * median["buffered"], median["buffered"] / median["bare"]],
        ]
        c.print_table("One step, microseconds (medians)", ["", "time", "/ bare call"], rows)

        peers: dict[str, Any] = {}
        table = []
        for n_z in args.peer_sizes:
            mpc = make_mpc(make_model(n_z, 0))
            x = np.array([0.8, -0.7, 0.5, 0.9])
            mpc.control(x)
            ours = np.median([c.timed(lambda m=mpc, s=x: m.control(s))[1] for _ in range(200)])
            for name, call in (
                ("sparse QP, osqp", lambda m=mpc, s=x: sparse_time(m, s, 5)),
                ("do-mpc, linear model", lambda m=mpc, s=x: do_mpc_time(m, s, 3)),
                ("control.optimal", lambda m=mpc, s=x: optimal_time(m, s)),
            ):
                times, difference = call()
                ratio = float(np.median(times) / ours)
                peers[f"{name}, {n_z}"] = {
                    "seconds": c.spread(times), "over_ours": ratio, "first_input_difference": difference,
                }  # fmt: skip
                table.append([f"{name}, {n_z} states", 1e3 * float(np.median(times)), ratio, difference])
            table.append([f"LinearMPC, {n_z} states", 1e3 * float(ours), 1.0, 0.0])
        c.print_table("Peers on one step, milliseconds", ["", "time", "/ ours", "difference of u0"], table)
    targets = {
        "step_over_bare_solver <= 3": ratios["step_over_bare_solver"]["median"] <= 3.0,
        "step_1000_over_50 within 20 %": ratios["step_1000_over_50"]["median"] <= 1.2,
    }
    figures = {
        "median_seconds": median,
        "ratios": ratios,
        "peers": peers,
        "targets": targets,
        "by_seed": by_seed,
    }
    c.write(args, "mpc_step", figures, peers=("casadi", "control", "do-mpc"))
    for name, held in targets.items():
        print(f"{'held' if held else 'MISSED'}: {name}")


if __name__ == "__main__":
    main()
