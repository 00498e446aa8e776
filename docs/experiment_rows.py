"""Cells of the experiments, by model: what tables and figures of `docs/results.md` are made of."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TITLES = {
    "van_der_pol": "Van der Pol, autonomous",
    "van_der_pol_forced": "Van der Pol, forced",
    "van_der_pol_x1": "Van der Pol, forced, seen through its position alone",
    "lorenz63": "Lorenz-63",
    "lorenz63_noisy": "Lorenz-63, 1 % noise",
    "roessler": "Roessler",
    "roessler_noisy": "Roessler, 1 % noise",
    "lorenz96": "Lorenz-96, 40 states",
    "lorenz96_noisy": "Lorenz-96, 1 % noise",
    "kuramoto_sivashinsky": "Kuramoto-Sivashinsky, 64 points",
    "kuramoto_sivashinsky_noisy": "Kuramoto-Sivashinsky, 1 % noise",
    "mackey_glass": "Mackey-Glass",
    "mackey_glass_noisy": "Mackey-Glass, 1 % noise",
    "weather_day": "Weather, one day",
    "weather_week": "Weather, one week",
    "hair_dryer": "Hair dryer",
    "robot_arm": "Robot arm",
    "cascaded_tanks": "Cascaded tanks",
    "silverbox": "Silverbox",
    "ball_hoop": "Ball and hoop",
    "bouc_wen": "Bouc-Wen",
    "f16_reduced": "F-16",
    "quarter_drone": "Quarter drone",
}
LATE = "not finished within the"  # what a trial says that ran out of time
NEAR = 0.05  # of the first: what counts as first too
GRADIENT = ("LSTM", "GRU", "SUBNET-like encoder", "jax-sysid")
# Baselines that no one would call a model.
BASELINES = ("persistence", "climatology")


def cells(results: Path, name: str) -> list[dict[str, Any]]:
    """All cells of an experiment, those that ran and those that say why not."""
    found = [json.loads(p.read_text()) for p in sorted((results / "experiments" / name).glob("*.json"))]
    return [_at_one_speed(cell) for cell in found]


def _at_one_speed(cell: dict[str, Any]) -> dict[str, Any]:
    """Times as the machine of most cells would have taken: `speed` is what its seconds were worth."""
    speed = cell.get("speed", 1.0)
    return cell | {key: speed * cell[key] for key in ("fit_s", "search_s", "predict_s") if key in cell}


class Row:
    """One model on one experiment, over its seeds."""

    def __init__(self, found: list[dict[str, Any]]) -> None:
        self.cells = [c for c in found if "error" in c and isinstance(c["error"], int | float)]
        self.name, self.higher = found[0]["model"], any(c.get("higher_is_better") for c in found)
        self.seeds = len(self.cells)
        self.reason = next((c["cannot_run"] for c in found if "cannot_run" in c), "")
        self.ours = self.name.startswith("KoopmanRNN")
        self.selected = self.name.startswith("KoopmanRNN select")

    def median(self, key: str) -> float | None:
        """Of a figure over seeds; None where there is none."""
        values = [v for c in self.cells if (v := c["figures"].get(key, c.get(key))) is not None]
        return statistics.median(float(v) for v in values) if values else None

    @property
    def error(self) -> float:
        """Median of what counts."""
        return statistics.median(c["error"] for c in self.cells)

    @property
    def by_seed(self) -> dict[int, float]:
        """Errors of the seeds whose cells are kept."""
        return {c["seed"]: c["error"] for c in self.cells if "seed" in c}

    def error_of(self, seeds: Iterable[int]) -> float:
        """Median over some of the seeds, over all where there are none of these."""
        return statistics.median([self.by_seed[s] for s in seeds] or [self.error])

    @property
    def rank(self) -> float:
        """Smaller is better."""
        return -self.error if self.higher else self.error

    @property
    def spread(self) -> str:
        """Worst seed, where there are several."""
        if len(self.cells) < 2:
            return ""
        errors = [c["error"] for c in self.cells]
        return f" ({short(min(errors) if self.higher else max(errors))})"

    @property
    def held_out(self) -> float:
        """Median error of the settings that were chosen, on the held-out part of the training data; infinite where
        settings were stated and nothing was held out.
        """
        if any(not c.get("trials") for c in self.cells):
            return float("inf")
        return statistics.median(min(float(t["error"]) for t in c["trials"]) for c in self.cells)

    @property
    def stopped(self) -> bool:
        """Whether the clock ended the last fit of any seed."""
        ends = [c.get("learning_curve", {}).get("stopped", "") for c in self.cells]
        return any(re.fullmatch(r"[0-9.]+ s", end) for end in ends)

    @property
    def cut(self) -> int | None:
        """Trials that were finished where time ended them, of the seed with fewest; None where all were."""
        tried = [c["trials"] for c in self.cells if any(LATE in t["message"] for t in c.get("trials", ()))]
        return min((sum(not t["message"] for t in found) for found in tried), default=None)

    @property
    def seconds(self) -> float:
        """Of the last fit."""
        return statistics.median(c["fit_s"] for c in self.cells)

    @property
    def search(self) -> float:
        """Of all trials and the last fit."""
        return statistics.median(c["fit_s"] + c["search_s"] for c in self.cells)


class Stored(Row):
    """`select` as `benchmarks/selected.py` runs it: of its seeds only median and extremes are stored."""

    def __init__(self, found: dict[str, Any]) -> None:
        budget = statistics.median(found["budget_s"])
        cell = {"model": f"KoopmanRNN select, {budget:.0f} s", "unit": "RMSE", "group": "measured", "figures": {}}
        first = found["rmse"][0]
        cell |= {"error": first["median"], "fit_s": budget, "search_s": 0.0}
        super().__init__([cell])
        self.seeds, self._worst = first["n"], first["max"]

    @property
    def spread(self) -> str:
        """Worst seed."""
        return f" ({short(self._worst)})"


def rows_of(results: Path, name: str) -> tuple[list[Row], list[Row]]:
    """Models that ran, the best first, and those that could not."""
    by_model: dict[str, list[dict[str, Any]]] = {}
    for cell in cells(results, name):
        by_model.setdefault(cell["model"], []).append(cell)
    rows = [Row(found) for found in by_model.values()]
    path = results / "selected.json"
    stored = json.loads(path.read_text())["figures"] if path.exists() else {}
    if rows and name in stored:
        rows.append(Stored(stored[name]))
    return sorted((r for r in rows if r.cells), key=lambda r: r.rank), [r for r in rows if not r.cells]


def chosen(rows: list[Row], ours: bool = True) -> Row | None:
    """The KoopmanRNN, or the peer, whose settings did best on the held-out fifth of the training part, from as many as
    every model tries: the test's best of ten would be a lucky one. Of equals it is the one that is fitted first. A model
    whose settings were stated has no figure on the held-out part and is not chosen.
    """
    candidates = (r for r in rows if r.ours == ours and not r.selected and (ours or r.held_out < float("inf")))
    return min(candidates, key=lambda r: (float(f"{r.held_out:.4g}"), r.seconds), default=None)


def selected(rows: list[Row]) -> Row | None:
    """What `select` finds on a measured record in the longest budget that was run."""
    return max((r for r in rows if r.selected), key=lambda r: r.search, default=None)


def short(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}"


def brief(seconds: float | None) -> str:
    """Processor seconds, which are counted in hundredths."""
    if seconds is None:
        return ""
    return short(seconds) if seconds >= 0.01 else "< 0.01"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, ["---"] * len(header), *rows))
