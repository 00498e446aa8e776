"""Tables of plants whose parameter drifts, and of grey boxes."""

from __future__ import annotations

from pathlib import Path

from table_cells import load, markdown, small


def _spread(found: dict[str, float]) -> str:
    """Median, and the worst seed in brackets."""
    return f"{small(found['median'])} ({small(found['max'])})"


def varying(results: Path) -> str:
    """Plants with a drifting parameter."""
    found = {n: f for n, f in load(results, "parameter_varying")["figures"].items() if n != "grey"}
    kinds = ("free_run", "cost_ratio")
    names = dict.fromkeys(n for f in found.values() for kind in kinds for n in f[kind])
    header = ["", *(f"{f['title']}: {what}" for f in found.values() for what in ("free run", "cost"))]
    rows = [[n, *(_spread(f[k][n]) if n in f[k] else "" for f in found.values() for k in kinds)] for n in names]
    return markdown(header, rows)


def grey_boxes(results: Path) -> str:
    """Grey boxes beside black boxes and the known part alone."""
    rows = []
    for plant, noises in load(results, "parameter_varying")["figures"]["grey"].items():
        for noise, kinds in noises.items():
            for kind, f in kinds.items():
                cells = [_spread(f[k]) if k in f else "" for k in ("coefficient", "inside", "outside")]
                rows.append([f"{plant}, {noise}", kind, *cells])
    return markdown(["plant", "model", "worst coefficient, relative", "free run", "outside of the records"], rows)
