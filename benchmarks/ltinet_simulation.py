"""Simulation time of LTINetwork against python-control, scipy and dense stepping, side by side.

    python benchmarks/ltinet_simulation.py [--quick]

10,000 steps (2,000 above n = 1000). Every contender but `network zoh` computes the first-order hold
response, and its outputs are compared with dense stepping. Medians over repeats; the slow ones run once.
Writes `benchmarks/results/ltinet_simulation.json`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import control
import numpy as np
import scipy
from scipy.linalg import expm
from scipy.signal import lsim

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from koopctrl import LTINetwork
from tests.plants_lti import Matrices, laplacian_2d, random_mimo


def plant(kind: str, n: int, n_u: int) -> Matrices:
    """Diffusion on the first n points of a square grid, or a random stable system; two outputs."""
    rng = np.random.default_rng(n)
    if kind == "random":
        return random_mimo(n, n_u, 2, seed=n)
    N = int(np.ceil(np.sqrt(n)))
    A = laplacian_2d(N).toarray()[:n, :n] / (N + 1) ** 2
    return A, rng.standard_normal((n, n_u)), rng.standard_normal((2, n)) / n, np.zeros((2, n_u))


def foh_maps(model: Matrices, h: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`x+ = Phi x + G0 u + G1 u_next` by one exponential."""
    A, B, _, _ = model
    n, m = B.shape
    M = np.zeros((n + 2 * m, n + 2 * m))
    M[:n, :n], M[:n, n : n + m], M[n : n + m, n + m :] = A * h, B * h, np.eye(m)
    E = expm(M)
    # contiguous: a product with a slice of E takes three times as long
    return np.ascontiguousarray(E[:n, :n]), E[:n, n : n + m] - E[:n, n + m :], E[:n, n + m :].copy()


def dense_stepping(maps: tuple[np.ndarray, ...], model: Matrices, u: np.ndarray) -> np.ndarray:
    """One matrix-vector product per step, everything else in bulk and in place: the best by hand."""
    Phi, G0, G1 = maps
    _, _, C, D = model
    X = np.zeros((len(u), len(Phi)))
    np.matmul(u[:-1], G0.T, out=X[1:])
    X[1:] += u[1:] @ G1.T
    step = np.empty(len(Phi))
    for k in range(len(u) - 1):
        np.dot(Phi, X[k], out=step)
        X[k + 1] += step
    return X @ C.T + u @ D.T


def dense_blocked(maps: tuple[np.ndarray, ...], model: Matrices, u: np.ndarray, K: int = 64) -> np.ndarray:
    """The network's own trick without the network: K steps per dense product, tables of Markov parameters."""
    Phi, G0, G1 = maps
    _, _, C, D = model
    G, D1 = G0 + Phi @ G1, D + C @ G1
    n, m = G.shape
    left, right, power, count = C, G, Phi, 1
    while count < K:
        left = np.concatenate([left, left @ power])
        right = np.concatenate([power @ right, right], axis=1)
        power, count = power @ power, 2 * count
    p, chunks = len(C), -(-len(u) // K)
    markov = (left @ G).reshape(K, p, m)
    H = np.zeros((K, p, K, m))
    for j in range(K):
        H[j, :, j] = D1
        for i in range(j):
            H[j, :, i] = markov[j - 1 - i]
    U = np.concatenate([u, np.zeros((chunks * K - len(u), m))]).reshape(chunks, K * m)
    pushed = U @ right.T
    X = np.empty((chunks, n))
    x = -G1 @ u[0]
    for s in range(chunks):
        X[s] = x
        x = power @ x + pushed[s]
    return (X @ left.T + U @ H.reshape(K * p, K * m).T).reshape(chunks * K, p)[: len(u)]


def timed(run: Callable[[], np.ndarray], repeats: int) -> tuple[float, np.ndarray]:
    """Median seconds and the last result; short runs are warmed up first."""
    result = run() if repeats > 1 else np.zeros(0)
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = run()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), result


def measure(kind: str, n: int, n_u: int, steps: int) -> dict[str, float | str | int]:
    """One row of the table; seconds, and largest relative difference from dense stepping."""
    model = plant(kind, n, n_u)
    t = 0.05 * np.arange(steps + 1)
    u = np.random.default_rng(0).standard_normal((steps + 1, n_u))
    row: dict[str, float | str | int] = {"plant": kind, "n": n, "inputs": n_u, "steps": steps}
    start = time.process_time()
    net = LTINetwork.from_statespace(model)
    row["network build"] = time.process_time() - start
    start = time.process_time()
    maps = foh_maps(model, t[1])
    row["dense expm"] = time.process_time() - start
    sys_control = control.StateSpace(*model, remove_useless_states=False)
    slow = 1 if n >= 1000 else 3
    contenders: dict[str, tuple[Callable[[], np.ndarray], int]] = {
        "dense stepping": (lambda: dense_stepping(maps, model, u), slow),
        "dense blocked": (lambda: dense_blocked(maps, model, u), slow),
        "network foh": (lambda: net.simulate(t, u, hold="foh").outputs, 7),
        "network zoh": (lambda: net.simulate(t, u).outputs, 7),
        "forced_response": (
            lambda: control.forced_response(sys_control, t, u.T, squeeze=False).outputs.T,
            slow,
        ),
        "lsim": (lambda: np.asarray(lsim(model, u, t)[1]).reshape(len(t), -1), slow),
    }
    reference: np.ndarray | None = None
    for name, (run, repeats) in contenders.items():
        row[name], y = timed(run, repeats)
        if reference is None:
            reference = y
        elif name != "network zoh":
            row[f"{name} differs"] = float(np.abs(y - reference).max() / np.abs(reference).max())
    return row


COLUMNS = ("forced_response", "lsim", "dense stepping", "dense blocked")


def main() -> None:
    """Measure, print ratios, write the figures."""
    quick = "--quick" in sys.argv
    rows = []
    head = ["network [ms]", *(f"{name} x" for name in COLUMNS), "build [s]", "differs"]
    print(f"{'plant':10s}{'n':>6s}{'inputs':>7s}{'steps':>7s}" + "".join(f"{name:>18s}" for name in head))
    for kind in ("diffusion", "random"):
        for n in [10, 100] if quick else [10, 30, 100, 300, 1000, 2000]:
            for n_u in (1, 20):
                row = measure(kind, n, n_u, 10_000 if n <= 1000 else 2_000)
                rows.append(row)
                mine = float(row["network foh"])
                line = f"{kind:10s}{n:6d}{n_u:7d}{row['steps']:7d}{1e3 * mine:18.2f}"
                line += "".join(f"{float(row[name]) / mine:18.1f}" for name in COLUMNS)
                print(line + f"{row['network build']:18.3f}{row['network foh differs']:18.1e}", flush=True)
    if quick:
        return
    target = Path(__file__).parent / "results" / "ltinet_simulation.json"
    target.parent.mkdir(exist_ok=True)
    record = {
        "rows": rows,
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "control": control.__version__},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": os.environ.get("OPENBLAS_NUM_THREADS", "default"),
        "seeds": "n for plants, 0 for inputs",
        "note": "seconds of processor time; medians of 7 (network) and 3 (others; 1 from n = 1000)",
    }
    target.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
