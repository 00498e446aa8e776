"""Figure of a benchmark: costs over the yardstick's."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from koopctrl._validation import check_kind
from koopctrl.plotting._axes import WIDTH


def plot_benchmark(result: Any, *, title: str | None = None, ax: Any = None) -> Figure:
    """Costs over the yardstick's by task and controller: medians over seeds, with lines to the worst.

    Where the yardstick's cost is not known, costs are taken over the best controller's. Failures stand at the
    right end.

    Parameters
    ----------
    result : koopctrl.benchmark.result.BenchResult
        What `koopctrl.bench` returned.
    title : str, optional
        By default who did best.
    ax : matplotlib axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    matplotlib.figure.Figure
    """
    check_kind(result, "result", ("rows", "ranking"), "what koopctrl.bench returns")
    rows = result.rows()
    tasks = list(dict.fromkeys((row["plant"], row["task"]) for row in rows))
    names = list(dict.fromkeys(row["controller"] for row in rows))
    if ax is None:
        figure, ax = plt.subplots(figsize=(WIDTH, 1.2 + 0.22 * len(tasks) * max(1.0, 0.5 * len(names))),
                                  layout="constrained")  # fmt: skip
    else:
        figure = ax.figure
    values, worst = (np.full((len(tasks), len(names)), np.nan) for _ in range(2))
    known = all(np.isfinite(row["over_nmpc"]) or row["over_nmpc"] == np.inf for row in rows)
    for row in rows:
        at = tasks.index((row["plant"], row["task"])), names.index(row["controller"])
        values[at] = row["over_nmpc"] if known else row["cost"]
        worst[at] = row["worst"] if known else row["cost"]
    if not known:
        finite = np.where(np.isfinite(values), values, np.inf)
        best = finite.min(axis=1, keepdims=True)
        best = np.where(np.isfinite(best) & (best > 0.0), best, 1.0)
        values, worst = values / best, worst / best
    drawn = values[np.isfinite(values)]
    end = 1.6 * max(float(drawn.max(initial=1.0)), float(worst[np.isfinite(worst)].max(initial=1.0)), 1.5)
    for j, name in enumerate(names):
        y = np.arange(len(tasks)) + 0.7 * ((j + 0.5) / len(names) - 0.5)
        finite = np.isfinite(values[:, j])
        x = np.where(finite, values[:, j], end)
        ax.hlines(y, x, np.where(np.isfinite(worst[:, j]), worst[:, j], end), color=f"C{j}", lw=1.0)
        ax.plot(x[finite], y[finite], "o", ms=4.0, color=f"C{j}", label=name)
        ax.plot(x[~finite], y[~finite], "x", ms=5.0, color=f"C{j}", label=None if finite.any() else name)
    ax.axvline(1.0, color="0.35", lw=1.0, ls=":")
    ax.set_xscale("log")
    # Plain numbers, also between the powers of ten where there is but one of them.
    few = end < 30.0
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("{x:g}" if few else NullFormatter())
    ax.tick_params(axis="x", which="both", labelsize="small")
    ax.set_xlim(right=1.15 * end)
    ax.set_yticks(range(len(tasks)), ["/".join(t) for t in tasks], fontsize="small")
    ax.invert_yaxis()
    ax.set_xlabel("cost over NMPC's with the true model" if known else "cost over the best controller's")
    ax.legend(loc="best", fontsize="small", frameon=False)
    if title is None:
        best_row = result.ranking()[0]
        ratio = best_row["over_nmpc"]
        title = f"best: {best_row['controller']}" + (f", median {ratio:.3g}" if np.isfinite(ratio) else "")
    ax.set_title(title, fontsize="medium")
    return figure
