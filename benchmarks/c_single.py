"""Generated C in single precision beside double, in closed loop on the plants, and what both take on a
Cortex-M4.

Every task of the closed-loop benchmarks (`_plants`, `_unseen`): a network and its lifted model are identified
from one seed, `RNNMPC` and `LinearMPC` are written as C with doubles and with floats, and both close the loop
with the true plant from the same starts. `outputs` and `inputs` are the largest difference at any sample over
the range of the signal in the loop in double precision; `cost` is the ratio of the costs. `kkt` is the
largest
certified bound on the error of an answer in floats. Flash and memory are of the sources compiled for a
Cortex-M4 with
`arm-none-eabi-gcc -O2` where that is there.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import _common as c
import numpy as np
from _plants import Task, make_tasks
from _unseen import make_unseen_tasks

from koopctrl import RNNMPC, KoopmanRNN, LinearMPC, run_closed_loop
from koopctrl.errors import KoopctrlError, OptionError
from koopctrl.export.c.footprint import footprint

SCALARS = ("double", "float")


class Watched:
    """A compiled controller and the largest certified bound on its answers' errors."""

    def __init__(self, controller: Any) -> None:
        self._controller, self.worst = controller, 0.0

    def __getattr__(self, name: str) -> Any:
        """What the controller has."""
        return getattr(self._controller, name)

    def control(self, *args: Any, **kwargs: Any) -> np.ndarray:
        """Input."""
        u = self._controller.control(*args, **kwargs)
        if not self._controller.info.status.startswith("fallback"):
            self.worst = max(self.worst, float(self._controller.info.kkt_residual))
        return u


def make(task: Task, seed: int) -> dict[str, Any]:
    """Controllers, or the reason why there is none."""
    model = KoopmanRNN(random_state=seed, **task.network).fit(task.sample(np.random.default_rng(1000 + seed)))
    size: dict[str, Any] = {
        "horizon": task.horizon, "Q": task.Q, "R": task.R, "u_min": task.u_min, "u_max": task.u_max,
    }  # fmt: skip
    if task.y_max is not None:
        size |= {"y_min": -task.y_max, "y_max": task.y_max}
    point = {} if task.x_op is None else {"x_op": task.x_op, "u_op": task.u_op}
    found: dict[str, Any] = {}
    makers = {
        "RNNMPC": lambda: RNNMPC(model, **size),
        "LinearMPC": lambda: LinearMPC(model.lift_at(**point), **size),
    }
    for name, maker in makers.items():
        try:
            found[name] = maker()
        except KoopctrlError as error:
            found[name] = str(error)
    return found


def loops(task: Task, controller: Any) -> list[Any]:
    """Closed loops of all scenarios from all starts."""
    env, made = task.env("plain"), []
    for scenario in task.references:
        reference, preview, n_steps = task.scenario(scenario)
        for i, x0 in enumerate(task.starts):
            made.append(run_closed_loop(env, controller, n_steps, reference, x0=x0, seed=i, preview=preview))
    return made


def cost(task: Task, result: Any) -> float:
    """Of one loop."""
    error = (task.measure(result.states) - result.references)[1:]
    R = np.eye(task.n_u) * task.R
    return float(np.sum((error @ task.Q) * error) + np.sum((result.inputs @ R) * result.inputs))


def compare(task: Task, mpc: Any) -> dict[str, Any]:
    """Both precisions of one controller."""
    runs, worst, statuses = {}, 0.0, {}
    for scalar in SCALARS:
        watched = Watched(mpc.compile(scalar=scalar))
        runs[scalar] = loops(task, watched)
        statuses[scalar] = dict(Counter(s for r in runs[scalar] for s in r.statuses))
        worst = watched.worst
    pairs = list(zip(runs["double"], runs["float"], strict=True))
    y = [(task.measure(a.states), task.measure(b.states)) for a, b in pairs]
    figures: dict[str, Any] = {
        "outputs": max(_apart(a, b) for a, b in y),
        "inputs": max(_apart(a.inputs, b.inputs) for a, b in pairs),
        "cost": sum(cost(task, b) for _, b in pairs) / sum(cost(task, a) for a, _ in pairs),
        "kkt": worst, "statuses": statuses,
    }  # fmt: skip
    for scalar in SCALARS:
        with tempfile.TemporaryDirectory() as folder:
            code = mpc.to_c(Path(folder), diagnostics=False, scalar=scalar, untracked=False)
            figures[scalar] = {"data_bytes": code.data_bytes, "state_bytes": code.state_bytes}
            try:
                figures[scalar]["cortex_m4"] = vars(footprint(code))
            except OptionError as error:
                figures[scalar]["cortex_m4"] = str(error)
    return figures


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    span = np.ptp(a, axis=0)
    return float(np.max(np.abs(a - b)[:, span > 0.0] / span[span > 0.0], initial=0.0))


def main() -> None:
    """Run."""
    p = c.parser(__doc__, seeds=1)
    p.add_argument("--only", nargs="*", help="names of tasks (default: all)")
    args = p.parse_args()
    warnings.simplefilter("ignore")
    tasks = make_tasks() | make_unseen_tasks()
    figures, rows = {}, []
    for name in args.only or tasks:
        task = tasks[name]
        for seed in range(args.seeds):
            for kind, mpc in make(task, seed).items():
                title = f"{name} {kind}" + (f" seed {seed}" if args.seeds > 1 else "")
                try:
                    found = {"error": mpc} if isinstance(mpc, str) else compare(task, mpc)
                except KoopctrlError as error:
                    found = {"error": str(error)}
                figures[title] = found
                if "error" in found:
                    print(f"{title}: {found['error'][:200]}", flush=True)
                    continue
                sizes = [found[s]["cortex_m4"] for s in SCALARS]
                flash = [v["code"] + v["constants"] if isinstance(v, dict) else float("nan") for v in sizes]
                held = [v["state"] if isinstance(v, dict) else float("nan") for v in sizes]
                fallbacks = [
                    sum(n for s, n in found["statuses"][k].items() if s.startswith("fallback"))
                    for k in SCALARS
                ]
                rows.append(
                    [title, found["outputs"], found["inputs"], found["cost"], found["kkt"], *fallbacks,
                     *(f / 1024 for f in flash), *(h / 1024 for h in held)]
                )  # fmt: skip
                print(rows[-1], flush=True)
    header = ["", "outputs", "inputs", "cost", "kkt", "fb double", "fb float", "flash kB", "single",
              "RAM kB", "single"]  # fmt: skip
    c.print_table("Single precision beside double", header, rows)
    c.write(args, "c_single", figures)


if __name__ == "__main__":
    main()
