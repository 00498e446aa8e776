"""What the drawings are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.patches import FancyArrow

from koopctrl_envs.rendering.history import History
from koopctrl_envs.rendering.style import FONT, FORCE, GRID, INK, PALE, REFERENCE

Draw = Callable[[History], None]
"""Brings a drawing up to date."""

DASHED: dict[str, Any] = {"color": REFERENCE, "linewidth": 1.1, "linestyle": (0, (4, 3))}
"""Set-points."""


class Arrow:
    """An arrow that shows a push; none where it is nothing."""

    def __init__(self, axes: Any) -> None:
        self._axes, self._patch = axes, None

    def show(self, tail: np.ndarray, vector: np.ndarray) -> None:
        """Draw it from `tail`."""
        if self._patch is not None:
            self._patch.remove()
            self._patch = None
        length = float(np.hypot(*vector))
        if length > 1e-3:
            head = min(0.12, 0.6 * length)
            self._patch = self._axes.add_patch(
                FancyArrow(
                    *tail, *vector, width=0.035, head_width=head, head_length=head, color=FORCE,
                    length_includes_head=True, zorder=6,
                )
            )  # fmt: skip


def fraction(plant: Any, u: np.ndarray) -> np.ndarray:
    """Inputs over the larger of their limits."""
    largest = np.maximum(np.abs(plant.u_min), np.abs(plant.u_max))
    return np.asarray(u) / np.where(largest > 0.0, largest, 1.0)


def tidy(axes: Any) -> None:
    """Axes in the style of all pictures."""
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=FONT - 1.5, colors=INK, length=2.0)
    for side, spine in axes.spines.items():
        spine.set_color(PALE)
        spine.set_visible(side in ("left", "bottom"))


def fit(axes: Any, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Show at least these ends, to the same scale along both axes."""
    box = axes.get_window_extent()
    scale = max((x[1] - x[0]) / box.width, (y[1] - y[0]) / box.height)
    for set_ends, ends, pixels in ((axes.set_xlim, x, box.width), (axes.set_ylim, y, box.height)):
        middle, half = 0.5 * (ends[0] + ends[1]), 0.5 * scale * pixels
        set_ends(middle - half, middle + half)


def blank(axes: Any, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Axes to scale without ticks."""
    axes.axis("off")
    fit(axes, x, y)
