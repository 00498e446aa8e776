"""What all figures share: page width, stacked axes, title and legend."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 7.0  # inches: a page's text width
ROW = 1.9
STYLES = ("-", "--", "-.", ":")


def stack(n_rows: int, height: float | None = None) -> tuple[Figure, list[Axes]]:
    """Axes over one time axis, and their figure."""
    # Figure() and not pyplot: no global state, nothing to close, no display needed.
    figure = Figure(figsize=(WIDTH, height or (0.7 + ROW * n_rows)), layout="constrained")
    axes = figure.subplots(n_rows, 1, sharex=True, squeeze=False)[:, 0]
    return figure, list(axes)


def title_and_legend(figure: Figure, axis: Axes | None, title: str) -> None:
    """Put the title, and the legend of `axis` if any, outside the axes, off the curves."""
    if title:
        figure.suptitle(title, fontsize="medium")
    if axis is None:
        return
    handles, labels = axis.get_legend_handles_labels()
    if labels:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=len(labels), fontsize="small", frameon=False
        )
