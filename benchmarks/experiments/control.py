"""Identify and control: the same NMPC on models that were learned from the same records.

Plants and records are those of `benchmarks/closed_loop.py` and `benchmarks/unseen_plants.py` with their
states measured. `NMPC` (multiple shooting, CasADi, IPOPT) predicts with the true plant, with `KoopmanRNN`
at its defaults, with least-squares DMDc, and with an LSTM or a GRU written out in CasADi, whose state is
the plant's and the network's own, `[x; h]`. Costs are on the true plant, over those of NMPC that knows
it; beside them `RNNMPC`, which is what koopctrl's users take.

    python -m benchmarks.experiments.control --tasks van_der_pol duffing two_tanks --seeds 1
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import _common as common
import casadi
import numpy as np
from _plants import Task, make_tasks
from _true_nmpc import TrueNMPC, Watched, closed_loop, cost
from _unseen import make_unseen_tasks

from benchmarks.experiments.cell import timed
from benchmarks.experiments.models.contender import Info
from benchmarks.experiments.models.gradient import Trained, recurrent
from benchmarks.experiments.models.linear import dmdc
from benchmarks.experiments.problem import Array
from koopctrl import KoopmanRNN, Trajectories
from koopctrl.controllers import NMPC, RNNMPC

HIDDEN = 16
TASKS = ("van_der_pol", "duffing", "two_tanks", "pendulum")


def cell_step(net: Trained, y: Any, u: Any, state: Any) -> tuple[Any, Any]:
    """Next output and hidden state of a trained cell, on CasADi expressions or numbers of `(n,)` columns.

    `state` is `h` of a GRU, `[h; c]` of an LSTM, as torch defines them.
    """
    w_x, w_h, b_x, b_h = (getattr(net.body, n).detach().double().numpy() for n in NAMES)
    v = casadi.vertcat((y - net.of_y.mean) / net.of_y.scale, (u - net.of_u.mean) / net.of_u.scale)
    n = w_h.shape[1]
    h = state[:n]
    a, b = casadi.mtimes(w_x, v) + b_x, casadi.mtimes(w_h, h) + b_h
    parts = [(a[i * n : (i + 1) * n], b[i * n : (i + 1) * n]) for i in range(w_h.shape[0] // n)]
    if len(parts) == 3:
        r, z = (_sigmoid(p + q) for p, q in parts[:2])
        new = casadi.tanh(parts[2][0] + r * parts[2][1])
        h = after = (1.0 - z) * new + z * h
    else:
        i, f, g, o = (p + q for p, q in parts)
        memory = _sigmoid(f) * state[n:] + _sigmoid(i) * casadi.tanh(g)
        h = _sigmoid(o) * casadi.tanh(memory)
        after = casadi.vertcat(h, memory)
    w, b = (p.detach().double().numpy() for p in (net.head.weight, net.head.bias))
    return y + net.of_y.scale * (casadi.mtimes(w, h) + b), after


NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def _sigmoid(x: Any) -> Any:
    return 0.5 * (1.0 + casadi.tanh(0.5 * x))


class Learned:
    """NMPC whose model has a memory beside the measured state, carried along with the loop."""

    def __init__(self, task: Task, step: Callable[[Any, Any, Any], tuple[Any, Any]], n_memory: int) -> None:
        n_x, n = task.n_x, task.n_x + n_memory
        self.dt, self.horizon, self.info = task.dt, task.horizon, None
        s, u = casadi.SX.sym("s", n), casadi.SX.sym("u", task.n_u)
        y, memory = step(s[:n_x], u, s[n_x:])
        self._f = casadi.Function("f", [s, u], [casadi.vertcat(y, memory)])
        self._memory, self._n_x, self._start = np.zeros(n_memory), n_x, n_memory
        held = np.atleast_1d(task.input_reference("", "plain"))
        same = {k: getattr(task, k) for k in ("dt", "horizon", "Q", "R", "P", "u_min", "u_max")}
        self._nmpc = NMPC(
            self._f, n, task.n_u, output=lambda x, xp=casadi: task.output(x[:n_x], xp),
            to_state=lambda measured: np.concatenate([measured, self._memory]), u_reference=held, **same,
        )  # fmt: skip

    def reset(self) -> None:
        """Forget plan and memory."""
        self._memory = np.zeros(self._start)
        self._nmpc.reset()

    def control(self, measurement: Any, reference: Any = None) -> Array:
        """Input at this sample; the memory moves on with it."""
        u = self._nmpc.control(measurement, reference)
        self.info = self._nmpc.info
        state = np.concatenate([np.asarray(measurement, dtype=float), self._memory])
        self._memory = np.asarray(self._f(state, u)).ravel()[self._n_x :]
        return u


def models(task: Task, data: Trajectories, seed: int) -> Iterator[tuple[str, Any, float]]:
    """Names, controllers and the seconds their models took, one after another."""
    model, seconds = timed(lambda: KoopmanRNN(random_state=seed, **task.network).fit(data))
    f = model.to_casadi()
    yield "KoopmanRNN", Learned(task, lambda x, u, h: (f(x, u), h), 0), seconds
    size = {k: getattr(task, k) for k in ("horizon", "Q", "R", "u_min", "u_max")}
    held = np.atleast_1d(task.input_reference("", "plain"))
    yield "KoopmanRNN, RNNMPC", Told(RNNMPC(model, **size), held), seconds
    a, b, c, seconds = affine(data)
    yield "DMDc", Learned(task, lambda x, u, h: (a @ x + b @ u + c, h), 0), seconds
    if importlib.util.find_spec("torch") is None:
        return
    for name in ("GRU", "LSTM"):
        info = Info(10, 50, "forced", smoke=False)
        settings = {"hidden": HIDDEN, "layers": 1, "rate": 5e-3, "form": "fed", "kept": True}
        _, seconds = timed(lambda n=name, i=info, s=settings: recurrent(data, s, seed, i, n))
        net = info.left["network"]
        n_memory = HIDDEN * (2 if name == "LSTM" else 1)
        yield name, Learned(task, lambda x, u, h, t=net: cell_step(t, x, u, h), n_memory), seconds


class Told:
    """A controller that is told the input of the set-point too."""

    def __init__(self, controller: Any, held: Array) -> None:
        self._controller, self._held = controller, held
        self.dt, self.horizon = controller.dt, controller.horizon

    def reset(self) -> None:
        """Forget all."""
        self._controller.reset()

    @property
    def info(self) -> Any:
        """Of the last step."""
        return self._controller.info

    def control(self, measurement: Any, reference: Any = None) -> Array:
        """Input at this sample."""
        return self._controller.control(measurement, reference, input_reference=self._held)


def affine(data: Trajectories) -> tuple[Array, Array, Array, float]:
    """`x+ = A x + B u + c` of DMDc, read off its steps from unit vectors."""
    predict, seconds = timed(lambda: dmdc(data, {"delays": 1, "cut": 1e-10}, 0, Info(1, 10, "forced", False)))
    n, m = data.n_y, data.n_u
    x, u = np.zeros((n + m + 1, 2, n)), np.zeros((n + m + 1, 1, m))
    x[1 : n + 1, 0], u[n + 1 :, 0] = np.eye(n), np.eye(m)
    ends = np.stack([r[1] for r in predict(Trajectories.from_arrays(x, u, dt=data.dt), 1)])
    return (ends[1 : n + 1] - ends[0]).T, (ends[n + 1 :] - ends[0]).T, ends[0], seconds


def run(task: Task, controller: Any, env: Any, n_starts: int) -> float:
    """Cost over the first starts; infinite where the plant fails."""
    return sum(cost(task, closed_loop(task, env, controller, x0)) for x0 in task.starts[:n_starts])


def main() -> None:
    """All tasks, models and seeds."""
    p = common.parser(__doc__, seeds=1)
    p.add_argument("--tasks", nargs="+", default=list(TASKS))
    p.add_argument("--starts", type=int, default=1, help="of each task (default %(default)s)")
    args = p.parse_args()
    args.threads = 1
    warnings.simplefilter("ignore")
    tasks = {**make_tasks(), **make_unseen_tasks()}
    figures: dict[str, Any] = common.earlier(args, "experiment_control")
    with common.threads(1):
        for name in args.tasks:
            task = tasks[name]
            env = Watched(task.env("plain"))
            best, seconds = timed(lambda t=task, e=env: run(t, TrueNMPC(t, e), e, args.starts))
            rows: dict[str, list[dict[str, float]]] = {}
            for seed in range(args.seeds):
                data = task.sample(np.random.default_rng(1000 + seed))
                for label, controller, fit_s in models(task, data, seed):
                    spent, loop_s = timed(lambda c=controller, t=task, e=env: run(t, c, e, args.starts))
                    row = {"cost_ratio": spent / best, "fit_s": fit_s, "loop_s": loop_s}
                    rows.setdefault(label, []).append(row)
                    print(f"{name:20} {label:20} seed {seed}", row, flush=True)
                    figures[name] = {
                        "true_cost": best, "true_loop_s": seconds, "starts": args.starts, "models": rows
                    }  # fmt: skip
                    common.write(args, "experiment_control", figures)


if __name__ == "__main__":
    main()
