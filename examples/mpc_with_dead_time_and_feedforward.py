"""A known dead time and a measured disturbance
============================================

Both are told to the controller; so is what comes.
"""

import matplotlib.pyplot as plt
import numpy as np

from koopctrl import KoopmanRNN, LinearMPC, Trajectories, run_closed_loop

DELAY = 6


class Dryer:
    """Hot air takes six samples to reach the sensor; the ambient temperature acts at once."""

    dt = 0.5

    def reset(self, *, seed=None, options=None):
        self.y, self.pipe = 0.0, [0.0] * DELAY
        return np.array([self.y]), {}

    def step(self, action):
        heater, ambient = action
        self.pipe.append(heater)
        self.y = 0.9 * self.y + 0.15 * np.tanh(self.pipe.pop(0)) + 0.05 * ambient
        return np.array([self.y]), 0.0, False, False, {}


# A record, with the heater's column moved by the dead time: what remains has none.
plant, rng = Dryer(), np.random.default_rng(0)
inputs = np.repeat(rng.uniform([-1.5, -2.0], [1.5, 2.0], (120, 2)), 5, axis=0)
outputs = np.array([plant.reset()[0], *(plant.step(u)[0] for u in inputs)])
acting = np.column_stack([inputs[:-DELAY, 0], inputs[DELAY:, 1]])
record = Trajectories.from_arrays(outputs[DELAY:], acting, dt=0.5, input_names=["heater", "ambient"])
lifted = KoopmanRNN(30, input_coupling="network", random_state=0).fit(record).lift_at(x_op=0.0, u_op=0.0)

cold = np.where(np.arange(100) < 40, 0.0, -1.0)[:, None]
cases = {"the ambient": (0, False), "and the dead time": (DELAY, False), "and what comes": (DELAY, True)}
runs = {}
for name, (delay, preview) in cases.items():
    options = {"u_min": -1.5, "u_max": 1.5, "measured_disturbances": ["ambient"], "input_delay": delay}
    mpc = LinearMPC(lifted, 20, Q=1.0, R=0.01, offset_free=0.3, **options)
    run = run_closed_loop(plant, mpc, 100, [0.5], disturbance=cold, preview=preview)
    runs[name] = run
    error = np.abs(run.outputs[30:, 0] - 0.5)
    print(f"told of {name:17s} mean error {error.mean():.4f}, largest {error.max():.3f}")

figure, axis = plt.subplots(figsize=(7.0, 3.0), layout="constrained")
for name, run in runs.items():
    axis.plot(run.time, run.outputs[:, 0], label=f"told of {name}")
axis.axhline(0.5, color="0.4", ls=":", lw=1.0)
axis.set(xlabel="time [s]", ylabel="temperature", title="It gets cold after 20 s")
axis.legend()
plt.show()
