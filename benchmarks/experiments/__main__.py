"""Run any subset of the cells; those that are there are not run again.

    python -m benchmarks.experiments --only lorenz63 "weather_*" --models KoopmanRNN* LSTM --seeds 0 1 2
    python -m benchmarks.experiments --smoke --out /tmp/cells

Figures are in `benchmarks/results/experiments/EXPERIMENT/MODEL-SEED.json`; `docs/build.py` makes the
tables and figures of `docs/results.md` from them.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import fnmatch
import sys
import time
from pathlib import Path

import _common as common

from benchmarks.experiments import cell
from benchmarks.experiments.data import all_experiments
from benchmarks.experiments.models import all_contenders

TRIALS, LIMIT = 4, 300.0
SMOKE_EXPERIMENTS = ("van_der_pol_forced", "lorenz63_noisy", "hair_dryer")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Of the command line."""
    p = argparse.ArgumentParser(description="The papers' experiments beside the peers.")
    p.add_argument("--only", nargs="+", default=["*"], metavar="EXPERIMENT", help="names or patterns")
    p.add_argument("--models", nargs="+", default=["*"], metavar="MODEL", help="names or patterns")
    p.add_argument("--seeds", nargs="+", type=int, default=[0])
    p.add_argument(
        "--data", type=Path, help=f"folder with the records that do not ship, from {common.SOURCE}"
    )
    p.add_argument("--out", type=Path, default=common.RESULTS / "experiments", help="folder of the cells")
    p.add_argument("--trials", type=int, default=TRIALS, help="settings each contender tries (%(default)s)")
    p.add_argument(
        "--limit", type=float, default=LIMIT, help="processor seconds a cell may take (%(default)s)"
    )
    p.add_argument("--until", type=float, help="begin no cell after so many seconds")
    p.add_argument("--redo", action="store_true", help="run cells that are there too")
    p.add_argument("--smoke", action="store_true", help="a small version of a few experiments")
    p.add_argument("--list", action="store_true", help="print names and stop")
    return p.parse_args(argv)


def picked(names: dict[str, object], patterns: list[str]) -> list[str]:
    """Names that match, in the order of the patterns; a pattern that matches none is refused."""
    found: list[str] = []
    for pattern in patterns:
        hits = [n for n in names if n == pattern or fnmatch.fnmatchcase(n, pattern)]
        if not hits:
            sys.exit(f"{pattern} matches none of {', '.join(names)}")
        found += [h for h in hits if h not in found]
    return found


def main(argv: list[str] | None = None) -> None:
    """Cells one after another."""
    args = arguments(argv)
    experiments, contenders = all_experiments(), all_contenders()
    if args.list:
        print("experiments:", *experiments, sep="\n  ")
        print("models:", *contenders, sep="\n  ")
        return
    if args.smoke and args.only == ["*"]:
        args.only = list(SMOKE_EXPERIMENTS)
    begun = time.perf_counter()
    for seed in args.seeds:
        for e in picked(experiments, args.only):
            for m in picked(contenders, args.models):
                experiment, contender = experiments[e], contenders[m]
                if seed > 0 and experiment.measured and not contender.seeded:
                    continue  # the same as seed 0
                path = cell.path_of(args.out, e, m, seed)
                before = cell.load(path)
                if cell.done(before) and not args.redo:
                    continue
                if args.until is not None and time.perf_counter() - begun > args.until:
                    print("out of time")
                    return
                found = cell.run(
                    experiment, contender, seed, n_trials=args.trials, smoke=args.smoke, folder=args.data,
                    limit=args.limit,
                )  # fmt: skip
                if before and found.get("again"):
                    continue  # another environment may have what this one lacks
                cell.write(path, found)
                took = found.get("search_s", 0.0) + found.get("fit_s", 0.0)
                text = f"{found['error']:.4g}" if "error" in found else f"cannot run: {found['cannot_run']}"
                print(f"{e:24} {m:32} seed {seed}  {text}  ({took:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
