"""What all figures share: page width, stacked axes, the caller's own axes, title and legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from koopctrl.errors import OptionError

WIDTH = 7.0  # inches: a page's text width
ROW = 1.9
STYLES = ("-", "--", "-.", ":")
# Beyond as many points matplotlib's search for the emptiest corner takes long.
_MANY_POINTS = 20_000


def stack(n_rows: int, axes: Any = None, height: float | None = None) -> tuple[Figure, list[Axes]]:
    """Figure of pyplot's with axes over one time axis; or the caller's axes, and their figure."""
    if axes is not None:
        own = given_axes(axes, n_rows)
        return whole_figure(own), own
    figure, made = plt.subplots(
        n_rows,
        1,
        sharex=True,
        squeeze=False,
        figsize=(WIDTH, height or (0.7 + ROW * n_rows)),
        layout="constrained",
    )
    return figure, list(made[:, 0])


def given_axes(axes: Any, count: int, name: str = "axes") -> list[Axes]:
    """Flatten the caller's axes, of which there must be `count`."""
    flat = list(np.ravel(np.array(axes, dtype=object)))
    if len(flat) != count or not all(isinstance(axis, Axes) for axis in flat):
        raise OptionError(
            f"{name} has {len(flat)} entries; expected {count} matplotlib axes, as plt.subplots({count}) "
            "makes them"
        )
    return flat


def whole_figure(axes: Sequence[Axes]) -> Figure:
    """Figure on which axes stand, be it within a subfigure."""
    figure = axes[0].get_figure(root=True)
    assert figure is not None  # axes are made on one
    return figure


def with_unit(name: str, units: Mapping[str, str] | None) -> str:
    """Label of an axis: name and unit; "1" is none, and a name may carry its own."""
    unit = (units or {}).get(name, "1")
    return name if unit in ("", "1") or name.rstrip().endswith("]") else f"{name} [{unit}]"


def check_units(units: Any) -> Mapping[str, str] | None:
    """Return `units`, a mapping of names of signals to units, or None."""
    if units is not None and not isinstance(units, Mapping):
        raise OptionError(
            f"units is a {type(units).__name__}; expected a mapping of names of signals to units, as "
            "{'level': 'm'}"
        )
    return units


def title_and_legend(
    axes: Sequence[Axes], title: str | None, finding: str, *, legend: Axes | None = None, own: bool = False
) -> None:
    """Put a title above the first of the axes, and a legend inside of one of them.

    Parameters
    ----------
    axes : sequence of Axes
        All that are drawn on.
    title : str or None
        None for the `finding`, "" for none.
    finding : str
        What the figure says.
    legend : Axes, optional
        Whose labels to show, in its emptiest corner.
    own : bool
        Whether the axes are the caller's: then the title is that of the first axis, not of the figure.
    """
    text = finding if title is None else title
    if text and own:
        axes[0].set_title(text, fontsize="medium")
    elif text:
        whole_figure(axes).suptitle(text, fontsize="medium")
    if legend is None or not legend.get_legend_handles_labels()[1]:
        return
    points = sum(np.size(line.get_xdata()) for line in legend.lines)
    columns = len(legend.get_legend_handles_labels()[1])
    legend.legend(
        loc="best" if points < _MANY_POINTS else "upper right",
        ncols=columns if columns <= 4 else 2,
        fontsize="small",
        framealpha=0.8,
    )
