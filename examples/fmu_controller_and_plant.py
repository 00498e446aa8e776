"""A controller and its plant as FMUs
==================================

Both are written, imported by fmpy, which knows nothing of the objects they were, and connected by the names
of their signals. Without fmpy the loop is closed in Python alone.
"""

import importlib.util
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from koopctrl import RNNMPC, KoopmanRNN, Trajectories

# A tank that empties through an orifice, from a record of it.
rng = np.random.default_rng(0)
flow = np.repeat(rng.uniform(0.0, 1.0, (40, 25, 1)), 4, axis=1)
level = np.empty((40, 101, 1))
level[:, 0] = rng.uniform(0.2, 2.0, (40, 1))
for k in range(100):
    level[:, k + 1] = level[:, k] + 0.1 * (flow[:, k] - 0.5 * np.sqrt(level[:, k]))
data = Trajectories.from_arrays(level, flow, dt=0.1, state_names=["level"], input_names=["flow"])
model = KoopmanRNN(30, random_state=0).fit(data)
mpc = RNNMPC(model, 15, Q=1.0, R=0.01, u_min=0.0, u_max=1.0)

folder = Path(tempfile.mkdtemp())
controller = mpc.to_fmu(folder / "controller.fmu", units={"level": "m", "flow": "m3/s"})
plant = model.to_fmu(folder / "plant.fmu", x0=[0.5], units={"level": "m"})
print(f"{controller.path.name}: {', '.join(controller.inputs)} -> {', '.join(controller.outputs)}")

set_points = np.where(np.arange(120) < 50, 1.5, 0.8)


def in_python():
    """The loop on the same network."""
    x, path = np.array([0.5]), []
    for r in set_points:
        path.append(x[0])
        x = model.simulate(x, mpc.control(x, [r])[None])[1]
    return np.array(path)


def imported(made, **start):
    """An instance of an FMU, and its variables by name."""
    import fmpy
    from fmpy.fmi3 import FMU3Slave

    description = fmpy.read_model_description(str(made.path))
    unit = FMU3Slave(
        guid=description.guid, unzipDirectory=fmpy.extract(str(made.path)), instanceName=made.name,
        modelIdentifier=made.name,
    )  # fmt: skip
    unit.instantiate()
    unit.enterInitializationMode()
    unit.exitInitializationMode()
    return unit, {v.name: [v.valueReference] for v in description.modelVariables}


def with_fmus():
    """The master: the controller answers at a sample, then the plant moves on."""
    (ctl, c), (tank, p) = imported(controller), imported(plant)
    path = []
    for k, r in enumerate(set_points):
        now = tank.getFloat64(p["level"])
        path.append(now[0])
        ctl.setFloat64(c["level"], now)
        ctl.setFloat64(c["r_level"], [r])
        ctl.doStep(currentCommunicationPoint=0.1 * k, communicationStepSize=0.1)
        tank.setFloat64(p["flow"], ctl.getFloat64(c["flow"]))
        tank.doStep(currentCommunicationPoint=0.1 * k, communicationStepSize=0.1)
    for unit in (ctl, tank):
        unit.terminate()
        unit.freeInstance()
    return np.array(path)


runs = {"Python": in_python()}
if importlib.util.find_spec("fmpy"):
    runs["two FMUs"] = with_fmus()
    print(f"levels differ by {np.abs(runs['two FMUs'] - runs['Python']).max():.0e} at most")
else:
    print("fmpy is not installed (pip install koopctrl[deploy]): the loop is closed in Python alone")

figure, axis = plt.subplots(figsize=(7.0, 3.0), layout="constrained")
time = 0.1 * np.arange(120)
axis.plot(time, set_points, "k--", lw=1, label="set-point")
for style, (name, path) in zip(("-", ":"), runs.items(), strict=False):
    axis.plot(time, path, style, lw=2, label=name)
axis.set(xlabel="time in s", ylabel="level in m")
axis.legend()
plt.show()
