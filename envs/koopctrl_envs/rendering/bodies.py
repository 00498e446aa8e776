"""The drawings of the plants themselves, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from koopctrl_envs.rendering.heat import plate, thermal_zone
from koopctrl_envs.rendering.links import acrobot, arm, ball_and_beam
from koopctrl_envs.rendering.motion import cart_pole, pendulum, quadrotor
from koopctrl_envs.rendering.parts import Draw
from koopctrl_envs.rendering.planes import butterfly, field, phase_plane, state_bars
from koopctrl_envs.rendering.tanks import fermenter, ph_tank, quadruple_tank, two_tanks

BODIES: dict[str, Callable[[Any, Any], Draw]] = {
    "acrobot": acrobot,
    "arm": arm,
    "ball_and_beam": ball_and_beam,
    "butterfly": butterfly,
    "cart_pole": cart_pole,
    "fermenter": fermenter,
    "field": field,
    "pendulum": pendulum,
    "ph_tank": ph_tank,
    "phase_plane": phase_plane,
    "plate": plate,
    "quadrotor": quadrotor,
    "quadruple_tank": quadruple_tank,
    "state_bars": state_bars,
    "thermal_zone": thermal_zone,
    "two_tanks": two_tanks,
}
"""Each prepares axes for a plant once and returns a function that brings them up to date."""
