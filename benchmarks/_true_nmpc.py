"""NMPC with the true model on a task: the yardstick, with the input that goes with each set-point.

Alone it runs every task of `_unseen` once and prints costs and final errors:

    python benchmarks/_true_nmpc.py [--tasks NAME ..] [--condition plain|load+mismatch|..] [--figures FOLDER]
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import time
from pathlib import Path
from typing import Any

import casadi
import numpy as np
from _plants import Array, Task
from _unseen import make_unseen_tasks

from koopctrl import run_closed_loop
from koopctrl.controllers import NMPC


class TrueNMPC:
    """NMPC that knows plant, load and state, and takes the input reference of the present set-point.

    `NMPC` has one input reference for good; there is one of them here for each that the scenario has, and a
    change hands the plan over.
    """

    def __init__(self, task: Task, env: Any, scenario: str = "", condition: str = "plain", **options: Any):
        self.dt, self.horizon, self.info = task.dt, task.horizon, None
        rows = np.atleast_2d(task.input_reference(scenario, condition))
        unique, self._which = np.unique(rows, axis=0, return_inverse=True)
        x, u = casadi.SX.sym("x", task.n_x), casadi.SX.sym("u", task.n_u)
        told = task.told(condition)(casadi.vertsplit(x), casadi.vertsplit(u), xp=casadi)
        f = casadi.Function("f", [x, u], [casadi.vertcat(*told)])
        bounds = {} if task.x_max is None else {"x_min": -task.x_max, "x_max": task.x_max}
        same = {k: getattr(task, k) for k in ("dt", "horizon", "Q", "R", "P", "u_min", "u_max")}
        self._members = [
            NMPC(
                f, task.n_x, task.n_u, output=task.output, to_state=lambda y: env.x, u_reference=row,
                **same, **bounds, **options,
            )
            for row in unique
        ]  # fmt: skip
        self.reset()

    def reset(self) -> None:
        """Forget the last plan."""
        for member in self._members:
            member.reset()
        self._k, self._last = 0, self._members[0]

    def control(self, measurement: Any, reference: Any = None) -> Array:
        """Input at this sample."""
        member = self._members[int(self._which.ravel()[min(self._k, self._which.size - 1)])]
        if member is not self._last and self._k:
            member._guess, member._multipliers = self._last._guess, self._last._multipliers
        u = member.control(measurement, reference)
        self._k, self._last, self.info = self._k + 1, member, member.info
        return u


class Watched:
    """A plant that keeps its true state for NMPC to see."""

    def __init__(self, env: Any) -> None:
        self._env, self.dt, self.x = env, env.dt, np.empty(0)

    def reset(self, **options: Any) -> Any:
        """Start."""
        answer = self._env.reset(**options)
        self.x = np.array(answer[1]["x"])
        return answer

    def step(self, action: Any) -> Any:
        """One sample."""
        answer = self._env.step(action)
        self.x = np.array(answer[4]["x"])
        return answer


def closed_loop(task: Task, env: Any, controller: Any, start: Array, scenario: str = "") -> Any:
    """One run of any controller on a task."""
    reference, preview, n_steps = task.scenario(scenario)
    return run_closed_loop(env, controller, n_steps, reference, x0=start, seed=0, preview=preview)


def cost(task: Task, result: Any, scenario: str = "", condition: str = "plain") -> float:
    """`sum (y - r)'Q(y - r) + (u - u_r)'R(u - u_r)` of a run, with noise-free outputs.

    Infinite where the plant failed and ended it early.
    """
    if len(result.inputs) < task.scenario(scenario)[2]:
        return float("inf")
    error = (task.measure(result.states) - result.references)[1:]
    held = task.input_reference(scenario, condition)
    effort = result.inputs - (held if held.ndim == 1 else held[: len(result.inputs)])
    R = np.eye(task.n_u) * task.R
    return float(np.sum((error @ task.Q) * error) + np.sum((effort @ R) * effort))


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    tasks = make_unseen_tasks()
    parser.add_argument("--tasks", nargs="+", default=list(tasks), choices=list(tasks))
    parser.add_argument("--condition", default="plain")
    parser.add_argument("--figures", type=Path)
    args = parser.parse_args()
    for name in args.tasks:
        task = tasks[name]
        env = Watched(task.env(args.condition))
        controller = TrueNMPC(task, env, condition=args.condition)
        for i, start in enumerate(task.starts):
            began = time.perf_counter()
            result = closed_loop(task, env, controller, start)
            taken = time.perf_counter() - began
            final = np.abs(task.measure(result.states)[-1] - result.references[-1]).max()
            bad = sum(s not in ("optimal", "") for s in result.statuses)
            print(
                f"{name:24s} start {i}: cost {cost(task, result, condition=args.condition):10.5g}, final "
                f"error {final:.2g}, {len(result.inputs)} steps in {taken:.1f} s, {bad} unsolved", flush=True,
            )  # fmt: skip
            if args.figures:
                draw(task, result, args.figures / f"{name}_{i}_{args.condition}.png")


def draw(task: Task, result: Any, path: Path) -> None:
    """Outputs over references, and inputs."""
    import matplotlib.pyplot as plt

    y, u = task.measure(result.states), result.inputs
    figure, axes = plt.subplots(2, 1, figsize=(9, 6), sharex=True)
    t = task.dt * np.arange(len(y))
    scale = np.asarray(task.noise) * 100.0
    axes[0].plot(t, y / scale)
    axes[0].set_prop_cycle(None)
    axes[0].plot(t, result.references[: len(y)] / scale, "--", linewidth=0.8)
    axes[0].set_ylabel("outputs over their ranges")
    axes[1].step(t[:-1], u, where="post")
    axes[1].set_ylabel("inputs")
    figure.savefig(path, dpi=70)
    plt.close(figure)


if __name__ == "__main__":
    main()
