"""The yardstick: NMPC that knows the plant, its state, and every load and drift."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.benchmark.case import Case
from koopctrl.controllers.mpc.true_model import NMPC

_SMALL = 10
"""States up to which the step is one graph of scalars: evaluated twice as fast, and built more slowly."""


class TrueModelNMPC:
    """NMPC on a task with all that can be known of it.

    It sees the true state, the loads and input references from now on, and the plant's parameters as they
    are now; references are shown to it as to any other controller. A parameter that drifts has an NMPC for
    each of its values, and plans are handed over.

    Parameters
    ----------
    case : Case
    solver : {"ipopt", "sqpmethod"}
    """

    def __init__(self, case: Case, solver: str = "ipopt") -> None:
        task = case.task
        self.dt, self.horizon, self.info = task.dt, task.horizon, None
        self._task, self._env = task, case.env.unwrapped
        names = sorted(task.drifts)
        rows = np.array([task.drifts[name] for name in names]).reshape(len(names), task.n_steps).T
        values, which = np.unique(rows, axis=0, return_inverse=True)
        self._which = which.ravel()
        self._members = [self._member(dict(zip(names, row.tolist(), strict=True)), solver) for row in values]
        self.reset()

    def _member(self, parameters: dict[str, float], solver: str) -> NMPC:
        task = self._task
        plant = replace(task.plant, **parameters)
        step = plant.to_casadi()
        if plant.n_x <= _SMALL:
            step = step.expand()
        return NMPC(
            step, plant.n_x, plant.n_u, task.horizon, task.Q, task.R, dt=task.dt,
            u_min=plant.u_min, u_max=plant.u_max, x_min=plant.x_min, x_max=plant.x_max,
            output=plant.output_components, to_state=lambda _y: self.state, solver=solver,
        )  # fmt: skip

    @property
    def state(self) -> FloatArray:
        """State to plan from, `(n_x,)`: the true one."""
        return self._env.state

    def reset(self) -> None:
        """Forget the last plan and begin the task's clock anew."""
        for member in self._members:
            member.reset()
        self._k, self._last = 0, self._members[0]

    def control(self, measurement: Any, reference: Any = None) -> FloatArray:
        """Input at this sample; the measurement is not needed."""
        task, k = self._task, min(self._k, self._task.n_steps - 1)
        member = self._members[int(self._which[k])]
        if member is not self._last and self._k:
            member.take_over(self._last)
        ahead = task.input_references[k:] if task.preview else task.input_references[k]
        loads = None if task.loads is None else task.loads[k:]
        u = member.control(measurement, reference, ahead, loads)
        self._k, self._last, self.info = self._k + 1, member, member.info
        return u
