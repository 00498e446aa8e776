"""Cascaded tanks with overflow: free run on the test record beside the published figures.

Two tanks in cascade, pump voltage to the lower level, 1,024 samples each for training (`uEst`, `yEst`) and
testing (`uVal`, `yVal`), 4 s apart. The first 50 test samples initialise and are not scored; after them the
model sees the input alone.

Settings are chosen on the training record alone, by free run in four-fold cross-validation over its four
consecutive blocks, with the mean error over three seeds.

The record is short, noisy and has a state that lags cannot show (water that overflows the upper tank reaches
the lower one only in part), so this is a benchmark on which models that know the physics win.

Data: dataBenchmark.csv, "Cascaded Tanks" at https://www.nonlinearbenchmark.org (Schoukens, Mattsson, Wigren
and Noel).
"""

from __future__ import annotations

import itertools
from typing import Any

import _common as c
import numpy as np

from koopctrl import KoopmanRNN, Trajectories

DT, N_INIT, N_BLOCKS, SELECTION_SEEDS = 4.0, 50, 4, 3
GRID: dict[str, list[Any]] = {
    "lags": [2, 4, 8],
    "n_features": [0, 30, 100],
    "activation": ["tanh", "relu"],
    "feature_scale": [0.1, 0.3, 1.0],
    "input_coupling": ["linear", "network"],
}
# Free-run RMSE in V as gathered in arXiv 2405.10779 and on the benchmark's pages.
PUBLISHED = {
    "ARX": 0.685, "GP-NARX": 0.622, "LTI": 0.588, "LSTM": 0.490, "PNLSS": 0.45, "poly-NARX": 0.413,
    "GRU": 0.396, "SUBNET": 0.37, "TSEM": 0.33, "SUBNET, continuous": 0.306, "grey-box": 0.191,
}  # fmt: skip


def load(folder: c.Path) -> tuple[Trajectories, Trajectories]:
    """Training and test record."""
    table = np.genfromtxt(c.find_file(folder, "dataBenchmark.csv"), delimiter=",", skip_header=1)
    u_train, u_test, y_train, y_test = (table[:, [i]] for i in range(4))
    return Trajectories.from_arrays(y_train, u_train, dt=DT), Trajectories.from_arrays(y_test, u_test, dt=DT)


def model_of(settings: dict[str, Any], seed: int) -> KoopmanRNN:
    """Estimator; the ridge is chosen by the evidence."""
    rest = {k: v for k, v in settings.items() if k != "lags"}
    return KoopmanRNN(**rest, output_lags=settings["lags"], input_lags=settings["lags"], random_state=seed)


def free_run_rmse(model: KoopmanRNN, data: Trajectories, n_init: int = N_INIT) -> float:
    """RMSE in V after the samples that initialise."""
    return c.pooled(c.errors_by_episode(model.predict(data, n_init=n_init), data, n_init))


def select(train: Trajectories) -> list[dict[str, Any]]:
    """All settings with their cross-validated error, the best first."""
    record = train[0]
    edges = np.linspace(0, len(record), N_BLOCKS + 1).astype(int)
    blocks = [record.slice(a, b) for a, b in itertools.pairwise(edges)]
    tried = []
    for values in itertools.product(*GRID.values()):
        settings = dict(zip(GRID, values, strict=True))
        linear = settings["n_features"] == 0
        first = (settings["activation"], settings["feature_scale"], settings["input_coupling"])
        if (linear and first != ("tanh", 0.1, "linear")) or (
            settings["activation"] == "relu" and settings["feature_scale"] != 1.0
        ):
            continue  # the same model again: no layer, or a layer that scales with its weights
        errors = [
            free_run_rmse(
                model_of(settings, seed).fit(blocks[:i] + blocks[i + 1 :]), Trajectories([blocks[i]]), 20
            )
            for i in range(N_BLOCKS)
            for seed in range(1 if linear else SELECTION_SEEDS)
        ]
        tried.append({**settings, "cv_V": c.rmse(np.array(errors))})
    return sorted(tried, key=lambda t: t["cv_V"])


def main() -> None:
    """Select, fit for each seed, compare."""
    p = c.parser(__doc__, seeds=10)
    c.data_folder(p, "dataBenchmark.csv")
    args = p.parse_args()
    c.quiet()
    with c.threads(args.threads):
        train, test = load(args.data)
        tried = select(train)
        chosen = {
            "linear": next(t for t in tried if t["n_features"] == 0),
            "network": next(t for t in tried if t["n_features"] > 0),
        }
        figures = {}
        for name, t in chosen.items():
            settings = {k: t[k] for k in GRID}
            runs = [free_run_rmse(model_of(settings, s).fit(train), test) for s in range(args.seeds)]
            figures[name] = {"settings": settings, "cv_V": t["cv_V"], "test_V": c.spread(runs)}
    keys = [*GRID, "cv_V"]
    c.print_table(
        "Selection within the training record, best six", keys, [[t[k] for k in keys] for t in tried[:6]]
    )
    rows: list[list[Any]] = [[name, v, ""] for name, v in PUBLISHED.items()]
    for name, f in figures.items():
        t = f["test_V"]
        rows.append(
            [f"koopctrl, {name}", t["median"], f"{t['min']:.3f} .. {t['max']:.3f}, {args.seeds} seeds"]
        )
    c.print_table("Cascaded tanks, free run, RMSE in V", ["model", "test", ""], rows)
    c.write(args, "cascaded_tanks", {**figures, "selection": tried, "published_V": PUBLISHED})


if __name__ == "__main__":
    main()
