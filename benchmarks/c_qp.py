"""The C QP solver beside CasADi's plugins on random condensed MPC problems.

Random plants (1 to 6 states, 1 to 3 inputs and outputs, stable and unstable), horizons 2 to 25, weights over
six orders, bounds on inputs from tight to loose, and in random combination bounds on moves, on outputs, each
output row twice, and sums of rows; of each problem five successive samples, warm-started where a solver can.

An answer counts as solved if the KKT residual, computed by `koopctrl.controllers.qp.solver`, is at most 1e-6.
Where the solvers differ, feasibility is decided by HiGHS (`scipy.optimize.linprog`): "wrong" counts feasible
problems left unsolved, and infeasible ones said to be solved. Times are of the call with its certificate (in
C for ours), through ctypes and through CasADi's buffers, which cost some microseconds each.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import _common as c
import numpy as np
from scipy.optimize import linprog

from koopctrl.controllers.qp.dense import kkt_residual
from koopctrl.controllers.qp.solver import QPSolver

# The harness around the C file is that of the tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "export"))
from c_tools import CompiledQP, build_qp_library, random_mpc

PEERS = ("daqp", "osqp", "qrqp", "proxqp")
OURS = "ours (C)"


def feasible(A: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> bool:
    """Whether any point satisfies the bounds of variables and rows."""
    n = A.shape[1]
    rows = {"A_ub": np.vstack([A, -A]), "b_ub": np.concatenate([hi[n:], -lo[n:]])} if len(A) else {}
    return linprog(np.zeros(n), bounds=np.column_stack([lo[:n], hi[:n]]), **rows).status == 0


def main() -> None:
    """Run all seeds and report."""
    p = c.parser(__doc__, seeds=4)
    p.add_argument("--problems", type=int, default=300, help="problems a seed (default %(default)s)")
    args = p.parse_args()
    library = build_qp_library(Path(tempfile.mkdtemp()))
    found: dict[str, dict[str, list[float]]] = {s: defaultdict(list) for s in (OURS, *PEERS)}
    n_steps = n_infeasible = n_active = 0
    # OSQP's C code writes about polishing whatever it is told: its lines go nowhere.
    sys.stdout.flush()
    console = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for seed in range(args.seeds):
        rng = np.random.default_rng(seed)
        for _ in range(args.problems):
            problem = random_mpc(rng)
            H, A, n = problem.H, problem.A, len(problem.H)
            ours = CompiledQP(library, H, A)
            peers = {name: QPSolver(n, len(A), name) for name in PEERS}
            guess: dict[str, Any] = dict.fromkeys(PEERS)
            for solver in peers.values():
                solver.load(H, A)
            for g, lo, hi in problem.steps:
                answers: dict[str, tuple[bool, np.ndarray, float, float]] = {}
                (status, x, lam, _, _), t = c.timed(lambda: ours.solve(g, lo, hi, warm=True))  # noqa: B023
                residual = kkt_residual(H, g, A, lo, hi, x, lam[:n], lam[n:])
                answers[OURS] = (status == "solved", x, residual, t)
                for name, solver in peers.items():
                    r, t = c.timed(lambda: solver.solve(g, lo, hi, guess[name]))  # noqa: B023
                    answers[name] = (r.success, r.x, r.kkt_residual, t)
                    guess[name] = (r.x, r.multipliers_x, r.multipliers_a) if r.success else None
                solved = [a[0] for a in answers.values()]
                possible = all(solved) or feasible(A, lo, hi)
                n_steps += 1
                n_infeasible += not possible
                n_active += bool(np.abs(lam).any())
                for name, (success, _, residual, t) in answers.items():
                    rows = found[name]
                    rows["wrong"].append(success != possible)
                    if possible:
                        rows["time"].append(t)
                    if success:
                        rows["kkt"].append(residual)
    os.dup2(console, 1)
    figures = {}
    for name, rows in found.items():
        figures[name] = {
            "wrong": int(np.sum(rows["wrong"])),
            "kkt_median": float(np.median(rows["kkt"])),
            "kkt_max": float(np.max(rows["kkt"])),
            "time_median_us": 1e6 * float(np.median(rows["time"])),
            "time_99_percent_us": 1e6 * float(np.quantile(rows["time"], 0.99)),
        }
    title = (
        f"{args.seeds * args.problems} problems, {n_steps} QPs, {n_infeasible} infeasible, "
        f"{n_active} with active bounds"
    )
    header = ["solver", "wrong", "KKT median", "KKT max", "us median", "us 99 %"]
    c.print_table(title, header, [[k, *v.values()] for k, v in figures.items()])
    c.write(
        args, "c_qp", {"qps": n_steps, "infeasible": n_infeasible, "active": n_active, **figures}, ("casadi",)
    )


if __name__ == "__main__":
    main()
