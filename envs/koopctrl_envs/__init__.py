"""Plants for koopctrl: parameters, pure dynamics, and a thin gymnasium env around them.

Importing this package registers the envs:

>>> import gymnasium, koopctrl_envs
>>> env = gymnasium.make("koopctrl/VanDerPol-v0")
>>> envs = gymnasium.make_vec("koopctrl/VanDerPol-v0", num_envs=64)
"""

from gymnasium import register

from koopctrl_envs.acrobot import Acrobot, AcrobotEnv
from koopctrl_envs.arm import Arm, ArmEnv
from koopctrl_envs.ball_and_beam import BallAndBeam, BallAndBeamEnv
from koopctrl_envs.base import PlantEnv
from koopctrl_envs.batched import PlantVectorEnv
from koopctrl_envs.burgers import Burgers, BurgersEnv
from koopctrl_envs.cart_pole import CartPole, CartPoleEnv
from koopctrl_envs.cstr import CSTR, CSTREnv, CSTRTemperature, CSTRTemperatureEnv
from koopctrl_envs.dc_motor import DCMotor, DCMotorEnv
from koopctrl_envs.duffing import Duffing, DuffingEnv
from koopctrl_envs.fermenter import Fermenter, FermenterEnv
from koopctrl_envs.field import FieldEnv
from koopctrl_envs.heated_plate import HeatedPlate, HeatedPlateEnv
from koopctrl_envs.lorenz import Lorenz, LorenzEnv
from koopctrl_envs.lti import LTIEnv
from koopctrl_envs.lti_network import LTINetworkEnv
from koopctrl_envs.model_env import ModelEnv
from koopctrl_envs.pendulum import Pendulum, PendulumEnv
from koopctrl_envs.ph import PHNeutralization, PHNeutralizationEnv
from koopctrl_envs.plant import Plant
from koopctrl_envs.quadrotor import Quadrotor, QuadrotorEnv
from koopctrl_envs.quadruple_tank import QuadrupleTank, QuadrupleTankEnv, QuadrupleTankNonminimumPhaseEnv
from koopctrl_envs.system_env import SystemEnv
from koopctrl_envs.thermal_zone import ThermalZone, ThermalZoneEnv
from koopctrl_envs.two_tanks import TwoTanks, TwoTanksEnv
from koopctrl_envs.van_der_pol import VanDerPol, VanDerPolEnv
from koopctrl_envs.zone_under_weather import ThermalZoneUnderWeatherEnv, ZoneUnderWeather

__all__ = [
    "CSTR",
    "Acrobot",
    "AcrobotEnv",
    "Arm",
    "ArmEnv",
    "BallAndBeam",
    "BallAndBeamEnv",
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
    "Fermenter",
    "FermenterEnv",
    "FieldEnv",
    "HeatedPlate",
    "HeatedPlateEnv",
    "LTIEnv",
    "LTINetworkEnv",
    "Lorenz",
    "LorenzEnv",
    "ModelEnv",
    "PHNeutralization",
    "PHNeutralizationEnv",
    "Pendulum",
    "PendulumEnv",
    "Plant",
    "PlantEnv",
    "PlantVectorEnv",
    "Quadrotor",
    "QuadrotorEnv",
    "QuadrupleTank",
    "QuadrupleTankEnv",
    "QuadrupleTankNonminimumPhaseEnv",
    "SystemEnv",
    "ThermalZone",
    "ThermalZoneEnv",
    "ThermalZoneUnderWeatherEnv",
    "TwoTanks",
    "TwoTanksEnv",
    "VanDerPol",
    "VanDerPolEnv",
    "ZoneUnderWeather",
]

for _name, _env in {
    "Acrobot": AcrobotEnv,
    "Arm": ArmEnv,
    "BallAndBeam": BallAndBeamEnv,
    "Burgers": BurgersEnv,
    "CSTR": CSTREnv,
    "CSTRTemperature": CSTRTemperatureEnv,
    "CartPole": CartPoleEnv,
    "DCMotor": DCMotorEnv,
    "Duffing": DuffingEnv,
    "Fermenter": FermenterEnv,
    "HeatedPlate": HeatedPlateEnv,
    "Lorenz": LorenzEnv,
    "PHNeutralization": PHNeutralizationEnv,
    "Pendulum": PendulumEnv,
    "Quadrotor": QuadrotorEnv,
    "QuadrupleTank": QuadrupleTankEnv,
    "QuadrupleTankNonminimumPhase": QuadrupleTankNonminimumPhaseEnv,
    "ThermalZone": ThermalZoneEnv,
    "ThermalZoneUnderWeather": ThermalZoneUnderWeatherEnv,
    "TwoTanks": TwoTanksEnv,
    "VanDerPol": VanDerPolEnv,
}.items():
    register(
        f"koopctrl/{_name}-v0",
        entry_point=f"{_env.__module__}:{_env.__name__}",
        vector_entry_point=f"koopctrl_envs.batched:{_env.__name__}",
        max_episode_steps=200,
    )
