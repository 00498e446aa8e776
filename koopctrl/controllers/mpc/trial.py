"""Short closed loops of a law on the network it was made from: what a design is worth before it leaves.

The network is the best simulator at hand. Episodes lead between its equilibria, and from states of the
training data, all within the bounds on inputs and outputs; each costs what the law was asked to make small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.mpc.law import PredictiveLaw
from koopctrl.controllers.mpc.problem import MPCProblem
from koopctrl.identification.held_out import Snapshots
from koopctrl.identification.record_leverage import RecordLeverage
from koopctrl.lifted.equilibrium import equilibria_near
from koopctrl.lifted.regulator_trial import relative_costs
from koopctrl.network.recurrent import RecurrentNetwork

# Outputs this many widths of the training range outside of it are lost, since no data say what the plant does
# there: the episode ends, and each sample left costs as much as if they were this many widths off.
OUTSIDE, AWAY = 1.0, 10.0
# One law is worse than another if it costs this many times as much, or loses more than this share of the
# episodes beyond those that the other loses: a single one of ten starts anywhere in the data is chance.
WORSE, SHARE = 2.0, 0.1
# Episodes that cost less than this share of a typical one are alike: being a hair off where another is not.
_PETTY = 0.05


# From the number of the sample and the outputs to input, status and seconds taken.
Sender = Callable[[int, FloatArray], tuple[FloatArray, str, float]]


@dataclass(frozen=True, eq=False)
class Episode:
    """One closed loop to be run.

    Attributes
    ----------
    start : (n_x,) array
        State (lag window) of the network.
    r, u_r : arrays
        Set-point `(n_y,)`, or one row a sample, and the inputs that hold it (the last of them).
    u_low, u_high : (n_inputs,) arrays
        Range of the training inputs: the network knows no others, and is sent none.
    y_low, y_high : (n_y,) arrays
        Range of the training outputs.
    load : (n_inputs,) array
        Added to the inputs; the controller does not know of it.
    gain : float
        By which inputs act more than the network knows, counted from the middle of their range.
    error : callable, optional
        What the outputs that follow differ by from the network's, from state and inputs.
    """

    start: FloatArray
    r: FloatArray
    u_r: FloatArray
    u_low: FloatArray
    u_high: FloatArray
    y_low: FloatArray
    y_high: FloatArray
    load: FloatArray
    gain: float
    error: Callable[[FloatArray, FloatArray], FloatArray] | None = None

    def acting(self, sent: FloatArray) -> FloatArray:
        """Inputs that the network feels."""
        middle = 0.5 * (self.u_low + self.u_high)
        return np.clip(middle + self.gain * (sent - middle) + self.load, self.u_low, self.u_high)


@dataclass(frozen=True, eq=False)
class Outcome:
    """How it went.

    Attributes
    ----------
    cost : float
    lost : bool
        Whether it ran away.
    excess : float
        Largest violation of an output bound, in standard deviations of the outputs.
    statuses : tuple of str
    step_times : tuple of float
        Seconds.
    outputs, inputs : arrays
        What was seen and sent, `(n + 1, n_y)` and `(n, n_u)`.
    leverage : float
        Largest one of states and inputs, over the largest of the records; NaN where it was not asked for.
    """

    cost: float
    lost: bool
    excess: float
    statuses: tuple[str, ...]
    step_times: tuple[float, ...]
    outputs: FloatArray
    inputs: FloatArray
    leverage: float = float("nan")


@dataclass(frozen=True)
class Beside:
    """One law beside another in the same episodes.

    Attributes
    ----------
    lost : int
        Episodes that it lost, less those that the other lost.
    ratio : float
        Its cost over the other's in the episodes that neither lost, geometric mean; NaN where there is none.
        What is lost is counted, not costed: a single run-away costs thousands of times as much as the rest.
    n : int
        Episodes.
    """

    lost: int
    ratio: float
    n: int

    @property
    def loses(self) -> bool:
        """Whether it loses more of them than chance would have it."""
        return self.lost > SHARE * self.n

    @property
    def costs(self) -> bool:
        """Whether it costs far more."""
        return self.ratio > WORSE


def beside(own: Sequence[Outcome], other: Sequence[Outcome]) -> Beside:
    """Compare two laws by how each episode went."""
    lost, other_lost = (np.array([o.lost for o in found]) for found in (own, other))
    kept, ratio = ~(lost | other_lost), float("nan")
    if kept.any():
        costs = np.array([[o.cost for o in found] for found in (own, other)])[:, kept]
        floor = _PETTY * float(np.median(costs.min(axis=0))) + np.finfo(float).tiny
        ratio = float(np.exp(np.mean(np.diff(np.log(costs[::-1] + floor), axis=0))))
    return Beside(int(lost.sum()) - int(other_lost.sum()), ratio, len(own))


def make_episodes(
    network: RecurrentNetwork,
    snapshots: Snapshots,
    home: tuple[FloatArray, FloatArray],
    problem: MPCProblem,
    moved: np.ndarray,
    n: int,
    seed: int = 0,
) -> list[Episode]:
    """At most `n` episodes: to and from the operating point `home`, between equilibria, from data states."""
    rng = np.random.default_rng(seed)
    n_y = network.window.n_y
    points = [p for p in equilibria_near(network, snapshots, n, rng) if _within(p, problem, moved, n_y)]
    legs = []
    for i, point in enumerate(points):
        legs += [(home[0], point), (point[0], home), (points[i - 1][0], point)]
    # Shuffled, so that the first few are of all kinds; the last third starts anywhere in the data.
    order = rng.permutation(len(legs))
    n_states = max(1, n // 3) if legs else n
    chosen = [legs[i] for i in order[: n - n_states]]
    goals = [home, *points]
    for k in rng.choice(len(snapshots.x), size=min(n_states, len(snapshots.x)), replace=False):
        chosen.append((snapshots.x[k], goals[len(chosen) % len(goals)]))
    u, y, load = snapshots.u, snapshots.y_next, np.zeros(network.window.n_u)
    return [
        Episode(
            start, goal[0][:n_y], goal[1], u.min(axis=0), u.max(axis=0), y.min(axis=0), y.max(axis=0), load,
            1.0,
        )
        for start, goal in chosen
    ]  # fmt: skip


def _within(point: tuple[FloatArray, FloatArray], problem: MPCProblem, moved: np.ndarray, n_y: int) -> bool:
    """Whether an equilibrium obeys the bounds on inputs and outputs."""
    x, u = point[0], point[1][moved]
    bounded = problem.E @ np.concatenate([x[:n_y], x])
    inside = (bounded >= problem.e_min).all() and (bounded <= problem.e_max).all()
    return bool(inside and (u >= problem.u_min).all() and (u <= problem.u_max).all())


def law_sender(law: PredictiveLaw, r: FloatArray) -> Sender:
    """A law from a fresh state, asked for one set-point."""
    state, asked = law.initial(), law.reader.read(r)

    def send(k: int, y: FloatArray) -> tuple[FloatArray, str, float]:
        nonlocal state
        u, state, info = law.step(state, y, asked)
        return u, info.status, info.solve_time

    return send


def run(
    send: Sender,
    law: PredictiveLaw,
    network: RecurrentNetwork,
    episode: Episode,
    n_steps: int,
    records: RecordLeverage | None = None,
) -> Outcome:
    """One closed loop on the network of what `send` sends, judged by what `law` was asked to make small."""
    problem, channels, n_y = law.problem, law.channels, network.window.n_y
    Q, R, S = output_weight(law, network), problem.R[-1], problem.S[-1]
    u_r, v = channels.split(episode.u_r)
    line = [u_r] * problem.delay
    x, cost, excess, lost = episode.start, 0.0, 0.0, False
    outputs, inputs, statuses, times = [x[:n_y]], [], [], []
    points: list[tuple[FloatArray, FloatArray]] = []
    last = None
    for k in range(n_steps):
        u, status, taken = send(k, x[:n_y])
        statuses.append(status)
        times.append(taken)
        line.append(u)
        sent = channels.join(line.pop(0), v) if channels.n_v else line.pop(0)
        target = episode.r if episode.r.ndim == 1 else episode.r[min(k + 1, len(episode.r) - 1)]
        with np.errstate(all="ignore"):
            before, acting = x, episode.acting(sent)
            points.append((before, acting))
            x = network.step(before, acting)
            if episode.error is not None:
                x = x.copy()
                x[:n_y] += episode.error(before, acting)
            error = x[:n_y] - target
            width = episode.y_high - episode.y_low
            far = OUTSIDE * width
            known = (x[:n_y] >= episode.y_low - far) & (x[:n_y] <= episode.y_high + far)
        if not known.all():
            lost = True
            break
        deviation = u - u_r
        move = np.zeros_like(u) if last is None else u - last
        cost += float(error @ Q @ error + deviation @ R @ deviation + move @ S @ move)
        if len(problem.E):
            value = problem.E @ np.concatenate([x[:n_y], x])
            over = np.maximum(value - problem.e_max, problem.e_min - value)
            unit = np.abs(problem.E) @ np.concatenate([network.scaling.y_scale, network.x_scale])
            excess = max(excess, float((over / unit).max()))
        outputs.append(x[:n_y])
        inputs.append(u)
        last = u
    if lost:
        away = AWAY * (episode.y_high - episode.y_low) * np.sqrt(np.maximum(np.diag(Q), 0.0))
        cost += (n_steps - len(inputs)) * float(away @ away)
    leverage = float("nan")
    if records is not None:
        leverage = float(records(*(np.array(part) for part in zip(*points, strict=True))).max())
    return Outcome(
        cost, lost, excess, tuple(statuses), tuple(times), np.array(outputs),
        np.array(inputs).reshape(len(inputs), problem.n_u), leverage,
    )  # fmt: skip


def output_weight(law: PredictiveLaw, network: RecurrentNetwork) -> FloatArray:
    """The law's weight on outputs; where it is on lifted coordinates, outputs in their own scale."""
    Q, n_y = law.problem.Q[-1], network.window.n_y
    return Q if len(Q) == n_y else np.diag(1.0 / network.scaling.y_scale**2)


def relative(costs: list[list[float]]) -> FloatArray:
    """Geometric mean over episodes of each law's cost relative to the best one's."""
    return relative_costs([np.array(c) for c in costs])[0]
