"""Block form against `control.bdschur` (slycot), `control.modal_form` and `numpy.linalg.eig`, side by side.

    python benchmarks/ltinet_block_form.py [--quick] [WORD ...]

Processor time, number of blocks, cond(T) and relative residual at the same cond_max. Medians of three
interleaved runs, or one where that takes more than twenty seconds. Runs the plants whose names hold one of
the words given, and writes `benchmarks/results/ltinet_block_form.json` after each.
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
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from koopctrl.ltinet import block_form
from tests.plants_lti import chain, companion, convection_diffusion_1d, diffusion_2d, jordan, random_mimo

Result = tuple[int, np.ndarray, np.ndarray]  # number of blocks, T, T^-1 A T


def ours(A: np.ndarray, cond_max: float) -> Result:
    """`block_form`."""
    form = block_form(A, cond_max=cond_max)
    return len(form.blocks), form.T, scipy.linalg.block_diag(*form.blocks)


def bdschur(A: np.ndarray, cond_max: float) -> Result:
    """python-control with slycot's mb03rd."""
    modal, T, sizes = control.bdschur(A, condmax=cond_max)
    return len(sizes), T, modal


def modal_form(A: np.ndarray, cond_max: float) -> Result:
    """python-control's modal form, which rests on bdschur."""
    n = len(A)
    form, T = control.modal_form(control.ss(A, np.zeros((n, 1)), np.zeros((1, n)), 0), condmax=cond_max)
    linked = csr_array(np.abs(form.A) > 1e-12 * np.abs(form.A).max())
    count, _ = connected_components(linked, directed=False)
    return int(count), np.asarray(T), form.A


def eig(A: np.ndarray, cond_max: float) -> Result:
    """Complex eigenvectors, whatever their condition."""
    values, V = np.linalg.eig(A)
    return len(values) - int((values.imag > 0).sum()), V, np.diag(values)


CONTENDERS: dict[str, Callable[[np.ndarray, float], Result]] = {
    "block_form": ours,
    "bdschur": bdschur,
    "modal_form": modal_form,
    "eig": eig,
}
PLANTS: dict[str, tuple[Callable[[], np.ndarray], float]] = {
    "random stable, n = 100": (lambda: random_mimo(100, 1, 1, 0)[0], 1e8),
    "random stable, n = 600": (lambda: random_mimo(600, 1, 1, 0)[0], 1e8),
    "random stable, n = 600, cond_max 100": (lambda: random_mimo(600, 1, 1, 0)[0], 1e2),
    "convection-diffusion, n = 60, Pe 0.32": (lambda: convection_diffusion_1d(60, 0.32)[0], 1e8),
    "diffusion 20 x 20": (lambda: diffusion_2d(20)[0], 1e8),
    "chain of 100 masses": (lambda: chain(100)[0], 1e8),
    "convection-diffusion, n = 60, Pe 0.05": (lambda: convection_diffusion_1d(60, 0.05)[0], 1e8),
    "convection-diffusion, n = 60, Pe 0.2": (lambda: convection_diffusion_1d(60, 0.2)[0], 1e8),
    "convection-diffusion, n = 60, Pe 0.5": (lambda: convection_diffusion_1d(60, 0.5)[0], 1e8),
    "companion, roots -1 .. -10": (lambda: companion(-np.arange(1.0, 11.0))[0], 1e8),
    "Jordan block, n = 8": (lambda: jordan(8)[0], 1e8),
}


def measured(name: str, repeats: int) -> list[dict[str, object]]:
    """The rows of one plant, printed."""
    make, cond_max = PLANTS[name]
    A = make()
    seconds: dict[str, list[float]] = {key: [] for key in CONTENDERS}
    results: dict[str, Result | str] = {}
    for _ in range(repeats):
        for key, run in CONTENDERS.items():
            start = time.process_time()
            try:
                results[key] = run(A, cond_max)
            except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
                results[key] = f"{type(error).__name__}: {error}"
            seconds[key].append(time.process_time() - start)
        if sum(map(sum, seconds.values())) > 20.0:
            break
    rows: list[dict[str, object]] = []
    mine = statistics.median(seconds["block_form"])
    for key, result in results.items():
        spent = statistics.median(seconds[key])
        row: dict[str, object] = {"plant": name, "method": key, "seconds": spent}
        if isinstance(result, str):
            row["error"] = result
            print(f"{name:40s}{key:12s} {result[:60]}")
        else:
            count, T, modal = result
            row |= {
                "blocks": count,
                "cond": float(np.linalg.cond(T)) if np.isfinite(T).all() else float("inf"),
            }
            row["residual"] = float(
                np.linalg.norm(A @ T - T @ modal) / np.linalg.norm(A) / np.linalg.norm(T, 2)
            )
            print(f"{name:40s}{key:12s}{count:7d}{row['cond']:10.2g}{row['residual']:10.1e}"
                  f"{1e3 * spent:11.1f}{spent / mine:7.2f}", flush=True)  # fmt: skip
        rows.append(row)
    return rows


def main() -> None:
    """Measure, print a table, write the figures."""
    quick, words = "--quick" in sys.argv, [word for word in sys.argv[1:] if word != "--quick"]
    target = Path(__file__).parent / "results" / "ltinet_block_form.json"
    target.parent.mkdir(exist_ok=True)
    rows = json.loads(target.read_text())["rows"] if target.exists() else []
    print(f"{'plant':40s}{'method':12s} blocks   cond(T)  residual  time [ms]  ratio")
    for name in PLANTS:
        if (quick and "600" in name) or (words and not any(word in name for word in words)):
            continue
        found = measured(name, 1 if quick else 3)
        if quick:
            continue
        rows = [row for row in rows if row["plant"] != name] + found
        record = {
            "rows": sorted(rows, key=lambda row: list(PLANTS).index(row["plant"])),
            "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "control": control.__version__},
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "threads": os.environ.get("OPENBLAS_NUM_THREADS", "default"),
            "note": "cond_max 1e8 unless stated, none for eig; medians of processor times of 3 runs",
        }
        target.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
