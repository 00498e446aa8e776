"""One step of the network as C
============================

CasADi generates it, gcc compiles it, and it agrees with NumPy along a free run.
"""

import subprocess
import tempfile
from pathlib import Path

import casadi
import gymnasium
import matplotlib.pyplot as plt
import numpy as np

from koopctrl import KoopmanRNN, collect

env = gymnasium.make("koopctrl_envs:koopctrl/VanDerPol-v0")
model = KoopmanRNN(100, random_state=0).fit(collect(env, n_episodes=20, seed=0))

with tempfile.TemporaryDirectory() as folder:
    generator = casadi.CodeGenerator("step.c")
    generator.add(model.to_casadi())
    generator.generate(f"{folder}/")
    source, library = Path(folder, "step.c"), Path(folder, "step.so")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", source, "-o", library, "-lm"], check=True)
    compiled = casadi.external("koopman_rnn", str(library))
    x, u = np.array([0.5, -1.0]), np.array([0.7])
    difference = np.abs(compiled(x, u).full().ravel() - model.network_.step(x, u)).max()
    steps = {"NumPy": model.network_.step, "C": lambda x, u: compiled(x, u).full().ravel()}
    runs = {}
    for name, step in steps.items():
        states = [np.array([0.1, 0.0])]
        for _ in range(150):
            states.append(step(states[-1], np.zeros(1)))
        runs[name] = np.array(states)

print(f"C and NumPy differ by {difference:.1e}")

figure, axis = plt.subplots(figsize=(7.0, 3.0), layout="constrained")
axis.plot(runs["NumPy"][:, 0], runs["NumPy"][:, 1], lw=3, alpha=0.5, label="NumPy")
axis.plot(runs["C"][:, 0], runs["C"][:, 1], "--", lw=1.2, label="generated C")
axis.set(xlabel="x1", ylabel="x2", title="Onto the limit cycle, in both languages")
axis.legend()
plt.show()
