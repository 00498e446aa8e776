"""One step on forced Van der Pol: our controllers, the bare solver on their QPs, and do-mpc's NMPC."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _common as c
import casadi
import numpy as np
from _bare_qp import QP, bare_calls, per_step, recorded
from _do_mpc import DoMpc, plant_model
from _plants import Task, make_tasks

from koopctrl import KoopmanRNN, LinearMPC
from koopctrl.controllers import NMPC, RNNMPC

TRUE = ("do-mpc, discrete", "do-mpc, collocation", "do-mpc, collocation compiled")
NETWORK = ("do-mpc on our network, SX", "do-mpc on our network, MX")
N_STEPS = 25


@contextlib.contextmanager
def compiled(controller: DoMpc) -> Iterator[DoMpc]:
    """The same with its NLP compiled by gcc: the steps of `compile_nlp`, which fails in do-mpc 5.1.2."""
    with tempfile.TemporaryDirectory() as folder:
        mpc, library = controller.mpc, str(Path(folder) / "nlp.so")
        with contextlib.chdir(folder):  # CasADi writes C to the working folder alone
            mpc.S.generate_dependencies("nlp.c")
        subprocess.run(["gcc", "-fPIC", "-shared", "-O1", "nlp.c", "-o", library], cwd=folder, check=True)
        mpc.S = casadi.nlpsol("solver_compiled", "ipopt", library, mpc.settings.nlpsol_opts)
        yield controller


def peers(task: Task, plant: Any, model: KoopmanRNN, state: Callable[[], np.ndarray]) -> dict[str, DoMpc]:
    """do-mpc's NMPC with the true model and with ours; its options are its defaults."""
    same = {k: getattr(task, k) for k in ("dt", "horizon", "Q", "R", "P", "u_min", "u_max")} | {
        "state": state
    }

    def true(continuous: bool) -> DoMpc:
        equations = plant.rhs_components if continuous else plant.step_components
        made, y = plant_model(equations, task.output, task.n_x, task.n_u, len(task.Q), continuous)
        return DoMpc(made, y, **same)

    found = dict(zip(TRUE, (true(False), true(True), true(True)), strict=True))
    for name, kind in zip(NETWORK, ("SX", "MX"), strict=True):
        exported = model.to_do_mpc(symvar_type=kind)
        y = casadi.vertcat(*(exported.aux[n] for n in model.output_names_))
        found[name] = DoMpc(exported, y, **same)
    return found


def step_times(seed: int, repeats: int) -> dict[str, Any]:
    """Times of single steps along the same states: from the second sample on, at active bounds.

    The states are those of the loop that RNNMPC closes on the true plant. A step counts where RNNMPC's QP has
    active bounds, so that its solver is called; for LinearMPC and its bare solver where its own has.
    """
    task = make_tasks()["van_der_pol"]
    env = task.env("plain")
    model = KoopmanRNN(random_state=seed, **task.network).fit(task.sample(np.random.default_rng(1000 + seed)))
    lifted = model.lift_at(task.x_op, 0.0)
    size = {k: getattr(task, k) for k in ("horizon", "Q", "R", "u_min", "u_max")}

    def make() -> dict[str, Any]:
        return {"LinearMPC": LinearMPC(lifted, **size), "RNNMPC": RNNMPC(model, **size)}

    ours = make()
    now = np.zeros(task.n_x)
    nmpc = NMPC(task.step, task.n_x, task.n_u, P=task.P, dt=task.dt, **size)
    theirs = peers(task, env.plant, model, lambda: now)
    times: dict[str, list[float]] = {}
    difference = dict.fromkeys((*theirs, *ours), 0.0)
    r = np.zeros(task.n_x)

    def along(name: str, controller: Any, states: np.ndarray, use: np.ndarray, plan: np.ndarray) -> None:
        controller.reset()
        for k, x in enumerate(states):
            now[:] = x
            u, taken = c.timed(lambda x=x: controller.control(x, r))
            if use[k]:
                times.setdefault(name, []).append(taken)
                if name in difference:
                    difference[name] = max(difference[name], float(np.abs(u - plan[k]).max()))

    with contextlib.ExitStack() as stack:
        stack.enter_context(compiled(theirs[TRUE[2]]))
        for i, x0 in enumerate(task.starts):
            states, problems = record(env, make, x0, i, r)
            later = np.arange(N_STEPS) > 0
            active = {k: np.array([q is not None for q in found]) & later for k, found in problems.items()}
            calls = {
                f"{kind} QP, {how}": [
                    bare_calls(q)[j] for q, use in zip(found, active[kind], strict=True) if use
                ]
                for kind, found in problems.items()
                for j, how in enumerate(("bare", "buffered"))
            }
            nmpc.reset()
            plan = np.array([nmpc.control(x, r) for x in states])
            for repeat in range(repeats):
                for name, controller in ours.items():
                    along(name, controller, states, active[name], plan)
                for name, found in calls.items():
                    for call in found:
                        call()
                        times.setdefault(name, []).append(c.timed(call)[1])
                if repeat == 0:  # a hundred times slower, and no faster the second time
                    for name, controller in {"NMPC, ours": nmpc, **theirs}.items():
                        along(name, controller, states, active["RNNMPC"], plan)
    return {
        "median_seconds": {k: float(np.median(v)) for k, v in times.items()},
        "p95_seconds": {k: float(np.percentile(v, 95)) for k, v in times.items()},
        "n_steps": {k: len(v) for k, v in times.items()},
        "first_input_difference": difference,
    }


def record(
    env: Any, make: Callable[[], dict[str, Any]], x0: np.ndarray, seed: int, r: np.ndarray
) -> tuple[np.ndarray, dict[str, list[QP | None]]]:
    """States of the loop that RNNMPC closes, and each controller's QP there (None: no solver needed)."""
    with recorded() as solved:
        watched = make()
        y, _ = env.reset(seed=seed, options={"x0": x0})
        states, problems = [], {name: [] for name in watched}
        for _ in range(N_STEPS):
            states.append(y)
            u: list[np.ndarray] = []
            for name, controller in watched.items():
                step = [lambda c=controller, y=y, u=u: u.append(c.control(y, r))]
                problems[name] += per_step(solved, step)
            y = env.step(u[-1])[0]
    return np.array(states), problems


def ratios(times: dict[str, float]) -> dict[str, float]:
    """The issue's figures, of one seed: over the bare solver, and do-mpc over ours."""
    fastest = min(times[name] for name in TRUE)
    found = {}
    for name in ("LinearMPC", "RNNMPC"):
        found[f"{name} / bare call"] = times[name] / times[f"{name} QP, bare"]
        found[f"{name} / buffered call"] = times[name] / times[f"{name} QP, buffered"]
        found[f"fastest do-mpc with the true model / {name}"] = fastest / times[name]
        for peer in (*TRUE, *NETWORK):
            found[f"{peer} / {name}"] = times[peer] / times[name]
    return found
