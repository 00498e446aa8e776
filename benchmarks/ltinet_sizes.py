"""The largest models: dense 3,000 states, sparse symmetric 1e6, sparse with a flow 1e5.

    python benchmarks/ltinet_sizes.py [NAME ...]

Processor seconds of construction, peak memory and the error against sparse solves (dense: against solves
of the model).
Every case runs in a process of its own. Writes `benchmarks/results/ltinet_sizes.json`, case by case.
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from scipy import sparse
from scipy.sparse.linalg import splu

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from koopctrl.ltinet import LTINetwork
from tests.plants_lti import boundary_inputs_2d, laplacian_2d, random_mimo

TARGET = Path(__file__).parent / "results" / "ltinet_sizes.json"


def flowing_plate(N: int, peclet: float) -> sparse.csr_array:
    """Heat in a plate, carried along by a flow; `peclet` is that of a cell."""
    flow = sparse.diags_array([-np.ones(N - 1), np.ones(N - 1)], offsets=[1, -1]) * peclet * (N + 1) ** 2
    return sparse.csr_array(laplacian_2d(N) + sparse.kron(flow, sparse.eye_array(N)))


def sparse_response(A: Any, B: np.ndarray, C: np.ndarray, w: np.ndarray) -> np.ndarray:
    """`C (i w - A)^-1 B` by one sparse factorisation per frequency."""
    out = []
    for x in w:
        shifted = (1j * x * sparse.eye_array(A.shape[0]) if x else 0.0 * sparse.eye_array(A.shape[0])) - A
        lu = splu(sparse.csc_array(shifted), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True},
                  diag_pivot_thresh=0.01)  # fmt: skip
        out.append(C @ lu.solve(B.astype(shifted.dtype)))
    return np.array(out)


def dense(symmetric: bool) -> dict[str, Any]:
    """3,000 states, nothing left out."""
    n = 3000
    A, B, C, D = random_mimo(n, 1, 1, 0)
    if symmetric:
        A = 0.5 * (A + A.T)
        A -= (np.linalg.eigvalsh(A).max() + 0.1) * np.eye(n)
    start = time.process_time()
    net = LTINetwork.from_statespace((A, B, C, D))
    seconds = time.process_time() - start
    w = np.array([0.0, 0.3, 1.0, 3.0])
    G = np.array([C @ np.linalg.solve(1j * x * np.eye(n) - A, B) + D for x in w])
    error = np.abs(net.transfer_function(1j * w) - G).max() / np.abs(G).max()
    return {
        "states": n,
        "neurons": net.n_neurons,
        "seconds": seconds,
        "error": float(error),
        "cond": net.cond,
    }


def slow_modes() -> dict[str, Any]:
    """A plate of a million cells through its 20 slowest modes, with and without the static gain."""
    N = 1000
    A, (B, C) = laplacian_2d(N), boundary_inputs_2d(N)
    B, C = B[:, :1], C[2:]
    found: dict[str, Any] = {"states": N * N}
    start = time.process_time()
    net = LTINetwork.from_statespace((A, B, C, 0), n_modes=20)
    found |= {"neurons": net.n_neurons, "seconds": time.process_time() - start}
    exact = sparse_response(A, B, C, np.zeros(1))[0, 0, 0].real
    gain = net.transfer_function([0.0])[0, 0, 0].real
    modal = gain - net.D[0, 0]
    return found | {
        "error": abs(gain - exact) / exact,
        "static_gain_missed_by_modes": abs(modal - exact) / exact,
    }


def low_rank(N: int, peclet: float) -> dict[str, Any]:
    """Balanced reduction to order 20 with low-rank Gramians."""
    A, (B, C) = flowing_plate(N, peclet), boundary_inputs_2d(N)
    B, C = B[:, :1], C[2:]
    start = time.process_time()
    net = LTINetwork.from_reduced((A, B, C, 0), 20)
    seconds = time.process_time() - start
    w = np.array([0.0, 3.0, 30.0, 100.0, 300.0, 3000.0])
    G = sparse_response(A, B, C, w)
    error = np.abs(net.transfer_function(1j * w) - G).max() / np.abs(G).max()
    least = float(net.reduction.hankel[20] / np.abs(G).max())
    return {
        "states": N * N, "neurons": net.n_neurons, "seconds": seconds, "error": float(error), "least": least,
        "residuals": max(net.reduction.residuals),
    }  # fmt: skip


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "dense, 3,000": lambda: dense(False),
    "dense symmetric, 3,000": lambda: dense(True),
    "sparse symmetric, 1e6, 20 slowest modes": slow_modes,
    "sparse with a flow (Peclet 0.3 a cell), 1e5": lambda: low_rank(316, 0.3),
    "sparse with a flow (Peclet 0.01 a cell), 1e5": lambda: low_rank(316, 0.01),
}


def main() -> None:
    """Run the cases named, or all, each in a fresh process."""
    if len(sys.argv) > 2 and sys.argv[1] == "--one":
        found = CASES[sys.argv[2]]()
        found["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(json.dumps(found))
        return
    figures = json.loads(TARGET.read_text())["figures"] if TARGET.exists() else {}
    versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    for name in CASES:
        if len(sys.argv) > 1 and not any(part in name for part in sys.argv[1:]):
            continue
        run = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True)
        if run.returncode:
            print(name, run.stderr[-300:])
            continue
        figures[name] = json.loads(run.stdout.splitlines()[-1])
        print(name, figures[name], flush=True)
        TARGET.write_text(json.dumps({"figures": figures, "versions": versions}, indent=1) + "\n")


if __name__ == "__main__":
    main()
