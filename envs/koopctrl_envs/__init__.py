"""Plants for koopctrl: parameters, pure dynamics, and a thin gymnasium env around them.

Importing this package registers the envs:

>>> import gymnasium, koopctrl_envs
>>> env = gymnasium.make("koopctrl/VanDerPol-v0")
"""

from gymnasium import register

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.burgers import Burgers, BurgersEnv
from koopctrl_envs.cart_pole import CartPole, CartPoleEnv
from koopctrl_envs.cstr import CSTR, CSTREnv, CSTRTemperature, CSTRTemperatureEnv
from koopctrl_envs.dc_motor import DCMotor, DCMotorEnv
from koopctrl_envs.duffing import Duffing, DuffingEnv
from koopctrl_envs.pendulum import Pendulum, PendulumEnv
from koopctrl_envs.ph import PHNeutralization, PHNeutralizationEnv
from koopctrl_envs.plant import Plant
from koopctrl_envs.quadrotor import Quadrotor, QuadrotorEnv
from koopctrl_envs.quadruple_tank import QuadrupleTank, QuadrupleTankEnv, QuadrupleTankNonminimumPhaseEnv
from koopctrl_envs.two_tanks import TwoTanks, TwoTanksEnv
from koopctrl_envs.van_der_pol import VanDerPol, VanDerPolEnv

__all__ = [
    "CSTR",
    "Burgers",
    "BurgersEnv",
    "CSTREnv",
    "CSTRTemperature",
    "CSTRTemperatureEnv",
    "CartPole",
    "CartPoleEnv",
    "DCMotor",
    "DCMotorEnv",
    "Duffing",
    "DuffingEnv",
    "PHNeutralization",
    "PHNeutralizationEnv",
    "Pendulum",
    "PendulumEnv",
    "Plant",
    "PlantEnv",
    "Quadrotor",
    "QuadrotorEnv",
    "QuadrupleTank",
    "QuadrupleTankEnv",
    "QuadrupleTankNonminimumPhaseEnv",
    "TwoTanks",
    "TwoTanksEnv",
    "VanDerPol",
    "VanDerPolEnv",
]

register("koopctrl/Burgers-v0", entry_point="koopctrl_envs.burgers:BurgersEnv", max_episode_steps=200)
register("koopctrl/CSTR-v0", entry_point="koopctrl_envs.cstr:CSTREnv", max_episode_steps=200)
register(
    "koopctrl/CSTRTemperature-v0", entry_point="koopctrl_envs.cstr:CSTRTemperatureEnv", max_episode_steps=200
)
register("koopctrl/CartPole-v0", entry_point="koopctrl_envs.cart_pole:CartPoleEnv", max_episode_steps=200)
register("koopctrl/DCMotor-v0", entry_point="koopctrl_envs.dc_motor:DCMotorEnv", max_episode_steps=200)
register("koopctrl/Duffing-v0", entry_point="koopctrl_envs.duffing:DuffingEnv", max_episode_steps=200)
register(
    "koopctrl/PHNeutralization-v0", entry_point="koopctrl_envs.ph:PHNeutralizationEnv", max_episode_steps=200
)
register("koopctrl/Pendulum-v0", entry_point="koopctrl_envs.pendulum:PendulumEnv", max_episode_steps=200)
register("koopctrl/Quadrotor-v0", entry_point="koopctrl_envs.quadrotor:QuadrotorEnv", max_episode_steps=200)
register(
    "koopctrl/QuadrupleTank-v0",
    entry_point="koopctrl_envs.quadruple_tank:QuadrupleTankEnv",
    max_episode_steps=200,
)
register(
    "koopctrl/QuadrupleTankNonminimumPhase-v0",
    entry_point="koopctrl_envs.quadruple_tank:QuadrupleTankNonminimumPhaseEnv",
    max_episode_steps=200,
)
register("koopctrl/TwoTanks-v0", entry_point="koopctrl_envs.two_tanks:TwoTanksEnv", max_episode_steps=200)
register("koopctrl/VanDerPol-v0", entry_point="koopctrl_envs.van_der_pol:VanDerPolEnv", max_episode_steps=200)
