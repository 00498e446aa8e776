"""Robust MPC: how often disturbed closed loops break their bounds, and what it costs not to.

A mass is pushed from rest to a position near its bound, 0.9 of |position| <= 1, with |speed| <= 1 and
|force| <= 2, sampled every 0.1 s; a disturbance in a box acts on position and speed at every sample, uniform
or at the box's corners: half of the loops have either kind. Judged are the true states: loops with a bound
broken, samples with one, the largest excess, and `sum (x - r)'Q(x - r) + u'Ru` beside the untightened
controller's on the same disturbances.

- TubeMPC: promises that no bound is ever broken.
- LinearMPC with tightening by conformal bands (coverage 0.95) of predictions on records with uniform
  disturbances: promises, of the next output under disturbances like those, at most 5 % of samples.
- LinearMPC as it is.
- do-mpc's multi-stage MPC, scenarios at the box's corners, robust horizon 1; its
  bounds on states are soft. It runs in the first loops alone, on the same disturbances.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
import time
from collections import Counter
from typing import Any

import _common as c
import casadi
import numpy as np
from _do_mpc import import_do_mpc

from koopctrl import LiftedModel, LinearMPC, Trajectories, TubeMPC, prediction_bands

A, B = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.005], [0.1]])
W, Q, R = np.array([0.01, 0.05]), np.array([1.0, 0.1]), 0.1
N, N_STEPS, U_MAX = 15, 60, 2.0
COVERAGE = 0.95


REFERENCE = np.array([0.9, 0.0])


def disturbances(loop: int) -> np.ndarray:
    """Of one loop: uniform in the box, or at its corners."""
    rng = np.random.default_rng(loop)
    shape = (N_STEPS, 2)
    return W * (rng.uniform(-1.0, 1.0, shape) if loop % 2 == 0 else rng.choice([-1.0, 1.0], shape))


def records() -> Trajectories:
    """Of the mass held loosely by a feedback, with uniform disturbances."""
    rng = np.random.default_rng(12345)
    outputs, inputs = [], []
    for _ in range(20):
        x, u = [np.zeros(2)], []
        for _ in range(200):
            u.append(np.array([-0.5 * x[-1][0] - x[-1][1]]) + rng.uniform(-1.0, 1.0, 1))
            x.append(A @ x[-1] + B @ u[-1] + W * rng.uniform(-1.0, 1.0, 2))
        outputs.append(np.array(x))
        inputs.append(np.array(u))
    return Trajectories.from_arrays(outputs, inputs, dt=0.1)


class MultiStage:
    """do-mpc's multi-stage MPC on the same problem."""

    def __init__(self) -> None:
        do_mpc = import_do_mpc()
        model = do_mpc.model.Model("discrete")
        x, u = model.set_variable("_x", "x", (2, 1)), model.set_variable("_u", "u", (1, 1))
        w = [model.set_variable("_p", name) for name in ("w0", "w1")]
        r = model.set_variable("_tvp", "r", (2, 1))
        model.set_rhs("x", casadi.DM(A) @ x + casadi.DM(B) @ u + casadi.vertcat(*w))
        model.setup()
        mpc = self.mpc = do_mpc.controller.MPC(model)
        mpc.settings.n_horizon, mpc.settings.t_step, mpc.settings.n_robust = N, 0.1, 1
        mpc.settings.store_full_solution = False
        mpc.settings.supress_ipopt_output()
        e = x - r
        stage = casadi.bilin(casadi.DM(np.diag(Q)), e, e)
        mpc.set_objective(mterm=stage, lterm=stage + R * u**2)
        mpc.set_rterm(u=0.0)
        mpc.bounds["lower", "_u", "u"], mpc.bounds["upper", "_u", "u"] = -U_MAX, U_MAX
        for i in range(2):
            for sign in (1.0, -1.0):
                mpc.set_nl_cons(
                    f"x{i}{sign}", sign * x[i], ub=1.0, soft_constraint=True, penalty_term_cons=1e3
                )
        mpc.set_uncertainty_values(w0=np.array([W[0], -W[0]]), w1=np.array([W[1], -W[1]]))
        template = mpc.get_tvp_template()

        def ahead(now: float) -> Any:
            del now
            template["_tvp", :, "r"] = self.r
            return template

        self.r = np.zeros((2, 1))
        mpc.set_tvp_fun(ahead)
        mpc.setup()

    def reset(self) -> None:
        """Forget."""
        self.mpc.reset_history()
        self._started = False

    def control(self, x: np.ndarray, r: np.ndarray) -> np.ndarray:
        """Input."""
        self.r = r[:, None]
        if not self._started:
            self.mpc.x0 = x
            self.mpc.set_initial_guess()
            self._started = True
        return self.mpc.make_step(x[:, None]).ravel()


def run(controller: Any, loop: int) -> dict[str, Any]:
    """One closed loop on the true mass."""
    controller.reset()
    x, cost, over, times, statuses = np.zeros(2), 0.0, [], [], Counter()
    r = REFERENCE
    for w in disturbances(loop):
        start = time.perf_counter()
        u = controller.control(x, r)
        times.append(time.perf_counter() - start)
        info = getattr(controller, "info", None)
        statuses[info.status if info is not None else "-"] += 1
        cost += R * float(u @ u)
        x = A @ x + B @ u + w
        cost += float((x - r) @ (Q * (x - r)))
        over.append(float(np.abs(x).max() - 1.0))
    return {"cost": cost, "over": np.array(over), "times": times, "statuses": statuses}


def summarise(runs: list[dict[str, Any]], plain: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of one controller beside the untightened one's on the same loops."""
    over = np.array([r["over"] for r in runs])
    broken = over > 1e-7
    uniform = broken[::2]
    ratio = [r["cost"] / p["cost"] for r, p in zip(runs, plain, strict=False)]
    plain_time = np.median(np.concatenate([p["times"] for p in plain[: len(runs)]]))
    return {
        "n_loops": len(runs), "loops_broken": float(broken.any(axis=1).mean()),
        "samples_broken": float(broken.mean()), "samples_broken_uniform": float(uniform.mean()),
        "largest_excess": max(0.0, float(over.max())), "cost_ratio": c.spread(ratio),
        "step_time_ratio": float(np.median(np.concatenate([r["times"] for r in runs])) / plain_time),
        "statuses": dict(sum((r["statuses"] for r in runs), Counter())),
    }  # fmt: skip


def main() -> None:
    """Run."""
    p = c.parser(__doc__, seeds=1000)
    p.set_defaults(threads=1)
    p.add_argument("--peer-loops", type=int, default=6, help="loops of do-mpc (default %(default)s)")
    args = p.parse_args()
    model = LiftedModel.from_matrices(A, B, dt=0.1, output_names=["position", "speed"], input_names=["force"])
    bounds = {"u_min": -U_MAX, "u_max": U_MAX, "y_min": -1.0, "y_max": 1.0}
    with c.threads(args.threads):
        bands = prediction_bands(model, records(), N, COVERAGE)
        tube = TubeMPC(model, N, Q, R, W, **bounds)
        made: dict[str, Any] = {
            "LinearMPC": LinearMPC(model, N, Q, R, **bounds),
            f"LinearMPC, bands of {COVERAGE:g}": LinearMPC(model, N, Q, R, tightening=bands, **bounds),
            "TubeMPC": tube,
            "do-mpc multi-stage": MultiStage(),
        }
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in made}
        for loop in range(args.seeds):
            print(f"loop {loop}", end="\r", flush=True, file=sys.stderr)
            for name, controller in made.items():
                if name != "do-mpc multi-stage" or loop < args.peer_loops:
                    runs[name].append(run(controller, loop))
    found = {name: summarise(those, runs["LinearMPC"]) for name, those in runs.items()}
    header = ["", "loops", "with a bound broken", "samples", "largest excess", "cost", "step time"]
    rows = [
        [name, v["n_loops"], v["loops_broken"], v["samples_broken"], v["largest_excess"],
         v["cost_ratio"]["median"], v["step_time_ratio"]]
        for name, v in found.items()
    ]  # fmt: skip
    c.print_table("Disturbed closed loops; costs and times beside LinearMPC's", header, rows)
    figures = {
        "controllers": found, "coverage": COVERAGE, "bands": bands.half_widths,
        "tube_half_widths": tube.tube.cross_section.half_widths,
        "terminal_rows": len(tube.law.sets.terminal.rows),
    }  # fmt: skip
    c.write(args, "robust_mpc", figures, peers=("casadi", "do-mpc"))


if __name__ == "__main__":
    main()
