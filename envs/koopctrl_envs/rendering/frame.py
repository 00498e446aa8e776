"""One picture: the plant on the left, its signals on the right."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from koopctrl_envs.plant import Plant
from koopctrl_envs.rendering.bodies import BODIES
from koopctrl_envs.rendering.history import History
from koopctrl_envs.rendering.parts import tidy
from koopctrl_envs.rendering.style import DPI, FONT, INK, PALE, REFERENCE, SIGNALS, SIZE

WINDOW = 100
"""Samples that the traces show."""

LONG = 7200.0
"""Seconds from which on the traces run over hours."""


class Frame:
    """A figure that is drawn once and then updated.

    Parameters
    ----------
    plant : Plant or Signals
    body : str
        Name in `BODIES` of what is drawn on the left.
    shown : tuple of str
        Outputs that are traced, one panel for each unit; none to have the states over time as a map.
    window : bool
        Whether the figure is one of pyplot's, on the screen where there is one, or in memory alone.
    """

    def __init__(self, plant: Any, body: str, shown: tuple[str, ...], window: bool = False) -> None:
        self.plant, self._window = plant, window
        if window:
            import matplotlib.pyplot as plt

            self.figure = plt.figure(figsize=SIZE, dpi=DPI)
        else:
            self.figure = Figure(figsize=SIZE, dpi=DPI)
            FigureCanvasAgg(self.figure)
        panels = _by_unit(shown, plant.output_names, plant.output_units)
        inputs = _by_unit(plant.input_names, plant.input_names, plant.input_units)
        n = max(len(panels), 1) + len(inputs)
        grid = self.figure.add_gridspec(
            n, 2, width_ratios=(1.05, 1.0), left=0.085, right=0.985, top=0.92, bottom=0.1,
            wspace=0.2, hspace=0.18,
        )  # fmt: skip
        self._clock = self.figure.text(0.985, 0.955, "", ha="right", fontsize=FONT + 1.0, color=INK)
        hours = WINDOW * plant.dt >= LONG
        self._second, self._unit = (1.0 / 3600.0, "h") if hours else (1.0, "s")
        self.figure.text(
            0.02,
            0.955,
            getattr(plant, "title", type(plant).__name__),
            fontsize=FONT + 1.0,
            weight="bold",
            color=INK,
        )
        self._note = self.figure.text(0.5, 0.955, "", ha="center", fontsize=FONT, color=REFERENCE)
        self._body = BODIES[body](self.figure.add_subplot(grid[:, 0]), plant)
        axes = [self.figure.add_subplot(grid[i, 1]) for i in range(n)]
        self._panels: list[Any] = [_Lines(a, plant, names, n) for a, names in zip(axes, panels, strict=False)]
        if not panels:
            self._panels.append(_Map(axes[0], plant))
        tail = axes[n - len(inputs) :]
        self._panels += [_Inputs(a, plant, which) for a, which in zip(tail, inputs, strict=True)]
        for a in axes[:-1]:
            a.tick_params(labelbottom=False)
        axes[-1].set_xlabel(f"time in {self._unit}", fontsize=FONT, color=INK)

    def draw(self, history: History) -> None:
        """Show an episode up to its last sample."""
        self._clock.set_text(f"t = {self._second * history.t[-1]:.4g} {self._unit}")
        self._note.set_text(history.note)
        self._body(history)
        span = self._second * WINDOW * self.plant.dt
        shown = history.scaled(self._second)
        end = max(span, shown.t[-1])
        for panel in self._panels:
            panel.draw(shown, end - span, end)

    def array(self) -> np.ndarray:
        """Pixels, `(360, 640, 3)` bytes."""
        canvas: Any = self.figure.canvas
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()

    def show(self, seconds: float) -> None:
        """Bring the window up to date and leave it on the screen for that long."""
        import matplotlib.pyplot as plt

        canvas: Any = self.figure.canvas
        if canvas.required_interactive_framework is None:
            canvas.draw()
        else:
            canvas.draw_idle()
            plt.pause(seconds)

    def close(self) -> None:
        """Close the window."""
        if self._window:
            import matplotlib.pyplot as plt

            plt.close(self.figure)


def _by_unit(shown: tuple[str, ...], names: tuple[str, ...], units: tuple[str, ...]) -> list[list[int]]:
    """Numbers of the shown signals, in groups of the same unit."""
    groups: dict[str, list[int]] = {}
    for name in shown:
        i = names.index(name)
        groups.setdefault(units[i], []).append(i)
    return list(groups.values())


class _Lines:
    """Outputs of one unit over their set-points."""

    def __init__(self, axes: Any, plant: Any, which: list[int], n_panels: int) -> None:
        self._axes, self._which = axes, which
        # The lower the panel, the larger the part of it that a legend takes.
        self._legend = 0.09 * n_panels if len(which) > 1 else 0.0
        tidy(axes)
        names = [plant.output_names[i] for i in which]
        colours = [SIGNALS[k % len(SIGNALS)] for k in range(len(which))]
        self._set_points = [
            axes.plot([], [], color=c if len(which) > 1 else REFERENCE, linewidth=1.0, linestyle=(0, (4, 3)))[
                0
            ]
            for c in colours
        ]
        self._lines = [
            axes.plot([], [], color=c, linewidth=1.6, label=n)[0] for c, n in zip(colours, names, strict=True)
        ]
        _label(axes, names, plant.output_units[which[0]])
        low, high = (end[which] for end in plant.output_bounds())
        # Room for a small fraction of the plant's range, so that rest is not blown up to noise.
        self._least = 0.02 * float(np.max(high - low)) if np.isfinite(high - low).all() else 0.1

    def draw(self, history: History, start: float, end: float) -> None:
        """Update."""
        first = int(np.searchsorted(history.t, start))
        t, y, r = history.t[first:], np.array(history.y[first:]), np.array(history.r[first:])
        for k, i in enumerate(self._which):
            self._lines[k].set_data(t, y[:, i])
            self._set_points[k].set_data(t, r[:, i])
        values = np.concatenate([y[:, self._which], r[:, self._which]])
        low, high = float(values.min()), float(values.max())
        pad = 0.08 * (high - low) + self._least
        self._axes.set_xlim(start, end)
        self._axes.set_ylim(low - pad, high + pad + self._legend * (high - low + self._least))


class _Map:
    """All states over time, as colours."""

    def __init__(self, axes: Any, plant: Plant) -> None:
        self._axes = axes
        tidy(axes)
        axes.grid(False)
        self._image = axes.imshow(
            np.zeros((plant.n_x, 1)), aspect="auto", origin="lower", cmap="viridis", interpolation="nearest",
            vmin=min(plant.x0_low), vmax=max(plant.x0_high), extent=(0.0, 1.0, 0.0, 1.0),
        )  # fmt: skip
        axes.set_ylabel("position", fontsize=FONT, color=INK)

    def draw(self, history: History, start: float, end: float) -> None:
        """Update."""
        first = int(np.searchsorted(history.t, start))
        self._image.set_data(np.array(history.x[first:]).T)
        # Half a sample on either side, since a pixel is as wide as a sample.
        half = 0.5 * (history.t[1] - history.t[0]) if len(history.t) > 1 else 0.5 * (end - start) / WINDOW
        self._image.set_extent((history.t[first] - half, history.t[-1] + half, 0.0, 1.0))
        self._axes.set_xlim(start, end)


class _Inputs:
    """Inputs of one unit, held, between their limits."""

    def __init__(self, axes: Any, plant: Any, which: list[int]) -> None:
        self._axes, self._which = axes, which
        names = [plant.input_names[i] for i in which]
        ends = [end[i] for i in which for end in (plant.u_min, plant.u_max)]
        tidy(axes)
        self._lines = [
            axes.step([], [], where="pre", color=SIGNALS[i % len(SIGNALS)], linewidth=1.4, label=name)[0]
            for i, name in zip(which, names, strict=True)
        ]
        for end in set(ends):
            axes.axhline(end, color=PALE, linewidth=0.9, linestyle=":")
        low, high = min(ends), max(ends)
        above = 0.08 if len(which) == 1 else 0.35
        axes.set_ylim(low - 0.08 * (high - low), high + above * (high - low))
        _label(axes, names, plant.input_units[which[0]])

    def draw(self, history: History, start: float, end: float) -> None:
        """Update."""
        first = max(int(np.searchsorted(history.t, start)), 1) - 1
        u = np.array(history.u[first:])
        if first == 0:
            u[0] = np.nan
        for i, line in zip(self._which, self._lines, strict=True):
            line.set_data(history.t[first:], u[:, i])
        self._axes.set_xlim(start, end)


def _label(axes: Any, names: list[str], unit: str) -> None:
    suffix = "" if unit == "1" else f" in {unit}"
    if len(names) == 1:
        axes.set_ylabel(names[0] + suffix, fontsize=FONT, color=INK)
        return
    axes.set_ylabel(suffix.strip(), fontsize=FONT, color=INK)
    axes.legend(loc="upper right", fontsize=FONT - 1.5, frameon=False, ncols=len(names), borderaxespad=0.1)
