"""Plants of known structure: what noise costs `select`, beside what it reaches without any.

Six simulated plants, 5,000 samples to train on, outputs with 2 % noise or none; both models are judged on the
same 2,000 samples, each begun from samples like those it was fitted to: a window fitted without any noise
takes noise for signal, and a free run from a noisy one may leave. The error against the clean outputs says
what noise costs; against outputs with 2 % noise, where no model can be better than the noise, how far a user
would see it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import SimpleNamespace

import _common as c
import numpy as np

from koopctrl import Trajectories, select
from koopctrl.selection import search

N_TRAIN, N_TEST, NOISE, N_INIT, DT = 5000, 2000, 0.02, 50, 0.1
A = np.array([[0.95, 0.18], [-0.18, 0.95]]) * 0.98
B, C = np.array([0.0, 0.2]), np.array([1.0, 0.0])


def _linear(u: np.ndarray, a: np.ndarray = A) -> np.ndarray:
    x, y = np.zeros(2), np.empty(len(u))
    for k, row in enumerate(u):
        y[k] = C @ x
        x = a @ x + B * row
    return y


def wiener(u: np.ndarray) -> np.ndarray:
    """Linear dynamics, a curved sensor."""
    y = _linear(u)
    return y + 0.4 * y**2 / np.abs(y).max()


def hammerstein(u: np.ndarray) -> np.ndarray:
    """A saturating actuator before linear dynamics."""
    return _linear(np.tanh(1.5 * u))


def wiener_hammerstein(u: np.ndarray) -> np.ndarray:
    """A curve between two linear parts."""
    inner = _linear(u)
    return _linear(np.tanh(2.0 * inner / inner.std()), 0.9 * A)


def bilinear(u: np.ndarray) -> np.ndarray:
    """The input changes the damping."""
    x, y = np.zeros(2), np.empty(len(u))
    for k, row in enumerate(u):
        y[k] = x[0]
        x = A @ x + B * row + 0.06 * row * x
    return y


def saturated(u: np.ndarray) -> np.ndarray:
    """A state that runs into stops."""
    x, y = np.zeros(2), np.empty(len(u))
    for k, row in enumerate(u):
        y[k] = x[0]
        x = A @ np.clip(x, -1.0, 1.0) + B * row
    return y


def hysteretic(u: np.ndarray) -> np.ndarray:
    """Bouc and Wen's restoring force."""
    x, v, h, y = 0.0, 0.0, 0.0, np.empty(len(u))
    step = DT / 10.0
    for k, row in enumerate(u):
        y[k] = x
        for _ in range(10):
            h += step * (v - 0.8 * abs(v) * h - 0.4 * v * abs(h))
            v += step * (2.0 * row - 0.6 * v - 1.0 * x - 2.0 * h)
            x += step * v
    return y


PLANTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    f.__name__: f for f in (wiener, hammerstein, wiener_hammerstein, bilinear, saturated, hysteretic)
}


def records(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clean outputs and inputs: held random steps of several lengths."""
    rng = np.random.default_rng(seed)
    u = np.empty(0)
    while len(u) < N_TRAIN + N_TEST:
        u = np.append(u, np.full(rng.integers(1, 20), rng.uniform(-1.0, 1.0)))
    u = u[: N_TRAIN + N_TEST]
    return PLANTS[name](u)[:, None], u[:, None]


def run(name: str, seed: int, budget: float, folder: c.Path | None = None) -> dict[str, float]:
    """Errors relative to the outputs' spread, read back where they have been found before."""
    kept = None if folder is None else folder / f"{name}-{seed}.json"
    if kept is not None and kept.exists():
        return json.loads(kept.read_text())
    y, u = records(name, seed)
    spread = float(y[:N_TRAIN].std())
    noise = NOISE * spread * np.random.default_rng(100 + seed).normal(size=y.shape)
    seen = (y + noise)[N_TRAIN + N_INIT :]
    found: dict[str, float] = {}
    for label, outputs in (("noisy", y + noise), ("clean", y)):
        train = Trajectories.from_arrays(outputs[:N_TRAIN], u[:N_TRAIN], dt=DT)
        model = select(train, budget, random_state=seed)
        test = Trajectories.from_arrays(outputs[N_TRAIN:], u[N_TRAIN:], dt=DT)
        run_ahead = model.predict(test, n_init=N_INIT)[0][N_INIT:]
        found[label] = c.rmse(run_ahead - y[N_TRAIN + N_INIT :]) / spread
        found[f"{label}_seen"] = c.rmse(run_ahead - seen) / spread
        best = model.selection_.best.settings
        found[f"{label}_states"] = float(best.get("n_states") or 0)
        found[f"{label}_held_out"] = model.selection_.best.error
        found[f"{label}_candidates"] = float(len(model.selection_.trials))
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found, indent=1))
    return found


def main() -> None:
    """All plants and seeds."""
    p = c.parser(__doc__, seeds=2)
    p.add_argument("--budget", type=float, default=60.0, help="seconds a choice (default %(default)s)")
    p.add_argument("--plants", nargs="+", choices=sorted(PLANTS), default=list(PLANTS))
    p.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="what the budget counts")
    p.add_argument("--runs", type=c.Path, help="folder of finished choices, which are not made again")
    args = p.parse_args()
    c.quiet()
    if args.clock == "cpu":
        search.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    with c.threads(args.threads):
        figures = {
            name: [run(name, s, args.budget, args.runs) for s in range(args.seeds)] for name in args.plants
        }
    rows = []
    for name, runs in figures.items():
        noisy, clean, seen, limit = (
            float(np.median([r[k] for r in runs])) for k in ("noisy", "clean", "noisy_seen", "clean_seen")
        )
        rows.append([name, noisy, clean, seen, limit, seen / limit])
    header = ["plant", "2 % noise", "none", "seen, 2 % noise", "seen, none", "ratio seen"]
    c.print_table("Free-run error over spread", header, rows)
    c.write(args, "block_plants", figures)


if __name__ == "__main__":
    main()
