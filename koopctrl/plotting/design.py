"""Figure of a checked design: what each episode cost, and the episode in which it does worst."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from koopctrl._validation import check_kind
from koopctrl.plotting._axes import STYLES, WIDTH, given_axes, title_and_legend, whole_figure

if TYPE_CHECKING:
    from koopctrl.controllers.design.report import DesignReport


def plot_design(report: DesignReport, *, title: str | None = None, axes: Any = None) -> Figure:
    """Costs by episode beside the rivals', and outputs and inputs of the worst episode.

    Parameters
    ----------
    report : DesignReport
        As `verify_design` returns it.
    title : str, optional
        By default the verdict.
    axes : sequence of matplotlib axes, optional
        Where to draw: one for the costs, one for each output and each input; a new figure otherwise.

    Returns
    -------
    matplotlib.figure.Figure
    """
    check_kind(report, "report", ("outcomes", "episodes"), "what verify_design returns")
    names = list(report.outcomes)
    costs = np.array([[o.cost for o in report.outcomes[n]] for n in names])
    best = costs.min(axis=0)
    floor = 1e-3 * float(np.median(best)) + np.finfo(float).tiny
    ratio = (costs + floor) / (best + floor)
    worst = int(np.argmax(ratio[0]))
    n_y, n_u = len(report.output_names), report.outcomes[names[0]][worst].inputs.shape[1]
    own = axes is not None
    if own:
        bars, *axes = given_axes(axes, 1 + n_y + n_u)
        figure = whole_figure([bars])
    else:
        figure = plt.figure(figsize=(WIDTH, 2.4 + 1.5 * (n_y + n_u)), layout="constrained")
        grid = figure.add_gridspec(1 + n_y + n_u, 1, height_ratios=[1.4] + [1.0] * (n_y + n_u))
        bars, *axes = (figure.add_subplot(grid[i]) for i in range(1 + n_y + n_u))
    width = 0.8 / len(names)
    places = np.arange(costs.shape[1])
    for i, name in enumerate(names):
        bars.bar(places + (i - 0.5 * (len(names) - 1)) * width, ratio[i], width, color=f"C{i}", label=name)
    bars.set(yscale="log", xlabel="episode", ylabel="cost / best")
    bars.set_xticks(places)
    episode = report.episodes[worst]
    for i, name in enumerate(names):
        found = report.outcomes[name][worst]
        time = report.dt * np.arange(len(found.outputs))
        for j in range(n_y):
            axes[j].plot(time, found.outputs[:, j], STYLES[i % 4], color=f"C{i}", lw=1.2)
        for j in range(n_u):
            axes[n_y + j].step(
                time[:-1], found.inputs[:, j], STYLES[i % 4], where="post", color=f"C{i}", lw=1.1
            )
    for j, label in enumerate(report.output_names):
        wanted = episode.r[j] if episode.r.ndim == 1 else episode.r[:, j]
        if np.ndim(wanted):
            axes[j].plot(report.dt * np.arange(len(wanted)), wanted, ":", color="0.35", lw=1.0)
        else:
            axes[j].axhline(float(wanted), color="0.35", lw=1.0, ls=":")
        axes[j].set_ylabel(label)
    for j, label in enumerate(report.input_names):
        axes[n_y + j].set_ylabel(label)
    for axis in axes:
        axis.grid(True, lw=0.3)
        if axis is not axes[-1] and not own:
            axis.sharex(axes[-1])
            axis.tick_params(labelbottom=False)
    axes[-1].set_xlabel(f"time [s], episode {worst}, where the design does worst")
    verdict = "nothing speaks against the design" if report.ok else f"against the design: {report.reasons[0]}"
    title_and_legend([bars], title, verdict, legend=bars, own=own)
    return figure
