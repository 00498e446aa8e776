"""The heated plate and the thermal zone: temperatures as colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.patches import Circle, Polygon, Rectangle

from koopctrl_envs.rendering.history import History
from koopctrl_envs.rendering.parts import Arrow, Draw, blank, fraction
from koopctrl_envs.rendering.style import BODY, FONT, INK, PALE, REFERENCE


def plate(axes: Any, plant: Any) -> Draw:
    """Plate as a map of temperatures, heaters along its edges, and each sensor beside its set-point."""
    from koopctrl_envs.heated_plate import EDGES, SENSORS

    blank(axes, (-0.22, 1.12), (-0.2, 1.2))
    low, high = min(plant.x0_low), max(plant.x0_high)
    image = axes.imshow(
        np.zeros((plant.n_side, plant.n_side)), origin="lower", extent=(0.0, 1.0, 0.0, 1.0), cmap="inferno",
        vmin=low, vmax=high, interpolation="nearest", aspect="auto", zorder=1,
    )  # fmt: skip
    blank(axes, (-0.22, 1.12), (-0.2, 1.2))
    places = {
        "left": ((-0.07, 0.0), 0.05, 1.0),
        "right": ((1.02, 0.0), 0.05, 1.0),
        "top": ((0.0, 1.02), 1.0, 0.05),
    }
    bars = [axes.add_patch(Rectangle(*places[edge], edgecolor=PALE, linewidth=1.0)) for edge in EDGES]
    spots = {"left": (-0.045, -0.06), "right": (1.045, -0.06), "top": (0.5, 1.1)}
    powers = [axes.text(*spots[e], "", ha="center", fontsize=FONT, color=INK) for e in EDGES]
    readings = []
    for x, y in SENSORS:
        axes.plot([x], [y], "o", color="white", markeredgecolor=INK, markersize=6, zorder=3)
        readings.append(
            axes.text(
                x, y + 0.045, "", ha="center", fontsize=FONT, color=INK, zorder=4,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2, "alpha": 0.85},
            )
        )  # fmt: skip
    note = axes.text(0.5, -0.14, "", ha="center", fontsize=FONT, color=REFERENCE)

    def update(history: History) -> None:
        y, r = history.y[-1], history.r[-1]
        image.set_data(history.x[-1].reshape(plant.n_side, plant.n_side))
        image.set_clim(min(low, history.x[-1].min()), max(high, history.x[-1].max()))
        for bar, text, part, power in zip(
            bars, powers, fraction(plant, history.u[-1]), history.u[-1], strict=True
        ):
            bar.set_facecolor((1.0, 1.0 - 0.58 * part, 1.0 - part))
            text.set_text(f"{power:.0f} W")
        for text, value in zip(readings, y, strict=True):
            text.set_text(f"{value:.1f}")
        note.set_text(f"°C at the sensors; off set-point by up to {np.abs(y - r).max():.1f} K")

    return update


def thermal_zone(axes: Any, plant: Any) -> Draw:
    """House with the colour of its temperature, sun, outside air, heating and ventilation."""
    blank(axes, (-0.6, 5.6), (-0.6, 5.2))
    colours = colormaps["coolwarm"]
    axes.plot([-0.5, 5.5], [0.0, 0.0], color=PALE, linewidth=3, zorder=0)
    envelope = axes.add_patch(
        Polygon([(0.9, 0.0), (0.9, 2.3), (2.5, 3.6), (4.1, 2.3), (4.1, 0.0)], edgecolor=BODY, linewidth=2.0)
    )
    room = axes.add_patch(Rectangle((1.2, 0.25), 2.6, 1.95, edgecolor="white", linewidth=1.5, zorder=2))
    inside = axes.text(2.5, 1.5, "", ha="center", fontsize=FONT + 5.0, weight="bold", color=INK, zorder=4)
    wanted = axes.text(2.5, 1.12, "", ha="center", fontsize=FONT, color=REFERENCE, zorder=4)
    heater = axes.add_patch(Rectangle((1.4, 0.35), 0.9, 0.5, edgecolor=INK, linewidth=1.2, zorder=3))
    heating = axes.text(1.85, 0.53, "", ha="center", fontsize=FONT - 0.5, color=INK, zorder=4)
    outside = axes.text(5.3, 2.6, "", ha="right", fontsize=FONT + 1.5, color=INK)
    venting = axes.text(4.3, 0.35, "", ha="left", fontsize=FONT - 0.5, color=INK, zorder=4)
    sun = axes.add_patch(Circle((0.4, 4.3), 0.1, facecolor="#fbc02d", edgecolor="none"))
    shining = axes.text(1.05, 4.25, "", fontsize=FONT, color=INK)
    draught = Arrow(axes)

    def update(history: History) -> None:
        # The weather is measured, or sent with the inputs.
        Ti, To, Is = (*history.y[-1], *history.u[-1][2:])
        x, (heat, vent) = history.x[-1], history.u[-1][:2]
        part = fraction(plant, history.u[-1])
        room.set_facecolor(_shade(colours, Ti))
        envelope.set_facecolor(_shade(colours, x[1]))
        inside.set_text(f"{Ti:.1f} °C")
        wanted.set_text(f"wanted {history.r[-1][0]:.1f}")
        heater.set_facecolor((1.0, 1.0 - 0.58 * part[0], 1.0 - part[0]))
        heating.set_text(f"{heat:.1f} kW")
        outside.set_text(f"{To:.1f} °C")
        venting.set_text(f"vent\n{vent:.2f} kW/K")
        # Its disc grows with what it sends, between moonlight and a clear noon.
        sun.set_radius(0.12 + 0.45 * np.sqrt(min(Is / plant.sun, 1.0)))
        shining.set_text(f"{1000.0 * Is:.0f} W/m²")
        draught.show(np.array([5.0, 1.2]), np.array([-1.3 * part[1], 0.0]))

    return update


def _shade(colours: Any, temperature: float) -> Any:
    """Blue at 5 °C, grey at 20, red at 35."""
    return colours(np.clip((temperature - 5.0) / 30.0, 0.0, 1.0))
