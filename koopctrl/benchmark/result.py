"""What a benchmark gave: a table, a figure, a file."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np

import koopctrl
from koopctrl._paths import file_path
from koopctrl.controllers.loop.result import ClosedLoopResult


@dataclass(frozen=True)
class Run:
    """One controller on one task with one seed.

    Attributes
    ----------
    plant, task, controller : str
    seed : int
    costs : tuple of float
        Of each start; infinite where the plant failed or there was no controller.
    reference : float or None
        Cost of the yardstick over all starts.
    violations : int
        Samples beyond the task's constraints.
    step_time : float
        Median seconds of one call of `control`.
    message : str
        What went wrong first, else empty.
    results : tuple of ClosedLoopResult
        The episodes themselves; they are not saved.
    """

    plant: str
    task: str
    controller: str
    seed: int
    costs: tuple[float, ...]
    reference: float | None
    violations: int
    step_time: float
    message: str = ""
    results: tuple[ClosedLoopResult, ...] = field(default=(), repr=False, compare=False)

    @property
    def cost(self) -> float:
        """Over all starts."""
        return float(sum(self.costs))

    @property
    def ratio(self) -> float:
        """Cost over the yardstick's; NaN where there is none."""
        return self.cost / self.reference if self.reference else float("nan")

    @property
    def n_failed(self) -> int:
        """Starts without a finite cost."""
        return sum(not np.isfinite(c) for c in self.costs)


@dataclass(frozen=True, repr=False)
class BenchResult:
    """All runs of a benchmark; `print(result)` is the table.

    Attributes
    ----------
    runs : tuple of Run
    seeds : tuple of int
    n_steps : int or None
        Where episodes were cut short.
    """

    runs: tuple[Run, ...]
    seeds: tuple[int, ...]
    n_steps: int | None = None

    def rows(self) -> list[dict[str, Any]]:
        """One row for each plant, task and controller, with medians over seeds.

        `cost` and `over_nmpc` (cost over the yardstick's) are medians, `worst` is the largest ratio,
        `violations` counts samples beyond constraints and `failed` starts without a finite cost, both over
        all seeds; `step_ms` is the median time of a step.
        """
        groups: dict[tuple[str, str, str], list[Run]] = {}
        for run in self.runs:
            groups.setdefault((run.plant, run.task, run.controller), []).append(run)
        return [
            {
                "plant": plant, "task": task, "controller": controller,
                "cost": float(np.median([r.cost for r in runs])),
                "over_nmpc": float(np.median([r.ratio for r in runs])),
                "worst": float(np.max([r.ratio for r in runs])),
                "violations": sum(r.violations for r in runs),
                "failed": f"{sum(r.n_failed for r in runs)}/{sum(len(r.costs) for r in runs)}",
                "step_ms": 1e3 * float(np.median([r.step_time for r in runs])),
            }
            for (plant, task, controller), runs in groups.items()
        ]  # fmt: skip

    def ranking(self) -> list[dict[str, Any]]:
        """Controllers, the best first: by failed starts, then by the median ratio over tasks and seeds."""
        rows = []
        for name in dict.fromkeys(r.controller for r in self.runs):
            runs = [r for r in self.runs if r.controller == name]
            ratios = [r.ratio for r in runs if not np.isnan(r.ratio)]
            rows.append(
                {
                    "controller": name,
                    "over_nmpc": float(np.median(ratios)) if ratios else float("nan"),
                    "within_5_percent": f"{sum(x <= 1.05 for x in ratios)}/{len(ratios)}",
                    "failed": sum(r.n_failed for r in runs),
                    "violations": sum(r.violations for r in runs),
                    "step_ms": 1e3 * float(np.nanmedian([*(r.step_time for r in runs), np.nan]))
                    if any(np.isfinite(r.step_time) for r in runs)
                    else float("nan"),
                }
            )
        return sorted(rows, key=lambda r: (r["failed"], np.nan_to_num(r["over_nmpc"], nan=np.inf)))

    def messages(self) -> list[str]:
        """What went wrong, once for each plant, task and controller."""
        said = {(r.plant, r.task, r.controller): r.message for r in reversed(self.runs) if r.message}
        return [f"{'/'.join(key[:2])}, {key[2]}: {text}" for key, text in reversed(said.items())]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the episodes, as JSON can hold it; what is not finite is None."""
        return {
            "koopctrl": koopctrl.__version__,
            "machine": {"python": platform.python_version(), "system": platform.platform(terse=True)},
            "seeds": list(self.seeds),
            "n_steps": self.n_steps,
            "rows": [_plain(row) for row in self.rows()],
            "runs": [
                _plain(
                    {
                        "plant": r.plant, "task": r.task, "controller": r.controller, "seed": r.seed,
                        "costs": list(r.costs), "reference": r.reference, "ratio": r.ratio,
                        "violations": r.violations, "step_time": r.step_time, "message": r.message,
                    }
                )
                for r in self.runs
            ],
        }  # fmt: skip

    def save(self, path: str | PathLike[str]) -> None:
        """Write `to_dict` to the file `path`, as JSON."""
        file_path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n")

    def plot(self, **options: Any) -> Any:
        """Costs over the yardstick's, by task and controller; see `koopctrl.plotting.plot_benchmark`."""
        from koopctrl.plotting import plot_benchmark

        return plot_benchmark(self, **options)

    def __str__(self) -> str:
        """The table, aligned."""
        rows = [{k: _cell(v) for k, v in row.items()} for row in self.rows()]
        head = {k: k.replace("_", " ") for k in rows[0]}
        widths = {k: max(len(r[k]) for r in [head, *rows]) for k in head}
        return "\n".join(
            "  ".join(
                row[k].ljust(widths[k]) if i < 3 else row[k].rjust(widths[k]) for i, k in enumerate(row)
            ).rstrip()
            for row in [head, *rows]
        )

    def __repr__(self) -> str:
        """Sizes."""
        sizes = (len({getattr(r, name) for r in self.runs}) for name in ("plant", "task", "controller"))
        text = ", ".join(
            f"{n} {what}" for n, what in zip(sizes, ("plants", "tasks", "controllers"), strict=True)
        )
        return f"BenchResult({text}, {len(self.seeds)} seeds)"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:.4g}"
    return str(value)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    def finite(value: Any) -> Any:
        if isinstance(value, list):
            return [finite(v) for v in value]
        return None if isinstance(value, float) and not np.isfinite(value) else value

    return {key: finite(value) for key, value in row.items()}
