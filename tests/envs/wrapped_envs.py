"""The plant behind each wrapper, alone and behind all of them; runs of it and what they are held to."""

import itertools

import gymnasium
import numpy as np
import pytest

from koopctrl_envs import VanDerPol
from koopctrl_envs.wrappers import (
    ActuatorSaturation,
    DeadZone,
    InputDelay,
    LoadDisturbance,
    MeasurementNoise,
    ParameterDrift,
    ParameterRandomisation,
    PartialObservation,
    Quantisation,
    RateLimit,
)

ID = "koopctrl_envs:koopctrl/VanDerPol-v0"


def plain(**options):
    return gymnasium.make(ID, **options)


ALONE = {
    "MeasurementNoise": lambda env: MeasurementNoise(env, [0.1, 0.2]),
    "Quantisation": lambda env: Quantisation(env, observation=[0.5, 0.0], action=0.25),
    "PartialObservation": lambda env: PartialObservation(env, ["x1"]),
    "ActuatorSaturation": lambda env: ActuatorSaturation(env, -1.0, 0.5),
    "RateLimit": lambda env: RateLimit(env, 4.0),
    "DeadZone": lambda env: DeadZone(env, 0.3),
    "InputDelay": lambda env: InputDelay(env, 3),
    "LoadDisturbance": lambda env: LoadDisturbance(env, [(0.4, 1.0), (0.8, -0.5)]),
    "ParameterRandomisation": lambda env: ParameterRandomisation(env, {"mu": (0.5, 2.0)}),
    "ParameterDrift": lambda env: ParameterDrift(env, {"mu": [(0.5, 0.5)]}, relative=True),
}
each_wrapper = pytest.mark.parametrize("name", ALONE)


def everything(env=None):
    """All of them, in an order that a plant would have them."""
    env = plain() if env is None else env
    for name in (
        "ParameterRandomisation", "ParameterDrift", "LoadDisturbance", "ActuatorSaturation", "RateLimit",
        "DeadZone", "Quantisation", "InputDelay", "MeasurementNoise", "PartialObservation",
    ):  # fmt: skip
        env = ALONE[name](env)
    return env


def actions(n, size=1):
    return np.random.default_rng(5).uniform(-3.0, 3.0, (n, size))


def run(env, n=20, seed=0):
    """Observations and infos of an episode under fixed actions."""
    y, info = env.reset(seed=seed)
    answers = [(y, 0.0, info)]
    for a in actions(n):
        y, reward, _, _, info = env.step(a)
        answers.append((y, reward, info))
    return answers


def replayed(answers):
    """Largest difference between reported states and the plant's under reported inputs and loads."""
    infos = [info for *_, info in answers]
    largest = 0.0
    for before, after in itertools.pairwise(infos):
        plant = VanDerPol(mu=after.get("parameters", {}).get("mu", 1.0))
        x = plant.step(before["x"], after["u"] + after.get("load", 0.0))
        largest = max(largest, float(np.abs(x - after["x"]).max()))
    return largest


def same(first, second):
    for (y, r, info), (y2, r2, info2) in zip(first, second, strict=True):
        np.testing.assert_array_equal(y, y2)
        assert r == r2
        assert set(info) == set(info2)
        for key in info:
            np.testing.assert_equal(info[key], info2[key], err_msg=key)


class Constant:
    """Half power, always."""

    dt = 0.1

    def reset(self):
        self.told = []

    def control(self, measurement, reference=None):
        return np.array([1.5])

    def applied(self, u):
        self.told.append(float(u[0]))
