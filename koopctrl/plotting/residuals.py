"""Figure of what a model leaves unexplained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from koopctrl._validation import check_kind
from koopctrl.plotting._axes import ROW, WIDTH, given_axes, title_and_legend, whole_figure

if TYPE_CHECKING:
    from koopctrl.identification.residuals import ResidualAnalysis


def plot_residual_analysis(found: ResidualAnalysis, *, title: str | None = None, axes: Any = None) -> Figure:
    """Autocorrelation of each output's residuals, and their correlation with each input, with bounds.

    Parameters
    ----------
    found : ResidualAnalysis
        What `residual_analysis` returns.
    title : str, optional
        By default the verdict.
    axes : (n_y, 1 + n_u) array of matplotlib axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    matplotlib.figure.Figure
    """
    check_kind(found, "found", ("autocorrelation", "n_lags"), "what residual_analysis returns")
    n_y, n_u, n_lags = len(found.output_names), len(found.input_names), found.n_lags
    own = axes is not None
    if own:
        flat = given_axes(axes, n_y * (1 + n_u))
        figure, grid = whole_figure(flat), np.array(flat, dtype=object).reshape(n_y, 1 + n_u)
    else:
        figure, grid = plt.subplots(
            n_y, 1 + n_u, squeeze=False, figsize=(WIDTH, 0.7 + ROW * n_y), layout="constrained"
        )
    both = np.arange(-n_lags, n_lags + 1)
    for i, name in enumerate(found.output_names):
        panels = [(np.arange(1, n_lags + 1), found.autocorrelation[1:, i], found.white_bound, name)]
        panels += [
            (both, found.cross_correlation[:, i, j], found.cross_bound[i, j], f"{name} and {u}")
            for j, u in enumerate(found.input_names)
        ]
        for axis, (lags, values, bound, label) in zip(grid[i], panels, strict=True):
            axis.axhspan(-bound, bound, color="0.9", zorder=0, label=f"{found.confidence:.0%} bound")
            axis.vlines(lags, 0.0, values, color="C0", lw=1.2)
            axis.plot(lags, values, "o", ms=2.5, color="C0", label="correlation")
            axis.axhline(0.0, color="0.4", lw=0.6)
            axis.set_title(f"residuals of {label}", fontsize="small")
            axis.set_xlabel("lag in samples")
    verdict = "inputs explain no more" if found.independent else "inputs explain more"
    if found.kind == "one step":
        verdict += ", residuals are white" if found.white else ", residuals are not white"
    finding = f"{found.kind}, {found.n_samples} samples: {verdict}"
    # One title for all: each of the caller's axes says already what it shows.
    title_and_legend(list(grid.ravel()), "" if own else title, finding, legend=grid[0, 0])
    return figure
