"""One step of LinearMPC and RNNMPC: beside the bare QP solver, against lifted dimension, and beside peers.

Forced Van der Pol, horizon 20, 300 features, |u| <= 3, along the states of one closed loop on the true plant,
at samples whose QP has active bounds, from the second sample on:

- bare solver: `casadi.conic("daqp")` on the very QPs of these steps, called as its documentation shows
  (keyword arguments, NumPy arrays), and through preallocated buffers, as the package does.
- do-mpc: its `MPC` with the true model, discrete (the plant's own Runge-Kutta steps) and by its default
  collocation, the latter also compiled (`compile_nlp`); and with the network that `to_do_mpc` exports.

Against lifted dimension: a linear model on tanh features of 4 states, with 2 inputs and 2 outputs; horizon
20, |u| <= 0.3, LQR's cost to go at the end. Its first 50 lifted coordinates hold all that acts on the
outputs; larger models add coordinates that do not, so that all of them pose the same QPs and only the lift
differs. Every timed step has active bounds, so that the QP solver is called. Beside it, on the same problem:

- sparse: the same problem with the states kept as variables, OSQP through CasADi to 1e-6.
- do-mpc: its linear model and MPC (ipopt), the same weights and bounds, from the second step on.
- control.optimal: python-control's `OptimalControlProblem` (SciPy's SLSQP), one solve.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import warnings
from typing import Any

import _common as c
import numpy as np
from _bare_qp import bare_calls, per_step, recorded
from _step_nmpc import ratios
from _step_nmpc import step_times as nmpc_step_times
from _step_peers import LIMIT, N_U, N, Q, R, do_mpc_time, optimal_time, sparse_time

from koopctrl import LiftedModel, LinearMPC
from koopctrl.lifted.observables import Observables
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.lag_window import LagWindow

SIZES = (50, 100, 300, 1000)
N_X, N_Y, N_CORE = 4, 2, 50


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


def step_times(seed: int, n_starts: int, repeats: int) -> dict[str, Any]:
    """Median times of our step at every size and of the bare solver, taken in turns."""
    rng = np.random.default_rng(seed + 100)
    models = {n: make_model(n, seed) for n in SIZES}
    starts: list[Any] = []
    with recorded() as problems:
        watched = make_mpc(models[300])
        while len(starts) < n_starts:
            x = rng.uniform(-1.0, 1.0, N_X)
            watched.reset()
            problem = per_step(problems, [lambda x=x: watched.control(x)])[0]
            if problem is not None:
                starts.append((x, bare_calls(problem)))
    controllers = {n: make_mpc(model) for n, model in models.items()}
    times: dict[str, list[float]] = {k: [] for k in (*map(str, SIZES), "bare", "buffered")}
    for x, bare in starts:
        calls = {str(n): (lambda mpc=mpc, x=x: mpc.control(x)) for n, mpc in controllers.items()}
        for _ in range(repeats):
            for name, call in {**calls, "bare": bare[0], "buffered": bare[1]}.items():
                call()  # so that none pays for what the one before it pushed out of the cache
                times[name].append(c.timed(call)[1])
    return {name: float(np.median(values)) for name, values in times.items()}


def sizes(seeds: int) -> dict[str, Any]:
    """Against lifted dimension."""
    by_seed = [step_times(seed, n_starts=30, repeats=12) for seed in range(seeds)]
    median = {k: float(np.median([t[k] for t in by_seed])) for k in by_seed[0]}
    rows = [
        [f"LinearMPC, {n} lifted states", 1e6 * median[str(n)], median[str(n)] / median["bare"]]
        for n in SIZES
    ]
    rows += [
        ["bare casadi.conic call", 1e6 * median["bare"], 1.0],
        ["bare solver through buffers", 1e6 * median["buffered"], median["buffered"] / median["bare"]],
    ]
    c.print_table("One step by lifted dimension, microseconds (medians)", ["", "time", "/ bare call"], rows)
    return {
        "median_seconds": median,
        "ratios": {
            "step_over_bare_solver": c.spread([t["300"] / t["bare"] for t in by_seed]),
            "step_over_buffered_solver": c.spread([t["300"] / t["buffered"] for t in by_seed]),
            "step_1000_over_50": c.spread([t["1000"] / t["50"] for t in by_seed]),
        },
        "by_seed": by_seed,
    }


def peers(n_lifted: list[int]) -> dict[str, Any]:
    """The linear problem by other packages."""
    figures: dict[str, Any] = {}
    table = []
    for n_z in n_lifted:
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
            figures[f"{name}, {n_z}"] = {
                "seconds": c.spread(times), "over_ours": ratio, "first_input_difference": difference,
            }  # fmt: skip
            table.append([f"{name}, {n_z} states", 1e3 * float(np.median(times)), ratio, difference])
        table.append([f"LinearMPC, {n_z} states", 1e3 * float(ours), 1.0, 0.0])
    c.print_table("Peers on one step, milliseconds", ["", "time", "/ ours", "difference of u0"], table)
    return figures


def van_der_pol(seeds: int) -> dict[str, Any]:
    """The true plant: our controllers, the bare solver, do-mpc's NMPC."""
    by_seed = [nmpc_step_times(seed, repeats=20) for seed in range(seeds)]
    names, compared = by_seed[0]["median_seconds"], by_seed[0]["first_input_difference"]
    seconds = {k: c.spread([t["median_seconds"][k] for t in by_seed]) for k in names}
    p95 = {k: c.spread([t["p95_seconds"][k] for t in by_seed]) for k in names}
    of_seed = [ratios(t["median_seconds"]) for t in by_seed]
    over = {k: c.spread([s[k] for s in of_seed]) for k in of_seed[0]}
    linear, rnn = seconds["LinearMPC"]["median"], seconds["RNNMPC"]["median"]
    difference = {k: max(t["first_input_difference"][k] for t in by_seed) for k in compared}
    rows = [
        [
            k,
            1e3 * s["median"],
            1e3 * p95[k]["median"],
            s["median"] / linear,
            s["median"] / rnn,
            difference.get(k, ""),
        ]
        for k, s in seconds.items()
    ]
    header = ["", "median ms", "p95 ms", "/ LinearMPC", "/ RNNMPC", "|u - u of NMPC|"]
    c.print_table("One step on Van der Pol, horizon 20, 300 features", header, rows)
    return {"seconds": seconds, "p95_seconds": p95, "ratios": over, "by_seed": by_seed}


def main() -> None:
    """Run."""
    warnings.simplefilter("ignore", FutureWarning)
    p = c.parser(__doc__, seeds=5)
    p.set_defaults(threads=1)
    p.add_argument("--peer-sizes", type=int, nargs="*", default=[50, 300], help="lifted sizes for the peers")
    args = p.parse_args()
    with c.threads(args.threads):
        nonlinear = van_der_pol(args.seeds)
        by_size = sizes(args.seeds)
        linear_peers = peers(args.peer_sizes)
    over = {k: v["median"] for k, v in nonlinear["ratios"].items()}
    fastest = "fastest do-mpc with the true model"
    targets = {
        "LinearMPC / bare call <= 3": over["LinearMPC / bare call"] <= 3.0,
        "RNNMPC / bare call <= 10": over["RNNMPC / bare call"] <= 10.0,
        f"{fastest} / LinearMPC >= 15": over[f"{fastest} / LinearMPC"] >= 15.0,
        f"{fastest} / RNNMPC >= 3": over[f"{fastest} / RNNMPC"] >= 3.0,
        "step_over_bare_solver <= 3": by_size["ratios"]["step_over_bare_solver"]["median"] <= 3.0,
        "step_1000_over_50 within 20 %": by_size["ratios"]["step_1000_over_50"]["median"] <= 1.2,
    }
    figures = {"van_der_pol": nonlinear, **by_size, "peers": linear_peers, "targets": targets}
    c.write(args, "mpc_step", figures, peers=("casadi", "control", "do-mpc"))
    print()
    for name, value in over.items():
        print(f"{value:10.4g}  {name}")
    for name, held in targets.items():
        print(f"{'held' if held else 'MISSED'}: {name}")


if __name__ == "__main__":
    main()
