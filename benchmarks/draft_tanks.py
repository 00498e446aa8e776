"""Two tanks under the settings of a draft comparison of offset-free Koopman predictive controllers.

A1 = A2 = 1 m^2, k1 = 0.5, k2 = 0.3, samples of 1 s, inputs in [0, 0.5] x [0, 1], set-points every 100 s,
horizon 20, three weightings; the index is the cost over that of NMPC with the plant's own equations, which is
100. All controllers are offset-free and have default settings. Published there: 124 / 113 / 148 for the
classical one, 104 / 105 / 143 for the best.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import warnings

import _common as c
import numpy as np
from _unseen import make_unseen_tasks
from unseen_plants import LINEAR, attempt, cost_of, identify, size, yardstick

from koopctrl import LinearMPC
from koopctrl.controllers import RNNMPC

WEIGHTINGS = ("output_heavy", "equal", "input_heavy")


def indices(kind: str, seeds: int) -> dict[str, list[float | str]]:
    """Index of each controller and seed under one weighting."""
    task = make_unseen_tasks()[f"two_tanks_{kind}"]
    best = yardstick(task, "plain")
    found: dict[str, list[float | str]] = {"RNNMPC": [], **{name: [] for name in LINEAR[:2]}}
    for seed in range(seeds):
        model, lifts = identify(task, seed)
        made = {"RNNMPC": attempt(lambda m=model: RNNMPC(m, **size(task), offset_free=True))}
        for name in LINEAR[:2]:
            made[name] = attempt(lambda m=lifts[name]: LinearMPC(m, **size(task), offset_free=True))
        for name, controller in made.items():
            cost = cost_of(task, controller, "plain")
            found[name].append(cost if isinstance(cost, str) else 100.0 * cost / best)
    return found


def main() -> None:
    """Run."""
    warnings.simplefilter("ignore")
    args = c.parser(__doc__, seeds=5).parse_args()
    with c.threads(1):
        figures = {kind: indices(kind, args.seeds) for kind in WEIGHTINGS}
    rows = []
    for name in figures[WEIGHTINGS[0]]:
        row = [name]
        for kind in WEIGHTINGS:
            good = [v for v in figures[kind][name] if isinstance(v, float)]
            row.append(f"{np.median(good):.1f} ({max(good):.1f})" if good else "-")
        rows.append(row)
    c.print_table("index, median (worst)", ["", *WEIGHTINGS], rows)
    c.write(args, "draft_tanks", figures, peers=("casadi",))


if __name__ == "__main__":
    main()
