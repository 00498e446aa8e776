"""One step of the network as C: CasADi generates it, gcc compiles it, and it agrees with NumPy."""

import subprocess
import tempfile
from pathlib import Path

import casadi
import gymnasium
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

print(f"C and NumPy differ by {difference:.1e}")
