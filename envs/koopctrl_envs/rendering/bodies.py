"""The drawings of the plants themselves, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from koopctrl_envs.rendering.motion import cart_pole, pendulum, quadrotor
from koopctrl_envs.rendering.parts import Draw
from koopctrl_envs.rendering.planes import field, phase_plane
from koopctrl_envs.rendering.tanks import ph_tank, quadruple_tank, two_tanks

BODIES: dict[str, Callable[[Any, Any], Draw]] = {
    "cart_pole": cart_pole,
    "field": field,
    "pendulum": pendulum,
    "ph_tank": ph_tank,
    "phase_plane": phase_plane,
    "quadrotor": quadrotor,
    "quadruple_tank": quadruple_tank,
    "two_tanks": two_tanks,
}
"""Each prepares axes for a plant once and returns a function that brings them up to date."""
