"""Every figure. Functions return the matplotlib figure; axes carry names and units of seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from koopctrl._validation import FloatArray

if TYPE_CHECKING:
    import control

    from koopctrl.report import Report
    from koopctrl.spectrum import Spectrum
    from koopctrl.trajectories import Trajectory

_WIDTH = 7.0  # inches: a page's text width
_ROW = 1.9
_STYLES = ("-", "--", "-.", ":")


def _stack(n_rows: int, height: float | None = None) -> tuple[Figure, list[Axes]]:
    # Figure() and not pyplot: no global state, nothing to close, no display needed.
    figure = Figure(figsize=(_WIDTH, height or (0.7 + _ROW * n_rows)), layout="constrained")
    axes = figure.subplots(n_rows, 1, sharex=True, squeeze=False)[:, 0]
    return figure, list(axes)


def plot_free_run(
    record: Trajectory, runs: Mapping[str, FloatArray], *, n_init: int = 0, title: str = ""
) -> Figure:
    """Measured outputs, free runs beside them, and the inputs.

    Parameters
    ----------
    record : Trajectory
        What was measured.
    runs : mapping of label to (n_samples, n_y) array
        Free-run outputs, as `KoopmanRNN.predict` returns them; the first is drawn on top.
    n_init : int
        Samples that initialised; shaded.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    n_y, n_u = record.outputs.shape[1], record.inputs.shape[1]
    figure, axes = _stack(2 * n_y + n_u)
    for i, name in enumerate(record.output_names):
        value_ax, error_ax = axes[2 * i : 2 * i + 2]
        value_ax.plot(record.time, record.outputs[:, i], color="0.45", lw=1.6, label="measured")
        for j, (label, run) in enumerate(runs.items()):
            # The first run is thin and on top; the others are wide and pale below it, so that none is hidden.
            look: dict[str, Any] = {
                "color": f"C{j}",
                "zorder": 3.0 - 0.1 * j,
                "alpha": 1.0 if j == 0 else 0.6,
            }
            value_ax.plot(record.time, run[:, i], lw=1.0 + 1.6 * j, label=label, **look)
            error_ax.plot(record.time, run[:, i] - record.outputs[:, i], lw=0.9 + 1.6 * j, **look)
        for axis in (value_ax, error_ax):
            if n_init:
                axis.axvspan(0.0, record.time[n_init - 1], color="0.9", zorder=0)
        value_ax.set_ylabel(name)
        error_ax.set_ylabel(f"error of {name}")
        error_ax.grid(True, lw=0.3)
    for i, name in enumerate(record.input_names):
        held = record.inputs[:, i]
        axes[2 * n_y + i].step(record.time[: len(held)], held, where="post", color="C7", lw=0.9)
        axes[2 * n_y + i].set_ylabel(name)
    _title_and_legend(figure, axes[0], title)
    axes[-1].set_xlabel("time [s]")
    return figure


def plot_step_and_bode(system: control.StateSpace, *, title: str = "") -> Figure:
    """Step responses (top) and Bode magnitude and phase of a discrete-time state-space model.

    Parameters
    ----------
    system : control.StateSpace
        One row of curves per output, one curve per pair of output and input.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    from koopctrl.export.pycontrol import frequency_response, step_response

    figure = Figure(figsize=(_WIDTH, 6.5), layout="constrained")
    step_ax, gain_ax, phase_ax = figure.subplots(3, 1)
    gain_ax.sharex(phase_ax)
    time, steps = step_response(system)
    shown = _settled(steps)
    time, steps = time[:shown], steps[:shown]
    omega, gain, phase = frequency_response(system)
    k = 0
    for i, output in enumerate(system.output_labels):
        for j, source in enumerate(system.input_labels):
            label = f"{source} to {output}"
            step_ax.step(time, steps[:, i, j], where="post", color=f"C{k}", label=label)
            gain_ax.semilogx(omega, 20.0 * np.log10(np.maximum(gain[i, j], 1e-300)), color=f"C{k}")
            phase_ax.semilogx(omega, np.degrees(phase[i, j]), color=f"C{k}")
            k += 1
    _title_and_legend(figure, None, title)
    step_ax.set(xlabel="time [s]", ylabel="step response")
    step_ax.legend(fontsize="small")
    gain_ax.set_ylabel("magnitude [dB]")
    gain_ax.tick_params(labelbottom=False)
    phase_ax.set(xlabel="frequency [rad/s]", ylabel="phase [deg]")
    for axis in (gain_ax, phase_ax):
        axis.axvline(np.pi / float(system.dt), color="0.6", lw=0.8, ls=":")
        axis.grid(True, which="both", lw=0.3)
    step_ax.grid(True, lw=0.3)
    return figure


def plot_horizon_errors(report: Report, *, title: str = "") -> Figure:
    """Errors of both faces over the prediction horizon, relative to each output's spread."""
    figure, (axis,) = _stack(1, 3.0)
    horizons = [h.horizon for h in report.horizons]
    axis.loglog(horizons, [h.rnn_nrmse for h in report.horizons], "o-", label="nonlinear face (re-lifts)")
    axis.loglog(horizons, [h.lifted_nrmse for h in report.horizons], "s--", label="lifted linear face")
    axis.set(xlabel="horizon [samples]", ylabel="RMSE / spread")
    _title_and_legend(figure, None, title)
    axis.grid(True, which="both", lw=0.3)
    axis.legend(fontsize="small")
    return figure


def plot_spectrum(spectrum: Spectrum, *, title: str = "") -> Figure:
    """Eigenvalues in the complex plane, coloured by their residual on the training data."""
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    axis = figure.subplots()
    angle = np.linspace(0.0, 2.0 * np.pi, 361)
    axis.plot(np.cos(angle), np.sin(angle), color="0.7", lw=0.8)
    values = spectrum.eigenvalues
    with np.errstate(divide="ignore"):
        colour = np.log10(np.clip(np.nan_to_num(spectrum.residuals, nan=1.0), 1e-12, None))
    dots = axis.scatter(values.real, values.imag, c=colour, s=16, cmap="viridis_r")
    figure.colorbar(dots, ax=axis, label="log10 residual (low: trustworthy)", shrink=0.8)
    axis.set(xlabel="real part", ylabel="imaginary part", aspect="equal")
    _title_and_legend(figure, None, title)
    return figure


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
    figure, axes = _stack(n_y + n_u + n_v)
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
                run.time, run.outputs[:, i], _STYLES[j % 4], color=f"C{j}", lw=1.3, label=label or None
            )
        axes[i].set_ylabel(names[i])
    names = _names(first, "input_names", n_u, "u")
    for i in range(n_u):
        for j, run in enumerate(results.values()):
            axes[n_y + i].step(
                run.time[: len(run.inputs)],
                run.inputs[:, i],
                _STYLES[j % 4],
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
    _title_and_legend(figure, axes[0], title)
    axes[-1].set_xlabel("time [s]")
    for axis in axes:
        axis.grid(True, lw=0.3)
    return figure


def _draw_bounds(axis: Axes, values: list[float]) -> None:
    for value in {float(v) for v in values if np.isfinite(v)}:
        axis.axhline(value, color="C3", lw=0.8, ls=(0, (6, 4)))


def _settled(steps: FloatArray) -> int:
    """Samples of step responses that are worth showing: twice as many as until all stay within 1 %.

    All of them where a response does not settle.
    """
    final = steps[-1]
    spread = np.abs(steps - final).max(axis=0)
    outside = np.abs(steps - final) > 0.01 * np.where(spread > 0, spread, 1.0)
    last = int(np.flatnonzero(outside.reshape(len(steps), -1).any(axis=1)).max(initial=0))
    return len(steps) if 2 * last > len(steps) else min(len(steps), max(2 * last, 20))


def _title_and_legend(figure: Figure, axis: Axes | None, title: str) -> None:
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


def _names(result: Any, attribute: str, count: int, prefix: str) -> Sequence[str]:
    names = getattr(result, attribute, None)
    return names if names else [f"{prefix}{i}" for i in range(count)]
