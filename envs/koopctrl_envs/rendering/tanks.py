"""Tanks with their levels, streams and valves."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.patches import Circle, Polygon, Rectangle

from koopctrl_envs.rendering.history import History
from koopctrl_envs.rendering.parts import DASHED, Draw, blank, fraction
from koopctrl_envs.rendering.style import BODY, FONT, FORCE, INK, PALE, REFERENCE, SIGNALS, WATER


def two_tanks(axes: Any, plant: Any) -> Draw:
    """Both tanks with levels and set-points, the inflow and the opening of the valve."""
    blank(axes, (-0.4, 4.6), (-0.6, 6.5))
    tanks = [
        Tank(axes, (0.2, 3.0), (1.7, 2.4), plant.x_max[0], "1"),
        Tank(axes, (2.3, 0.0), (1.7, 2.4), plant.x_max[1], "2"),
    ]
    _pipe(axes, [(1.05, 5.9), (1.05, 5.4)])
    _pipe(axes, [(1.9, 3.15), (3.15, 3.15), (3.15, 2.4)])
    _pipe(axes, [(4.0, 0.15), (4.5, 0.15)])
    inflow, valve = Flow(axes, (1.05, 5.9), plant.input_names[0]), Valve(axes, (2.3, 3.15))

    def update(history: History) -> None:
        part = fraction(plant, history.u[-1])
        for i, tank in enumerate(tanks):
            tank.show(history.x[-1][i], history.r[-1][i])
        inflow.show(part[0], history.u[-1][0])
        valve.show(part[1], f"{plant.input_names[1]} {history.u[-1][1]:.2f}")

    return update


def quadruple_tank(axes: Any, plant: Any) -> Draw:
    """Four tanks with levels, the set-points of the lower ones, and both pumps."""
    blank(axes, (-1.3, 6.3), (-1.2, 6.4))
    size = (1.8, 2.2)
    places = [(0.4, 0.0), (2.8, 0.0), (0.4, 3.2), (2.8, 3.2)]
    tanks = [Tank(axes, place, size, plant.x_max[i], str(i + 1)) for i, place in enumerate(places)]
    for x in (1.3, 3.7):
        _pipe(axes, [(x, 3.2), (x, 2.2)])
        _pipe(axes, [(x, 0.0), (x, -0.7)])
    # Each pump feeds the lower tank of its side and the upper one across.
    _pipe(axes, [(-0.6, -0.4), (-0.6, 2.6), (0.9, 2.6), (0.9, 2.2)], SIGNALS[0])
    _pipe(axes, [(-0.6, 2.6), (-0.6, 6.1), (4.1, 6.1), (4.1, 5.4)], SIGNALS[0])
    _pipe(axes, [(5.6, -0.4), (5.6, 2.9), (4.1, 2.9), (4.1, 2.2)], SIGNALS[1])
    _pipe(axes, [(5.6, 2.9), (5.6, 5.8), (0.9, 5.8), (0.9, 5.4)], SIGNALS[1])
    pumps = [Flow(axes, (x, -0.75), name) for x, name in zip((-0.6, 5.6), plant.input_names, strict=True)]

    def update(history: History) -> None:
        part, r = fraction(plant, history.u[-1]), history.r[-1]
        for i, tank in enumerate(tanks):
            tank.show(history.x[-1][i], r[i] if i < len(r) else np.nan)
        for i, pump in enumerate(pumps):
            pump.show(part[i], history.u[-1][i])

    return update


def ph_tank(axes: Any, plant: Any) -> Draw:
    """Tank whose contents have the colour of an indicator, and the three streams."""
    blank(axes, (-0.6, 4.6), (-0.6, 5.0))
    tank = Tank(axes, (0.6, 0.0), (2.4, 3.4), plant.x_max[0], "")
    colours = colormaps["RdYlBu"]
    for x, name in ((1.0, "acid"), (1.8, "buffer"), (2.6, "base")):
        _pipe(axes, [(x, 4.3), (x, 3.4)])
        if name != "base":
            axes.text(x, 4.45, name, ha="center", fontsize=FONT, color=INK)
    _pipe(axes, [(3.0, 0.15), (3.6, 0.15)])
    base = Flow(axes, (2.6, 4.3), plant.input_names[0])
    text = axes.text(1.8, 0.5, "", ha="center", fontsize=FONT + 5.0, weight="bold", color=INK)
    goal = axes.text(3.95, 0.5, "", ha="center", fontsize=FONT, color=REFERENCE)
    swatch = axes.add_patch(Rectangle((3.65, 0.9), 0.6, 0.6, edgecolor=REFERENCE, linewidth=1.5))

    def update(history: History) -> None:
        (r,), (h, _, pH) = history.r[-1], history.x[-1]
        tank.show(h, np.nan, colours(pH / 14.0))
        text.set_text(f"pH {pH:.2f}")
        goal.set_text(f"wanted\n{r:.2f}")
        goal.set_position((3.95, 1.65))
        swatch.set_facecolor(colours(r / 14.0))
        base.show(fraction(plant, history.u[-1])[0], history.u[-1][0])

    return update


def fermenter(axes: Any, plant: Any) -> Draw:
    """Vessel whose contents are as dark as they are full of cells, its feed, and what is in it."""
    blank(axes, (-0.9, 5.1), (-0.6, 5.2))
    tank = Tank(axes, (0.9, 0.0), (2.4, 3.4), 1.0, "")
    _pipe(axes, [(1.3, 4.4), (1.3, 3.4)])
    _pipe(axes, [(3.3, 2.7), (4.2, 2.7)])
    axes.plot([2.1, 2.1], [3.9, 0.7], color=INK, linewidth=2.5, zorder=4)
    axes.plot([1.6, 2.6], [0.7, 0.7], color=INK, linewidth=5, zorder=4)
    feed = Flow(axes, (1.3, 4.6), plant.input_names[0])
    substrate = axes.text(1.72, 4.25, "", fontsize=FONT, color=INK)
    colours = colormaps["YlGn"]
    top = 1.2 * float(max(plant.x0_high))
    columns = [
        (axes.add_patch(Rectangle((3.75 + 0.42 * i, 0.0), 0.3, 0.0, facecolor=SIGNALS[i])),
         axes.plot([3.7 + 0.42 * i, 4.1 + 0.42 * i], [np.nan, np.nan], **DASHED)[0])
        for i in range(3)
    ]  # fmt: skip
    for i, name in enumerate(plant.state_names):
        axes.text(3.9 + 0.42 * i, -0.35, name, ha="center", fontsize=FONT, color=INK)

    def update(history: History) -> None:
        x, r, (_, Sf) = history.x[-1], history.r[-1], history.u[-1]
        tank.show(0.82, np.nan, colours(0.1 + 0.8 * min(max(x[0] / plant.x_max[0], 0.0), 1.0)))
        feed.show(fraction(plant, history.u[-1])[0], history.u[-1][0])
        substrate.set_text(f"{plant.input_names[1]} {Sf:.3g}")
        for (column, goal), value, wanted in zip(columns, x, r, strict=True):
            column.set_height(2.4 * max(value, 0.0) / top)
            goal.set_ydata([2.4 * wanted / top] * 2)

    return update


class Tank:
    """A tank with a level, and a dashed line where it should be."""

    def __init__(
        self, axes: Any, place: tuple[float, float], size: tuple[float, float], full: float, name: str
    ) -> None:
        (x, y), (width, height) = place, size
        self._y, self._scale, self._height = y, height / full, height
        self._water = axes.add_patch(Rectangle(place, width, 0.0, facecolor=WATER, zorder=1))
        axes.plot(
            [x, x, x + width, x + width], [y + height, y, y, y + height], color=INK, linewidth=2.5, zorder=3
        )
        (self._goal,) = axes.plot([x, x + width], [np.nan, np.nan], **DASHED, zorder=4)
        axes.text(
            x + width - 0.1, y + height - 0.1, name, ha="right", va="top", fontsize=FONT + 1, color=BODY
        )

    def show(self, level: float, wanted: float, colour: Any = WATER) -> None:
        """Fill it."""
        self._water.set_height(min(max(level * self._scale, 0.0), self._height))
        self._water.set_facecolor(colour)
        self._goal.set_ydata([self._y + wanted * self._scale] * 2)


class Flow:
    """The strength of a stream, as a disc that fills, with its figure."""

    def __init__(self, axes: Any, place: tuple[float, float], name: str) -> None:
        self._name = name
        axes.add_patch(Circle(place, 0.33, facecolor="white", edgecolor=INK, linewidth=1.5, zorder=5))
        self._disc = axes.add_patch(Circle(place, 0.0, facecolor=FORCE, zorder=6))
        self._text = axes.text(place[0] + 0.42, place[1], "", va="center", fontsize=FONT, color=INK)
        if place[0] > 4.0:
            self._text.set_horizontalalignment("right")
            self._text.set_x(place[0] - 0.42)

    def show(self, part: float, value: float) -> None:
        """Set it; `part` is the fraction of the upper limit."""
        self._disc.set_radius(0.33 * np.sqrt(min(max(part, 0.0), 1.0)))
        self._text.set_text(f"{self._name} {value:#.3g}")


class Valve:
    """Two triangles that are filled as far as the valve is open."""

    def __init__(self, axes: Any, place: tuple[float, float]) -> None:
        x, y = place
        self._bow = axes.add_patch(
            Polygon(
                [(x - 0.25, y - 0.2), (x + 0.25, y + 0.2), (x + 0.25, y - 0.2), (x - 0.25, y + 0.2)],
                facecolor="white", edgecolor=INK, linewidth=1.5, zorder=5,
            )
        )  # fmt: skip
        self._text = axes.text(x + 0.05, y + 0.3, "", ha="left", fontsize=FONT, color=INK)

    def show(self, part: float, text: str) -> None:
        """Set it."""
        shade = 1.0 - min(max(part, 0.0), 1.0)
        self._bow.set_facecolor((1.0 - 0.06 * (1.0 - shade), 0.42 + 0.58 * shade, shade))
        self._text.set_text(text)


def _pipe(axes: Any, points: list[tuple[float, float]], colour: str = PALE) -> None:
    x, y = np.transpose(points)
    axes.plot(x, y, color=colour, linewidth=2.5, alpha=0.7, solid_joinstyle="round", zorder=0)
