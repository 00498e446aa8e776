"""Grey boxes beside black boxes and the known part alone: coefficients, and errors outside of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from _common import print_table, spread

from koopctrl import KoopmanRNN, Trajectories, discretise

Array = np.ndarray
NOISES = (0.0, 1e-3, 1e-2)


@dataclass(frozen=True)
class Grey:
    """A plant of which a part is known.

    Attributes
    ----------
    known, truth : callable
        Right-hand sides; the truth has something more.
    theta, guess : dict
    start, beyond : callable
        Draw a start within the data's region, and outside of it.
    inputs : (low, high)
        Of the data; beyond they reach to `wide` times as far from their middle.
    """

    known: Callable[..., Any]
    truth: Callable[..., Any]
    theta: dict[str, float]
    guess: dict[str, float]
    dt: float
    start: Callable[[np.random.Generator], Array]
    beyond: Callable[[np.random.Generator], Array]
    inputs: tuple[float, float]
    wide: float


def _swing(x: Any, u: Any, t: Any, xp: Any = np) -> list[Any]:
    return [x[1], -t["g/l"] * xp.sin(x[0]) - t["b"] * x[1] + t["k"] * u[0]]


def _swing_truth(x: Any, u: Any, t: Any, xp: Any = np) -> list[Any]:
    q, p = _swing(x, u, t, xp)
    return [q, p + 0.8 * xp.cos(2.0 * x[0])]  # a magnet beside the bob


def _tanks(x: Any, u: Any, t: Any, xp: Any = np) -> list[Any]:
    first, second = (xp.sqrt(xp.fmax(level, 1e-3)) for level in x)
    return [t["gain"] * u[0] - t["a1"] * first, t["a1"] * first - t["a2"] * second]


def _tanks_truth(x: Any, u: Any, t: Any, xp: Any = np) -> list[Any]:
    q, p = _tanks(x, u, t, xp)
    return [q, p - 0.08 / (1.0 + xp.exp(-(x[1] - 1.2) / 0.1))]  # an overflow that nobody drew


def _reactor(x: Any, u: Any, t: Any, xp: Any = np) -> list[Any]:
    rate = 0.5 * xp.exp(t["E"] * (1.0 - 350.0 / x[1])) * x[0]
    return [
        (1.0 - x[0]) - rate,
        (350.0 - x[1]) + t["heat"] * rate + t["cool"] * (u[0] - x[1]),
    ]


def _reactor_truth(x: Any, u: Any, t: Any, xp: Any = np) -> list[Any]:
    q, p = _reactor(x, u, t, xp)
    return [q, p - 4e-9 * (x[1] ** 4 - 300.0**4) / 10.0]  # heat that is radiated


CASES: dict[str, Grey] = {
    "pendulum and a magnet": Grey(
        _swing, _swing_truth, {"g/l": 9.81, "b": 0.3, "k": 2.0}, {"g/l": 5.0, "b": 1.0, "k": 1.0}, 0.05,
        lambda r: r.uniform(-0.8, 0.8, 2), lambda r: np.array([r.choice([-1, 1]) * r.uniform(1.5, 2.5), 0.0]),
        (-2.0, 2.0), 1.0,
    ),
    "tanks and an overflow": Grey(
        _tanks, _tanks_truth, {"gain": 0.5, "a1": 0.3, "a2": 0.25}, {"gain": 1.0, "a1": 1.0, "a2": 1.0}, 0.5,
        lambda r: r.uniform(0.3, 1.5, 2), lambda r: r.uniform(1.8, 2.6, 2), (0.0, 1.2), 1.5,
    ),
    "reactor and radiation": Grey(
        _reactor, _reactor_truth, {"E": 25.0, "heat": 209.0, "cool": 2.1},
        {"E": 10.0, "heat": 100.0, "cool": 1.0}, 0.05,
        lambda r: np.array([r.uniform(0.4, 0.8), r.uniform(335.0, 350.0)]),
        lambda r: np.array([r.uniform(0.7, 0.9), r.uniform(320.0, 330.0)]), (285.0, 305.0), 1.5,
    ),
}  # fmt: skip


def records(
    case: Grey,
    rng: np.random.Generator,
    n: int,
    steps: int,
    draw: Callable[..., Array],
    wide: float,
    noise: float,
) -> Trajectories:
    """Records of the truth; noise relative to each signal's spread."""
    step = discretise(case.truth, case.dt, 4)
    middle, half = 0.5 * sum(case.inputs), 0.5 * (case.inputs[1] - case.inputs[0])
    xs, us = [], []
    for _ in range(n):
        levels = np.repeat(rng.uniform(-1.0, 1.0, steps), rng.integers(2, 9, steps))[:steps]
        u, x = middle + wide * half * levels, [draw(rng)]
        for k in range(steps):
            x.append(np.array(step(x[-1], u[k : k + 1], case.theta)))
        xs.append(np.array(x))
        us.append(u[:, None])
    size = np.concatenate(xs).std(axis=0)
    return Trajectories.from_arrays([x + noise * size * rng.normal(size=x.shape) for x in xs], us, dt=case.dt)


def _error(model: KoopmanRNN, test: Trajectories, size: Array) -> float:
    """Free runs of 20 samples, in standard deviations of the data."""
    off = []
    for e in test:
        y = model.simulate(e.outputs[0], e.inputs[:20])
        off.append((y - e.outputs[:21]) / size)
    return float(np.sqrt(np.mean(np.minimum(np.square(off), 1e6))))


def grey_figures(seeds: int) -> dict[str, Any]:
    """All figures, printed on the way."""
    out: dict[str, Any] = {}
    for name, case in CASES.items():
        known = discretise(case.known, case.dt)
        rows = []
        for noise in NOISES:
            found: dict[str, dict[str, list[float]]] = {}
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                data = records(case, rng, 12, 80, case.start, 1.0, noise)
                inside = records(case, rng, 20, 20, case.start, 1.0, 0.0)
                outside = records(case, rng, 20, 20, case.beyond, case.wide, 0.0)
                size = np.concatenate([e.outputs for e in data]).std(axis=0)
                options = {"known": known, "theta0": case.guess}
                fitted = {
                    "grey box": KoopmanRNN(random_state=seed, **options).fit(data),
                    "known part alone": KoopmanRNN(0, ridge=1e12, rcond=0.0, **options).fit(data),
                    "black box": KoopmanRNN(random_state=seed).fit(data),
                }
                for kind, model in fitted.items():
                    kept = found.setdefault(kind, {"inside": [], "outside": [], "coefficient": []})
                    kept["inside"].append(_error(model, inside, size))
                    kept["outside"].append(_error(model, outside, size))
                    if kind != "black box":
                        kept["coefficient"].append(
                            max(abs(model.theta_[n] / v - 1.0) for n, v in case.theta.items())
                        )
            key = f"noise {noise:g}"
            out.setdefault(name, {})[key] = {
                kind: {what: spread(v) for what, v in kept.items() if v} for kind, kept in found.items()
            }
            for kind, kept in found.items():
                cells = [
                    f"{np.median(kept[w]):.3g} ({max(kept[w]):.3g})" if kept[w] else ""
                    for w in ("coefficient", "inside", "outside")
                ]
                rows.append([f"{key}, {kind}", *cells])
        print_table(name, ["", "worst coefficient", "inside", "outside"], rows)
    return out
