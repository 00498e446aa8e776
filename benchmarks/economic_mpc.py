"""Economic RNNMPC beside do-mpc with the true model: a reactor and a building with time-varying prices.

- cstr: the reactor of `koopctrl_envs` earns what it converts, at a price that doubles for half of the time,
  and pays for coolant away from 300 K, squared; above a temperature that falls with what it converts,
  `T <= 372 - 20 (1 - CA)`, it must not run (a constraint on both outputs).
- zone: heat and ventilation of a building cost electricity at day and night prices; by day its temperature is
  to be between 20 and 24 degrees, by night between 16 and 26 (constraints that change along the horizon).

RNNMPC sees outputs and knows the network that was fitted to the records of `koopctrl bench` (default
settings, the zone with lags; of the reactor only what lies between 310 and 385 K: with ignitions in them a
fit errs 15 to 100 times as much where it works). do-mpc is given the plant's equations and its true state,
the weather of the zone included; a second one of the zone takes the weather to stay as it is, for what
foreknowledge of it is worth. All have the same horizon, bounds and preview, and soft constraints.
Judged on the true plant: what was paid (negative: earned, where more of do-mpc's is better), and
constraints broken (largest, and mean over samples). Costs are relative to do-mpc's on the same starts; times
are the processor's. RNNMPC takes up to ten QPs a sample, or one.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import _common as c
import casadi
import numpy as np
from _do_mpc import import_do_mpc

from koopctrl import RNNMPC, KoopmanRNN, Trajectories
from koopctrl.benchmark.case import N_FEATURES, Knowledge
from koopctrl_envs.tasks import find_id, make_tasks

PENALTY = 1e3


@dataclass(frozen=True)
class Economy:
    """One plant and what counts on it.

    Attributes
    ----------
    plant : str
    n_steps : int
    cost, constraints : callables of (y, u, p)
        Of a sample; written with arithmetic.
    parameters : callable
        `(n_p,)` at sample `k`.
    weather : int
        First state of the weather, which the controller that is not told takes to stay; 0 for none.
    region : (low, high) or None
        Box of outputs that records are cut to: beyond, the reactor ignites.
    """

    plant: str
    n_steps: int
    cost: Callable[..., Any]
    constraints: Callable[..., list[Any]]
    parameters: Callable[[int], np.ndarray]
    weather: int = 0
    region: tuple[Any, Any] | None = None


def cstr_cost(y: Any, u: Any, p: Any) -> Any:
    """What was not converted, and cold coolant."""
    return p[0] * (y[0] - 1.0) + 4e-4 * (u[0] - 300.0) ** 2


def cstr_constraints(y: Any, u: Any, p: Any) -> list[Any]:
    """The temperature that may be."""
    del u, p
    return [0.1 * (y[1] - 372.0 + 20.0 * (1.0 - y[0]))]


def zone_cost(y: Any, u: Any, p: Any) -> Any:
    """Heat, and fans."""
    del y
    return p[0] * (u[0] + 4.0 * u[1])


def zone_constraints(y: Any, u: Any, p: Any) -> list[Any]:
    """Comfort."""
    del u
    return [p[1] - y[0], y[0] - p[2]]


def day(k: int) -> np.ndarray:
    """Price and comfort of a quarter of an hour: day from the seventh hour to the nineteenth."""
    is_day = 7.0 <= (0.25 * k) % 24.0 < 19.0
    return np.array([0.3, 20.0, 24.0] if is_day else [0.1, 16.0, 26.0])


ECONOMIES = {
    "cstr": Economy(
        "CSTR",
        60,
        cstr_cost,
        cstr_constraints,
        lambda k: np.array([2.0 if (k // 15) % 2 else 1.0]),
        region=([0.0, 310.0], [1.0, 385.0]),
    ),
    "zone": Economy("ThermalZone", 192, zone_cost, zone_constraints, day, weather=2),
}


class DoMpc:
    """do-mpc's MPC on the plant's own equations and true state."""

    def __init__(self, economy: Economy, task: Any, *, told: bool = True) -> None:
        do_mpc, plant, p_0 = import_do_mpc(), task.plant, economy.parameters(0)
        model = do_mpc.model.Model("discrete")
        x, u = model.set_variable("_x", "x", (plant.n_x, 1)), model.set_variable("_u", "u", (plant.n_u, 1))
        p = model.set_variable("_tvp", "p", (len(p_0), 1))
        after = plant.to_casadi()(x, u)[0]
        if not told:
            after = casadi.vertcat(after[: economy.weather], x[economy.weather :])
        model.set_rhs("x", after)
        model.setup()
        mpc = self.mpc = do_mpc.controller.MPC(model)
        mpc.settings.n_horizon, mpc.settings.t_step = task.horizon, task.dt
        mpc.settings.store_full_solution = False
        mpc.settings.supress_ipopt_output()
        y = plant.output_components(casadi.vertsplit(x), xp=casadi)
        parts = (list(y), casadi.vertsplit(u), casadi.vertsplit(p))
        # Its stage cost is on the present sample, ours on the next: the last one makes up for it.
        last = economy.cost(list(y), task.input_references[0].tolist(), casadi.vertsplit(p))
        mpc.set_objective(mterm=last, lterm=economy.cost(*parts))
        mpc.set_rterm(u=1e-6)
        mpc.bounds["lower", "_u", "u"], mpc.bounds["upper", "_u", "u"] = (
            np.array(plant.u_min),
            np.array(plant.u_max),
        )
        for i, g in enumerate(economy.constraints(*parts)):
            mpc.set_nl_cons(f"g{i}", g, ub=0.0, soft_constraint=True, penalty_term_cons=PENALTY)
        template = mpc.get_tvp_template()

        def ahead(now: float) -> Any:
            del now
            for k in range(task.horizon + 1):
                template["_tvp", k, "p"] = economy.parameters(self.k + k)
            return template

        self.k = 0
        mpc.set_tvp_fun(ahead)
        mpc.setup()

    def reset(self, x: np.ndarray, u: np.ndarray) -> None:
        """Begin at a state."""
        self.mpc.reset_history()
        self.mpc.x0, self.mpc.u0 = x, u
        self.mpc.set_initial_guess()

    def control(self, k: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, str]:
        """Input and status."""
        del y
        self.k = k
        u = self.mpc.make_step(x[:, None]).ravel()
        return u, "optimal" if self.mpc.solver_stats["success"] else "not_converged"


def identified(economy: Economy, task: Any, seed: int) -> KoopmanRNN:
    """The network of one seed, on the records of `koopctrl bench`, cut to where the plant will work."""
    known = Knowledge(task, seed)
    if economy.region is None:
        return known.model
    low, high = economy.region
    outputs, inputs = [], []
    for e in known.records:
        inside = ((e.outputs >= low) & (e.outputs <= high)).all(axis=1)
        edges = [-1, *np.flatnonzero(~inside), len(inside)]
        for a, b in pairwise(edges):
            if b - a > 4:
                outputs.append(e.outputs[a + 1 : b])
                inputs.append(e.inputs[a + 1 : b - 1])
    data = Trajectories.from_arrays(outputs, inputs, dt=task.dt)
    return KoopmanRNN(N_FEATURES, random_state=seed).fit(data)


class Ours:
    """RNNMPC on the network of one seed, with at most so many QPs a sample."""

    def __init__(self, model: KoopmanRNN, economy: Economy, task: Any, n_iterations: int) -> None:
        self.economy, self.N = economy, task.horizon
        scale = np.subtract(task.plant.u_max, task.plant.u_min)
        self.mpc = RNNMPC(
            model, task.horizon, 0.0, 1e-6 / scale**2, u_min=task.plant.u_min, u_max=task.plant.u_max,
            stage_cost=economy.cost, nonlinear_constraints=economy.constraints,
            cost_parameters=economy.parameters(0), n_iterations=n_iterations,
        )  # fmt: skip

    def reset(self, x: np.ndarray, u: np.ndarray) -> None:
        """Begin at a state."""
        del x
        self.mpc.reset()
        self.mpc.applied(u)

    def control(self, k: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, str]:
        """Input and status."""
        del x
        ahead = np.array([self.economy.parameters(k + j) for j in range(self.N)])
        u = self.mpc.control(y, cost_parameters=ahead)
        assert self.mpc.info is not None
        return u, self.mpc.info.status


def run(controller: Any, economy: Economy, task: Any, start: int) -> dict[str, Any]:
    """One closed loop on the true plant."""
    plant = task.plant
    rng = np.random.default_rng(start)
    x, u_rest = plant.equilibria[0].copy(), np.array(task.input_references[0])
    if plant.n_x > 2:  # weather, and a zone that has cooled down over night
        x = plant.draw_start(rng)
        x[:2], x[2:4] = (18.0, 16.0), (0.0, -0.8)
    else:
        x = x + np.array([0.02, 1.0]) * rng.uniform(-1.0, 1.0, 2)
    controller.reset(x, u_rest)
    cost, broken, times, statuses = 0.0, [], [], Counter()
    for k in range(economy.n_steps):
        y = plant.output(x)
        begin = time.process_time()
        u, status = controller.control(k, x, y)
        times.append(time.process_time() - begin)
        statuses[status] += 1
        x = plant.step(x, u)
        y, p = plant.output(x), economy.parameters(k)
        cost += float(economy.cost(y, u, p))
        broken.append(max(0.0, *(float(g) for g in economy.constraints(y, u, p))))
    return {"cost": cost, "broken": broken, "times": times, "statuses": statuses}


def summarise(runs: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of one controller beside do-mpc's on the same starts."""
    broken = np.array([r["broken"] for r in runs])
    their_time = np.median(np.concatenate([r["times"] for r in theirs]))
    ratio = [r["cost"] / t["cost"] for r, t in zip(runs, theirs, strict=True)]
    return {
        "cost_ratio": c.spread(ratio), "costs": [r["cost"] for r in runs],
        "largest_violation": float(broken.max()), "mean_violation": float(broken.mean()),
        "step_time_ratio": float(np.median(np.concatenate([r["times"] for r in runs])) / their_time),
        "statuses": dict(sum((r["statuses"] for r in runs), Counter())),
    }  # fmt: skip


def main() -> None:
    """Run."""
    warnings.simplefilter("ignore")
    p = c.parser(__doc__, seeds=5)
    p.set_defaults(threads=1)
    p.add_argument("--plants", nargs="+", default=list(ECONOMIES), choices=list(ECONOMIES))
    args = p.parse_args()
    figures: dict[str, Any] = {}
    with c.threads(args.threads):
        for name in args.plants:
            economy = ECONOMIES[name]
            task = make_tasks(find_id(economy.plant))["regulation"]
            peers = {"do-mpc, true model": DoMpc(economy, task)}
            if economy.weather:
                peers["do-mpc, not told the weather"] = DoMpc(economy, task, told=False)
            ours = {"RNNMPC, identified": 10, "RNNMPC, one QP a sample": 1}
            runs: dict[str, list[dict[str, Any]]] = {key: [] for key in (*ours, *peers)}
            for seed in range(args.seeds):
                print(f"{name}, seed {seed}", end="\r", flush=True, file=sys.stderr)
                model = identified(economy, task, seed)
                for key, n in ours.items():
                    runs[key].append(run(Ours(model, economy, task, n), economy, task, seed))
                for key, peer in peers.items():
                    runs[key].append(run(peer, economy, task, seed))
            theirs = runs["do-mpc, true model"]
            found = {key: summarise(those, theirs) for key, those in runs.items()}
            figures[name] = {"controllers": found}
            rows = [
                [key, v["cost_ratio"]["median"], v["cost_ratio"]["min"], v["cost_ratio"]["max"],
                 v["largest_violation"], v["mean_violation"], v["step_time_ratio"], str(v["statuses"])]
                for key, v in found.items()
            ]  # fmt: skip
            header = [
                "",
                "cost/do-mpc",
                "least",
                "most",
                "largest violation",
                "mean",
                "step time",
                "statuses",
            ]
            c.print_table(f"{name}, {args.seeds} seeds", header, rows)
            c.write(args, "economic_mpc", figures, peers=("casadi", "do-mpc"))


if __name__ == "__main__":
    main()
