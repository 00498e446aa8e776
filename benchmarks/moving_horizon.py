"""Estimates within bounds: tanks that cannot be emptier than empty, concentrations that are never negative.

Three plants are identified from records with good sensors (20 runs, the inputs reach the plant with an
unmeasured error). In operation few, coarse sensors are read, at every second or third sample, and a load that
nobody measures acts on one input: a leak in the tanks, fouling in the reactor, a weak feed in the fermenter.
Estimators are told the sensors' variances and the load's drift; all else is their default.

- `ExtendedKalmanFilter`, as it is and clipped to the bounds afterwards; `UnscentedKalmanFilter`;
- `MovingHorizonEstimator` on the network, with bounds on the outputs, and on the load too: a leak only takes;
- `KalmanFilter` and `MovingHorizonEstimator` on the linear face at the start;
- do-mpc's MHE on the same network. Told the same arrival cost it has the same problem, and its answers are
  compared with those of 40 Gauss-Newton steps. With its own update of the arrival cost it runs beside.

Errors are root mean squares over the run after ten samples, in standard deviations of each state on the true
plant, then over the states; the load's in its own size. Times are the processor's. Ratios are to the extended
filter's of the same seed.
The conditions (noise, every how many samples, loads) were chosen on three seeds while the script was written:
with good sensors and no loads the network has learnt where states end, and bounds change next to nothing.
"""

from __future__ import annotations

import os
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import _common as c
import numpy as np
from _do_mpc_mhe import DoMpcMHE

from koopctrl import (
    ExtendedKalmanFilter,
    KalmanFilter,
    KoopmanRNN,
    MovingHorizonEstimator,
    Trajectories,
    UnscentedKalmanFilter,
)
from koopctrl_envs import CSTR, Fermenter, TwoTanks

Array = np.ndarray
N_EPISODES, EPISODE, RUN, BURN_IN = 20, 100, 200, 10
N_PEER = 40  # samples of do-mpc's run
EKF, CLIPPED, UKF = "ExtendedKalmanFilter", "the same, clipped", "UnscentedKalmanFilter"
STATES, LOADS = "MovingHorizonEstimator, states", "MovingHorizonEstimator, states and loads"
KALMAN, LINEAR = "KalmanFilter, linear face", "MovingHorizonEstimator, linear face"
PEER = "do-mpc MHE, own arrival cost"


@dataclass(frozen=True)
class Case:
    """A plant, how it is excited and seen.

    Attributes
    ----------
    plant : Plant
    inputs : callable
        Of a generator and a number of samples.
    fine, coarse : arrays
        Deviations of the records' noise, and of the sensors' in operation.
    measured : list of int
    every : int
        Samples from one measurement to the next.
    wobble : array
        Deviation of the unmeasured error of the inputs.
    load : callable
        As `inputs`.
    drift : array
        Deviation of each load's drift in a sample that estimators are told.
    y_min, d_min, d_max : arrays
    start : array
    horizon : int
    """

    plant: Any
    inputs: Callable[[np.random.Generator, int], Array]
    fine: Array
    coarse: Array
    measured: list[int]
    every: int
    wobble: Array
    load: Callable[[np.random.Generator, int], Array]
    drift: Array
    y_min: Array
    d_min: Array
    d_max: Array
    start: Array
    horizon: int = 15


def steps(rng: np.random.Generator, values: Any, length: int, n: int) -> Array:
    """`n` samples of levels drawn from a list or, of a pair, a range; each held."""
    count = -(-n // length)
    drawn = rng.uniform(*values, count) if isinstance(values, tuple) else rng.choice(values, count)
    return np.repeat(drawn, length)[:n]


CASES = {
    "two tanks": Case(
        TwoTanks(),
        lambda r, n: np.stack([steps(r, [0.0, 0.0, 0.25, 0.45], 15, n), steps(r, (0.3, 1.0), 10, n)], 1),
        np.array([0.05, 0.05]), np.array([0.2, 0.2]), [0, 1], 3, np.array([0.02, 0.02]),
        lambda r, n: np.stack([steps(r, [0.0, 0.0, -0.1, -0.2], 40, n), np.zeros(n)], 1),
        np.array([0.03, 1e-3]), np.zeros(2), np.array([-0.2, -1e-3]), np.array([0.0, 1e-3]),
        np.array([1.0, 0.8]),
    ),
    "reactor": Case(
        CSTR(), lambda r, n: steps(r, (285.0, 318.0), 12, n)[:, None], np.array([0.03, 3.0]),
        np.array([4.0]), [1], 2, np.array([1.0]),
        lambda r, n: steps(r, [0.0, 0.0, 5.0, 10.0], 40, n)[:, None], np.array([2.0]),
        np.array([0.0, -np.inf]), np.array([0.0]), np.array([10.0]), np.array([0.5, 360.0]),
    ),
    "fermenter": Case(
        Fermenter(),
        lambda r, n: np.stack([steps(r, (0.05, 0.2), 12, n), steps(r, [10.0, 12.0, 20.0], 20, n)], 1),
        np.array([0.1, 0.3, 0.3]), np.array([0.3, 0.5]), [0, 2], 3, np.array([0.01, 1.0]),
        lambda r, n: np.stack([np.zeros(n), steps(r, [0.0, 0.0, -4.0, -8.0], 50, n)], 1),
        np.array([1e-4, 1.0]), np.zeros(3), np.array([-1e-4, -8.0]), np.array([1e-4, 0.0]),
        np.array([5.0, 3.0, 20.0]),
    ),
}  # fmt: skip


def simulate(case: Case, x0: Array, u: Array, rng: np.random.Generator, load: Any = 0.0) -> Array:
    """States of the true plant; its inputs are never below zero."""
    x = np.empty((len(u) + 1, case.plant.n_x))
    x[0] = x0
    acting = np.maximum(u + load + case.wobble * rng.normal(size=u.shape), 0.0)
    for k in range(len(u)):
        x[k + 1] = case.plant.step(x[k], acting[k])
    return x


def identify(case: Case, seed: int, rng: np.random.Generator) -> KoopmanRNN:
    """A network of 100 neurons from noisy records, as they were measured."""
    outputs, inputs = [], []
    while len(outputs) < N_EPISODES:
        u = case.inputs(rng, EPISODE)
        x = simulate(case, rng.uniform(case.plant.x0_low, case.plant.x0_high), u, rng)
        if np.isfinite(x).all():
            outputs.append(x + case.fine * rng.normal(size=x.shape))
            inputs.append(u)
    return KoopmanRNN(100, random_state=seed, smooth=False).fit(
        Trajectories.from_arrays(outputs, inputs, dt=case.plant.dt)
    )


def cpu_timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Result and processor time of one call, s: what else the machine does is not in it."""
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


def observe(estimator: Any, y: Array, u: Array) -> tuple[Array, float]:
    """Estimates of all samples, and the median processor time of one, s."""
    found, times = [], []
    for k in range(len(y)):
        s, t = cpu_timed(lambda k=k: estimator.observe(y[k], u[k - 1] if k else None))
        found.append(s)
        times.append(t)
    return np.array(found), float(np.median(times))


def score(found: Array, x: Array, load: Array) -> dict[str, float]:
    """Errors of states and loads; a filter that diverges has a large one."""
    n_x, late = x.shape[1], slice(BURN_IN, None)
    off = (found[:, :n_x] - x)[late] / x.std(axis=0)
    moving = np.flatnonzero(load.std(axis=0) > 0)
    wrong = (found[1:, n_x:] - load)[late][:, moving] / np.sqrt(np.mean(load[:, moving] ** 2))
    return {"states": c.rmse(off), "load": c.rmse(wrong) if len(moving) else float("nan")}


def run(case: Case, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures of all estimators, and of do-mpc beside."""
    rng = np.random.default_rng(seed)
    model = identify(case, seed, rng)
    while True:
        u, load = case.inputs(rng, RUN), case.load(rng, RUN)
        load = np.maximum(u + load, 0.0) - u  # a leak takes no more than is pumped
        x = simulate(case, case.start, u, rng, load)
        if load.any() and np.isfinite(x).all():
            break
    y = x[:, case.measured] + case.coarse * rng.normal(size=(RUN + 1, len(case.measured)))
    y[np.arange(RUN + 1) % case.every != 0] = np.nan
    options = {
        "measured": case.measured, "Rn": case.coarse**2, "disturbance": "input", "Qd": case.drift**2
    }  # fmt: skip
    on_loads = {"d_min": case.d_min, "d_max": case.d_max}
    lifted = model.lift_at(case.start, u.mean(axis=0), method="edmd")
    linear = {**options, "steady": False}
    estimators = {
        EKF: ExtendedKalmanFilter(model, **options),
        UKF: UnscentedKalmanFilter(model, **options),
        STATES: MovingHorizonEstimator(model, case.horizon, y_min=case.y_min, **options),
        LOADS: MovingHorizonEstimator(model, case.horizon, y_min=case.y_min, **on_loads, **options),
        KALMAN: KalmanFilter(lifted, **linear),
        LINEAR: MovingHorizonEstimator(lifted, case.horizon, y_min=case.y_min, **on_loads, **linear),
    }
    figures = {}
    for name, estimator in estimators.items():
        found, step = observe(estimator, y, u)
        if name in (KALMAN, LINEAR):
            outputs = lifted.output(found[:, : lifted.n_z], np.zeros((len(found), model.network_.window.n_u)))
            found = np.hstack([outputs, found[:, lifted.n_z :]])
        figures[name] = {**score(found, x, load), "step_s": step}
        if hasattr(estimator, "n_fallbacks"):
            figures[name]["fallbacks"] = estimator.n_fallbacks
        if name == EKF:
            low = np.concatenate([case.y_min, case.d_min])
            high = np.concatenate([np.full(len(case.y_min), np.inf), case.d_max])
            figures[CLIPPED] = {**score(np.clip(found, low, high), x, load), "step_s": step}
    compared = compare(case, model, options, on_loads, y, u, x, load)
    return figures, compared


def compare(
    case: Case, model: KoopmanRNN, options: dict[str, Any], on_loads: dict[str, Any], y: Array, u: Array,
    x: Array, load: Array,
) -> dict[str, Any]:  # fmt: skip
    """do-mpc's answers to the same problems, and its own run."""
    M = case.horizon
    settled = MovingHorizonEstimator(model, M, y_min=case.y_min, max_iter=40, **on_loads, **options)
    quick = MovingHorizonEstimator(model, M, y_min=case.y_min, **on_loads, **options)
    law = settled.law
    low = np.concatenate([case.y_min, case.d_min])
    high = np.concatenate([np.full(len(case.y_min), np.inf), case.d_max])
    peers = [DoMpcMHE(model, True, M, law.kalman.noise, law.Rn, law.measured, low, high) for _ in range(2)]
    gaps, excess, times, own, unsolved = [], [], {"ours": [], "do-mpc": []}, [], 0
    for k in range(N_PEER + M):
        before = u[k - 1] if k else None
        settled.observe(y[k], before)
        _, t = cpu_timed(lambda k=k, before=before: quick.observe(y[k], before))
        if k < M:
            continue
        window = settled.state.window
        mean, P = arrival(law, window)
        if k == M:
            for peer in peers:
                peer.start(window.s[0])
        at, acted = y[k - M + 1 : k + 1], u[k - M : k]
        states, t_peer = cpu_timed(
            lambda at=at, acted=acted, mean=mean, P=P: peers[0].solve(mean, P, at, acted)
        )
        unsolved += not peers[0].solved
        size = law.rollout.size
        if peers[0].solved:
            gaps.append(float(np.max(np.abs(states[-1] - window.s[-1]) / size)))
            costs = [problem_cost(law, window, mean, P, s) for s in (window.s, states)]
            excess.append((costs[0] - costs[1]) / costs[1])
        times["ours"].append(t)
        times["do-mpc"].append(t_peer)
        own.append(peers[1].solve(mean if k == M else None, P, at, acted)[-1])
    late = slice(M, N_PEER + M)
    n_x = x.shape[1]
    return {
        "gap": c.spread(gaps),
        "alike": int(np.sum(np.array(gaps) < 1e-5)),
        "cheaper": int(np.sum(np.array(excess) < -1e-6)),
        "dearer": int(np.sum(np.array(excess) > 1e-6)),
        "unsolved": unsolved,
        "n": N_PEER,
        "time_ratio": float(np.median(times["ours"]) / np.median(times["do-mpc"])),
        "own_error": c.rmse((np.array(own)[:, :n_x] - x[late]) / x.std(axis=0)),
        "our_error": c.rmse((observe_again(quick, y, u, late)[:, :n_x] - x[late]) / x.std(axis=0)),
    }


def observe_again(estimator: Any, y: Array, u: Array, rows: slice) -> Array:
    """Estimates of some samples, from the start."""
    estimator.reset()
    return observe(estimator, y[: rows.stop], u)[0][rows]


def problem_cost(law: Any, window: Any, mean: Array, P: Array, s: Array) -> float:
    """Cost of a trajectory, as do-mpc is told it."""
    e = s[0] - mean
    w = s[1:] - law.rollout.advance_each(s[:-1], window.u)
    v = np.where(window.seen, window.y - s @ law.kalman.H.T, 0.0)[1:]
    found = e @ np.linalg.solve(P, e) + np.sum(w * np.linalg.solve(law.kalman.noise, w.T).T)
    return float(found + np.sum(v**2 / np.diag(law.Rn)))


def arrival(law: Any, window: Any) -> tuple[Array, Array]:
    """The oldest state's mean and covariance, its measurement taken in: do-mpc's first sample has none."""
    here = window.seen[0]
    if not here.any():
        return window.mean, window.covariance
    H, R, P = law.kalman.H[here], law.Rn[here][:, here], window.covariance
    gain = np.linalg.solve(H @ P @ H.T + R, H @ P).T
    P = P - gain @ H @ P
    return window.mean + gain @ (window.y[0][here] - H @ window.mean), 0.5 * (P + P.T)


def main() -> None:
    """Run all cases."""
    parser = c.parser(__doc__, 5)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    args = parser.parse_args()
    c.quiet()
    figures = c.earlier(args, "moving_horizon")
    with c.threads(args.threads):
        for name in args.cases:
            found = [run(CASES[name], seed) for seed in range(args.seeds)]
            figures[name] = summary(found)
            show(name, figures[name])
    c.write(args, "moving_horizon", figures, ("do-mpc", "casadi"))


def summary(found: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Medians and spread over the seeds, ratios seed by seed."""
    estimators = {}
    for name in found[0][0]:
        rows = [(f[name], f[EKF]) for f, _ in found]
        estimators[name] = {
            part: c.spread([own[part] for own, _ in rows]) for part in ("states", "load", "step_s")
        } | {
            f"{part}_ratio": c.spread([own[part] / base[part] for own, base in rows])
            for part in ("states", "load")
        }
        if "fallbacks" in rows[0][0]:
            estimators[name]["fallbacks"] = sum(own["fallbacks"] for own, _ in rows)
    peer = [p for _, p in found]
    return {
        "estimators": estimators,
        "do_mpc": {
            "largest_gap": max(p["gap"]["max"] for p in peer),
            "median_gap": float(np.median([p["gap"]["median"] for p in peer])),
            **{part: sum(p[part] for p in peer) for part in ("alike", "cheaper", "dearer")},
            "unsolved": sum(p["unsolved"] for p in peer),
            "samples": sum(p["n"] for p in peer),
            "time_ratio": c.spread([p["time_ratio"] for p in peer]),
            "own_error_ratio": c.spread([p["own_error"] / p["our_error"] for p in peer]),
        },
    }


def show(name: str, figures: dict[str, Any]) -> None:
    """Print a case."""
    rows = []
    for who, f in figures["estimators"].items():
        states, load = f["states_ratio"], f["load_ratio"]
        rows.append([
            who, f["states"]["median"], states["median"], states["max"], f["load"]["median"], load["median"],
            load["max"], 1e3 * f["step_s"]["median"], f.get("fallbacks", 0),
        ])  # fmt: skip
    header = ["", "error", "ratio", "worst", "load", "ratio", "worst", "ms", "fall-backs"]
    c.print_table(name, header, rows)
    print(figures["do_mpc"])


if __name__ == "__main__":
    main()
