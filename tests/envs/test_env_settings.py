"""What an env is told: actions, rewards, noise, parameters, and settings that are refused."""

from dataclasses import dataclass
from typing import ClassVar

import gymnasium
import numpy as np
import pytest

import koopctrl_envs
from koopctrl_envs import Duffing, Pendulum, Plant, PlantEnv, VanDerPol


def make(name: str, **kwargs) -> PlantEnv:
    env = gymnasium.make(name, **kwargs).unwrapped
    assert isinstance(env, PlantEnv)
    return env


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x0": [1.0]}, r"x0 has shape \(1,\); expected \(2,\)"),
        ({"x0": [[1.0, 2.0]]}, r"x0 has shape \(1, 2\)"),
        ({"x0": [np.nan, 0.0]}, "x0 is .*NaN"),
        ({"x0": [np.inf, 0.0]}, "x0 is .*infinity"),
        ({"x0": ["a", "b"]}, "x0 has dtype"),
        ({"x0": [7.0, 0.0]}, r"x0 is \[7.0, 0.0\]; expected a start between \[-6.0, -9.0\]"),
        ({"x0_low": 1.0, "x0_high": -1.0}, "x0_low"),
        ({"x0_low": -10.0}, "the box is"),
        ({"x0": [0.0, 0.0], "x0_low": 0.0}, "both"),
        ({"start": [0.0, 0.0]}, r"options has \['start'\]; expected x0"),
    ],
)
def test_bad_starts_are_refused_clearly(options, message):
    with pytest.raises(ValueError, match=message):
        make("koopctrl/VanDerPol-v0").reset(options=options)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([np.nan], "action is .*NaN"),
        ([np.inf], "action is .*infinity"),
        ([1.0, 2.0], r"action has shape \(2,\); expected \(1,\)"),
        ([[1.0]], r"action has shape \(1, 1\)"),
        (None, "action has dtype"),
        ([1j], "action has dtype complex128"),
    ],
)
def test_bad_actions_are_refused_and_leave_the_state_alone(action, message):
    env = make("koopctrl/VanDerPol-v0")
    _, before = env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)
    _, _, _, _, info = env.step([0.0])
    np.testing.assert_array_equal(info["x"], env.plant.step(before["x"], [0.0]))
    assert info["t"] == env.dt


def test_actions_are_clipped_and_a_scalar_will_do():
    env = make("koopctrl/VanDerPol-v0")
    _, before = env.reset(seed=0)
    action = np.array([100.0])
    _, _, _, _, info = env.step(action)
    assert action[0] == 100.0
    np.testing.assert_array_equal(info["u"], [3.0])
    np.testing.assert_array_equal(info["x"], env.plant.step(before["x"], [3.0]))
    np.testing.assert_array_equal(env.step(-1.5)[4]["u"], [-1.5])


def test_normalized_actions_span_the_limits():
    env = make("koopctrl/VanDerPol-v0", normalized_action=True, u_min=-1.0, u_max=3.0)
    env.reset(seed=0)
    assert [env.step([a])[4]["u"][0] for a in (-1.0, 0.0, 1.0, 2.0)] == [-1.0, 1.0, 3.0, 3.0]


def test_a_step_before_reset_is_refused():
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        make("koopctrl/VanDerPol-v0").step([0.0])


def test_the_reward_is_the_quadratic_one():
    Q, R, r = np.array([[2.0, 0.5], [0.5, 1.0]]), 0.3, np.array([1.0, -1.0])
    env = make("koopctrl/VanDerPol-v0", Q=Q, R=R, reference=r, measurement_noise=0.5)
    env.reset(seed=0)
    _, reward, _, _, info = env.step([2.0])
    error = info["x"] - r
    assert reward == pytest.approx(-(error @ Q @ error + 0.3 * 4.0), rel=1e-14)
    env = make("koopctrl/Quadrotor-v0", R=2.0)
    env.reset(options={"x0": [0.0] * 6})
    assert env.step(env.input_reference)[1] == pytest.approx(0.0, abs=1e-20)
    assert make("koopctrl/Quadrotor-v0", input_reference=[1.0, 1.0]).input_reference.tolist() == [1.0, 1.0]
    env = make("koopctrl/Pendulum-v0")
    env.reset(options={"x0": [0.0, 0.0]})
    assert env.step([0.0])[1] == 0.0
    np.testing.assert_array_equal(env.reference, [1.0, 0.0, 0.0])


def test_the_disturbance_acts_on_the_input_unseen():
    env = make("koopctrl/Duffing-v0", disturbance=2.0)
    _, before = env.reset(seed=0)
    _, _, _, _, info = env.step([10.0])
    np.testing.assert_array_equal(info["u"], [10.0])
    np.testing.assert_array_equal(info["x"], env.plant.step(before["x"], [12.0]))


def test_noise_has_its_spread_and_stays_in_the_box():
    env = make("koopctrl/Duffing-v0", measurement_noise=[0.1, 0.2])
    quiet = make("koopctrl/Duffing-v0")
    np.testing.assert_allclose(env.observation_space.high - quiet.observation_space.high, [0.5, 1.0])
    errors = []
    y, info = env.reset(seed=0, options={"x0": [0.0, 0.0]})
    for _ in range(2000):
        errors.append(y - info["x"])
        y, _, _, _, info = env.step([0.0])
    np.testing.assert_allclose(np.std(errors, axis=0), [0.1, 0.2], rtol=0.1)
    np.testing.assert_array_equal(info["x"], [0.0, 0.0])


def test_process_noise_moves_the_state_through_the_input():
    env = make("koopctrl/Duffing-v0", process_noise=0.5)
    env.reset(seed=0, options={"x0": [0.0, 0.0]})
    _, _, _, _, info = env.step([0.0])
    assert np.abs(info["x"]).max() > 0.0
    np.testing.assert_array_equal(info["u"], [0.0])


def test_another_integrator_can_be_chosen():
    env, usual = make("koopctrl/CSTR-v0", integrator="solve_ivp"), make("koopctrl/CSTR-v0")
    for e in (env, usual):
        e.reset(options={"x0": [0.7, 360.0]})
    x, other = env.step([310.0])[4]["x"], usual.step([310.0])[4]["x"]
    np.testing.assert_array_equal(x, env.plant.exact_step([0.7, 360.0], [310.0]))
    np.testing.assert_allclose(x, other, rtol=1e-6)
    stiff = make("koopctrl/VanDerPol-v0", mu=1000.0, n_substeps=1, integrator="solve_ivp")
    stiff.reset(options={"x0": [2.0, 0.0]})
    # On the slow branch of the relaxation oscillation x2 is x1/(mu (1 - x1^2)).
    x1, x2 = stiff.step([0.0])[4]["x"]
    assert x2 == pytest.approx(x1 / (1000.0 * (1.0 - x1 * x1)), rel=1e-4)


def test_parameters_reach_the_plant():
    env = make("koopctrl/VanDerPol-v0", mu=2.0, dt=0.05, u_max=1.0, u_min=-1.0)
    assert env.plant == VanDerPol(mu=2.0, dt=0.05, u_max=1.0, u_min=-1.0)  # pyright: ignore
    assert env.dt == 0.05
    np.testing.assert_array_equal(env.action_space.high, [1.0])
    assert make("koopctrl/Pendulum-v0", plant=Pendulum(m=2.0), l=0.5).plant == Pendulum(m=2.0, l=0.5)
    assert make("koopctrl/Duffing-v0").plant == Duffing()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"mass": 2.0}, "mass is no parameter of VanDerPol; it has dt"),
        ({"Q": -1.0}, "Q has smallest eigenvalue -1; expected a positive semidefinite"),
        ({"Q": [[1.0, 2.0], [0.0, 1.0]]}, "Q is not symmetric"),
        ({"Q": np.ones((3, 3))}, r"Q has shape \(3, 3\)"),
        ({"R": [[np.nan]]}, "R has 1 NaN"),
        ({"reference": [1.0]}, r"reference has shape \(1,\)"),
        ({"process_noise": -0.1}, "process_noise"),
        ({"measurement_noise": [0.1, 0.1, 0.1]}, "measurement_noise has shape"),
        ({"disturbance": np.nan}, "disturbance"),
        ({"render_mode": "ansi"}, "render_mode is 'ansi'; expected 'rgb_array', 'human' or None"),
        ({"out_of_bounds": "wrap"}, "out_of_bounds is 'wrap'; expected one of 'clip', 'refuse'"),
        ({"integrator": "euler"}, "integrator is 'euler'; expected 'rk4', 'solve_ivp' or 'cvodes'"),
        ({"input_reference": [0.0, 0.0]}, r"input_reference has shape \(2,\)"),
        ({"x_max": [np.nan, 1.0]}, "x_max is .*NaN"),
    ],
)
def test_bad_settings_are_refused_clearly(kwargs, message):
    with pytest.raises(ValueError, match=message):
        koopctrl_envs.VanDerPolEnv(**kwargs)


@dataclass(frozen=True, kw_only=True)
class Tank(Plant):
    state_names: ClassVar = ("level",)
    state_units: ClassVar = ("m",)
    input_names: ClassVar = ("inflow", "leak")
    input_units: ClassVar = ("m/s", "m/s")
    output_names: ClassVar = ("level",)
    output_units: ClassVar = ("m",)

    rate: float = 0.5
    dt: float = 0.1
    n_substeps: int = 1
    u_min: tuple[float, ...] = (0.0, 0.0)
    u_max: tuple[float, ...] = (1.0, 0.5)
    x0_low: tuple[float, ...] = (0.0,)
    x0_high: tuple[float, ...] = (1.0,)
    x_min: tuple[float, ...] = (-1.0,)
    x_max: tuple[float, ...] = (4.0,)

    def rhs_components(self, x, u, xp=np):
        return (-self.rate * x[0] + u[0] - u[1],)


def test_a_new_plant_is_a_dataclass_and_two_lines_of_env():
    class TankEnv(PlantEnv):
        plant_class = Tank

    env = TankEnv(reference=1.0, rate=0.25)
    y, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.observation_space.high, [4.0 + 0.25 * 5.0])
    y_next, reward, _, _, _ = env.step([0.5, 0.25])
    decay = np.exp(-0.025)
    np.testing.assert_allclose(y_next, decay * y + (1 - decay), rtol=1e-9)
    assert reward == pytest.approx(-((y_next[0] - 1.0) ** 2) - 0.1 * (0.5**2 + 0.25**2))
    np.testing.assert_array_equal(TankEnv().reference, [0.0])
