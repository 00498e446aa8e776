"""Burgers' equation from its ten sensors, tracking the speed 0.5 everywhere, then 1.0, then 0.5 again.

Costs are those of the true plant over that of LinearMPC on the plant's own linearisation at 0.5, which sees
the whole profile. The others see ten sensors, and records of them as in `pipeline.py`; weights are the env's,
and nobody is told of a change of set-point ahead. With `noise`, of 1 % of the range in which speeds start, on
records and sensors (and on every point of the profile that the linearisation sees), they have their filters
with default covariances.

    python benchmarks/burgers_tracking.py [--seeds N] [--conditions plain noise]
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import _common as c
import numpy as np

from koopctrl import ExtendedKalmanFilter, KalmanFilter, LiftedModel, LinearMPC, bench
from koopctrl.benchmark.case import Case
from koopctrl.controllers import RNNMPC
from koopctrl_envs.tasks import Task, make_tasks
from koopctrl_envs.wrappers import MeasurementNoise

LEVELS, HOLD, HORIZON = (0.5, 1.0, 0.5), 60, 20
NOISE = 0.01
OWN = "LinearMPC, plant's linearisation, whole profile"
CONDITIONS = ("plain", "noise")


def tracking_task() -> Task:
    """From the speed 0.5 everywhere, and from a wave of the source's, through all levels."""
    usual = make_tasks("Burgers")["setpoints"]
    levels = np.repeat(LEVELS, HOLD)
    rows = np.append(levels, levels[-1])[:, None] * np.ones(usual.plant.n_y)
    profile: Any = usual.plant
    return replace(
        usual, name="profile", description="A speed everywhere, then another.", horizon=HORIZON,
        starts=np.array([np.full(usual.plant.n_x, LEVELS[0]), profile.profile(0.2)]),
        references=rows, input_references=np.zeros((len(levels), 2)),
        y_min=np.full(usual.plant.n_y, -np.inf), y_max=np.full(usual.plant.n_y, np.inf),
    )  # fmt: skip


class OwnLinearisation:
    """LinearMPC on the plant's derivatives at the first level; it sees the state, with noise if there is."""

    def __init__(self, case: Case, noise: float) -> None:
        plant = case.task.plant
        x_op, u_op = plant.equilibria[0], plant.equilibrium_inputs[0]
        A, B = plant.jacobians(x_op, u_op, dt=case.dt)
        C = plant.output_jacobian(x_op)
        model = LiftedModel.from_matrices(A, B, C, dt=case.dt)
        filtered = {"estimator": KalmanFilter(model, 1e-6, noise**2)} if noise else {}
        self._mpc = LinearMPC(
            model, case.horizon, case.Q, case.R, u_min=case.u_min, u_max=case.u_max, **filtered
        )
        self._x_op, self._y_op, self._C = x_op, plant.output(x_op), C
        self._env, self._noise, self._seed = case.env.unwrapped, noise, case.seed
        self.dt, self.horizon = case.dt, case.horizon
        self.reset()

    @property
    def info(self) -> Any:
        """Status."""
        return self._mpc.info

    def reset(self) -> None:
        """Forget."""
        self._mpc.reset()
        self._rng = np.random.default_rng(self._seed)

    def control(self, measurement: Any, reference: Any = None) -> np.ndarray:
        """Input."""
        x = self._env.state - self._x_op
        if self._noise:
            x = self._C @ (x + self._noise * self._rng.normal(size=x.shape))
        return self._mpc.control(x, np.asarray(reference) - self._y_op)


def _lift(case: Case) -> LiftedModel:
    return case.model.lift_at(case.x_rest, case.u_rest, horizon=case.horizon, Q=case.Q, R=case.R)


def _linear(lifted: LiftedModel, case: Case, noisy: bool) -> LinearMPC:
    filtered = {"estimator": KalmanFilter(lifted)} if noisy else {}
    return LinearMPC(lifted, case.horizon, case.Q, case.R, u_min=case.u_min, u_max=case.u_max, **filtered)


def makers(noisy: bool) -> dict[str, Any]:
    """Makers of all controllers."""
    noise = NOISE * 1.2 if noisy else 0.0

    def rnn(case: Case) -> RNNMPC:
        filtered = {"estimator": ExtendedKalmanFilter(case.model)} if noisy else {}
        return RNNMPC(
            case.model, case.horizon, case.Q, case.R, u_min=case.u_min, u_max=case.u_max, **filtered
        )

    def dmdc(case: Case) -> LinearMPC:
        return _linear(case.model.lift_at(case.x_rest, case.u_rest, method="linear"), case, noisy)

    return {
        "RNNMPC": rnn,
        "LinearMPC, chosen lift": lambda case: _linear(_lift(case), case, noisy),
        "LinearMPC, DMDc": dmdc,
        OWN: partial(OwnLinearisation, noise=noise),
    }


def main() -> None:
    """Run."""
    warnings.simplefilter("ignore")
    p = c.parser(__doc__, seeds=3)
    p.set_defaults(threads=1)
    p.add_argument("--conditions", nargs="+", default=list(CONDITIONS), choices=CONDITIONS)
    args = p.parse_args()
    figures, task = c.earlier(args, "burgers_tracking"), tracking_task()
    with c.threads(args.threads):
        for condition in args.conditions:
            noisy = condition == "noise"
            std = np.full(task.plant.n_y, NOISE * 1.2)
            wrappers = [partial(MeasurementNoise, std=std)] if noisy else []
            result = bench(makers(noisy), tasks=[task], seeds=range(args.seeds), wrappers=wrappers)
            costs = {name: [r.cost for r in result.runs if r.controller == name] for name in makers(noisy)}
            ratios = {k: [a / b for a, b in zip(v, costs[OWN], strict=True)] for k, v in costs.items()}
            figures[condition] = {
                k: {
                    "cost": costs[k], "ratio": ratios[k],
                    "final_error": [final_error(r) for r in result.runs if r.controller == k],
                    "messages": [r.message for r in result.runs if r.controller == k],
                }
                for k in costs
            }  # fmt: skip
            rows = [
                [
                    k,
                    float(np.median(f["cost"])),
                    float(np.median(f["ratio"])),
                    max(f["ratio"]),
                    max(f["final_error"]),
                ]
                for k, f in figures[condition].items()
            ]
            c.print_table(condition, ["", "cost", "over own", "worst", "largest error at ends"], rows)
            c.write(args, "burgers_tracking", figures)


def final_error(run: Any) -> float:
    """Largest distance of a noise-free sensor from its set-point in the last ten samples of a level."""
    found = []
    for result in run.results:
        y = tracking_task().plant.output(result.states)
        ends = [slice(k - 10, k) for k in range(HOLD, len(y) + 1, HOLD)]
        found += [np.abs(y[e] - result.references[e]).max() for e in ends]
    return float(max(found, default=np.inf))


if __name__ == "__main__":
    main()
