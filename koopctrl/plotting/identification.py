"""Figures of models and records. Functions return the matplotlib figure; axes carry names and units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from koopctrl._validation import FloatArray
from koopctrl.plotting._axes import WIDTH, stack, title_and_legend

if TYPE_CHECKING:
    import control

    from koopctrl.data.trajectories import Trajectory
    from koopctrl.identification.report import Report
    from koopctrl.lifted.spectrum import Spectrum


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
    figure, axes = stack(2 * n_y + n_u)
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
    title_and_legend(figure, axes[0], title)
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

    figure = Figure(figsize=(WIDTH, 6.5), layout="constrained")
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
    title_and_legend(figure, None, title)
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
    figure, (axis,) = stack(1, 3.0)
    horizons = [h.horizon for h in report.horizons]
    axis.loglog(horizons, [h.rnn_nrmse for h in report.horizons], "o-", label="nonlinear face (re-lifts)")
    axis.loglog(horizons, [h.lifted_nrmse for h in report.horizons], "s--", label="lifted linear face")
    axis.set(xlabel="horizon [samples]", ylabel="RMSE / spread")
    title_and_legend(figure, None, title)
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
    title_and_legend(figure, None, title)
    return figure


def _settled(steps: FloatArray) -> int:
    """Samples of step responses that are worth showing: twice as many as until all stay within 1 %.

    All of them where a response does not settle.
    """
    final = steps[-1]
    spread = np.abs(steps - final).max(axis=0)
    outside = np.abs(steps - final) > 0.01 * np.where(spread > 0, spread, 1.0)
    last = int(np.flatnonzero(outside.reshape(len(steps), -1).any(axis=1)).max(initial=0))
    return len(steps) if 2 * last > len(steps) else min(len(steps), max(2 * last, 20))
