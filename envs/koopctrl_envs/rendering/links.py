"""Arm, acrobot, and ball and beam."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.patches import Circle, Wedge

from koopctrl_envs.rendering.history import History
from koopctrl_envs.rendering.parts import Draw, blank, fraction
from koopctrl_envs.rendering.style import BODY, FORCE, GRID, INK, PALE, REFERENCE, SIGNALS


def arm(axes: Any, plant: Any) -> Draw:
    """Both links, the path of the hand, the torques at the joints, and a ghost in the wanted posture."""
    links = _Links(axes, plant)

    def update(history: History) -> None:
        x = np.array(history.x[-200:])
        r = history.r[-1]
        links.show(x[:, :2], r[:2], fraction(plant, history.u[-1]))

    return update


def acrobot(axes: Any, plant: Any) -> Draw:
    """Both links, the path of the feet, the torque at the elbow, and a ghost at the set-point."""
    links = _Links(axes, plant)
    # The arm's angles are from the horizontal axis, these from the upright.
    upright = np.array([0.5 * np.pi, 0.0])

    def update(history: History) -> None:
        x = np.array(history.x[-200:])
        r = history.r[-1]
        wanted = upright + np.arctan2(r[[1, 3]], r[[0, 2]])
        links.show(upright + x[:, :2], wanted, np.array([0.0, fraction(plant, history.u[-1])[0]]))

    return update


def ball_and_beam(axes: Any, plant: Any) -> Draw:
    """Beam on its pivot, ball, the place where it should be, and the torque."""
    half = max(abs(plant.x_min[0]), abs(plant.x_max[0]))
    half = half if np.isfinite(half) else 0.5
    blank(axes, (-1.25 * half, 1.25 * half), (-half, half))
    foot = 0.55 * half
    axes.fill([0.0, -0.2 * half, 0.2 * half], [0.0, -foot, -foot], color=PALE, zorder=1)
    axes.plot([-1.1 * half, 1.1 * half], [-foot, -foot], color=PALE, linewidth=3, zorder=0)
    (beam,) = axes.plot([], [], color=BODY, linewidth=6, solid_capstyle="butt", zorder=3)
    (goal,) = axes.plot([], [], "v", color=REFERENCE, markersize=9, zorder=4)
    radius = 0.055 * half  # the true one would be too small to see
    ball = axes.add_patch(Circle((0.0, 0.0), radius, facecolor=SIGNALS[1], edgecolor="white", zorder=5))
    axes.plot([0.0], [0.0], "o", color=INK, markersize=6, zorder=6)
    turn = _Turn(axes, 0.22 * half)

    def update(history: History) -> None:
        r, _, theta, _ = history.x[-1]
        wanted = history.r[-1][0]
        along, up = np.array([np.cos(theta), np.sin(theta)]), np.array([-np.sin(theta), np.cos(theta)])
        beam.set_data(*np.transpose([-half * along, half * along]))
        ball.set_center(tuple(r * along + 1.6 * radius * up))
        goal.set_data(*np.reshape(wanted * along + 4.0 * radius * up, (2, 1)))
        turn.show(np.zeros(2), fraction(plant, history.u[-1])[0])

    return update


class _Links:
    """Two links from the origin, by angles from the horizontal axis and of the bend."""

    def __init__(self, axes: Any, plant: Any) -> None:
        self._lengths = np.array([plant.l1, plant.l2])
        reach = float(self._lengths.sum())
        blank(axes, (-1.08 * reach, 1.08 * reach), (-1.08 * reach, 1.08 * reach))
        axes.add_patch(Circle((0.0, 0.0), reach, fill=False, color=GRID, linewidth=1.2))
        (self._path,) = axes.plot([], [], color=SIGNALS[0], linewidth=1.0, alpha=0.5, zorder=1)
        (self._ghost,) = axes.plot(
            [], [], "o--", color=REFERENCE, linewidth=1.2, markersize=9, alpha=0.5, mfc="none", zorder=2
        )
        (self._rod,) = axes.plot([], [], color=BODY, linewidth=7, solid_capstyle="round", zorder=3)
        (self._joints,) = axes.plot([], [], "o", color=INK, markersize=7, zorder=6)
        (self._hand,) = axes.plot(
            [], [], "o", color=SIGNALS[0], markersize=11, markeredgecolor="white", zorder=5
        )
        self._turns = [_Turn(axes, 0.13 * reach) for _ in range(2)]

    def show(self, angles: np.ndarray, wanted: np.ndarray, torques: np.ndarray) -> None:
        """Update: angles `(n, 2)` so far, those of the ghost, and torques over their limits."""
        points = self._points(angles)
        self._path.set_data(points[:, 2, 0], points[:, 2, 1])
        self._ghost.set_data(*self._points(wanted[None])[0].T)
        now = points[-1]
        self._rod.set_data(*now.T)
        self._joints.set_data(*now[:2].T)
        self._hand.set_data(*now[2:].T)
        for turn, joint, torque in zip(self._turns, now[:2], torques, strict=True):
            turn.show(joint, torque)

    def _points(self, angles: np.ndarray) -> np.ndarray:
        """Shoulder, elbow and hand, `(n, 3, 2)`."""
        whole = np.cumsum(angles, axis=1)
        steps = self._lengths[:, None] * np.stack([np.cos(whole), np.sin(whole)], axis=2)
        return np.concatenate([np.zeros((len(angles), 1, 2)), np.cumsum(steps, axis=1)], axis=1)


class _Turn:
    """A torque, as an arc around its joint as long as it is strong."""

    def __init__(self, axes: Any, radius: float) -> None:
        self._axes, self._radius, self._arc = axes, radius, None

    def show(self, centre: np.ndarray, part: float) -> None:
        """Draw it; positive parts run counter-clockwise from the right."""
        if self._arc is not None:
            self._arc.remove()
            self._arc = None
        if abs(part) < 0.02:
            return
        degrees = 240.0 * part
        self._arc = self._axes.add_patch(
            Wedge(
                tuple(centre), self._radius, min(0.0, degrees), max(0.0, degrees), width=0.16 * self._radius,
                color=FORCE, alpha=0.85, zorder=7,
            )
        )  # fmt: skip
