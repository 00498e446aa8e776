"""NMPC that knows the plant and sees its state, but is told of no load or mismatch: what telling is worth.

It estimates a constant load on the inputs from each step's error, at a gain, and plans with it. No controller
that has to learn of load and mismatch from what it measures can be expected to do better than this one, whose
model is exact where nothing has changed. Alone it prints its costs over those of NMPC that is told:

    python benchmarks/_untold_nmpc.py [--tasks NAME ..]
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
from typing import Any

import casadi
import numpy as np
from _plants import Array, Task
from _true_nmpc import TrueNMPC, Watched, closed_loop, cost
from _unseen import make_unseen_tasks

_QUIET = {
    "ipopt": {"print_level": 0, "sb": "yes", "tol": 1e-8}, "print_time": False, "error_on_fail": False,
    "show_eval_warnings": False,
}  # fmt: skip
_NEWTON_STEPS = 5


class UntoldNMPC:
    """Multiple shooting on the plant without load or mismatch, with an estimated load on the inputs."""

    def __init__(self, task: Task, env: Any, gain: float = 1.0) -> None:
        self.dt, self.horizon, self.info = task.dt, task.horizon, None
        self._task, self._env, self._gain = task, env, gain
        n_x, n_u, N = task.plant.n_x, task.n_u, task.horizon
        x, u = casadi.SX.sym("x", n_x), casadi.SX.sym("u", n_u)
        next_x = casadi.vertcat(*task.step(casadi.vertsplit(x), casadi.vertsplit(u), xp=casadi))
        self._f = casadi.Function("f", [x, u], [next_x])
        self._moved = casadi.Function("moved", [x, u], [casadi.jacobian(next_x, u)])
        h = casadi.Function("h", [x], [casadi.vertcat(*task.output(casadi.vertsplit(x), xp=casadi))])
        X, U = casadi.MX.sym("X", n_x, N + 1), casadi.MX.sym("U", n_u, N)
        start, load, held = (casadi.MX.sym(name, n) for name, n in (("x0", n_x), ("l", n_u), ("u_r", n_u)))
        r = casadi.MX.sym("r", h.size1_out(0), N)
        gaps, objective, R = [X[:, 0] - start], 0.0, np.eye(n_u) * task.R
        last = task.Q if task.P is None else task.P
        for k in range(N):
            gaps.append(X[:, k + 1] - self._f(X[:, k], U[:, k] + load))
            objective += casadi.bilin(task.Q if k < N - 1 else last, h(X[:, k + 1]) - r[:, k])
            objective += casadi.bilin(R, U[:, k] + load - held)
        problem = {
            "x": casadi.veccat(X, U), "p": casadi.veccat(start, load, held, r), "f": objective,
            "g": casadi.vertcat(*gaps),
        }  # fmt: skip
        self._solve = casadi.nlpsol("solve", "ipopt", problem, _QUIET)
        within = np.full(n_x, np.inf) if task.x_max is None else task.x_max
        # Where it starts is given.
        free = np.concatenate([np.full(n_x, np.inf), np.tile(within, N)])
        self._low = np.concatenate([-free, np.tile(task.u_min, N)])
        self._high = np.concatenate([free, np.tile(task.u_max, N)])
        self.reset()

    def reset(self) -> None:
        """Forget plan and load."""
        self._load, self._guess = np.zeros(self._task.n_u), None
        self._last: tuple[Array, Array] | None = None
        self._held: dict[tuple[float, ...], Array] = {}

    def control(self, measurement: Any, reference: Any = None) -> Array:
        """Input at this sample."""
        task, x, N = self._task, self._env.x, self.horizon
        rows = np.atleast_2d(reference)
        ahead = np.vstack([rows, np.repeat(rows[-1:], N + 1, axis=0)])[min(1, len(rows) - 1) :][:N]
        if self._last is not None:
            self._load = self._load + self._gain * (self._explained(*self._last, x) - self._load)
        key = tuple(rows[0])
        if key not in self._held:
            self._held[key] = np.asarray(task.steady(task.plant, rows[0]), dtype=float)
        held, n_x = self._held[key], task.plant.n_x * (N + 1)
        guess = np.concatenate([np.tile(x, N + 1), np.tile(held, N)]) if self._guess is None else self._guess
        found = self._solve(
            x0=guess, p=np.concatenate([x, self._load, held, ahead.ravel()]), lbx=self._low, ubx=self._high,
            lbg=0.0, ubg=0.0,
        )  # fmt: skip
        w = np.array(found["x"]).ravel()
        self._guess = w if np.isfinite(w).all() else None
        u = w[n_x : n_x + task.n_u] if self._guess is not None else held
        u = np.clip(u, task.u_min, task.u_max)
        self._last = x.copy(), u
        return u

    def _explained(self, x: Array, u: Array, met: Array) -> Array:
        """Load with which a step leads nearest to where it led, by Gauss-Newton steps within a range."""
        load, span = self._load.copy(), np.ptp([self._task.u_min, self._task.u_max], axis=0)
        for _ in range(_NEWTON_STEPS):
            missed = met - np.array(self._f(x, u + load)).ravel()
            moved = np.array(self._moved(x, u + load))
            size = np.maximum(np.abs(moved).max(axis=1), np.finfo(float).tiny)
            load = load + np.linalg.lstsq(moved / size[:, None], missed / size, rcond=None)[0]
        return np.clip(load, self._load - span, self._load + span)


def untold(task: Task, condition: str = "load+mismatch", gain: float = 1.0) -> float:
    """Cost over all starts."""
    env = Watched(task.env(condition))
    controller, total = UntoldNMPC(task, env, gain), 0.0
    for x0 in task.starts:
        controller.reset()
        total += cost(task, closed_loop(task, env, controller, x0), "", condition)
    return total


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    tasks = make_unseen_tasks()
    parser.add_argument("--tasks", nargs="+", default=list(tasks), choices=list(tasks))
    for name in parser.parse_args().tasks:
        task = tasks[name]
        for condition in ("plain", "load+mismatch"):
            env = Watched(task.env(condition))
            told = TrueNMPC(task, env, condition=condition)
            best = sum(cost(task, closed_loop(task, env, told, x0), "", condition) for x0 in task.starts)
            print(f"{name:24s} {condition:14s} {untold(task, condition) / best:.3f}", flush=True)


if __name__ == "__main__":
    main()
