"""Measured records: what `select` finds on the training part, in free run on the test part.

`select(train, budget)` sees the training part alone: kind of state, order, lags, neurons and penalty are
chosen by free run on its held-out blocks, and the ensemble of the best settings is fitted to all of it.
After the first samples of the test part, which initialise and are not scored, the model sees the input
alone. Beside it: the best linear model that `select` found on the same held-out blocks, and a 4-state (robot
arm: 8) subspace model where the issue of order is settled by convention.

The hair dryer and the robot arm ship with the package; the others are looked for under the data folder:
cascaded tanks from https://www.nonlinearbenchmark.org, the rest as `.npz` with `train0_u, train0_y, test0_u,
.., dt, n_init`.
"""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import _common as c
import numpy as np
import silverbox

from koopctrl import KoopmanRNN, Trajectories, datasets, select, subspace
from koopctrl.selection import search

# Published or earlier figures to hold against: see each record's page and docs/identification.md.
TARGETS = {
    "cascaded_tanks": [0.30],
    "hair_dryer": [0.105],
    "robot_arm": [0.0070],
    "ball_hoop": [0.25],
    "bouc_wen": [4.5e-5, 2.4e-5],
    "f16_reduced": [0.042],
    "quarter_drone": [5.0, 5.0],
    "silverbox": [0.22e-3, 0.33e-3, 0.225e-3],
}
BUDGETS = {"silverbox": 180.0}
ORDERS = {"hair_dryer": 4, "robot_arm": 8}


def load(name: str, folder: c.Path) -> tuple[Trajectories, list[Trajectories], int]:
    """Training part, test parts, and how many samples initialise."""
    if name in ORDERS:
        train, test = getattr(datasets, name)().split(0.5, by="time")
        return train, [test], 20
    if name == "cascaded_tanks":
        table = np.genfromtxt(c.find_file(folder, "dataBenchmark.csv"), delimiter=",", skip_header=1)
        u_train, u_test, y_train, y_test = (table[:, [i]] for i in range(4))
        parts = [Trajectories.from_arrays(y, u, dt=4.0) for y, u in ((y_train, u_train), (y_test, u_test))]
        return parts[0], parts[1:], 50
    if name == "silverbox":
        train, tests = silverbox.load(folder)
        return train, list(tests.values()), silverbox.N_INIT
    with np.load(c.find_file(folder, f"{name}.npz")) as data:
        keys = [k for k in ("train0", "test0", "test1") if f"{k}_y" in data]
        parts = [Trajectories.from_arrays(data[f"{k}_y"], data[f"{k}_u"], dt=float(data["dt"])) for k in keys]
        return parts[0], parts[1:], int(data["n_init"])


def free_run_rmse(model: Any, data: Trajectories, n_init: int) -> float:
    """RMSE in the record's unit after the samples that initialise."""
    return c.rmse(model.predict(data, n_init=n_init)[0][n_init:] - data[0].outputs[n_init:])


def run_one(name: str, seed: int, args: Any) -> dict[str, Any]:
    """One choice, read back where it has been made before (`--runs`)."""
    kept = None if args.runs is None else args.runs / f"{name}-{seed}.json"
    if kept is not None and kept.exists():
        return json.loads(kept.read_text())
    train, tests, n_init = load(name, args.data)
    budget = BUDGETS.get(name, 120.0) if args.budget is None else args.budget
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    begun = clock()
    model = select(train, budget, n_members=args.members, random_state=seed)
    took = clock() - begun
    found = model.selection_
    best_linear = next(t for t in found.trials if t.settings.get("n_features") == 0)
    plain = KoopmanRNN(**best_linear.settings, random_state=0).fit(train)
    one = {
        "rmse": [free_run_rmse(model, t, n_init) for t in tests],
        "best_member_rmse": [free_run_rmse(model.best_, t, n_init) for t in tests],
        "best_linear_rmse": [free_run_rmse(plain, t, n_init) for t in tests],
        "seconds": took,
        "budget_s": budget,
        "settings": found.best.settings,
        "members": [_short(m.get_params()) for m in model.members_],
        "held_out_error": {
            "chosen": found.best.error,
            "linear": best_linear.error,
            "candidates": len(found.trials),
        },
    }
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(one, indent=1, default=float))
    return one


def run(name: str, args: Any) -> dict[str, Any]:
    """All figures of one record."""
    runs = [run_one(name, seed, args) for seed in args.seed_list or range(args.seeds)]

    def spreads(key: str) -> list[dict[str, float]]:
        return [c.spread(values) for values in zip(*(one[key] for one in runs), strict=True)]

    figures: dict[str, Any] = {key: spreads(key) for key in ("rmse", "best_member_rmse", "best_linear_rmse")}
    figures |= {
        "target": TARGETS[name],
        "seconds": c.spread([one["seconds"] for one in runs]),
        "seeds": list(args.seed_list or range(args.seeds)),
    }
    for key in ("budget_s", "settings", "members", "held_out_error"):
        figures[key] = [one[key] for one in runs]
    if name in ORDERS:
        train, tests, n_init = load(name, args.data)
        model = subspace(train, ORDERS[name], feedthrough=name == "robot_arm")
        figures["subspace_rmse"] = [free_run_rmse(model, t, n_init) for t in tests]
    return figures


def _short(params: dict[str, Any]) -> dict[str, Any]:
    """Settings that differ from the estimator's defaults."""
    default = KoopmanRNN().get_params()
    return {
        k: v for k, v in params.items() if v != default[k] and k not in ("random_state", "rollout_margin")
    }


def main() -> None:
    """The records that are asked for."""
    p = c.parser(__doc__, seeds=5)
    c.data_folder(p, "the records")
    p.add_argument("--records", nargs="+", choices=sorted(TARGETS), default=sorted(TARGETS))
    p.add_argument("--seed-list", type=int, nargs="+", help="these seeds instead of 0 .. seeds-1")
    p.add_argument("--runs", type=c.Path, help="folder of finished choices, which are not made again")
    p.add_argument("--budget", type=float, help="seconds for each choice (default 120, Silverbox 180)")
    p.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="what the budget counts: seconds, or the process's CPU seconds where others share the machine",
    )
    p.add_argument("--members", type=int, default=8, help="members of the ensemble (default %(default)s)")
    args = p.parse_args()
    c.quiet()
    if args.clock == "cpu":
        search.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    with c.threads(args.threads):
        figures = {name: run(name, args) for name in args.records}
    rows = []
    for name, f in figures.items():
        for i, target in enumerate(f["target"]):
            ours = f["rmse"][i]
            rows.append(
                [
                    name if len(f["target"]) == 1 else f"{name}, test {i}",
                    ours["median"],
                    ours["max"],
                    f["best_member_rmse"][i]["median"],
                    f["best_linear_rmse"][i]["median"],
                    target,
                ]
            )
    header = ["record", "ensemble, median", "worst seed", "best member", "best linear", "target"]
    c.print_table(f"Free run on the test part, RMSE, budget {args.budget or 'by record'} s", header, rows)
    c.write(args, "selected", figures)


if __name__ == "__main__":
    main()
