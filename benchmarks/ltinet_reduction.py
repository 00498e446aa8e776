"""Balanced reduction beside pyMOR at equal order, and modal truncation; low-rank reduction of large models.

    python benchmarks/ltinet_reduction.py [--large] [WORD ...]

Relative H-infinity error on a dense grid of frequencies that holds every pole's, medians of processor
times over
three repeats in one process and one thread. `--large` adds 10,000 and 100,000 sparse states. Writes
`benchmarks/results/ltinet_reduction.json`, case by case. pyMOR is left out where it is not installed.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import scipy
from scipy import sparse
from scipy.sparse.linalg import splu

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from koopctrl.ltinet import LTINetwork
from tests.plants_lti import (
    Matrices,
    boundary_inputs_2d,
    chain,
    convection_diffusion_1d,
    convection_diffusion_2d,
    diffusion_2d,
    laplacian_2d,
    random_mimo,
)

try:
    import pymor
    from pymor.core.logger import set_log_levels
    from pymor.models.iosys import LTIModel
    from pymor.reductors.bt import BTReductor

    set_log_levels({"pymor": "ERROR"})
    PYMOR = pymor.__version__
except ImportError:
    PYMOR = None
REPEATS = 3


def settled(model: Matrices) -> Matrices:
    """The same with its rightmost pole at -0.02: a response that is hard to reduce."""
    A, B, C, D = model
    return A - (np.linalg.eigvals(A).real.max() + 0.02) * np.eye(len(A)), B, C, D


def rod(n: int) -> Matrices:
    A = (np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1) - 2.0 * np.eye(n)) * n**2
    A[-1, -1] = -float(n**2)
    return A, n**2 * np.eye(n)[:, :1], np.eye(n)[[n // 2, n - 1]], np.zeros((2, 1))


CASES: dict[str, tuple[Callable[[], Matrices], int]] = {
    "plate 16 x 16": (lambda: diffusion_2d(16), 10),
    "channel, n = 60, Peclet 0.1": (lambda: convection_diffusion_1d(60, 0.1), 10),
    "channel, n = 60, Peclet 0.1, order 20": (lambda: convection_diffusion_1d(60, 0.1), 20),
    "plate with flow, 12 x 12": (lambda: convection_diffusion_2d(12, 0.3), 10),
    "random, n = 200": (lambda: settled(random_mimo(200, 1, 1, 0)), 10),
    "500 masses": (lambda: chain(500), 20),
    "heat rod, n = 300": (lambda: rod(300), 8),
}


def timed(call: Callable[[], Any], repeats: int = REPEATS) -> tuple[Any, float]:
    times, result = [], None
    for _ in range(repeats):
        start = time.process_time()
        result = call()
        times.append(time.process_time() - start)
    return result, median(times)


def response(model: Matrices, w: np.ndarray) -> np.ndarray:
    """By a solve per frequency, or by eigenvectors of many states, which those have to many digits."""
    if len(model[0]) <= 300:
        eye = np.eye(len(model[0]))
        return np.array([model[2] @ np.linalg.solve(1j * x * eye - model[0], model[1]) + model[3] for x in w])
    values, X = np.linalg.eig(model[0])
    left, right = model[2] @ X, np.linalg.solve(X, model[1])
    return np.array([left @ (right / (1j * x - values)[:, None]) + model[3] for x in w])


def dense_case(name: str) -> dict[str, Any]:
    model, order = CASES[name][0](), CASES[name][1]
    values = np.linalg.eigvals(model[0])
    w = np.concatenate(
        [
            [0.0],
            np.geomspace(1e-3 * np.abs(values).min(), 10 * np.abs(values).max(), 400),
            np.abs(values.imag),
        ]
    )
    G = response(model, w)
    peak = np.linalg.norm(G, 2, axis=(1, 2)).max()

    def error(H: np.ndarray) -> float:
        return float(np.linalg.norm(G - H, 2, axis=(1, 2)).max() / peak)

    heavy = len(model[0]) >= 800
    net, build_s = timed(lambda: LTINetwork.from_statespace(model), 1 if heavy else REPEATS)
    small, reduce_s = timed(lambda: net.reduce(order, match_dc=False))
    with_dc = net.reduce(order)
    found = {
        "states": len(model[0]), "order": order, "build_s": build_s, "reduce_s": reduce_s,
        "error": error(small.transfer_function(1j * w)),
        "error_match_dc": error(with_dc.transfer_function(1j * w)),
        "bound": small.reduction.bound / peak,
    }  # fmt: skip
    modal = _modal(net, order)
    found["error_modal"] = error(modal.transfer_function(1j * w))
    if PYMOR:
        full = LTIModel.from_matrices(*model)
        rom, pymor_s = timed(lambda: BTReductor(full).reduce(order), 1)
        H = np.array([rom.transfer_function.eval_tf(1j * x) for x in w])
        found |= {"pymor_s": pymor_s, "error_pymor": error(H)}
    return found


def _modal(net: LTINetwork, order: int) -> LTINetwork:
    """The truncation with at most as many states."""
    for tol in np.geomspace(1e-6, 1e3, 300):
        part = net.truncate(float(tol), relative=True).network
        if part.n_states <= order:
            return part
    return net.truncate(1e12).network


def large_case(N: int, peclet: float, order: int) -> dict[str, Any]:
    A = laplacian_2d(N)
    if peclet:
        flow = sparse.diags_array([-np.ones(N - 1), np.ones(N - 1)], offsets=[1, -1]) * peclet * (N + 1) ** 2
        A = A + sparse.kron(flow, sparse.eye_array(N))
    B, C = boundary_inputs_2d(N)
    B, C = B[:, :1], C[2:]
    net, seconds = timed(lambda: LTINetwork.from_reduced((A, B, C, 0), order), 1)
    w, G = np.concatenate([[1e-3], np.geomspace(1.0, 1e5, 8 if N > 200 else 24)]), []
    for x in w:
        lu = splu(sparse.csc_array(1j * x * sparse.eye_array(N * N) - A), permc_spec="MMD_AT_PLUS_A",
                  options={"SymmetricMode": True}, diag_pivot_thresh=0.01)  # fmt: skip
        G.append((C @ lu.solve(B.astype(complex)))[0, 0])
    G = np.array(G)
    peak = np.abs(G).max()
    hankel = net.reduction.hankel
    found = {
        "states": N * N, "order": net.n_states, "seconds": seconds,
        "error": float(np.abs(net.transfer_function(1j * w)[:, 0, 0] - G).max() / peak),
        "bound": float(net.reduction.bound / peak), "shifts": len(hankel),
        # no model of this order comes nearer than the next Hankel singular value
        "least": float(hankel[net.n_states] / peak) if len(hankel) > net.n_states else 0.0,
    }  # fmt: skip
    if PYMOR and N <= 200:
        full = LTIModel.from_matrices(sparse.csc_matrix(A), B, C)
        rom, found["pymor_s"] = timed(lambda: BTReductor(full).reduce(order), 1)
        H = np.array([rom.transfer_function.eval_tf(1j * x)[0, 0] for x in w])
        plain = LTINetwork.from_reduced((A, B, C, 0), order, match_dc=False).transfer_function(1j * w)
        found["error_plain"] = float(np.abs(plain[:, 0, 0] - G).max() / peak)
        found["error_pymor"] = float(np.abs(H - G).max() / peak)
    return found


LARGE = {
    "plate 100 x 100": (100, 0.0, 20),
    "plate 100 x 100, Peclet 0.01": (100, 0.01, 20),
    "plate 100 x 100, Peclet 0.3": (100, 0.3, 20),
    "plate 100 x 100, Peclet 0.3, order 26": (100, 0.3, 26),
    "plate 316 x 316": (316, 0.0, 20),
    "plate 316 x 316, Peclet 0.01": (316, 0.01, 20),
}


def main() -> None:
    """Run the cases whose names hold one of the words given, print, and write after each."""
    target = Path(__file__).parent / "results" / "ltinet_reduction.json"
    text = json.loads(target.read_text()) if target.exists() else {"figures": {}, "large": {}}
    versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    text |= {
        "versions": versions | {"pymor": PYMOR or "not installed"},
        "command": "ltinet_reduction.py --large",
    }
    words = [word for word in sys.argv[1:] if word != "--large"]

    def wanted(name: str) -> bool:
        return not words or any(word in name for word in words)

    print(f"{'model':40s} order  error    pyMOR's  static gain kept  modal    bound    reduce   pyMOR")
    for name in filter(wanted, CASES):
        f = text["figures"][name] = dense_case(name)
        print(
            f"{name:40s} {f['order']:5d}  {f['error']:.1e}  {f.get('error_pymor', float('nan')):.1e}  "
            f"{f['error_match_dc']:.1e}           {f['error_modal']:.1e}  {f['bound']:.1e}  "
            f"{f['reduce_s']:.3f} s  {f.get('pymor_s', float('nan')):.3f} s",
            flush=True,
        )
        target.write_text(json.dumps(text, indent=1) + "\n")
    for name in filter(wanted, LARGE if "--large" in sys.argv else {}):
        text["large"][name] = large_case(*LARGE[name])
        print(name, text["large"][name], flush=True)
        target.write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    main()
