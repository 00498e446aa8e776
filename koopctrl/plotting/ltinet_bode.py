"""Bode plots of networks, one or several on the same axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from koopctrl.ltinet.judge.frequency import FrequencyResponse


def plot_bode(
    response: FrequencyResponse, axes: Any = None, *, label: str | None = None, **style: Any
) -> Any:
    """Draw magnitude (dB) over phase (degrees); a line per pair of input and output.

    Parameters
    ----------
    response : FrequencyResponse
    axes : pair of matplotlib axes, optional
        Where to draw, for instance over another response; a new figure otherwise.
    label : str, optional
        In front of the names of the signals.
    **style
        Passed to `plot`.

    Returns
    -------
    array of two matplotlib.axes.Axes
    """
    import matplotlib.pyplot as plt

    if axes is None:
        _, axes = plt.subplots(2, 1, sharex=True, figsize=(7.0, 4.8), layout="constrained")
    upper, lower = axes
    magnitude, phase = response.magnitude, np.degrees(response.phase)
    single = magnitude.shape[1:] == (1, 1)
    for i, output in enumerate(response.output_names):
        for j, source in enumerate(response.input_names):
            name = label if single and label else f"{source} to {output}"
            name = f"{label}, {name}" if label and not single else name
            with np.errstate(divide="ignore"):
                decibel = 20.0 * np.log10(magnitude[:, i, j])
            (line,) = upper.semilogx(response.omega, decibel, label=name, **style)
            lower.semilogx(response.omega, phase[:, i, j], **{"color": line.get_color(), **style})
    upper.set_ylabel("magnitude [dB]")
    lower.set_ylabel("phase [degrees]")
    lower.set_xlabel("frequency [rad/s]")
    if len(upper.lines) > 1 or label:
        upper.legend(fontsize=8, frameon=False, ncols=1 + (len(upper.lines) - 1) // 4)
    for ax in (upper, lower):
        ax.grid(True, which="major", alpha=0.3)
    return axes
