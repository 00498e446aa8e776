"""Figures of closed-loop runs. Functions return the pyplot figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from koopctrl._validation import check_kind
from koopctrl.errors import OptionError
from koopctrl.plotting._axes import STYLES, check_units, stack, title_and_legend, with_unit


def plot_closed_loop(
    result: Any, *, title: str | None = None, axes: Any = None, units: Mapping[str, str] | None = None
) -> Figure:
    """Outputs with their references, and inputs, of one closed-loop run.

    Parameters
    ----------
    result : ClosedLoopResult
        As `run_closed_loop` returns it.
    title : str, optional
        By default what came out: cost, final error, steps without a solution.
    axes : sequence of matplotlib axes, optional
        Where to draw: one each for outputs, inputs and measured disturbances; a new figure otherwise.
    units : mapping of name to str, optional
        Units of signals; by default those that the plant told.

    Returns
    -------
    matplotlib.figure.Figure
    """
    return plot_closed_loops({"": result}, title=title, axes=axes, units=units)


def plot_closed_loops(
    results: Mapping[str, Any],
    *,
    title: str | None = None,
    axes: Any = None,
    units: Mapping[str, str] | None = None,
) -> Figure:
    """Several closed-loop runs over the same time in one figure, one colour a controller.

    References and measured disturbances are those of the first run.

    Parameters
    ----------
    results : mapping of label to ClosedLoopResult
        At least one; with the same signals.
    title, axes, units
        As of `plot_closed_loop`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not isinstance(results, Mapping) or not results:
        raise OptionError(
            f"results is {'empty' if isinstance(results, Mapping) else f'a {type(results).__name__}'}; "
            "expected a mapping of labels to closed-loop results"
        )
    for label, run in results.items():
        check_kind(run, f"results[{label!r}]", ("outputs", "inputs", "time"), "what run_closed_loop returns")
    first = next(iter(results.values()))
    units = {**getattr(first, "units", {}), **(check_units(units) or {})}
    n_y, n_u = first.outputs.shape[1], first.inputs.shape[1]
    pushed = getattr(first, "disturbances", None)
    pushed = np.empty((len(first.inputs), 0)) if pushed is None else pushed
    n_v = pushed.shape[1]
    own = axes is not None
    figure, axes = stack(n_y + n_u + n_v, axes)
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
        axes[i].set_ylabel(with_unit(names[i], units))
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
        axes[n_y + i].set_ylabel(with_unit(names[i], units))
    for i, name in enumerate(_names(first, "disturbance_names", n_v, "v")):
        axes[n_y + n_u + i].step(first.time[:-1], pushed[:, i], where="post", color="C7", lw=1.1)
        axes[n_y + n_u + i].set_ylabel(with_unit(name, units))
    for axis, sides, i in [(axes[i], ("y_min", "y_max"), i) for i in range(n_y)] + [
        (axes[n_y + i], ("u_min", "u_max"), i) for i in range(n_u)
    ]:
        _draw_bounds(
            axis, [np.ravel(r.bounds[s])[i] for r in results.values() for s in sides if s in r.bounds]
        )
    title_and_legend(axes, title, _finding(results), legend=axes[0], own=own)
    axes[-1].set_xlabel("time [s]")
    for axis in axes:
        axis.grid(True, lw=0.3)
    return figure


def _finding(results: Mapping[str, Any]) -> str:
    """What came out of each run."""
    costs = {label: getattr(run, "cost", np.nan) for label, run in results.items()}
    if len(results) > 1:
        known = {label: cost for label, cost in costs.items() if np.isfinite(cost)}
        if len(known) < 2:
            return ""
        best = min(known, key=lambda label: known[label])
        ratios = ", ".join(f"{n} {c / known[best]:.3g}" for n, c in known.items() if n != best)
        return f"{best} costs least; relative to it: {ratios}" if known[best] > 0 else f"{best} costs least"
    (run,) = results.values()
    parts = [f"cost {costs[label]:.4g}" for label in costs if np.isfinite(costs[label])]
    error = np.abs(run.outputs[-1] - run.references[min(len(run.outputs), len(run.references)) - 1])
    names = _names(run, "output_names", len(error), "y")
    off = [f"{n} {e:.2g}" for n, e in zip(names, error, strict=True) if np.isfinite(e)]
    parts += [f"last error: {', '.join(off)}"] if 0 < len(off) <= 3 else []
    lost = sum(status.startswith("fallback") for status in run.statuses)
    parts += [f"{lost} of {len(run.statuses)} steps without a solution"] if lost else []
    parts += [f"ended early: {run.ended}"] if run.ended == "terminated" else []
    return "; ".join(parts)


def _draw_bounds(axis: Axes, values: list[float]) -> None:
    for value in {float(v) for v in values if np.isfinite(v)}:
        axis.axhline(value, color="C3", lw=0.8, ls=(0, (6, 4)))


def _names(result: Any, attribute: str, count: int, prefix: str) -> Sequence[str]:
    names = getattr(result, attribute, None)
    return names if names else [f"{prefix}{i}" for i in range(count)]
