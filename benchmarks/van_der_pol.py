"""Forced Van der Pol: accuracy of fit and free run, and time, beside pykoop and pysindy on the same episodes.

Plant: mu 1, dt 0.1 s, starts uniform in [-3, 3]^2, inputs uniform in [-3, 3] and held. Training 50 episodes
x 150 steps, test 20 x 100 steps, all free run from the start. Errors are the median over test episodes of
each episode's RMSE, and the RMSE pooled over all points: a few test episodes start in corners where no
training data lie, and these few make the pooled figure.

Peers, with the settings of their documentation:

- pykoop: 100 thin-plate radial basis functions at Latin hypercube centres and EDMD (its pendulum example);
  as many as our features; and the bilinear pipeline, the same functions of the state and
  `BilinearInputLiftingFn`. Predictions re-lift the state, its default.
- pysindy: `DiscreteSINDy` with a polynomial library of degree 3 and STLSQ with its default threshold 0.1;
  and, better on this plant, degree 5 and threshold 1e-5.

Times: fit of 10,000 pairs beside the bare SVD of the same column-scaled regressors, and the free run of 10
episodes x 200 steps beside pykoop's `predict_trajectory`, in turns, each beside ours of the same kind
(radial basis functions of state and input: `network`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import _common as c
import numpy as np
import pykoop
import pysindy
import scipy.stats
from scipy import linalg

from koopctrl import KoopmanRNN, Trajectories
from koopctrl_envs.van_der_pol import VanDerPol

N_FEATURES = 300
COUPLINGS = ("linear", "bilinear", "network", "quadratic")
TARGETS = {"bilinear": 5e-4, "network": 5e-5, "quadratic": 2e-6}
Predict = Callable[[Trajectories], list[np.ndarray]]


def episodes(n_episodes: int, n_steps: int, rng: np.random.Generator) -> Trajectories:
    """Simulate the plant."""
    plant = VanDerPol()
    u = rng.uniform(-3.0, 3.0, (n_episodes, n_steps, 1))
    x = np.empty((n_episodes, n_steps + 1, 2))
    x[:, 0] = rng.uniform(-3.0, 3.0, (n_episodes, 2))
    for k in range(n_steps):
        x[:, k + 1] = plant.step(x[:, k], u[:, k])
    return Trajectories.from_arrays(x, u, dt=plant.dt)


def fit_koopctrl(train: Trajectories, seed: int, coupling: str) -> Predict:
    """Fit ours, all other parameters at their defaults."""
    return KoopmanRNN(N_FEATURES, input_coupling=coupling, random_state=seed).fit(train).predict


def fit_pykoop(train: Trajectories, seed: int, n_centers: int, bilinear: bool) -> Predict:
    """Fit a pykoop pipeline."""
    centers = pykoop.QmcCenters(n_centers=n_centers, qmc=scipy.stats.qmc.LatinHypercube, random_state=seed)
    steps = [("rbf", pykoop.RbfLiftingFn(rbf="thin_plate", centers=centers))]
    if bilinear:
        split = pykoop.SplitPipeline(lifting_functions_state=steps, lifting_functions_input=None)
        steps = [("split", split), ("bilinear", pykoop.BilinearInputLiftingFn())]
    pipeline = pykoop.KoopmanPipeline(lifting_functions=steps, regressor=pykoop.Edmd())
    pipeline.fit(pykoop_matrix(train), n_inputs=1, episode_feature=True)

    def predict(data: Trajectories) -> list[np.ndarray]:
        try:
            predicted = pipeline.predict_trajectory(pykoop_matrix(data))
        except ValueError:  # an episode overflowed: again one by one, to know which
            if len(data) == 1:
                return [np.full_like(data[0].outputs, np.inf)]
            return [predict(data[i : i + 1])[0] for i in range(len(data))]
        return [predicted[predicted[:, 0] == i, 1:] for i in range(len(data))]

    return predict


def pykoop_matrix(data: Trajectories) -> np.ndarray:
    """Rows `[episode, x, u]`, the last input of an episode held (its next state is not asked for)."""
    rows = []
    for i, e in enumerate(data):
        held = np.concatenate([e.inputs, e.inputs[-1:]])
        rows.append(np.column_stack([np.full(len(e), i), e.outputs, held]))
    return np.concatenate(rows)


def fit_pysindy(train: Trajectories, seed: int, degree: int, threshold: float) -> Predict:
    """Fit SINDy with control in discrete time; `seed` is not used."""
    del seed
    model = pysindy.DiscreteSINDy(
        optimizer=pysindy.STLSQ(threshold=threshold), feature_library=pysindy.PolynomialLibrary(degree=degree)
    )
    u = [e.inputs for e in train]
    model.fit([e.outputs[:-1] for e in train], t=train.dt, x_next=[e.outputs[1:] for e in train], u=u)

    def predict(data: Trajectories) -> list[np.ndarray]:
        return [np.asarray(model.simulate(e.outputs[0], t=len(e), u=e.inputs)) for e in data]

    return predict


MODELS: dict[str, tuple[Callable[..., Predict], dict[str, Any]]] = {
    **{f"koopctrl {k}": (fit_koopctrl, {"coupling": k}) for k in COUPLINGS},
    "pykoop RBF 100": (fit_pykoop, {"n_centers": 100, "bilinear": False}),
    "pykoop RBF 300": (fit_pykoop, {"n_centers": N_FEATURES, "bilinear": False}),
    "pykoop bilinear 100": (fit_pykoop, {"n_centers": 100, "bilinear": True}),
    "pykoop bilinear 300": (fit_pykoop, {"n_centers": N_FEATURES, "bilinear": True}),
    "pysindy degree 3": (fit_pysindy, {"degree": 3, "threshold": 0.1}),
    "pysindy degree 5, 1e-5": (fit_pysindy, {"degree": 5, "threshold": 1e-5}),
}


def accuracy(n_seeds: int, n_peer_seeds: int) -> dict[str, dict[str, Any]]:
    """Errors and times of every model over seeds."""
    raw: dict[str, list[tuple[float, ...]]] = {name: [] for name in MODELS}
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        train, test = episodes(50, 150, rng), episodes(20, 100, rng)
        for name, (fit, options) in MODELS.items():
            if seed >= n_peer_seeds and not name.startswith("koopctrl"):
                continue
            predict, fit_s = c.timed(lambda f=fit, s=seed, o=options, t=train: f(t, s, **o))
            predicted, predict_s = c.timed(lambda p=predict, t=test: p(t))
            by_episode = np.nan_to_num(c.errors_by_episode(predicted, test), nan=np.inf)
            raw[name].append((float(np.median(by_episode)), c.pooled(by_episode), fit_s, predict_s))
    keys = ("rmse_median_episode", "rmse_pooled", "fit_s", "predict_20x100_s")
    return {
        name: dict(zip(keys, map(c.spread, zip(*rows, strict=True)), strict=True))
        for name, rows in raw.items()
    }


def fit_times(repeats: int) -> dict[str, dict[str, float]]:
    """Time of a fit over the time of the bare SVD of the same scaled regressors."""
    train = episodes(100, 100, np.random.default_rng(0))
    figures = {}
    for coupling in COUPLINGS[:3]:
        model = KoopmanRNN(N_FEATURES, input_coupling=coupling, random_state=0).fit(train)
        net = model.network_
        x, u, _ = train.snapshots()
        xs, us = net.standardise(x, u)
        matrix = net.coupling.regressors(net.dictionary(xs, us), us)
        scaled = matrix / np.linalg.norm(matrix, axis=0)
        calls = {
            "fit_s": lambda m=model: m.fit(train),
            "numpy_svd_s": lambda a=scaled: np.linalg.svd(a, full_matrices=False),
            "scipy_svd_s": lambda a=scaled: linalg.svd(a, full_matrices=False, check_finite=False),
        }
        times = {k: float(np.median(v)) for k, v in c.interleaved_times(calls, repeats).items()}
        bare = min(times["numpy_svd_s"], times["scipy_svd_s"])
        figures[coupling] = {"columns": matrix.shape[1], **times, "ratio": times["fit_s"] / bare}
    return figures


def predict_times(repeats: int) -> dict[str, dict[str, float]]:
    """Time of a free run of 10 episodes x 200 steps, and pykoop's over ours."""
    rng = np.random.default_rng(0)
    train, test = episodes(50, 150, rng), episodes(10, 200, rng)
    ours = {n: f(train, 0, **o) for n, (f, o) in MODELS.items() if n.startswith("koopctrl")}
    peers = {n: f(train, 0, **o) for n, (f, o) in MODELS.items() if n.startswith("pykoop")}
    calls = {n: lambda p=p: p(test) for n, p in {**ours, **peers}.items()}
    times = {n: float(np.median(t)) for n, t in c.interleaved_times(calls, repeats).items()}
    figures = {}
    for name, seconds in times.items():
        same_kind = times["koopctrl bilinear" if "bilinear" in name else "koopctrl network"]
        slowest = max(times[n] for n in ours)
        ratios = {"over_same_kind": seconds / same_kind, "over_slowest": seconds / slowest}
        figures[name] = {"predict_s": seconds, **ratios}
    return figures


def main() -> None:
    """Accuracy, then times."""
    p = c.parser(__doc__, seeds=10)
    p.add_argument("--repeats", type=int, default=7, help="timed repeats (default %(default)s)")
    p.add_argument("--peer-seeds", type=int, default=10, help="seeds of the peers (default %(default)s)")
    args = p.parse_args()
    c.quiet()
    with c.threads(args.threads):
        errors, fits, predictions = (
            accuracy(args.seeds, args.peer_seeds),
            fit_times(args.repeats),
            predict_times(args.repeats),
        )
    rows = []
    for name, e in errors.items():
        m, q = e["rmse_median_episode"], e["rmse_pooled"]
        cells = [m["median"], m["max"], q["median"], e["fit_s"]["median"], e["predict_20x100_s"]["median"]]
        rows.append([name, *cells, TARGETS.get(name.removeprefix("koopctrl "), "")])
    c.print_table(
        f"Van der Pol, free run of 100 steps, RMSE over {args.seeds} seeds",
        ["model", "median episode", "worst seed", "pooled", "fit s", "predict s", "target"],
        rows,
    )
    c.print_table(
        "Fit of 10,000 pairs beside the bare SVD of the same matrix (target: ratio <= 2)",
        ["coupling", "columns", "fit s", "numpy svd s", "scipy svd s", "ratio"],
        [[k, *v.values()] for k, v in fits.items()],
    )
    c.print_table(
        "Free run of 10 episodes x 200 steps (target: pykoop >= 100 x koopctrl)",
        ["model", "s", "over koopctrl of its kind", "over the slowest koopctrl"],
        [[k, *v.values()] for k, v in predictions.items()],
    )
    met = {k: errors[f"koopctrl {k}"]["rmse_median_episode"]["median"] <= t for k, t in TARGETS.items()}
    figures = {"accuracy": errors, "targets": TARGETS, "met": met, "fit": fits, "predict": predictions}
    c.write(args, "van_der_pol", figures, ("pykoop", "pysindy"))


if __name__ == "__main__":
    main()
