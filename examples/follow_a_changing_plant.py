"""A model that follows a changing plant
=====================================

A heat exchanger fouls while the loop runs: the controller's model follows it, pair by pair.
"""

import matplotlib.pyplot as plt
import numpy as np

from koopctrl import RNNMPC, KoopmanRNN, Trajectories

DT, N_STEPS, REMAKE = 1.0, 400, 20


def heater(y, u, gain):
    """Temperature above ambient: losses grow with it, heating saturates."""
    return y + DT * (-0.1 * y - 0.02 * y * abs(y) + gain * np.tanh(u))


def record(gain, n=300, seed=0):
    """An experiment on the plant as it was when new."""
    rng = np.random.default_rng(seed)
    u = np.repeat(rng.uniform(-1.5, 1.5, (n // 5, 1)), 5, axis=0)
    y = np.zeros((n + 1, 1))
    for k in range(n):
        y[k + 1] = heater(y[k], u[k], gain) + 0.005 * rng.normal(size=1)
    return Trajectories.from_arrays(y, u, dt=DT)


def controller(model):
    """RNNMPC on the model as it is now."""
    return RNNMPC(model, 10, Q=1.0, R=0.0, R_rate=0.05, u_min=-1.5, u_max=1.5, offset_free=False)


def run(forgetting):
    """Mean tracking error before, during and after fouling, which halves the gain from sample 100 to 200."""
    model = KoopmanRNN(30, input_coupling="network", random_state=0).fit(record(0.5))
    mpc, rng = controller(model), np.random.default_rng(1)
    reference = np.where(np.arange(N_STEPS) // 25 % 2, 1.0, 0.4)
    y, before, u, errors = np.zeros(1), np.zeros(1), np.zeros(1), []
    for k in range(N_STEPS):
        gain = np.interp(k, [100, 200], [0.5, 0.25])
        measured = y + 0.005 * rng.normal(size=1)
        if forgetting and k:
            pair = Trajectories.from_arrays(np.stack([before, measured]), u[None], dt=DT)
            model.partial_fit(pair, forgetting=forgetting)
            if k % REMAKE == 0:
                mpc = controller(model)
        u = np.atleast_1d(mpc.control(measured, reference=reference[k : k + 1]))
        errors.append(abs(y[0] - reference[k]))
        before, y = measured, heater(y, u, gain)
    e = np.array(errors)
    return [float(e[part].mean()) for part in (slice(0, 100), slice(100, 200), slice(200, None))]


figure, axis = plt.subplots(figsize=(7.0, 3.0), layout="constrained")
for i, (name, forgetting) in enumerate((("as identified", None), ("following, 0.98", 0.98))):
    new, fouling, fouled = run(forgetting)
    axis.bar(np.arange(3) + 0.4 * i, [new, fouling, fouled], 0.35, label=f"model {name}")
    print(f"model {name:15s} mean error new {new:.3f}, fouling {fouling:.3f}, fouled {fouled:.3f}")

axis.set_xticks([0.2, 1.2, 2.2], ["new", "fouling", "fouled"])
axis.set(ylabel="mean tracking error", title="What following the plant is worth")
axis.legend()
plt.show()
