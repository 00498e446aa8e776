"""A reactor whose reaction speeds up
==================================

A measured parameter enters a model: control of an unstable reactor while its activation temperature drifts.
"""

import matplotlib.pyplot as plt
import numpy as np

from koopctrl import RNNMPC, KoopmanRNN, Trajectories, run_closed_loop
from koopctrl_envs import CSTREnv
from koopctrl_envs.cstr import CSTR
from koopctrl_envs.wrappers import ParameterDrift

rng, outputs, inputs = np.random.default_rng(0), [], []
for _ in range(20):
    drift = np.interp(np.arange(80), [0, 40, 80], rng.uniform(8650.0, 8850.0, 3))
    goal = np.interp(np.arange(80), [0, 40, 80], rng.uniform(342.0, 358.0, 3))
    shaken = np.repeat(rng.uniform(-10.0, 10.0, 20), 4)
    x, u = [CSTR().steady_state([np.nan, goal[0]])[0]], np.empty((80, 1))
    for k in range(80):
        u[k] = np.clip(300.0 - 6.0 * (x[-1][1] - goal[k]) + shaken[k], 270.0, 320.0)
        x.append(np.asarray(CSTR(E_R=drift[k]).step(x[-1], u[k])))
    outputs.append(np.array(x))
    inputs.append(np.column_stack([u, drift]))
names = {"output_names": ["CA", "T"], "dt": CSTR().dt}
told = Trajectories.from_arrays(outputs, inputs, input_names=["Tc", "E_R"], **names)
untold = Trajectories.from_arrays(outputs, [u[:, :1] for u in inputs], input_names=["Tc"], **names)

options = {"horizon": 20, "Q": [0.0, 0.01], "R": 1e-4, "u_min": 270.0, "u_max": 320.0}
controllers = {
    "fixed": RNNMPC(KoopmanRNN(random_state=0).fit(untold), **options),
    "fixed, offset-free": RNNMPC(KoopmanRNN(random_state=0).fit(untold), offset_free=0.3, **options),
    "parameter-varying": RNNMPC(KoopmanRNN(parameters=["E_R"], random_state=0).fit(told), **options),
}
n = 140
activation = 8750.0 + 90.0 * np.sin(2.0 * np.pi * np.arange(n + 25) / 90.0)
figure, (top, bottom) = plt.subplots(
    2, 1, figsize=(8.0, 4.4), sharex=True, height_ratios=[3, 1], layout="constrained"
)
for name, controller in controllers.items():
    env = ParameterDrift(CSTREnv(), {"E_R": activation[:n, None]})
    scheduled = activation[:, None] if name == "parameter-varying" else None
    result = run_closed_loop(
        env, controller, n, reference=[0.5, 350.0], disturbance=scheduled, preview=scheduled is not None,
        x0=[0.5, 350.0],
    )  # fmt: skip
    off = result.outputs[:, 1] - 350.0
    print(f"{name:20} {np.sqrt(np.mean(off**2)):.3f} K off, root mean square")
    top.plot(result.time / 60.0, result.outputs[:, 1], label=name)
top.axhline(350.0, color="0.6", lw=0.8)
top.set(ylabel="temperature [K]")
top.legend()
bottom.plot(controller.dt * np.arange(n) / 60.0, activation[:n], "0.3")
bottom.set(xlabel="time [min]", ylabel="E / R [K]")
plt.show()
