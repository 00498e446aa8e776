"""Pendulum, cart-pole and quadrotor."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.patches import Circle, Rectangle

from koopctrl_envs.rendering.history import History
from koopctrl_envs.rendering.parts import DASHED, Arrow, Draw, blank, fit, fraction, tidy
from koopctrl_envs.rendering.style import BODY, FONT, GRID, INK, PALE, REFERENCE, SIGNALS


def pendulum(axes: Any, plant: Any) -> Draw:
    """Rod and bob, the torque as an arrow at the bob, and a ghost at the set-point."""
    end = 1.45 * plant.l
    blank(axes, (-end, end), (-end, end))
    axes.add_patch(Circle((0.0, 0.0), plant.l, fill=False, color=GRID, linewidth=1.2))
    (ghost,) = axes.plot(
        [], [], "o--", color=REFERENCE, linewidth=1.2, markersize=13, alpha=0.45, mfc="none", markevery=[1]
    )
    (rod,) = axes.plot([], [], color=BODY, linewidth=5, solid_capstyle="round")
    (bob,) = axes.plot([], [], "o", color=SIGNALS[0], markersize=20, markeredgecolor="white")
    axes.plot([0.0], [0.0], "o", color=INK, markersize=7)
    arrow = Arrow(axes)

    def update(history: History) -> None:
        theta, r = history.x[-1][0], history.r[-1]
        tip = plant.l * np.array([-np.sin(theta), np.cos(theta)])
        rod.set_data([0.0, tip[0]], [0.0, tip[1]])
        bob.set_data([tip[0]], [tip[1]])
        size = np.hypot(r[0], r[1])
        goal = plant.l * np.array([-r[1], r[0]]) / size if size > 0.0 else np.full(2, np.nan)
        ghost.set_data([0.0, goal[0]], [0.0, goal[1]])
        # Positive torques turn counter-clockwise.
        along = np.array([-np.cos(theta), -np.sin(theta)])
        arrow.show(tip, 0.6 * plant.l * fraction(plant, history.u[-1])[0] * along)

    return update


def cart_pole(axes: Any, plant: Any) -> Draw:
    """Cart on its track, pole, force, and the position of the set-point."""
    end, width, height = plant.x_max[0], 0.5, 0.26
    end = end if np.isfinite(end) else 2.4
    start = plant.x_min[0] if np.isfinite(plant.x_min[0]) else -2.4
    blank(axes, (start - 0.4, end + 0.4), (-2.2 * plant.l, 2.2 * plant.l))
    axes.plot([start, end], [-height / 2, -height / 2], color=PALE, linewidth=3, zorder=0)
    for stop in (start, end):
        axes.plot([stop, stop], [-height, height], color=INK, linewidth=3)
    (goal,) = axes.plot([], [], "^", color=REFERENCE, markersize=8)
    (ghost,) = axes.plot([], [], "--", color=REFERENCE, linewidth=1.2, alpha=0.5)
    cart = axes.add_patch(Rectangle((0.0, 0.0), width, height, facecolor=BODY, edgecolor="white", zorder=2))
    (wheels,) = axes.plot([], [], "o", color=INK, markersize=6, zorder=3)
    (pole,) = axes.plot([], [], color=SIGNALS[1], linewidth=6, solid_capstyle="round", zorder=4)
    (hinge,) = axes.plot([], [], "o", color="white", markersize=4, zorder=5)
    arrow = Arrow(axes)

    def update(history: History) -> None:
        p, _, theta, _ = history.x[-1]
        r = history.r[-1]
        cart.set_xy((p - width / 2, -height / 2))
        wheels.set_data([p - width / 3, p + width / 3], [-height / 2, -height / 2])
        pole.set_data([p, p + 2 * plant.l * np.sin(theta)], [0.0, 2 * plant.l * np.cos(theta)])
        hinge.set_data([p], [0.0])
        goal.set_data([r[0]], [-height])
        ghost.set_data([r[0], r[0] + 2 * plant.l * r[3]], [0.0, 2 * plant.l * r[2]])
        push = fraction(plant, history.u[-1])[0]
        arrow.show(np.array([p + np.sign(push) * width / 2, 0.0]), np.array([0.8 * push, 0.0]))

    return update


def quadrotor(axes: Any, plant: Any) -> Draw:
    """Body with its thrusts, its path, and that of the set-point."""
    tidy(axes)
    axes.set_xlabel("x in m", fontsize=FONT, color=INK)
    axes.set_ylabel("z in m", fontsize=FONT, color=INK)
    (ahead,) = axes.plot([], [], **DASHED)
    (goal,) = axes.plot([], [], "+", color=REFERENCE, markersize=12, markeredgewidth=2.0)
    (path,) = axes.plot([], [], color=SIGNALS[0], linewidth=1.2, alpha=0.7)
    (bar,) = axes.plot([], [], color=BODY, linewidth=5, solid_capstyle="round", zorder=4)
    rotors = [axes.plot([], [], color=INK, linewidth=2.5, zorder=5)[0] for _ in range(2)]
    arrows = [Arrow(axes) for _ in range(2)]
    reached = [np.array(plant.x0_low[:2]), np.array(plant.x0_high[:2])]

    def update(history: History) -> None:
        x, r = np.array(history.x), np.array(history.r)
        centre, theta = x[-1, :2], x[-1, 2]
        along, up = np.array([np.cos(theta), np.sin(theta)]), np.array([-np.sin(theta), np.cos(theta)])
        path.set_data(x[:, 0], x[:, 1])
        ahead.set_data(r[:, 0], r[:, 1])
        goal.set_data(r[-1:, 0], r[-1:, 1])
        ends = [centre + plant.r * along, centre - plant.r * along]
        bar.set_data(*np.transpose(ends))
        for end, rotor, arrow, thrust in zip(ends, rotors, arrows, history.u[-1], strict=True):
            hub = end + 0.25 * plant.r * up
            rotor.set_data(*np.transpose([hub - 0.45 * plant.r * along, hub + 0.45 * plant.r * along]))
            arrow.show(hub, 2.0 * plant.r * thrust / max(plant.u_max) * up)
        points = np.vstack([x[:, :2], r[:, :2]])
        reached[0] = np.minimum(reached[0], points.min(axis=0))
        reached[1] = np.maximum(reached[1], points.max(axis=0))
        room = 2.0 * plant.r
        fit(axes, *((low - room, high + room) for low, high in zip(*reached, strict=True)))

    return update
