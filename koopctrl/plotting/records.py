"""Figures of records and of what is read off them before a model is made, and bands of linear models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from koopctrl._validation import check_kind
from koopctrl.errors import OptionError
from koopctrl.plotting._axes import (
    ROW,
    WIDTH,
    check_units,
    given_axes,
    stack,
    title_and_legend,
    whole_figure,
    with_unit,
)

if TYPE_CHECKING:
    from koopctrl.data.episodes import Episodes
    from koopctrl.data.spectrum import RecordSpectrum
    from koopctrl.identification.structure import DelaySuggestion, OrderSuggestion
    from koopctrl.identification.uncertainty import LinearUncertainty
    from koopctrl.koopman_rnn import KoopmanRNN

_NAMED = 8  # episodes in a legend
_SHOWN = 20  # directions
_LINES = 3  # pairs in a title


def _grid(n_rows: int, n_columns: int, height: float, axes: Any) -> tuple[Figure, list[Axes]]:
    """Figure of pyplot's with a table of axes, row by row; or the caller's axes, and their figure."""
    if axes is not None:
        own = given_axes(axes, n_rows * n_columns)
        return whole_figure(own), own
    figure, made = plt.subplots(
        n_rows, n_columns, squeeze=False, figsize=(WIDTH, height), layout="constrained"
    )
    return figure, list(made.ravel())


def plot_records(
    data: Episodes,
    *,
    title: str | None = None,
    axes: Any = None,
    units: Mapping[str, str] | None = None,
) -> Figure:
    """All signals of records over time; episodes over each other in colours of their own.

    Parameters
    ----------
    data : Trajectories
    title : str, optional
        By default what the records are.
    axes : sequence of matplotlib axes, optional
        One for each output and input; a new figure otherwise.
    units : mapping of name to str, optional
        Units of signals, for the labels of axes.

    Returns
    -------
    matplotlib.figure.Figure
    """
    check_kind(data, "data", ("episodes", "n_y", "n_u"), "Trajectories")
    check_units(units)
    n_y, own = data.n_y, axes is not None
    figure, axes = stack(n_y + data.n_u, axes)
    for k, e in enumerate(data):
        label = e.label if len(data) > 1 and k < _NAMED else None
        for i in range(n_y):
            mark = "." if e.missing else None  # lone samples would not show
            axes[i].plot(
                e.time, e.outputs[:, i], color=f"C{k % 10}", lw=1.0, marker=mark, ms=2.0, label=label
            )
        for j in range(data.n_u):
            held = e.inputs[:, j]
            time = np.arange(len(held)) * e.dt
            axes[n_y + j].step(time, held, where="post", color=f"C{k % 10}", lw=0.9)
    for axis, name in zip(axes, (*data.output_names, *data.input_names), strict=True):
        axis.set_ylabel(with_unit(name, units))
        axis.grid(True, lw=0.3)
    axes[-1].set_xlabel("time [s]")
    finding = f"{len(data)} record{'s' if len(data) > 1 else ''}, {data.n_steps} steps of {data.dt:.4g} s"
    title_and_legend(axes, title, finding, legend=axes[0] if len(data) > 1 else None, own=own)
    return figure


def plot_record_spectrum(found: RecordSpectrum, *, title: str | None = None, axes: Any = None) -> Figure:
    """Power of outputs and inputs, and coherence with what chance does not exceed.

    Parameters
    ----------
    found : RecordSpectrum
    title : str, optional
        By default how much of the outputs is coherent with the inputs.
    axes : sequence of three matplotlib axes, optional
        A new figure otherwise.

    Returns
    -------
    matplotlib.figure.Figure
    """
    check_kind(found, "found", ("frequency", "coherence"), "what Trajectories.spectrum returns")
    own = axes is not None
    figure, (y_ax, u_ax, c_ax) = stack(3, axes)
    f = found.frequency[1:]
    for axis, names, power in (
        (y_ax, found.output_names, found.output_power),
        (u_ax, found.input_names, found.input_power),
    ):
        for name, column in zip(names, power.T, strict=True):
            axis.loglog(f, np.maximum(column[1:], np.finfo(float).tiny), lw=1.0, label=name)
        axis.grid(True, which="both", lw=0.3)
        if names:
            axis.legend(fontsize="small")
    y_ax.set_ylabel("output power / Hz")
    u_ax.set_ylabel("input power / Hz")
    for name, column in zip(found.output_names, found.coherence.T, strict=True):
        c_ax.semilogx(f, column[1:], lw=1.0, label=name)
    c_ax.axhspan(0.0, found.coherence_bound, color="0.9", zorder=0, label=f"chance, {found.confidence:.0%}")
    c_ax.set(xlabel="frequency [Hz]", ylabel="coherence", ylim=(0.0, 1.02))
    c_ax.grid(True, which="both", lw=0.3)
    known = found.coherence[1:][np.isfinite(found.coherence[1:])]
    share = np.mean(known > found.coherence_bound) if len(known) else 0.0
    finding = f"coherent beyond chance at {share:.0%} of the frequencies"
    title_and_legend([y_ax, u_ax, c_ax], title, finding, legend=c_ax, own=own)
    return figure


def plot_delays(found: DelaySuggestion, *, title: str | None = None, axes: Any = None) -> Figure:
    """Impulse response of every pair with its bound; the dead time marked.

    Parameters
    ----------
    found : DelaySuggestion
    title : str, optional
        By default the dead times.
    axes : (n_y, n_u) array of matplotlib axes, optional
        A new figure otherwise.

    Returns
    -------
    matplotlib.figure.Figure
    """
    check_kind(found, "found", ("delay", "impulse"), "what suggest_delay returns")
    n_y, n_u = found.delay.shape
    own = axes is not None
    figure, flat = _grid(n_y, n_u, 0.7 + ROW * n_y, axes)
    lags = np.arange(len(found.impulse))
    for i, y in enumerate(found.output_names):
        for j, u in enumerate(found.input_names):
            axis = flat[i * n_u + j]
            axis.fill_between(
                lags, -found.bound[:, i, j], found.bound[:, i, j], color="0.9", label="noise alone"
            )
            axis.vlines(lags, 0.0, found.impulse[:, i, j], lw=1.2)
            axis.plot(lags, found.impulse[:, i, j], "o", ms=3.0, label="impulse response")
            if found.delay[i, j] >= 0:
                axis.axvline(float(found.delay[i, j]), color="C3", lw=0.9, ls=":", label="dead time")
            axis.set_title(f"{u} to {y}", fontsize="small")
            axis.set_xlabel("samples")
    finding = "; ".join(str(found).splitlines()[:_LINES])
    title_and_legend(flat, "" if own else title, finding, legend=flat[0])
    return figure


def plot_orders(found: OrderSuggestion, *, title: str | None = None, axes: Any = None) -> Figure:
    """Held-out error by order, the suggestion marked, beside the singular values.

    Parameters
    ----------
    found : OrderSuggestion
    title : str, optional
        By default the suggestion.
    axes : two matplotlib axes, optional
        A new figure otherwise.

    Returns
    -------
    matplotlib.figure.Figure
    """
    check_kind(found, "found", ("order", "errors"), "what suggest_order returns")
    own = axes is not None
    figure, (error_ax, value_ax) = _grid(1, 2, 3.0, axes)
    orders = np.array(list(found.errors))
    errors = np.array(list(found.errors.values()))
    error_ax.semilogy(orders, np.where(np.isfinite(errors), errors, np.nan), "o-", ms=3.5)
    error_ax.axvline(found.order, color="C3", lw=0.9, ls=":", label=f"order {found.order}")
    error_ax.set(xlabel="order", ylabel="free-run error / spread")
    error_ax.legend(fontsize="small")
    values = found.singular_values[found.singular_values > 0]
    value_ax.semilogy(np.arange(1, len(values) + 1), values, "o", ms=3.5)
    value_ax.set(xlabel="number", ylabel="singular value")
    for axis in (error_ax, value_ax):
        axis.grid(True, which="both", lw=0.3)
    finding = f"order {found.order}: held-out error {found.errors[found.order]:.3g} of the spread"
    title_and_legend([error_ax, value_ax], title, finding, own=own)
    return figure


def plot_uncertainty(
    found: LinearUncertainty, *, confidence: float = 0.95, title: str | None = None, axes: Any = None
) -> Figure:
    """Step response, Bode gain and phase with bands, and poles with their ellipses beside the zeros.

    Parameters
    ----------
    found : LinearUncertainty
    confidence : float
        Of bands and ellipses at each point, in (0, 1).
    title : str, optional
        By default what the bands are.
    axes : sequence of four matplotlib axes, optional
        Step response, poles and zeros, gain, phase; a new figure otherwise.

    Returns
    -------
    matplotlib.figure.Figure
    """
    check_kind(found, "found", ("poles", "step_response"), "what linear_uncertainty returns")
    factor, own = found.factor(confidence), axes is not None
    figure, (step_ax, pole_ax, gain_ax, phase_ax) = _grid(2, 2, 6.5, axes)
    values, cov = found.poles()
    slow = np.abs(values).max(initial=0.0)
    n = int(np.clip(5.0 / max(-np.log(max(slow, 1e-3)), 1e-2), 20, 500)) if slow < 1.0 else 200
    steps, std = found.step_response(n)
    omega = np.geomspace(np.pi / found.dt / max(2 * n, 200), np.pi / found.dt, 300)
    response, gain_std, phase_std = found.frequency_response(omega)
    time, k = np.arange(n) * found.dt, 0
    for i, y in enumerate(found.output_names):
        for j, u in enumerate(found.input_names):
            look = {"color": f"C{k}"}
            gain = 20.0 * np.log10(np.maximum(np.abs(response[:, i, j]), 1e-300))
            phase = np.degrees(np.unwrap(np.angle(response[:, i, j])))
            bands = [
                (step_ax, time, steps[:, i, j], factor * std[:, i, j]),
                (gain_ax, omega, gain, factor * 20.0 / np.log(10.0) * gain_std[:, i, j]),
                (phase_ax, omega, phase, np.degrees(factor * phase_std[:, i, j])),
            ]
            for axis, x, middle, half in bands:
                axis.plot(x, middle, lw=1.0, label=f"{u} to {y}", **look)
                axis.fill_between(x, middle - half, middle + half, alpha=0.25, lw=0, **look)
            k += 1
    angle = np.linspace(0.0, 2.0 * np.pi, 181)
    pole_ax.plot(np.cos(angle), np.sin(angle), color="0.7", lw=0.8)
    pole_ax.plot(values.real, values.imag, "x", color="C0", label="poles")
    zeros = found.zeros()
    pole_ax.plot(zeros.real, zeros.imag, "o", mfc="none", color="C3", label="zeros")
    circle = np.stack([np.cos(angle), np.sin(angle)])
    radius = np.sqrt(-2.0 * np.log(1.0 - confidence))  # of a two-dimensional normal law
    for value, c in zip(values, cov, strict=True):
        lengths, turn = np.linalg.eigh(c)
        ellipse = turn @ (np.sqrt(np.maximum(lengths, 0.0))[:, None] * circle) * radius
        pole_ax.plot(value.real + ellipse[0], value.imag + ellipse[1], color="C0", lw=0.7)
    pole_ax.set(
        xlabel="real part", ylabel="imaginary part", xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal"
    )
    pole_ax.legend(fontsize="small")
    step_ax.set(xlabel="time [s]", ylabel="step response")
    step_ax.legend(fontsize="small")
    gain_ax.set(xscale="log", xlabel="frequency [rad/s]", ylabel="magnitude [dB]")
    phase_ax.set(xscale="log", xlabel="frequency [rad/s]", ylabel="phase [deg]")
    for axis in (step_ax, gain_ax, phase_ax, pole_ax):
        axis.grid(True, which="both", lw=0.3)
    finding = f"bands of {confidence:.0%} at each point; largest pole {slow:.3g}"
    title_and_legend([step_ax, pole_ax, gain_ax, phase_ax], "" if own else title, finding)
    return figure


def plot_directions(model: KoopmanRNN, *, title: str | None = None, axes: Any = None) -> Figure:
    """Which states, lags and inputs the nonlinear part depends on, from the last round of adapted sampling.

    Parameters
    ----------
    model : KoopmanRNN
        Fitted with `rounds` of at least 1.
    title : str, optional
        By default the number of directions.
    axes : two matplotlib axes, optional
        A new figure otherwise.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not getattr(model, "directions_", None):
        raise OptionError(
            "model has no rounds of adapted sampling; expected one fitted with rounds=1 or more"
        )
    found = model.directions_[-1]
    names = [*model.state_names_, *model.input_names_][: len(found.basis)]
    own = axes is not None
    figure, (share_ax, energy_ax) = _grid(1, 2, 3.2, axes)
    share_ax.bar(np.arange(len(names)), found.shares)
    share_ax.set_xticks(np.arange(len(names)), names, rotation=90, fontsize="x-small")
    share_ax.set_ylabel("share of the curvature")
    top = found.energies[:_SHOWN]
    energy_ax.semilogy(
        np.arange(1, len(top) + 1), np.maximum(top, 1e-12 * top.max(initial=1e-300)), "o", ms=3.5
    )
    energy_ax.axvline(found.basis.shape[1] + 0.5, color="C3", lw=0.9, ls=":")
    energy_ax.set(xlabel="direction", ylabel="curvature")
    finding = f"{found.basis.shape[1]} directions of {len(names)} hold the curvature"
    title_and_legend([share_ax, energy_ax], title, finding, own=own)
    return figure
