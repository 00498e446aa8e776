"""Linear plants with 10 % output noise: the order that is found, and the error beside the true system's own.

Ten random systems of orders 2 to 8, one input and output, 2,000 samples to train on and 2,000 to judge by.
Poles are drawn in the ring 0.5 < |z| < 0.97, residues at random; a system counts if every Hankel singular
value is at least 2 % of the largest, for a state that does less cannot be told from none under this noise.
The true system's own free run errs by the noise alone.
"""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import _common as c
import numpy as np
from scipy.linalg import block_diag, solve_discrete_lyapunov
from scipy.signal import dlsim

from koopctrl import KoopmanRNN, Trajectories, select, suggest_order
from koopctrl.selection import search

ORDERS = (2, 2, 3, 3, 4, 5, 6, 6, 7, 8)
N, N_INIT, NOISE, DT = 2000, 40, 0.1, 0.1
LEAST = 0.02  # of the largest Hankel singular value
Array = np.ndarray


def draw(order: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """`A`, `b`, `c` of a system of which no state is negligible."""
    while True:
        blocks = []
        for _ in range(order // 2):
            r, angle = rng.uniform(0.5, 0.97), rng.uniform(0.05, 2.0)
            blocks.append(r * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]))
        if order % 2:
            blocks.append(np.array([[rng.uniform(0.5, 0.97)]]))
        a = block_diag(*blocks)
        b, row = rng.standard_normal(order), rng.standard_normal(order)
        reach = solve_discrete_lyapunov(a, np.outer(b, b))
        observe = solve_discrete_lyapunov(a.T, np.outer(row, row))
        hankel = np.sqrt(np.abs(np.linalg.eigvals(reach @ observe)))
        if hankel.min() >= LEAST * hankel.max():
            return a, b, row


def run(order: int, seed: int, budget: float) -> dict[str, Any]:
    """Orders found and errors over the noise of one system."""
    rng = np.random.default_rng(seed)
    u = rng.standard_normal(2 * N)
    a, b, row = draw(order, rng)
    y = dlsim((a, b[:, None], row[None], 0.0, DT), u)[1][:, 0]
    noise = NOISE * y.std() * rng.standard_normal(2 * N)
    train, test = (
        Trajectories.from_arrays((y + noise)[rows, None], u[rows, None], dt=DT)
        for rows in (slice(0, N), slice(N, 2 * N))
    )
    own = c.rmse(noise[N + N_INIT :])

    def over_noise(model: Any) -> float:
        return c.rmse(model.predict(test, n_init=N_INIT)[0][N_INIT:] - test[0].outputs[N_INIT:]) / own

    found = int(suggest_order(train, max_order=10).order)
    chosen = select(train, budget, random_state=seed)
    best = chosen.selection_.best.settings
    return {
        "order": order,
        "suggested": found,
        "suggested_ratio": over_noise(KoopmanRNN(0, n_states=found).fit(train)),
        "select": {k: best.get(k) for k in ("n_states", "n_features", "output_lags", "input_lags")},
        "select_ratio": over_noise(chosen),
    }


def main() -> None:
    """All systems."""
    p = c.parser(__doc__, seeds=len(ORDERS))
    p.add_argument("--budget", type=float, default=20.0, help="seconds of `select` (default %(default)s)")
    p.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="what the budget counts")
    args = p.parse_args()
    c.quiet()
    if args.clock == "cpu":
        search.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    with c.threads(args.threads):
        runs = [run(order, seed, args.budget) for seed, order in enumerate(ORDERS[: args.seeds])]
    rows = [
        [r["order"], r["suggested"], r["suggested_ratio"], r["select"]["n_states"] or "window",
         r["select"]["n_features"], r["select_ratio"]]
        for r in runs
    ]  # fmt: skip
    header = ["order", "suggest_order", "its error / noise", "select: states", "neurons", "its error / noise"]
    c.print_table("Linear plants with 10 % output noise", header, rows)
    c.write(args, "noisy_linear", {"runs": runs})


if __name__ == "__main__":
    main()
