"""Figures of models and records. Functions return the pyplot figure; axes carry names and units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from koopctrl._validation import FloatArray, as_signal, check_kind
from koopctrl.errors import OptionError, ShapeError, TimeBaseError
from koopctrl.plotting._axes import (
    WIDTH,
    check_units,
    given_axes,
    stack,
    title_and_legend,
    whole_figure,
    with_unit,
)

if TYPE_CHECKING:
    import control

    from koopctrl.data.trajectories import Trajectory
    from koopctrl.identification.report import Report
    from koopctrl.lifted.spectrum import Spectrum

# Relative residual up to which a mode counts as borne out by the data.
_TRUSTED = 0.1


def plot_free_run(
    record: Trajectory,
    runs: Mapping[str, FloatArray],
    *,
    n_init: int = 0,
    title: str | None = None,
    axes: Any = None,
    units: Mapping[str, str] | None = None,
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
    title : str, optional
        By default how far off the runs are, as root mean square after the first `n_init` samples.
    axes : sequence of matplotlib axes, optional
        Where to draw: two for each output (value, error), one for each input; a new figure otherwise.
    units : mapping of name to str, optional
        Units of signals, for the labels of axes.

    Returns
    -------
    matplotlib.figure.Figure
    """
    check_kind(record, "record", ("outputs", "inputs", "time"), "a Trajectory; data[0] is the first one")
    check_units(units)
    if not isinstance(runs, Mapping):
        raise OptionError(
            f"runs is a {type(runs).__name__}; expected a mapping of labels to arrays, as "
            "{'model': model.predict(data)[0]}"
        )
    runs = {label: as_signal(run, f"runs[{label!r}]", record.outputs.shape[1]) for label, run in runs.items()}
    for label, run in runs.items():
        if len(run) != len(record):
            raise ShapeError(f"runs[{label!r}] has {len(run)} rows; expected {len(record)} as the record")
    n_y, n_u = record.outputs.shape[1], record.inputs.shape[1]
    own = axes is not None
    figure, axes = stack(2 * n_y + n_u, axes)
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
        value_ax.set_ylabel(with_unit(name, units))
        error_ax.set_ylabel(f"error of {with_unit(name, units)}")
        error_ax.grid(True, lw=0.3)
    for i, name in enumerate(record.input_names):
        held = record.inputs[:, i]
        axes[2 * n_y + i].step(record.time[: len(held)], held, where="post", color="C7", lw=0.9)
        axes[2 * n_y + i].set_ylabel(with_unit(name, units))
    title_and_legend(axes, title, _errors(record, runs, n_init), legend=axes[0], own=own)
    axes[-1].set_xlabel("time [s]")
    return figure


def _errors(record: Trajectory, runs: Mapping[str, FloatArray], n_init: int) -> str:
    """Root mean square errors of runs, and the share of the outputs' spread that they explain."""
    truth = record.outputs[n_init:]
    if not runs or not len(truth):
        return ""
    said = []
    for label, run in runs.items():
        rms = np.sqrt(np.mean((run[n_init:] - truth) ** 2, axis=0))
        spread = truth.std(axis=0)
        fit = 100.0 * (1.0 - np.mean(rms / np.where(spread > 0, spread, np.inf)))
        size = f"error {rms[0]:.3g} RMS, fit" if len(rms) == 1 else "fit"
        said.append(f"{label}: {size} {fit:.1f} %")
    return "; ".join(said)


def plot_step_and_bode(system: control.StateSpace, *, title: str | None = None, axes: Any = None) -> Figure:
    """Step responses (top) and Bode magnitude and phase of a discrete-time state-space model.

    Parameters
    ----------
    system : control.StateSpace
        One row of curves per output, one curve per pair of output and input.
    title : str, optional
        By default the final values, and when they are reached.
    axes : sequence of 3 matplotlib axes, optional
        Where to draw step response, magnitude and phase; a new figure otherwise.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from koopctrl.export.pycontrol import frequency_response, step_response

    check_kind(system, "system", ("A", "B", "C", "D", "dt"), "a control.StateSpace in discrete time")
    if not system.dt or system.dt is True:
        raise TimeBaseError(
            f"system.dt is {system.dt!r}; expected a sample time in seconds. Discretise with control.c2d"
        )
    own = axes is not None
    if own:
        step_ax, gain_ax, phase_ax = given_axes(axes, 3)
        figure = whole_figure([step_ax])
    else:
        figure, (step_ax, gain_ax, phase_ax) = plt.subplots(3, 1, figsize=(WIDTH, 6.5), layout="constrained")
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
    title_and_legend([step_ax], title, _step_finding(time, steps), legend=step_ax, own=own)
    step_ax.set(xlabel="time [s]", ylabel="step response")
    gain_ax.set_ylabel("magnitude [dB]")
    if not own:
        gain_ax.tick_params(labelbottom=False)
    phase_ax.set(xlabel="frequency [rad/s]", ylabel="phase [deg]")
    for axis in (gain_ax, phase_ax):
        axis.axvline(np.pi / float(system.dt), color="0.6", lw=0.8, ls=":")
        axis.grid(True, which="both", lw=0.3)
    step_ax.grid(True, lw=0.3)
    return figure


def _step_finding(time: FloatArray, steps: FloatArray) -> str:
    """Where a single step response ends, and when it is there."""
    if steps[0].size != 1:
        return ""
    y = steps[:, 0, 0]
    outside = np.flatnonzero(np.abs(y - y[-1]) > 0.02 * np.abs(y - y[-1]).max(initial=0.0))
    if not len(outside) or outside[-1] + 1 >= len(y) - 1:
        return f"step response after {time[-1]:.3g} s: {y[-1]:.4g}"
    return f"gain {y[-1]:.4g}, within 2 % after {time[outside[-1] + 1]:.3g} s"


def plot_horizon_errors(report: Report, *, title: str | None = None, ax: Any = None) -> Figure:
    """Errors of both faces over the prediction horizon, relative to each output's spread.

    Parameters
    ----------
    report : Report
        As `model.report(data)` returns it.
    title : str, optional
        By default the errors over the longest horizon.
    ax : matplotlib axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    matplotlib.figure.Figure
    """
    check_kind(report, "report", ("horizons",), "what model.report(data) returns")
    own = ax is not None
    figure, (axis,) = stack(1, None if ax is None else [ax], 3.0)
    horizons = [h.horizon for h in report.horizons]
    axis.loglog(horizons, [h.rnn_nrmse for h in report.horizons], "o-", label="nonlinear face (re-lifts)")
    axis.loglog(horizons, [h.lifted_nrmse for h in report.horizons], "s--", label="lifted linear face")
    axis.set(xlabel="horizon [samples]", ylabel="RMSE / spread")
    last = report.horizons[-1]
    finding = (
        f"after {last.horizon} samples the network is off by {100 * last.rnn_nrmse:.2g} % of the spread, "
        f"its linear face by {100 * last.lifted_nrmse:.2g} %"
    )
    axis.grid(True, which="both", lw=0.3)
    title_and_legend([axis], title, finding, legend=axis, own=own)
    return figure


def plot_spectrum(spectrum: Spectrum, *, title: str | None = None, ax: Any = None) -> Figure:
    """Eigenvalues in the complex plane, coloured by their residual on the training data.

    Parameters
    ----------
    spectrum : Spectrum
        As `lifted.spectrum()` returns it.
    title : str, optional
        By default how many modes the data bear out, and the slowest of them.
    ax : matplotlib axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    matplotlib.figure.Figure
    """
    check_kind(spectrum, "spectrum", ("eigenvalues", "residuals"), "what lifted.spectrum() returns")
    own = ax is not None
    if own:
        (axis,) = given_axes([ax], 1, "ax")
        figure = whole_figure([axis])
    else:
        figure, axis = plt.subplots(figsize=(5.6, 4.4), layout="constrained")
    angle = np.linspace(0.0, 2.0 * np.pi, 361)
    axis.plot(np.cos(angle), np.sin(angle), color="0.7", lw=0.8, label="edge of stability")
    values = spectrum.eigenvalues
    with np.errstate(divide="ignore"):
        colour = np.log10(np.clip(np.nan_to_num(spectrum.residuals, nan=1.0), 1e-12, None))
    dots = axis.scatter(values.real, values.imag, c=colour, s=16, cmap="viridis_r", label="eigenvalues")
    axis.figure.colorbar(dots, ax=axis, label="log10 residual (low: trustworthy)", shrink=0.8)
    axis.set(xlabel="real part", ylabel="imaginary part", aspect="equal")
    title_and_legend([axis], title, _spectrum_finding(spectrum), legend=axis, own=own)
    return figure


def _spectrum_finding(spectrum: Spectrum) -> str:
    """How many modes the data bear out, and which of those lasts longest."""
    size, n = np.abs(spectrum.eigenvalues), len(spectrum.eigenvalues)
    residuals = np.nan_to_num(spectrum.residuals, nan=1.0)
    good = residuals < _TRUSTED
    if not good.any():
        return f"none of {n} modes is borne out by the data within {_TRUSTED:.0%}"
    slowest = float(size[good].max())
    if slowest >= 1.0:
        kind = "the largest does not decay"
    else:
        kind = f"the slowest halves in {np.log(0.5) / np.log(slowest):.3g} samples" if slowest > 0 else ""
    return f"{int(good.sum())} of {n} modes hold on the data within {_TRUSTED:.0%}; {kind}"


def _settled(steps: FloatArray) -> int:
    """Samples of step responses that are worth showing: twice as many as until all stay within 1 %.

    All of them where a response does not settle.
    """
    final = steps[-1]
    spread = np.abs(steps - final).max(axis=0)
    outside = np.abs(steps - final) > 0.01 * np.where(spread > 0, spread, 1.0)
    last = int(np.flatnonzero(outside.reshape(len(steps), -1).any(axis=1)).max(initial=0))
    return len(steps) if 2 * last > len(steps) else min(len(steps), max(2 * last, 20))
