"""Lorenz-63: valid prediction time of an autonomous model, in Lyapunov times.

Data: sigma 10, rho 28, beta 8/3, dt 0.02 s, 10,000 samples on the attractor. A prediction is valid until
its error exceeds 0.4 of the attractor's spread (root of the summed variances). Time is in units of
1/0.9056, the inverse of the largest Lyapunov exponent. 20 starts per seed, on the attractor and not in the
training record.

The figure is bounded by rounding: truth and model are both run in float64, and 1e-16 grows to order one
within about 40 Lyapunov times, so truth itself is integrated by RK4 with ten sub-steps on both sides.
"""

from __future__ import annotations

from typing import Any

import _common as c
import numpy as np

from koopctrl import KoopmanRNN, Trajectories

DT, LYAPUNOV, THRESHOLD = 0.02, 0.9056, 0.4
N_SAMPLES, N_STARTS, N_TEST = 10_000, 20, 2_000
TARGETS = {300: 18.0, 1000: 23.0}
MODELS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "swim, no ridge": {"rcond": 1e-14, "ridge": 0.0},
    "elm": {"sampler": "elm", "feature_scale": 0.5},
}


def step(x: np.ndarray) -> np.ndarray:
    """State after DT of `(n, 3)` states, ten Runge-Kutta steps of order four."""

    def rhs(s: np.ndarray) -> np.ndarray:
        a, b, d = s[:, 0], s[:, 1], s[:, 2]
        return np.stack([10.0 * (b - a), a * (28.0 - d) - b, a * b - 8.0 / 3.0 * d], axis=1)

    h = DT / 10
    for _ in range(10):
        k1 = rhs(x)
        k2 = rhs(x + 0.5 * h * k1)
        k3 = rhs(x + 0.5 * h * k2)
        k4 = rhs(x + h * k3)
        x = x + h / 6.0 * (k1 + 2.0 * (k2 + k3) + k4)
    return x


def simulate(x0: np.ndarray, n_steps: int) -> np.ndarray:
    """States `(n, n_steps + 1, 3)` from `(n, 3)` starts."""
    x = np.empty((len(x0), n_steps + 1, 3))
    x[:, 0] = x0
    for k in range(n_steps):
        x[:, k + 1] = step(x[:, k])
    return x


def data(seed: int) -> tuple[Trajectories, Trajectories]:
    """Training record and test episodes, after a transient."""
    rng = np.random.default_rng(seed)
    starts = rng.normal(scale=8.0, size=(1 + N_STARTS, 3)) + np.array([0.0, 0.0, 25.0])
    on_attractor = simulate(starts, 500)[:, -1]
    train, test = simulate(on_attractor[:1], N_SAMPLES - 1), simulate(on_attractor[1:], N_TEST)
    return Trajectories.from_arrays(train, dt=DT), Trajectories.from_arrays(test, dt=DT)


def valid_times(model: KoopmanRNN, test: Trajectories) -> np.ndarray:
    """Valid prediction time of each start, in Lyapunov times."""
    truth = np.stack([e.outputs for e in test])
    spread = np.sqrt(truth.reshape(-1, 3).var(axis=0).sum())
    wrong = np.linalg.norm(np.stack(model.predict(test)) - truth, axis=2) > THRESHOLD * spread
    first = np.where(wrong.any(axis=1), wrong.argmax(axis=1), N_TEST)
    return first * DT * LYAPUNOV


def main() -> None:
    """All widths, models and seeds."""
    args = c.parser(__doc__, seeds=10).parse_args()
    c.quiet()
    figures: dict[str, Any] = {}
    rows = []
    with c.threads(args.threads):
        records = [data(seed) for seed in range(args.seeds)]
        for width, target in TARGETS.items():
            for name, settings in MODELS.items():
                times, fit_s = [], []
                for seed, (train, test) in enumerate(records):
                    model = KoopmanRNN(width, **settings, random_state=seed)
                    fit_s.append(c.timed(lambda m=model, t=train: m.fit(t))[1])
                    times.append(valid_times(model, test))
                t = np.array(times)
                q10, median = float(np.quantile(t, 0.1)), float(np.median(t))
                by_seed = c.spread(np.median(t, axis=1))
                figures[f"{width} {name}"] = {
                    "settings": settings,
                    "median": median,
                    "quantile_10": q10,
                    "median_by_seed": by_seed,
                    "fit_s": c.spread(fit_s),
                    "target": target,
                    "met": median >= target,
                }
                spread = f"{by_seed['min']:.1f} .. {by_seed['max']:.1f}"
                rows.append([width, name, median, q10, spread, float(np.median(fit_s)), target])
    c.print_table(
        f"Lorenz-63: valid prediction time in Lyapunov times, {N_STARTS} starts x {args.seeds} seeds",
        ["features", "model", "median", "10 % quantile", "medians of the seeds", "fit s", "target"],
        rows,
    )
    c.write(args, "lorenz", figures)


if __name__ == "__main__":
    main()
