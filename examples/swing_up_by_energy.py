"""Swing-up from two hundred samples
=================================

Inertia, potential and friction of a pendulum from angles, speeds and torques; then a swing-up by energy.
"""

import gymnasium
import matplotlib.pyplot as plt
import numpy as np

from koopctrl import Trajectories, run_closed_loop
from koopctrl.controllers import EnergyShaping
from koopctrl.sampled import MechanicalNetwork
from koopctrl_envs.pendulum import Pendulum

plant, rng = Pendulum(), np.random.default_rng(0)
states, torques = np.empty((10, 21, 2)), rng.uniform(-5.0, 5.0, (10, 20, 1))
states[:, 0] = rng.uniform(plant.x0_low, plant.x0_high, (10, 2))
for k in range(20):
    states[:, k + 1] = plant.step(states[:, k], torques[:, k])
data = Trajectories.from_arrays(states, torques, dt=plant.dt)

model = MechanicalNetwork(angles=[0], mass="constant", damping="constant").fit(data)
inertia, friction = model.mass_matrix([0.0])[0, 0], model.damping_at([0.0])[0]
print(f"inertia {inertia:.4f} kg m^2, friction {friction:.4f} N m s/rad")

controller = EnergyShaping(
    model, [0.0, 0.0], dt=plant.dt, u_min=-5.0, u_max=5.0,
    to_state=lambda y: [np.arctan2(y[1], y[0]), y[2]], n_measured=3,
)  # fmt: skip
env = gymnasium.make("koopctrl_envs:koopctrl/Pendulum-v0")
result = run_closed_loop(env, controller, n_steps=100, seed=0, options={"x0": [np.pi, 0.0]})
print(f"caught after {result.statuses.count('swing') * plant.dt:.2f} s")

grid = np.stack(np.meshgrid(np.linspace(-4.5, 4.5, 200), np.linspace(-8, 8, 160)), axis=-1)
theta = (result.states[:, 0] + np.pi) % (2 * np.pi) - np.pi
figure, (phase, time) = plt.subplots(1, 2, figsize=(9.0, 3.4), layout="constrained")
phase.contour(grid[..., 0], grid[..., 1], model.energy(grid), 20, colors="0.8", linewidths=0.7)
jumps = np.flatnonzero(np.abs(np.diff(theta)) > np.pi) + 1
phase.plot(np.insert(theta, jumps, np.nan), np.insert(result.states[:, 1], jumps, np.nan), "C0")
phase.set(
    xlabel="angle from upright [rad]", ylabel="speed [rad/s]", title="across the levels of the energy found"
)
time.plot(result.time, result.outputs[:, 0], label="cosine of the angle")
time.step(result.time[:-1], result.inputs[:, 0] / 5.0, where="post", label="torque / 5 N m")
time.set(xlabel="time [s]")
time.legend()
plt.show()
