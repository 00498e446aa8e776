"""Figures of closed-loop runs. Functions return the matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from koopctrl.plotting._axes import STYLES, stack, title_and_legend


def plot_closed_loop(result: Any, *, title: str = "") -> Figure:
    """Outputs with their references, and inputs, of one closed-loop run.

    Parameters
    ----------
    result : ClosedLoopResult
        As `run_closed_loop` returns it.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    return plot_closed_loops({"": result}, title=title)


def plot_closed_loops(results: Mapping[str, Any], *, title: str = "") -> Figure:
    """Several closed-loop runs over the same time in one figure, one colour a controller.

    References and measured disturbances are those of the first run.
    """
    first = next(iter(results.values()))
    n_y, n_u = first.outputs.shape[1], first.inputs.shape[1]
    pushed = getattr(first, "disturbances", None)
    pushed = np.empty((len(first.inputs), 0)) if pushed is None else pushed
    n_v = pushed.shape[1]
    figure, axes = stack(n_y + n_u + n_v)
    names = _names(first, "output_names", n_y, "y")
    for i in range(n_y):
        if first.references is not None and np.isfinite(first.references[:, i]).any():
            axes[i].step(
                first.time[: len(first.references)],
                first.references[:, i],
                where="post",
                color="0.35",
                lw=1.0,
                ls=":",
                label="reference" if i == 0 else None,
            )
        for j, (label, run) in enumerate(results.items()):
            axes[i].plot(
                run.time, run.outputs[:, i], STYLES[j % 4], color=f"C{j}", lw=1.3, label=label or None
            )
        axes[i].set_ylabel(names[i])
    names = _names(first, "input_names", n_u, "u")
    for i in range(n_u):
        for j, run in enumerate(results.values()):
            axes[n_y + i].step(
                run.time[: len(run.inputs)],
                run.inputs[:, i],
                STYLES[j % 4],
                where="post",
                color=f"C{j}",
                lw=1.1,
            )
        axes[n_y + i].set_ylabel(names[i])
    for i, name in enumerate(_names(first, "disturbance_names", n_v, "v")):
        axes[n_y + n_u + i].step(first.time[:-1], pushed[:, i], where="post", color="C7", lw=1.1)
        axes[n_y + n_u + i].set_ylabel(name)
    for axis, sides, i in [(axes[i], ("y_min", "y_max"), i) for i in range(n_y)] + [
        (axes[n_y + i], ("u_min", "u_max"), i) for i in range(n_u)
    ]:
        _draw_bounds(
            axis, [np.ravel(r.bounds[s])[i] for r in results.values() for s in sides if s in r.bounds]
        )
    title_and_legend(figure, axes[0], title)
    axes[-1].set_xlabel("time [s]")
    for axis in axes:
        axis.grid(True, lw=0.3)
    return figure


def _draw_bounds(axis: Axes, values: list[float]) -> None:
    for value in {float(v) for v in values if np.isfinite(v)}:
        axis.axhline(value, color="C3", lw=0.8, ls=(0, (6, 4)))


def _names(result: Any, attribute: str, count: int, prefix: str) -> Sequence[str]:
    names = getattr(result, attribute, None)
    return names if names else [f"{prefix}{i}" for i in range(count)]
