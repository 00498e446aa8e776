"""Paths in the plane of two states, and profiles along a line."""

from __future__ import annotations

from typing import Any

import numpy as np

from koopctrl_envs.rendering.history import History
from koopctrl_envs.rendering.parts import DASHED, Draw, fraction, tidy
from koopctrl_envs.rendering.style import FONT, FORCE, INK, PALE, REFERENCE, SIGNALS


def phase_plane(axes: Any, plant: Any) -> Draw:
    """The path through the plane of two states, and the set-point where it is known."""
    tidy(axes)
    for label, name, unit in zip(
        (axes.set_xlabel, axes.set_ylabel), plant.state_names, plant.state_units, strict=True
    ):
        label(name + ("" if unit == "1" else f" in {unit}"), fontsize=FONT, color=INK)
    measured = [plant.output_names.index(n) if n in plant.output_names else None for n in plant.state_names]
    (path,) = axes.plot([], [], color=SIGNALS[0], linewidth=1.3, alpha=0.8)
    (point,) = axes.plot([], [], "o", color=SIGNALS[0], markersize=8, markeredgecolor="white", zorder=4)
    (goal,) = axes.plot([], [], "+", color=REFERENCE, markersize=12, markeredgewidth=2.0, zorder=3)
    lines = [axes.axvline(np.nan, **DASHED), axes.axhline(np.nan, **DASHED)]
    reached = [np.array(plant.x0_low), np.array(plant.x0_high)]

    def update(history: History) -> None:
        x, r = np.array(history.x[-300:]), history.r[-1]
        path.set_data(x[:, 0], x[:, 1])
        point.set_data(x[-1:, 0], x[-1:, 1])
        first, second = (np.nan if i is None else float(r[i]) for i in measured)
        goal.set_data([first], [second])
        if np.isnan(second):
            lines[0].set_xdata([first, first])
        if np.isnan(first):
            lines[1].set_ydata([second, second])
        reached[0], reached[1] = np.minimum(reached[0], x.min(axis=0)), np.maximum(reached[1], x.max(axis=0))
        pad = 0.06 * (reached[1] - reached[0])
        axes.set_xlim(reached[0][0] - pad[0], reached[1][0] + pad[0])
        axes.set_ylim(reached[0][1] - pad[1], reached[1][1] + pad[1])

    return update


def field(axes: Any, plant: Any) -> Draw:
    """Profile along the period with its sensors and set-points, and what the actuators push."""
    tidy(axes)
    grid = np.append(plant.grid, 1.0)
    sensors = np.arange(plant.n_y) / plant.n_y
    shapes = np.array(plant.rhs(np.zeros((plant.n_u, plant.n_x)), np.eye(plant.n_u)))
    (push,) = axes.plot([], [], color=FORCE, linewidth=1.2)
    (goal,) = axes.plot([], [], "_", color=REFERENCE, markersize=14, markeredgewidth=1.8)
    (profile,) = axes.plot([], [], color=SIGNALS[0], linewidth=2.0)
    (dots,) = axes.plot([], [], "o", color=SIGNALS[0], markersize=6, markeredgecolor="white")
    axes.set_xlim(0.0, 1.0)
    low, high = min(plant.x0_low), max(plant.x0_high)
    reach = 0.15 * (high - low) / max(*np.abs(plant.u_max), *np.abs(plant.u_min))
    axes.axhline(low - 0.3 * (high - low), color=PALE, linewidth=0.8)
    axes.set_ylim(low - 0.5 * (high - low), high + 0.1 * (high - low))
    axes.set_xlabel("position", fontsize=FONT, color=INK)
    axes.set_ylabel(f"speed in {plant.output_units[0]}; push below", fontsize=FONT, color=INK)

    def update(history: History) -> None:
        x = history.x[-1]
        profile.set_data(grid, np.append(x, x[0]))
        dots.set_data(sensors, history.y[-1])
        goal.set_data(sensors, history.r[-1])
        pushed = reach * (history.u[-1] @ shapes)
        push.set_data(grid, low - 0.3 * (high - low) + np.append(pushed, pushed[0]))

    return update


def butterfly(axes: Any, plant: Any) -> Draw:
    """The path in the plane of first and last state over the attractor of the plant at rest, and the push."""
    tidy(axes)
    axes.set_xlabel(plant.state_names[0], fontsize=FONT, color=INK)
    axes.set_ylabel(plant.state_names[2], fontsize=FONT, color=INK)
    state, wings = np.array(plant.x0_high), []
    for _ in range(1500):
        state = plant.step(state, np.zeros(plant.n_u))
        wings.append(state)
    shadow = np.array(wings[200:])
    axes.plot(shadow[:, 0], shadow[:, 2], color=PALE, linewidth=0.5, alpha=0.6, zorder=1)
    (path,) = axes.plot([], [], color=SIGNALS[0], linewidth=1.6, zorder=3)
    (point,) = axes.plot([], [], "o", color=SIGNALS[0], markersize=9, markeredgecolor="white", zorder=5)
    (goal,) = axes.plot([], [], "+", color=REFERENCE, markersize=14, markeredgewidth=2.2, zorder=4)
    ends = [(min(low, s), max(high, t)) for low, high, s, t in zip(
        plant.x0_low, plant.x0_high, shadow.min(axis=0), shadow.max(axis=0), strict=True
    )]  # fmt: skip
    height = ends[2][0] - 0.16 * (ends[2][1] - ends[2][0])
    axes.set_xlim(1.15 * ends[0][0], 1.15 * ends[0][1])
    axes.set_ylim(1.3 * height, 1.05 * ends[2][1])
    (push,) = axes.plot([], [], color=FORCE, linewidth=5.0, solid_capstyle="butt", zorder=2)
    axes.plot([0.0], [height], "|", color=INK, markersize=9)

    def update(history: History) -> None:
        x, r = np.array(history.x[-150:]), history.r[-1]
        path.set_data(x[:, 0], x[:, 2])
        point.set_data(x[-1:, 0], x[-1:, 2])
        goal.set_data(r[:1], r[2:3])
        push.set_data([0.0, ends[0][1] * fraction(plant, history.u[-1])[0]], [height, height])

    return update


def state_bars(axes: Any, plant: Any) -> Draw:
    """All states as bars, as far as the largest has come."""
    tidy(axes)
    n = len(plant.state_names)
    bars = axes.bar(np.arange(n), np.zeros(n), width=0.7 if n < 60 else 1.0, color=SIGNALS[0])
    axes.axhline(0.0, color=INK, linewidth=0.8)
    if n <= 12:
        axes.set_xticks(np.arange(n), plant.state_names, rotation=90 if n > 5 else 0)
    axes.set_xlabel("state", fontsize=FONT, color=INK)
    axes.set_xlim(-0.8, n - 0.2)

    def update(history: History) -> None:
        for bar, value in zip(bars, history.x[-1], strict=True):
            bar.set_height(value)
        reached = np.abs(np.array(history.x)).max()
        reached = 1.1 * reached if reached > 0.0 else 1.0
        low = -reached if np.min(history.x) < 0.0 else 0.0
        axes.set_ylim(low, reached)

    return update
