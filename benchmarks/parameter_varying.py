"""Drifting plants: a parameter-varying model beside a fixed one and one model per operating point.

Free runs of 20 samples on test records with a moving parameter, in standard deviations of the outputs, and
the cost of closed loops over that of predictive control with the true model, whose parameter is previewed.
All models have default settings and as many samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _common import earlier, parser, print_table, quiet, spread, threads, write
from _grey import grey_figures
from _varying import CASES, Array, Case, closed_loop, records, schedule, true_nmpc, without_parameter

from koopctrl import RNNMPC, GainScheduled, KoopmanRNN, LinearMPC

N_EPISODES, N_STEPS, N_LOOP, HORIZON = 24, 80, 120, 20
POINTS = 3
Step = Callable[[Array, Array, Array], Array]


def models(case: Case, seed: int) -> dict[str, Any]:
    """All models of a seed: two that vary, a fixed one, and one per operating point."""
    rng, n_u = np.random.default_rng(seed), case.plant.n_u
    data = records(case, rng, N_EPISODES, N_STEPS)
    points = case.low + (case.high - case.low) * (np.arange(POINTS) + 0.5) / POINTS
    frozen = [
        without_parameter(records(case, rng, N_EPISODES // POINTS, N_STEPS, np.full(N_EPISODES, p)), n_u)
        for p in points
    ]
    options = {"random_state": seed}
    return {
        "data": data,
        "points": points,
        "affine": KoopmanRNN(parameters=[case.parameter], **options).fit(data),
        "layer": KoopmanRNN(parameters=[case.parameter], parameter_coupling="layer", **options).fit(data),
        "input": KoopmanRNN(**options).fit(data),
        "fixed": KoopmanRNN(**options).fit(without_parameter(data, n_u)),
        "per point": [KoopmanRNN(**options).fit(d) for d in frozen],
    }


def free_run_errors(case: Case, found: dict[str, Any], seed: int) -> dict[str, float]:
    """Root mean square over free runs of `HORIZON` samples, in standard deviations of each output."""
    test = records(case, np.random.default_rng(10_000 + seed), 8, N_STEPS)
    n_u, points = case.plant.n_u, found["points"]
    family = found["affine"].lift_family()

    def nearest(x: Array, u: Array) -> Array:
        which = np.argmin(np.abs(points - u[:, n_u:]), axis=1)
        every = np.stack([m.network_.step(x, u[:, :n_u]) for m in found["per point"]])
        return every[which, np.arange(len(x))]

    steps: dict[str, Callable[[Array, Array], Array]] = {
        "varying, affine": lambda x, u: found["affine"].network_.step(x, u),
        "varying, layer": lambda x, u: found["layer"].network_.step(x, u),
        "parameter as an input": lambda x, u: found["input"].network_.step(x, u),
        "fixed": lambda x, u: found["fixed"].network_.step(x, u[:, :n_u]),
        f"{POINTS} models": nearest,
    }
    x0, u, y = [], [], []
    for e in test:
        for k in range(0, len(e.inputs) - HORIZON, HORIZON // 2):
            x0.append(e.outputs[k])
            u.append(e.inputs[k : k + HORIZON])
            y.append(e.outputs[k + 1 : k + HORIZON + 1])
    start, inputs, wanted = np.array(x0), np.array(u), np.array(y)
    size = np.concatenate([e.outputs for e in test]).std(axis=0)
    out = {}
    for name, step in steps.items():
        x, off = start, np.empty_like(wanted)
        for k in range(HORIZON):
            x = step(x, inputs[:, k])
            off[:, k] = (x - wanted[:, k]) / size
        out[name] = float(np.sqrt(np.mean(np.minimum(off**2, 1e6))))
    simulated = np.array(
        [family.simulate(a, v[:, :n_u], v[:, n_u:])[1:] for a, v in zip(start, inputs, strict=True)]
    )
    out["linear family"] = float(np.sqrt(np.mean(np.minimum(((simulated - wanted) / size) ** 2, 1e6))))
    return out


def controllers(case: Case, found: dict[str, Any], phase: float) -> dict[str, Callable[[int, Array], Array]]:
    """What is compared, each as a function of sample and state."""
    n_u, N, points = case.plant.n_u, case.horizon, found["points"]
    p, r, _ = schedule(case, N_LOOP, phase)
    options = {"u_min": case.plant.u_min, "u_max": case.plant.u_max}

    def rnn(model: KoopmanRNN, **more: Any) -> RNNMPC:
        return RNNMPC(model, N, case.Q, case.R, **options, **more)

    truth = true_nmpc(case)
    load = np.column_stack([np.zeros((len(p), n_u)), p])
    plants = [case.at(value) for value in p]
    holding = {
        r_k.tobytes(): np.array([case.steady_input(q, r_k) for q in plants]) for r_k in case.references
    }
    idle = np.zeros((N, 1))
    affine, layer, as_input = (
        rnn(found["affine"]),
        rnn(found["layer"]),
        rnn(found["input"], measured_disturbances=[case.parameter]),
    )
    told, fixed, free = rnn(found["affine"]), rnn(found["fixed"]), rnn(found["fixed"], offset_free=0.3)
    each = [rnn(m) for m in found["per point"]]
    family = found["affine"].lift_family(Q=case.Q, R=case.R)
    scheduled = GainScheduled(
        family,
        LinearMPC,
        horizon=N,
        Q=case.Q,
        R=case.R,
        resolution=0.01,
        check=False,
        terminal="none",
        **options,
    )

    def previewed(mpc: RNNMPC) -> Callable[[int, Array], Array]:
        return lambda k, x: mpc.control(x, r[k], disturbance=p[k : k + N, None])

    return {
        "NMPC, true model": lambda k, x: truth.control(
            x,
            r[k],
            load=load[k : k + N],
            input_reference=np.hstack([holding[r[k].tobytes()][k : k + N], idle]),
        )[:n_u],
        "varying, affine": previewed(affine),
        "varying, affine, no preview": lambda k, x: told.control(x, r[k], disturbance=p[k : k + 1]),
        "varying, layer": previewed(layer),
        "parameter as an input": previewed(as_input),
        "gain-scheduled LinearMPC": lambda k, x: scheduled.control(x, r[k], disturbance=p[k : k + 1]),
        f"{POINTS} models": lambda k, x: each[int(np.argmin(np.abs(points - p[k])))].control(x, r[k]),
        "fixed": lambda k, x: fixed.control(x, r[k]),
        "fixed, offset-free": lambda k, x: free.control(x, r[k]),
    }


def save(given: Any, name: str, figures: dict[str, Any]) -> None:
    """Put one part of the figures beside those that are there."""
    write(given, "parameter_varying", earlier(given, "parameter_varying") | {name: figures})


def main() -> None:
    """Run it."""
    args = parser(__doc__, 5)
    args.add_argument("--only", nargs="*", default=[*CASES, "grey"], help="plants, or grey (default all)")
    given = args.parse_args()
    quiet()
    with threads(given.threads):
        for name in given.only:
            if name == "grey":
                save(given, "grey", grey_figures(given.seeds))
                continue
            case = CASES[name]()
            errors: dict[str, list[float]] = {}
            ratios: dict[str, list[float]] = {}
            begun = time.perf_counter()
            for seed in range(given.seeds):
                found = models(case, seed)
                for method, error in free_run_errors(case, found, seed).items():
                    errors.setdefault(method, []).append(error)
                phase, yardstick = seed / given.seeds, np.nan
                for method, control in controllers(case, found, phase).items():
                    cost, _ = closed_loop(case, control, phase, N_LOOP)
                    if method == "NMPC, true model":
                        yardstick = cost
                        continue
                    ratios.setdefault(method, []).append(cost / yardstick)
                print(f"{name} seed {seed}: {time.perf_counter() - begun:.0f} s", flush=True)
            figures = {
                "title": case.name,
                "free_run": {m: spread(v) for m, v in errors.items()},
                "cost_ratio": {m: spread(v) for m, v in ratios.items()},
            }
            rows = [
                [m, *(f"{f[m]['median']:.4g} ({f[m]['max']:.4g})" if m in f else "" for f in (
                    figures["free_run"], figures["cost_ratio"]))]
                for m in dict.fromkeys([*errors, *ratios])
            ]  # fmt: skip
            print_table(case.name, ["", "free run", "cost / NMPC"], rows)
            save(given, name, figures)


if __name__ == "__main__":
    main()
