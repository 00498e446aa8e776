"""What the tables of `docs/tables.py` share: Markdown, results, numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RATIO_SHOWN = 1000.0  # a larger one has its order of magnitude shown only


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def load(results: Path, name: str) -> dict[str, Any]:
    """Results of one benchmark."""
    return json.loads((results / f"{name}.json").read_text())


def number(value: float) -> str:
    """Three decimals below ten, none below `RATIO_SHOWN`, an order of magnitude beyond."""
    return f"{value:.3f}" if value < 10.0 else f"{value:.0f}" if value < RATIO_SHOWN else f"{value:.0e}"


def short(value: float) -> str:
    """Two digits, or all before the point."""
    return f"{value:.0f}" if value >= 100.0 else f"{value:.2g}"


def power(value: float) -> str:
    """Order of magnitude."""
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def small(value: float) -> str:
    """Three digits, or two and a power of ten."""
    return f"{value:.1e}" if 0.0 < abs(value) < 1e-2 else f"{value:.3g}"
