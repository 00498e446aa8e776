"""Supervised sampled networks beside scikit-learn's MLP (Adam), gradient boosting and ridge.

Data sets that scikit-learn ships (diabetes, breast cancer, wine, digits), a quarter held out, and Barron
functions f(x) = sqrt(3/2) (|x - a| - |x + a|), |a| = 1/2 with equal entries, x uniform in [-1, 1]^D, 10,000
points, as many for the test: relative root-mean-square error against width, with the slope of its logarithm
over that of the width. Settings are the estimators' defaults but for the width (and relu on the Barron
functions, which have kinks); the MLP has its documented defaults and 500 epochs at most, on
standardised data.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import _common as c
import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from koopctrl.sampled import SampledNetworkClassifier, SampledNetworkRegressor

N = 10_000
SETS: dict[str, tuple[Callable[..., Any], bool]] = {
    "diabetes": (load_diabetes, False),
    "breast cancer": (load_breast_cancer, True),
    "wine": (load_wine, True),
    "digits": (load_digits, True),
}


def barron(n_in: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points uniform in the cube and the function's values."""
    x = np.random.default_rng(seed).uniform(-1.0, 1.0, (N, n_in))
    a = np.full(n_in, 0.5 / np.sqrt(n_in))
    return x, np.sqrt(1.5) * (np.linalg.norm(x - a, axis=1) - np.linalg.norm(x + a, axis=1))


def estimators(classes: bool, seed: int) -> dict[str, Any]:
    """The network at its defaults and narrow, and the peers."""
    ours = SampledNetworkClassifier if classes else SampledNetworkRegressor
    mlp = (MLPClassifier if classes else MLPRegressor)(random_state=seed, max_iter=500)
    boosting = (HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor)(
        random_state=seed
    )
    ridge = (RidgeClassifierCV if classes else RidgeCV)(alphas=np.logspace(-3, 3, 13))
    return {
        "sampled, default width": ours(random_state=seed),
        "sampled, 150 neurons": ours(150, random_state=seed),
        "sampled, 200 neurons": ours(200, random_state=seed),
        "sampled, adaptive": ours(sampler="adaptive", random_state=seed),
        "MLP (Adam)": make_pipeline(StandardScaler(), mlp),
        "gradient boosting": boosting,
        "ridge": make_pipeline(StandardScaler(), ridge),
    }


def data_sets(n_seeds: int) -> dict[str, Any]:
    """Scores (R2 or accuracy) and training times, medians and spread over splits."""
    found: dict[str, Any] = {}
    rows = []
    for name, (load, classes) in SETS.items():
        x, y = load(return_X_y=True)
        scores: dict[str, list[float]] = {}
        times: dict[str, list[float]] = {}
        for seed in range(n_seeds):
            x_fit, x_test, y_fit, y_test = train_test_split(
                x, y, test_size=0.25, random_state=seed, stratify=y if classes else None
            )
            for label, model in estimators(classes, seed).items():
                fitted, seconds = c.timed(lambda m=model, a=x_fit, b=y_fit: m.fit(a, b))
                scores.setdefault(label, []).append(float(fitted.score(x_test, y_test)))
                times.setdefault(label, []).append(seconds)
        mlp, spent = scores["MLP (Adam)"], np.median(times["MLP (Adam)"])
        found[name] = {}
        for label, score in scores.items():
            difference = np.subtract(score, mlp)
            error = float(np.std(difference, ddof=1) / np.sqrt(len(difference))) if len(score) > 1 else 0.0
            found[name][label] = {
                "score": c.spread(score),
                "mean": float(np.mean(score)),
                "seconds": c.spread(times[label]),
                "mean_minus_mlp": float(np.mean(difference)),
                "standard_error": error,
                "mlp_time_ratio": float(spent / np.median(times[label])),
            }
            f = found[name][label]
            rows.append([name, label, f["mean"], f["mean_minus_mlp"], error, f["mlp_time_ratio"]])
    c.print_table(
        f"Data sets of scikit-learn, {n_seeds} splits",
        ["data", "model", "score (mean)", "minus MLP", "standard error", "MLP's time over its own"],
        rows,
    )
    return found


def widths(n_seeds: int, few: int, dimensions: list[int], sizes: list[int]) -> dict[str, Any]:
    """Relative error against width, `few` seeds from 2048 neurons on."""
    found: dict[str, Any] = {}
    rows = []
    for n_in in dimensions:
        by_width: dict[int, dict[str, float]] = {}
        for width in sizes:
            errors, seconds = [], []
            for seed in range(n_seeds if width < 2048 else few):
                x, y = barron(n_in, seed)
                x_test, y_test = barron(n_in, 1000 + seed)
                model = SampledNetworkRegressor(width, activation="relu", random_state=seed)
                _, spent = c.timed(lambda m=model, a=x, b=y: m.fit(a, b))
                errors.append(c.rmse(model.predict(x_test) - y_test) / float(np.std(y_test)))
                seconds.append(spent)
            by_width[width] = {**c.spread(errors), "seconds": float(np.median(seconds))}
        peers: dict[str, Any] = {}
        for seed in range(min(few, n_seeds)):
            x, y = barron(n_in, seed)
            x_test, y_test = barron(n_in, 1000 + seed)
            for label, model in estimators(False, seed).items():
                if not label.startswith("sampled"):
                    _, spent = c.timed(lambda m=model, a=x, b=y: m.fit(a, b))
                    error = c.rmse(model.predict(x_test) - y_test) / float(np.std(y_test))
                    peers.setdefault(label, []).append((error, spent))
        medians = [by_width[w]["median"] for w in sizes]
        slope = float(np.polyfit(np.log(sizes), np.log(medians), 1)[0])
        peers = {
            k: dict(zip(("error", "seconds"), np.median(v, axis=0), strict=True)) for k, v in peers.items()
        }
        found[str(n_in)] = {"by_width": by_width, "slope": slope, "peers": peers}
        rows.append([n_in, *medians, slope, *(p["error"] for p in peers.values())])
    c.print_table(
        f"Barron functions, {N} points, relative error, medians of {n_seeds} seeds ({few} from 2048 on)",
        ["D", *map(str, sizes), "slope", *next(iter(found.values()))["peers"]],
        rows,
    )
    return found


def main() -> None:
    """Both tables."""
    p = c.parser(__doc__, seeds=5)
    p.add_argument("--few", type=int, default=1, help="seeds from 2048 neurons on (default %(default)s)")
    p.add_argument("--dimensions", type=int, nargs="+", default=[1, 2, 3, 5, 10])
    p.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512, 1024, 2048, 4096])
    p.add_argument("--splits", type=int, default=10, help="splits of the data sets (default %(default)s)")
    p.add_argument(
        "--only", choices=["data_sets", "barron"], help="one table, the other as in the last results"
    )
    args = p.parse_args()
    c.quiet()
    installed = importlib.util.find_spec("swimnetworks") is not None
    figures = c.earlier(args, "sampled_regression") if args.only else {}
    with c.threads(args.threads):
        if args.only != "barron":
            figures["data_sets"] = data_sets(args.splits)
        if args.only != "data_sets":
            figures["barron"] = widths(args.seeds, args.few, args.dimensions, args.widths)
    figures["swimnetworks"] = "installed, not compared" if installed else "not installed here: not compared"
    print(f"\nswimnetworks: {figures['swimnetworks']}")
    c.write(args, "sampled_regression", figures)


if __name__ == "__main__":
    main()
