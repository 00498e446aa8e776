"""Plants for koopctrl: parameters, pure dynamics, and a thin gymnasium env around them.

Importing this package registers the envs:

>>> import gymnasium, koopctrl_envs
>>> env = gymnasium.make("koopctrl/VanDerPol-v0")
"""

from gymnasium import register

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.duffing import Duffing, DuffingEnv
from koopctrl_envs.pendulum import Pendulum, PendulumEnv
from koopctrl_envs.plant import Plant
from koopctrl_envs.van_der_pol import VanDerPol, VanDerPolEnv

__all__ = [
    "Duffing",
    "DuffingEnv",
    "Pendulum",
    "PendulumEnv",
    "Plant",
    "PlantEnv",
    "VanDerPol",
    "VanDerPolEnv",
]

register("koopctrl/Duffing-v0", entry_point="koopctrl_envs.duffing:DuffingEnv", max_episode_steps=200)
register("koopctrl/Pendulum-v0", entry_point="koopctrl_envs.pendulum:PendulumEnv", max_episode_steps=200)
register("koopctrl/VanDerPol-v0", entry_point="koopctrl_envs.van_der_pol:VanDerPolEnv", max_episode_steps=200)
