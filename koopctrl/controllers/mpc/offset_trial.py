r"""The gain of an offset-free controller, chosen by what it does under loads and the network's errors.

What one step of a model leaves unexplained is a load, or an error of the model. A disturbance estimated from
it at once (`g = 1`) answers to both; where the plant is slow beside its samples a small error of one step
moves the steady inputs by their whole range. How much of it is error, the training data tell: each gain is
tried in closed loop on

.. math:: y_{k+1} = f(x_k, (1 + m) u_k + l) + c + e_k

with constant loads `l` and `c` on inputs and increments, a mismatch `m` of the inputs, and stretches of the
one-step residuals `e` as they followed one another in the data; and without loads and mismatch. Taken is the
gain that costs least under loads among those that, without them, cost at most a tenth more than the
controller that estimates no disturbance; if there is none, the gain that costs least so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.mpc.law import PredictiveLaw
from koopctrl.controllers.mpc.trial import Episode, law_sender, make_episodes, relative, run
from koopctrl.errors import OptionError
from koopctrl.identification.held_out import Snapshots
from koopctrl.network.recurrent import RecurrentNetwork

GAINS = (0.05, 0.1, 0.2, 0.5, 1.0)
# Size of the loads, as a share of the range of the training inputs; of the mismatch; and of the constant that
# is added to the outputs' increments, as a share of their spread.
_LOAD, _MISMATCH, _DRIFT = 0.1, 0.2, 0.1
# Share by which a controller may cost more without a load than one that expects none; the ratio of a few
# short runs is known no better.
_HARM = 0.1
# Cost, over that of no estimate, from which higher gains are not tried: the harm grows with the gain.
_HOPELESS = 1.3


@dataclass(frozen=True)
class OffsetTrial:
    """What was found.

    Attributes
    ----------
    taken : float or str
        As the argument `offset_free` takes it.
    loaded, unloaded : dict
        Costs over the least one under loads, and over those of no estimate without them (geometric means).
    """

    taken: float | str
    loaded: dict[float | str, float]
    unloaded: dict[float | str, float]


def best_gain(
    build: Callable[[Any], PredictiveLaw],
    network: RecurrentNetwork,
    snapshots: Snapshots,
    home: tuple[FloatArray, FloatArray],
    candidates: Sequence[float | str],
    n_episodes: int,
) -> OffsetTrial:
    """Try each of some values of `offset_free`.

    Parameters
    ----------
    build : callable
        From a value to a law; `False` stands for no estimate. One that the model cannot have raises
        OptionError.
    network : RecurrentNetwork
    snapshots : Snapshots
        Its training pairs.
    home : (n_x,) and (n_u,) arrays
        Operating point.
    candidates : sequence of float or str
    n_episodes : int
        Without loads and mismatch, and as many with them; fewer where the data know fewer starts and goals.
    """
    bare = build(False)
    problem, moved = bare.problem, bare.channels.moved
    episodes = make_episodes(network, snapshots, home, problem, moved, 2 * n_episodes)
    free, burdened = _disturbed(episodes, network, snapshots, moved)
    n_steps = 2 * problem.horizon + problem.delay

    def costs(law: PredictiveLaw, some: list[Episode]) -> list[float]:
        return [run(law_sender(law, e.r), law, network, e, n_steps).cost for e in some]

    base = costs(bare, free)
    without: dict[float | str, list[float]] = {}
    under: dict[float | str, list[float]] = {}
    hopeless = False
    for value in candidates:
        if hopeless and not isinstance(value, str):
            continue
        try:
            law = build(value)
        except OptionError:
            continue  # not for models of this kind
        without[value] = costs(law, free)
        hopeless = hopeless or _mean_ratio(without[value], base) > _HOPELESS
        under[value] = costs(law, burdened)
    unloaded = {k: _mean_ratio(v, base) for k, v in without.items()}
    loaded = dict(zip(under, relative(list(under.values())).tolist(), strict=True))
    harmless = [k for k, v in unloaded.items() if v <= 1.0 + _HARM]
    costs_of = {k: loaded[k] for k in harmless} if harmless else unloaded
    taken = min(costs_of, key=lambda k: costs_of[k])
    return OffsetTrial(taken, loaded, unloaded)


def _mean_ratio(costs: list[float], base: list[float]) -> float:
    """Geometric mean of the ratios."""
    own, other = relative([costs, base])
    return float(own / other)


def _disturbed(
    episodes: list[Episode], network: RecurrentNetwork, snapshots: Snapshots, moved: np.ndarray
) -> tuple[list[Episode], list[Episode]]:
    """Episodes with residuals, half without a load, half with one; one of each at least."""
    rng = np.random.default_rng(0)
    episodes = episodes if len(episodes) > 1 else 2 * episodes
    n = len(episodes) // 2
    predicted = network.step(snapshots.x, snapshots.u)[:, : network.window.n_y]
    residuals = snapshots.y_next - predicted
    size = _LOAD * np.ptp(snapshots.u, axis=0)
    drift = _DRIFT * (snapshots.y_next - snapshots.x[:, : network.window.n_y]).std(axis=0)
    made = []
    for i, episode in enumerate(episodes):
        e = np.roll(residuals, -int(rng.integers(len(residuals))), axis=0)
        load, gain, u_r = np.zeros_like(size), 1.0, episode.u_r
        if i >= n:
            load[moved] = (size * rng.choice([-1.0, 1.0], size=len(size)))[moved]
            gain += _MISMATCH * (1.0 if i % 2 else -1.0)
            # Inputs that hold the goal are those that undo load and mismatch.
            middle = 0.5 * (episode.u_low + episode.u_high)
            u_r = middle + (u_r - middle - load) / gain
            e = e + drift * rng.choice([-1.0, 1.0], size=len(drift))
        made.append(replace(episode, noise=e, load=load, gain=gain, u_r=u_r))
    return made[:n], made[n:]
