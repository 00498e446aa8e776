"""What the benchmark scripts share: arguments, data, timing, tables and the JSON they leave behind."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from koopctrl import Trajectories

SOURCE = "https://www.nonlinearbenchmark.org"
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "scipy", "scikit-learn", "koopctrl")


def parser(description: str | None, seeds: int) -> argparse.ArgumentParser:
    """Make a parser with the arguments that every script has; `seeds` is the default number of them."""
    p = argparse.ArgumentParser(description=(description or "").split("\n\n")[0])
    p.add_argument("--seeds", type=int, default=seeds, help="number of seeds, 0 .. n-1 (default %(default)s)")
    p.add_argument("--threads", type=int, default=2, help="BLAS threads (default %(default)s)")
    p.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON (default %(default)s)")
    return p


def data_folder(p: argparse.ArgumentParser, what: str) -> None:
    """Add a data-folder argument; `what` says which file is expected in it."""
    p.add_argument(
        "data",
        type=Path,
        metavar="DATA_DIR",
        help=f"folder with {what}, from {SOURCE}",
    )


def find_file(folder: Path, name: str) -> Path:
    """Path of `name` under the data folder, or an exit that says where a user gets it."""
    found = sorted(folder.rglob(name)) if folder.is_dir() else []
    if not found:
        sys.exit(f"{name} is not under {folder}; download it from {SOURCE} and pass the folder that holds it")
    return found[0]


def threads(n: int) -> AbstractContextManager[Any]:
    """Limit BLAS to `n` threads within a `with` block."""
    return threadpool_limits(limits=n, user_api="blas")


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Result and wall time of one call, s."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def interleaved_times(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Wall times of several calls, s, taken in turns so that a busy moment hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(timed(call)[1])
    return times


def spread(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Median, smallest, largest and the number of values."""
    v = np.asarray(values, dtype=float)
    return {"median": float(np.median(v)), "min": float(v.min()), "max": float(v.max()), "n": len(v)}


def rmse(error: np.ndarray) -> float:
    """Root mean square over all entries."""
    return float(np.sqrt(np.mean(np.square(error))))


def errors_by_episode(predicted: Sequence[np.ndarray], data: Trajectories, n_init: int = 1) -> np.ndarray:
    """RMSE of each episode's free run after the samples that initialise."""
    return np.array([rmse(p[n_init:] - e.outputs[n_init:]) for p, e in zip(predicted, data, strict=True)])


def pooled(by_episode: np.ndarray) -> float:
    """RMSE over all points of equally long episodes."""
    return float(np.sqrt(np.mean(by_episode**2)))


def quiet() -> None:
    """Silence warnings about roll-outs that leave the data: their errors are in the table."""
    warnings.simplefilter("ignore")


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print aligned columns; floats with four significant digits."""
    cells = [[f"{c:.4g}" if isinstance(c, float) else str(c) for c in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    print(f"\n{title}")
    for i, row in enumerate(cells):
        print(
            "  ".join(
                c.ljust(w) if j == 0 else c.rjust(w) for j, (c, w) in enumerate(zip(row, widths, strict=True))
            )
        )
        if i == 0:
            print("  ".join("-" * w for w in widths))


def earlier(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Figures of the last results, for scripts that can make some of their tables anew; empty without any."""
    path = args.out / f"{name}.json"
    return json.loads(path.read_text())["figures"] if path.exists() else {}


def write(args: argparse.Namespace, name: str, figures: dict[str, Any], peers: Sequence[str] = ()) -> None:
    """Write `<out>/<name>.json`: figures, arguments, versions, cores and threads."""
    record = {
        "benchmark": name,
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *map(_shown, sys.argv[1:])]),
        "date": datetime.date.today().isoformat(),
        "seeds": list(range(args.seeds)),
        "cores": os.cpu_count(),
        "blas_threads": args.threads,
        "blas": sorted(
            {f"{i['internal_api']} {i['version']}" for i in threadpool_info() if i["user_api"] == "blas"}
        ),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {p: importlib.metadata.version(p) for p in (*PACKAGES, *peers)},
        "figures": figures,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{name}.json"
    path.write_text(json.dumps(_plain(record), indent=2, allow_nan=False) + "\n")
    print(f"\nwrote {path}")


def _plain(value: Any) -> Any:
    """JSON types alone; a figure that is not finite (a free run that diverged) as text."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple, range)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _shown(argument: str) -> str:
    """Argument as it is recorded: a folder of this machine means nothing on another."""
    return "DATA_DIR" if Path(argument).is_dir() else argument
