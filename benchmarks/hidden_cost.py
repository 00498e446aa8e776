"""Seconds that a hidden-state network of 20 neurons takes to fit, against the number of samples.

Records of a plant that runs into stops (`block_plants.saturated`), 2 % noise, defaults of `KoopmanRNN` beside
`n_states` and `n_features`: the linear start, neurons, refinement along the free run. The least squares'
line through the logarithms says how the time grows.
"""

from __future__ import annotations

import time

import _common as c
import block_plants
import numpy as np

from koopctrl import KoopmanRNN, Trajectories

SIZES = {2: (1000, 10_000, 100_000), 6: (1000, 10_000, 100_000)}
N_FEATURES, NOISE, DT = 20, 0.02, 0.1


def record(n: int, seed: int) -> Trajectories:
    """Held random steps into the plant, noise on what is seen."""
    rng = np.random.default_rng(seed)
    levels = [np.full(rng.integers(1, 20), rng.uniform(-1.0, 1.0)) for _ in range(n)]
    u = np.concatenate(levels)[:n]
    y = block_plants.saturated(u)
    return Trajectories.from_arrays((y + NOISE * y.std() * rng.normal(size=n))[:, None], u[:, None], dt=DT)


def run(n_states: int, n: int, seed: int) -> dict[str, float]:
    """One fit: seconds, the process's own seconds, and the error of its free run on another record."""
    train, test = record(n, seed), record(2000, 100 + seed)
    model = KoopmanRNN(n_states=n_states, n_features=N_FEATURES, random_state=seed)
    wall, own = time.perf_counter(), time.process_time()
    model.fit(train)
    wall, own = time.perf_counter() - wall, time.process_time() - own
    y = test[0].outputs
    error = c.rmse(model.predict(test, n_init=50)[0][50:] - y[50:]) / float(y.std())
    return {"seconds": wall, "process_seconds": own, "error": error}


def main() -> None:
    """All sizes; the largest with one seed."""
    args = c.parser(__doc__, seeds=3).parse_args()
    c.quiet()
    figures: dict[str, dict[str, object]] = {}
    rows = []
    with c.threads(args.threads):
        for n_states, sizes in SIZES.items():
            found = []
            for n in sizes:
                runs = [run(n_states, n, s) for s in range(args.seeds if n < max(sizes) else 1)]
                one = {key: c.spread([r[key] for r in runs]) for key in runs[0]}
                found.append({"samples": n, **one})
                rows.append(
                    [n_states, n, *(one[k]["median"] for k in ("seconds", "process_seconds", "error"))]
                )
            figures[f"{n_states}_states"] = {"sizes": found}
    c.print_table(
        f"Hidden states, {N_FEATURES} neurons: one fit",
        ["states", "samples", "seconds", "process seconds", "test error / spread"],
        rows,
    )
    for n_states, sizes in SIZES.items():
        times = [r[3] for r in rows if r[0] == n_states]
        slope = np.polyfit(np.log(sizes), np.log(times), 1)[0]
        figures[f"{n_states}_states"]["exponent"] = float(slope)
        print(f"{n_states} states: time grows with samples to the power of {slope:.2f}")
    c.write(args, "hidden_cost", figures)


if __name__ == "__main__":
    main()
