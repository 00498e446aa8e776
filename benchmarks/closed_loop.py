"""Closed loop on true plants: controllers on identified models beside NMPC that knows the plant.

Every controller has the same horizon, weights and bounds, and is judged on the true plant by
`sum (y - r)'Q(y - r) + u'Ru` of its noise-free outputs, summed over starts and divided by the cost of NMPC
with the true model (CasADi, multiple shooting, ipopt), which is given the true state, noise-free.
Identification seeds differ in data, hidden layer and nothing else.

- van_der_pol: to the origin (unstable) with |u| <= 3.
- duffing: from one well to the other with |u| <= 0.6.
- pendulum: swing-up from hanging with |torque| <= 5 N m, about half of gravity's.
- motor: bilinear DC motor of Korda and Mezic, one output, 8 + 8 lags, horizon 100, |y| <= 0.4; 0.3 and back
  (switched) and 0.5 cos over 3 s (cosine), which the bound cuts.
- motor_held: the same, identified from inputs that are held for 1 to 20 samples instead of white ones.
- koopctrl/<name>-v0: any other registered env, with the generic settings of `_plants.registered`.

With `load`: an unknown constant input disturbance; controllers estimate it (no NMPC knows it), and the error
at the end is the figure. Where the state is measured: `offset_free=True` for RNNMPC, `"input"` for the linear
ones; with lags an (extended) Kalman filter with input disturbances, `offset_free=True` for pykoop's. With
`noise`: measurement noise of 1 % of the outputs' range.

DeePC takes the records as they are, and estimates no load. `--only DeePC` runs that row beside the true
model's and leaves the others in the file as they are.

Peers: LinearMPC on least-squares DMDc; pykoop's EDMD in the same QP, with the polynomials of its control
example (their order chosen on held-out roll-outs) and with the splines of its pendulum example (without a
terminal weight: the Riccati equation of these unreduced models is solved badly or not at all); do-mpc's MPC
on the plant's own discrete equations, given the true state.

Violations are the largest excess of the true outputs over `y_max` and of the inputs that were sent over their
bounds. A controller that cannot be made or that fails on the way is counted, with its reason in the JSON.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import _common as c
import numpy as np
from _do_mpc import DoMpc, plant_model
from _edmd import Edmd, EdmdMPC, identify_edmd, polynomials, splines
from _plants import Task, make_tasks, registered

from koopctrl import (
    LQR,
    DeePC,
    ExtendedKalmanFilter,
    KalmanFilter,
    KoopmanRNN,
    LiftedModel,
    LinearMPC,
    run_closed_loop,
)
from koopctrl.controllers import NMPC, RNNMPC
from koopctrl.network.lag_window import LagWindow

CONDITIONS = ("plain", "noise", "load")
DO_MPC, YARDSTICK = "do-mpc NMPC, true model", "NMPC, true model"
PEERS = ("casadi", "do-mpc", "pykoop")


class Watched:
    """A plant that keeps its true state for NMPC to see."""

    def __init__(self, env: Any) -> None:
        self._env, self.dt = env, env.dt
        self.x = np.empty(0)

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


class Sent:
    """A controller whose inputs are kept as it sent them."""

    def __init__(self, controller: Any) -> None:
        self._controller, self.dt = controller, controller.dt
        self.horizon = getattr(controller, "horizon", 0)
        self.inputs: list[np.ndarray] = []
        if hasattr(controller, "applied"):
            self.applied = controller.applied

    @property
    def info(self) -> Any:
        """Status."""
        return self._controller.info

    def reset(self) -> None:
        """Forget."""
        self._controller.reset()

    def control(self, measurement: Any, reference: Any = None) -> np.ndarray:
        """Input."""
        u = self._controller.control(measurement, reference)
        self.inputs.append(np.array(u))
        return u


def identify(task: Task, seed: int, only: list[str] | None = None) -> dict[str, Any]:
    """The models of one seed, or what went wrong with each."""
    data = task.sample(np.random.default_rng(1000 + seed))
    if only == ["DeePC"]:
        return {"data": data} | dict.fromkeys(("network", "lifted", "dmdc", "polynomials", "splines"))
    lags = {k: task.network.get(k, 1) for k in ("output_lags", "input_lags")}
    model = attempt(lambda: KoopmanRNN(random_state=seed, **task.network).fit(data))
    plain = attempt(lambda: KoopmanRNN(n_features=0, input_coupling="linear", **lags).fit(data))
    point = {} if task.x_op is None else {"x_op": task.x_op, "u_op": task.u_op}
    window = LagWindow(*lags.values(), False, data.n_y, data.n_u)

    def edmd(functions: dict[str, Any]) -> Edmd:
        return identify_edmd(data, window, functions, task.x_op, task.horizon)

    return {
        "data": data,
        "network": model,
        "lifted": attempt(lambda: usable(model).lift_at(**point)),
        "dmdc": attempt(lambda: usable(plain).lift_at(**point)),
        "polynomials": attempt(lambda: edmd(polynomials(window.n_x))),
        "splines": attempt(lambda: edmd(splines(seed))),
    }


def controllers(task: Task, models: dict[str, Any], offset_free: bool) -> dict[str, Callable[[], Any]]:
    """Makers of the controllers on identified models."""
    lqr_size = {"Q": task.Q, "R": task.R, "u_min": task.u_min, "u_max": task.u_max}
    size = lqr_size | {"horizon": task.horizon}
    lagged = task.network.get("input_lags", 1) > 1
    if task.y_max is not None:
        size |= {"y_min": -task.y_max, "y_max": task.y_max}
    terminal = "none" if task.P is None else "riccati"
    theirs = size | ({"offset_free": True if lagged else "input"} if offset_free else {})

    def estimating(lifted: LiftedModel) -> dict[str, Any]:
        if not offset_free:
            return {}
        if not lagged:
            return {"offset_free": "input"}
        return {"observer": KalmanFilter(lifted, 1e-4, 1e-4, disturbance="input", Qd=1e-4)}

    def rnn() -> RNNMPC:
        network, options = usable(models["network"]), {}
        if offset_free and lagged:
            options = {"observer": ExtendedKalmanFilter(network, 1e-6, 1e-6, disturbance="input", Qd=1e-6)}
        elif offset_free:
            options = {"offset_free": True}
        return RNNMPC(network, terminal=terminal, **size, **options)

    def linear(made: Any, maker: Callable[..., Any], options: dict[str, Any]) -> Any:
        lifted = usable(made)
        return maker(lifted, **options, **estimating(lifted))

    return {
        "RNNMPC": rnn,
        "LinearMPC": lambda: linear(models["lifted"], LinearMPC, size),
        "LQR": lambda: linear(models["lifted"], LQR, lqr_size),
        "DeePC": lambda: DeePC(models["data"], n_past=2 * task.network.get("output_lags", 1) - 1, **size),
        "DMDc + LinearMPC": lambda: linear(models["dmdc"], LinearMPC, size),
        "pykoop polynomials + our QP": lambda: EdmdMPC(usable(models["polynomials"]), "riccati", **theirs),
        "pykoop splines + our QP": lambda: EdmdMPC(usable(models["splines"]), "none", **theirs),
    }


def true_model(task: Task, env: Watched) -> dict[str, Callable[[], Any]]:
    """Makers of the controllers that know the plant and see its state."""
    same = {k: getattr(task, k) for k in ("dt", "horizon", "Q", "R", "P", "u_min", "u_max")}

    def ours() -> Any:
        bounds = {} if task.x_max is None else {"x_min": -task.x_max, "x_max": task.x_max}
        return NMPC(
            task.step, task.n_x, task.n_u, output=task.output, to_state=lambda y: env.x, **same, **bounds
        )

    def theirs() -> Any:
        model, y = plant_model(task.step, task.output, task.n_x, task.n_u, len(task.Q))
        return DoMpc(model, y, state=lambda: env.x, x_max=task.x_max, **same)

    return {YARDSTICK: ours, DO_MPC: theirs}


class Failed(Exception):
    """Something that this one builds on could not be made."""


def usable(made: Any) -> Any:
    """What was made, or the reason why not, raised."""
    if isinstance(made, Failed):
        raise made
    return made


def attempt(call: Callable[[], Any]) -> Any:
    """Result, or the failure; one that fails must not end the benchmark."""
    try:
        return call()
    except Failed as error:
        return error
    except Exception as error:
        return Failed(f"{type(error).__name__}: {error}")


def run(task: Task, env: Watched, controller: Any, scenario: str) -> dict[str, Any]:
    """All starts of one scenario."""
    reference, preview, n_steps = task.scenario(scenario)
    cost, times, statuses, y_excess, u_excess, final = 0.0, [], [], 0.0, 0.0, 0.0
    for i, x0 in enumerate(task.starts):
        sent = Sent(controller)
        result = run_closed_loop(env, sent, n_steps, reference, x0=x0, seed=i, preview=preview)
        y, u = task.measure(result.states), result.inputs
        error = (y - result.references)[1:]
        cost += float(np.sum((error @ task.Q) * error) + np.sum((u @ (np.eye(task.n_u) * task.R)) * u))
        times.append(result.solve_times)
        statuses += result.statuses
        if task.y_max is not None:
            y_excess = max(y_excess, float(np.max(np.abs(y[1:]) - task.y_max)))
        u_sent = np.array(sent.inputs)
        u_excess = max(u_excess, float(np.max(np.maximum(u_sent - task.u_max, task.u_min - u_sent))))
        final = max(final, float(np.abs(error[-1]).max()))
    taken = np.concatenate(times)
    return {
        "cost": cost, "final_error": final, "y_excess": y_excess, "u_excess": u_excess,
        "fallbacks": sum(s.startswith("fallback") for s in statuses), "statuses": dict(Counter(statuses)),
        "median_step": float(np.median(taken)), "p95_step": float(np.percentile(taken, 95)),
    }  # fmt: skip


def attempt_run(task: Task, env: Watched, controller: Any, scenario: str) -> dict[str, Any]:
    """Run it, or the reason why there is no run."""
    found = attempt(lambda: run(task, env, usable(controller), scenario))
    return {"error": str(found)} if isinstance(found, Failed) else found


def summarise(runs: list[dict[str, Any]], cost: float) -> dict[str, Any]:
    """Figures of one controller over seeds, relative to the yardstick's cost."""
    good = [r for r in runs if "error" not in r]
    summary: dict[str, Any] = {"failed": len(runs) - len(good), "runs": runs}
    if good:
        summary |= {"cost_ratio": c.spread([r["cost"] / cost for r in good])}
        summary |= {k: c.spread([r[k] for r in good]) for k in ("final_error", "median_step", "p95_step")}
        summary |= {k: max(r[k] for r in good) for k in ("y_excess", "u_excess")}
        summary |= {k: sum(r[k] for r in good) for k in ("fallbacks",)}
        summary["not_converged"] = sum(r["statuses"].get("not_converged", 0) for r in good)
    return summary


def compare(
    task: Task, seeds: int, conditions: list[str], only: list[str] | None = None
) -> dict[str, dict[str, Any]]:
    """One plant: every scenario under every condition; models are identified once a seed."""
    cases = {(s, k): Watched(task.env(k)) for s in task.references for k in conditions}
    runs: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {case: {} for case in cases}
    for (scenario, _), env in cases.items():
        for name, make in true_model(task, env).items():
            found = attempt_run(task, env, attempt(make), scenario)
            runs[scenario, _][name] = [found]
    for seed in range(seeds):
        print(f"{task.name}, seed {seed}", end="\r", flush=True, file=sys.stderr)
        models = identify(task, seed, only)
        for offset_free in sorted({k == "load" for k in conditions}):
            for name, make in controllers(task, models, offset_free).items():
                if only is not None and name not in only:
                    continue
                controller = attempt(make)
                for (scenario, condition), env in cases.items():
                    if (condition == "load") == offset_free:
                        found = attempt_run(task, env, controller, scenario)
                        if isinstance(controller, EdmdMPC):
                            found["model"] = controller.note
                        runs[scenario, condition].setdefault(name, []).append(found)
    figures = {}
    for (scenario, condition), by_name in runs.items():
        best = by_name[YARDSTICK][0].get("cost", np.nan)
        title = f"{task.name}{scenario and ' '}{scenario}, {condition}"
        figures[title] = {"controllers": {k: summarise(v, best) for k, v in by_name.items()}}
    return figures


def show(title: str, found: dict[str, Any]) -> None:
    """Print one table, and why what is missing is missing."""
    rows, reasons = [], []
    for name, v in found["controllers"].items():
        reasons += [f"{name}: {r['error']}" for r in v["runs"] if "error" in r]
        if "cost_ratio" in v:
            rows.append(
                [name, v["cost_ratio"]["median"], v["cost_ratio"]["max"], v["final_error"]["median"],
                 v["y_excess"], v["u_excess"], 1e3 * v["median_step"]["median"],
                 1e3 * v["p95_step"]["median"], v["fallbacks"], v["not_converged"], v["failed"]]
            )  # fmt: skip
    header = ["", "cost/NMPC", "worst", "final error", "y excess", "u excess", "step ms", "p95 ms",
              "fallbacks", "unsolved", "failed"]  # fmt: skip
    c.print_table(title, header, rows)
    for reason in dict.fromkeys(reasons):
        print(f"  {reason[:200]}")


def add_rows(path: Any, kept: dict[str, Any], only: list[str]) -> None:
    """Keep what the file said of the run that made it, and say where the new rows come from."""
    new = json.loads(path.read_text())
    rows = kept.get("rows", {}) | {
        name: {k: new[k] for k in ("command", "date", "versions")} for name in only
    }
    path.write_text(json.dumps(kept | {"figures": new["figures"], "rows": rows}, indent=2) + "\n")


def main() -> None:
    """Run."""
    warnings.simplefilter("ignore")
    tasks = make_tasks()
    p = c.parser(__doc__, seeds=10)
    p.set_defaults(threads=1)
    p.add_argument(
        "--plants", nargs="+", default=list(tasks), help=f"of {', '.join(tasks)}, or gymnasium ids"
    )
    p.add_argument("--conditions", nargs="+", default=list(CONDITIONS), choices=CONDITIONS)
    p.add_argument("--only", nargs="+", help="of controllers on identified models; the file keeps the others")
    args = p.parse_args()
    path = args.out / "closed_loop.json"
    kept = json.loads(path.read_text()) if args.only is not None and path.exists() else {}
    figures: dict[str, Any] = kept.get("figures", {})
    with c.threads(args.threads):
        for name in args.plants:
            task = tasks[name] if name in tasks else registered(name)
            found, seconds = c.timed(lambda t=task: compare(t, args.seeds, args.conditions, args.only))
            for title, figure in found.items():
                figures.setdefault(title, {"controllers": {}})["controllers"] |= figure["controllers"]
            for title, figure in found.items():
                show(f"{title}, {args.seeds} seeds", figure)
            print(f"\n{name}: {seconds:.0f} s")
            c.write(args, "closed_loop", figures, peers=PEERS if args.only is None else PEERS[:2])
            if kept:
                add_rows(path, kept, args.only or [])


if __name__ == "__main__":
    main()
