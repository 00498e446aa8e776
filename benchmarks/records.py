"""Hair dryer and robot arm: free run on the unseen half beside least-squares ARX.

Both records ship with the package. The first half trains, the second tests; its first 20 samples
initialise, are not scored, and after them the model sees the input alone.

Everything is chosen on the training half alone, by free run in five-fold cross-validation over its five
consecutive blocks (each an episode: no pair crosses a block's edge):

1. lags and feedthrough, as those of the best linear model, `KoopmanRNN(n_features=0, ridge=0)`;
2. with these, width, scale and ridge of the network.

The last row takes no step 2: all parameters but the lags and `input_coupling="network"` at their defaults.

The peer is ARX by `numpy.linalg.lstsq` with a constant, of the lags of step 1, and of the lags that are
best on the *test* half, which nobody could know: the optimistic figure.
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import _common as c
import numpy as np
from sklearn.model_selection import GridSearchCV, KFold

from koopctrl import KoopmanRNN, Trajectories, datasets

N_INIT, N_BLOCKS, MAX_LAG = 20, 5, 12
RECORDS = {"hair_dryer": 0.122, "robot_arm": 0.0081}  # and the target, test RMSE
LAGS = {
    "output_lags": range(1, MAX_LAG + 1),
    "input_lags": range(1, MAX_LAG + 1),
    "feedthrough": [False, True],
}
NETWORK = {
    "n_features": [20, 50, 100, 200],
    "feature_scale": [0.1, 0.3],
    "ridge": ["auto", 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3],
    "input_coupling": ["network"],
}


def free_run_rmse(model: KoopmanRNN, data: Trajectories) -> float:
    """RMSE after the samples that initialise."""
    return c.pooled(c.errors_by_episode(model.predict(data, n_init=N_INIT), data, N_INIT))


def select(base: KoopmanRNN, grid: dict[str, Any], train: Trajectories) -> tuple[dict[str, Any], float]:
    """Best settings of the grid and their cross-validated free-run RMSE."""
    record = train[0]
    edges = np.linspace(0, len(record), N_BLOCKS + 1).astype(int)
    blocks = Trajectories(record.slice(a, b) for a, b in pairwise(edges))
    search = GridSearchCV(
        base,
        {k: list(v) for k, v in grid.items()},
        scoring=lambda model, data, y=None: -(free_run_rmse(model, data) ** 2),
        cv=KFold(N_BLOCKS),
        refit=False,
    ).fit(blocks)
    return {k: search.best_params_[k] for k in grid}, float(np.sqrt(-search.best_score_))


def arx_rmse(train: Trajectories, test: Trajectories, p: int, q: int, feedthrough: bool) -> float:
    """Free run of ARX, `y_k = a_1 y_{k-1} .. + b_s u_{k-s} .. + const`, written out without the package."""
    s = 0 if feedthrough else 1

    def row(y: np.ndarray, u: np.ndarray, k: int) -> np.ndarray:
        return np.concatenate([y[k - p : k][::-1], u[k - s - q + 1 : k - s + 1][::-1], [1.0]])

    y, u = train[0].outputs[:, 0], train[0].inputs[:, 0]
    times = range(max(p, q - 1 + s), len(y))
    weights = np.linalg.lstsq(np.stack([row(y, u, k) for k in times]), y[times.start :], rcond=None)[0]
    free, u = test[0].outputs[:, 0].copy(), test[0].inputs[:, 0]
    for k in range(N_INIT, len(free)):
        free[k] = row(free, u, k) @ weights
    return c.rmse((free - test[0].outputs[:, 0])[N_INIT:])


def run(name: str, n_seeds: int) -> dict[str, Any]:
    """All figures of one record."""
    train, test = getattr(datasets, name)().split(0.5, by="time")
    lags, arx_cv = select(KoopmanRNN(0, input_coupling="linear", ridge=0.0), LAGS, train)
    network, network_cv = select(KoopmanRNN(**lags, random_state=0), NETWORK, train)
    fits = [
        c.timed(lambda s=s: KoopmanRNN(**lags, **network, random_state=s).fit(train)) for s in range(n_seeds)
    ]
    defaults = [
        KoopmanRNN(300, **lags, input_coupling="network", random_state=s).fit(train) for s in range(n_seeds)
    ]
    linear = KoopmanRNN(0, input_coupling="linear", ridge=0.0, **lags).fit(train)
    best = min((arx_rmse(train, test, *o), *o) for o in product(*LAGS.values()))
    return {
        "lags": lags,
        "network": network,
        "cv_rmse": {"linear": arx_cv, "network": network_cv},
        "test_rmse": c.spread([free_run_rmse(m, test) for m, _ in fits]),
        "fit_s": c.spread([seconds for _, seconds in fits]),
        "defaults_test_rmse": c.spread([free_run_rmse(m, test) for m in defaults]),
        "linear_test_rmse": free_run_rmse(linear, test),
        "arx_test_rmse": arx_rmse(train, test, *lags.values()),
        "arx_best_on_test_rmse": best[0],
        "arx_best_on_test_lags": best[1:],
        "target": RECORDS[name],
    }


def main() -> None:
    """Both records."""
    args = c.parser(__doc__, seeds=10).parse_args()
    c.quiet()
    with c.threads(args.threads):
        figures = {name: run(name, args.seeds) for name in RECORDS}
    for name, f in figures.items():
        lags = tuple(f["lags"].values())
        c.print_table(
            f"{name}: free run on the test half, RMSE",
            ["model", "settings chosen", "test RMSE"],
            [
                ["ARX, numpy lstsq", f"lags {lags} on the training half", f["arx_test_rmse"]],
                [
                    "ARX, numpy lstsq",
                    f"lags {f['arx_best_on_test_lags']} on the TEST half",
                    f["arx_best_on_test_rmse"],
                ],
                ["koopctrl, n_features=0", "as above, training half", f["linear_test_rmse"]],
                [f"koopctrl, median of {args.seeds} seeds", str(f["network"]), f["test_rmse"]["median"]],
                ["koopctrl, worst seed", "", f["test_rmse"]["max"]],
                ["koopctrl, defaults, median", "lags alone", f["defaults_test_rmse"]["median"]],
                ["koopctrl, defaults, worst seed", "", f["defaults_test_rmse"]["max"]],
                ["target", "", f["target"]],
            ],
        )
    c.write(args, "records", figures)


if __name__ == "__main__":
    main()
