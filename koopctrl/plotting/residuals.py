"""Figure of what a model leaves unexplained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from koopctrl.plotting._axes import ROW, WIDTH, title_and_legend

if TYPE_CHECKING:
    from koopctrl.identification.residuals import ResidualAnalysis


def plot_residual_analysis(found: ResidualAnalysis, *, title: str = "") -> Figure:
    """Autocorrelation of each output's residuals, and their correlation with each input, with bounds.

    Parameters
    ----------
    found : ResidualAnalysis
        What `residual_analysis` returns.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    n_y, n_u, n_lags = len(found.output_names), len(found.input_names), found.n_lags
    figure = Figure(figsize=(WIDTH, 0.7 + ROW * n_y), layout="constrained")
    axes = figure.subplots(n_y, 1 + n_u, squeeze=False)
    both = np.arange(-n_lags, n_lags + 1)
    for i, name in enumerate(found.output_names):
        panels = [(np.arange(1, n_lags + 1), found.autocorrelation[1:, i], found.white_bound, name)]
        panels += [
            (both, found.cross_correlation[:, i, j], found.cross_bound[i, j], f"{name} and {u}")
            for j, u in enumerate(found.input_names)
        ]
        for axis, (lags, values, bound, label) in zip(axes[i], panels, strict=True):
            axis.axhspan(-bound, bound, color="0.9", zorder=0, label=f"{found.confidence:.0%} bound")
            axis.vlines(lags, 0.0, values, color="C0", lw=1.2)
            axis.plot(lags, values, "o", ms=2.5, color="C0", label="correlation")
            axis.axhline(0.0, color="0.4", lw=0.6)
            axis.set_title(f"residuals of {label}", fontsize="small")
            axis.set_xlabel("lag in samples")
    title_and_legend(figure, axes[0, 0], title or f"{found.kind}, {found.n_samples} samples")
    return figure
