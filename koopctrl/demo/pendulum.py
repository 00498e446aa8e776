"""First part: a pendulum is swung up by a controller that knows it from random pushes alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter

from koopctrl import excitation
from koopctrl._validation import FloatArray
from koopctrl.controllers import RNNMPC, LinearMPC, run_closed_loop
from koopctrl.data.collect import collect
from koopctrl.demo.part import Part
from koopctrl.errors import DesignWarning
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.plotting import plot_closed_loops

PLANT = "koopctrl_envs:koopctrl/Pendulum-v0"
UPRIGHT = [1.0, 0.0, 0.0]  # cosine and sine of the angle, speed
HANGING = [np.pi, 0.0]
STEPS = 100
HORIZON = 40
Q, R = np.diag([10.0, 10.0, 0.1]), np.array([[0.01]])


def swing_up(out: Path, progress: Callable[[str], None]) -> tuple[Part, RNNMPC]:
    """Collect, fit, and swing up with a nonlinear and a linear controller.

    Parameters
    ----------
    out : Path
        Existing folder for pictures.
    progress : callable
        Told what is being done.

    Returns
    -------
    part : Part
    mpc : RNNMPC
        The controller, for the next part.
    """
    env = gymnasium.make(PLANT, max_episode_steps=200)
    plant: Any = env.unwrapped.plant  # type: ignore[attr-defined]
    progress("pendulum: pushing it about at random for 450 s")
    pushes = excitation.ExcitationPolicy(excitation.multilevel, plant.u_min, plant.u_max, hold=(1, 5), seed=0)
    data = collect(env, pushes, n_episodes=60, seed=0, max_steps=150)
    progress("pendulum: fitting 300 neurons, one least-squares solve")
    model = KoopmanRNN(300, random_state=0).fit(data)
    progress("pendulum: designing two controllers")
    bounds = {"u_min": plant.u_min, "u_max": plant.u_max}
    mpc = RNNMPC(model, HORIZON, Q, R, terminal="none", **bounds)
    lifted = model.lift_at(UPRIGHT, 0.0, horizon=HORIZON, Q=Q, R=R)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DesignWarning)  # that it falls short is what is shown
        linear = LinearMPC(lifted, HORIZON, Q, R, **bounds)
    results = {}
    for name, controller in (("RNNMPC", mpc), ("LinearMPC", linear)):
        progress(f"pendulum: swinging it up with {name}")
        results[name] = run_closed_loop(env, controller, STEPS, UPRIGHT, x0=HANGING, Q=Q, R=R)
    rows = []
    for name, result in results.items():
        tilt = np.degrees(np.abs(np.arctan2(result.outputs[:, 1], result.outputs[:, 0])))
        away = np.flatnonzero(tilt > 10.0)
        up = "never" if away[-1] == STEPS else f"{result.time[away[-1] + 1]:.2f} s"
        rows.append(
            {
                "controller": name,
                "upright after": up,
                "tilt at the end, deg": float(tilt[-1]),
                "largest torque, N m": float(np.abs(result.inputs).max()),
            }
        )
    progress("pendulum: drawing")
    _strip(env, results["RNNMPC"].inputs, out / "pendulum-strip.png", out / "pendulum.gif")
    figure = plot_closed_loops(results, title="Pendulum swing-up: cosine, sine, speed, torque")
    figure.savefig(out / "pendulum-signals.png", dpi=150)
    plt.close(figure)
    finding = (
        "The motor is too weak to lift the pendulum at once. The controller on the learned network finds by "
        "itself that it has to swing back first; one linear model for all angles does not."
    )
    files = {
        "pendulum.gif": "the swing-up, as it moves",
        "pendulum-strip.png": "the same in eight pictures",
        "pendulum-signals.png": "angle, speed and torque under both controllers",
    }
    return Part("Pendulum, swung up with a model learned from random pushes", rows, finding, files), mpc


def _strip(env: Any, inputs: FloatArray, strip: Path, animation: Path) -> None:
    """Replay inputs, and draw the pendulum at each sample: in one picture, and moving."""
    env.reset(seed=0, options={"x0": np.array(HANGING)})
    angles = [HANGING[0]]
    for u in inputs:
        angles.append(float(env.step(u)[4]["x"][0]))
    chosen = np.linspace(0, len(inputs) * 0.6, 8).astype(int)
    figure, axes = plt.subplots(1, len(chosen), figsize=(7.0, 1.35), layout="constrained")
    dt = env.unwrapped.plant.dt
    for axis, k in zip(axes, chosen, strict=True):
        _rod(axis, angles[k])
        axis.set_title(f"{k * dt:.1f} s", fontsize="small")
    figure.savefig(strip, dpi=150)
    plt.close(figure)
    figure, axis = plt.subplots(figsize=(2.6, 2.6), layout="constrained")
    rod = _rod(axis, angles[0])
    title = axis.set_title("0.00 s", fontsize="small")

    def draw(k: int) -> Any:
        rod.set_data([0.0, np.sin(angles[k])], [0.0, np.cos(angles[k])])
        title.set_text(f"{k * dt:.2f} s")
        return rod, title

    FuncAnimation(figure, draw, frames=len(angles)).save(animation, writer=PillowWriter(fps=round(1 / dt)))
    plt.close(figure)


def _rod(axis: Any, angle: float) -> Any:
    """A rod with a weight, 0 is upright."""
    axis.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
    axis.axis("off")
    (rod,) = axis.plot(
        [0.0, np.sin(angle)], [0.0, np.cos(angle)], "o-", color="C0", lw=3.0, ms=9, markevery=[1]
    )
    axis.plot([0.0], [0.0], "o", color="0.3", ms=4)
    return rod
