r"""The estimate of an offset-free controller, chosen by what it does under loads and the network's errors.

What one step of a model leaves unexplained is a load, or an error of the model. A disturbance estimated from
it at once (`g = 1`) answers to both; where the plant is slow beside its samples a small error of one step
moves the steady inputs by their whole range. How much of it is error, the training data tell: each estimate
is tried in closed loop on

.. math:: y_{k+1} = f(x_k, (1 + m) u_k + l) + e(x_k, u_k)

with constant loads `l` and mismatches `m` on the inputs, and the network's error `e` at the training sample
nearest to state and inputs; and without loads and mismatch. Taken is the estimate that costs least under
loads among those that, without them, cost at most a tenth more than the controller that estimates no
disturbance; if there is none, the one that costs least so. Of two that cost the same, within what some short
runs can tell, that is taken which is preferred for reasons of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from koopctrl._validation import FloatArray
from koopctrl.controllers.mpc.law import PredictiveLaw
from koopctrl.controllers.mpc.trial import Episode, law_sender, make_episodes, relative, run
from koopctrl.errors import OptionError, SolverError
from koopctrl.identification.held_out import Snapshots
from koopctrl.network.recurrent import RecurrentNetwork

GAINS = (0.05, 0.1, 0.2, 0.5, 1.0)
# Size of the loads, as a share of the range of the training inputs, and of the mismatch.
_LOAD, _MISMATCH = 0.1, 0.2
# Share by which costs of a few short runs differ without a reason.
_TIE = 0.05
# Training samples among which the nearest is sought.
_MOST_SAMPLES = 20_000
# Share by which a controller may cost more without a load than one that expects none; the ratio of a few
# short runs is known no better.
_HARM = 0.1
# Mean cost, over that of no estimate, that an estimate whose first episode shows it is not tried further for.
_HOPELESS = 1.3


@dataclass(frozen=True)
class OffsetTrial:
    """What was found.

    Attributes
    ----------
    taken : float or str
        As the argument `offset_free` takes it.
    loaded, unloaded : dict
        Costs over the least one under loads, and over those of no estimate without them (geometric means);
        `loaded` has those alone that do little harm.
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
    preferred: str | None = None,
) -> OffsetTrial:
    """Try each of some values of `offset_free`.

    Parameters
    ----------
    build : callable
        From a value to a law; `False` stands for no estimate. One that the model cannot have raises
        OptionError or SolverError.
    network : RecurrentNetwork
    snapshots : Snapshots
        Its training pairs.
    home : (n_x,) and (n_u,) arrays
        Operating point.
    candidates : sequence of float or str
        Gains in rising order.
    n_episodes : int
        Without loads and mismatch, and as many with them; fewer where the data know fewer starts and goals.
    preferred : str, optional
        Candidate that is taken where no other costs clearly less.
    """
    bare = build(False)
    problem, moved = bare.problem, bare.channels.moved
    episodes = make_episodes(network, snapshots, home, problem, moved, 2 * n_episodes)
    free, burdened = _disturbed(episodes, network, snapshots, moved)
    n_steps = 2 * problem.horizon + problem.delay

    def costs(law: PredictiveLaw, some: list[Episode]) -> list[float]:
        return [run(law_sender(law, e.r), law, network, e, n_steps).cost for e in some]

    base = costs(bare, free)
    unloaded: dict[float | str, float] = {}
    under: dict[float | str, list[float]] = {}
    hopeless = False
    for value in candidates:
        if hopeless and not isinstance(value, str):
            continue
        try:
            law = build(value)
        except (OptionError, SolverError):
            continue  # not for models of this kind
        first = _mean_ratio(costs(law, free[:1]), base[:1])
        harm = first if first > _HOPELESS ** len(free) else _mean_ratio(costs(law, free), base)
        unloaded[value] = harm
        # The harm grows with the gain.
        hopeless = hopeless or (not isinstance(value, str) and harm > 1.0 + _HARM)
        if harm <= 1.0 + _HARM:
            under[value] = costs(law, burdened)
    loaded = dict(zip(under, relative(list(under.values())).tolist(), strict=True)) if under else {}
    costs_of = loaded or unloaded
    taken = min(costs_of, key=lambda k: costs_of[k])
    if preferred is not None and costs_of.get(preferred, np.inf) <= (1.0 + _TIE) * costs_of[taken]:
        taken = preferred
    return OffsetTrial(taken, loaded, unloaded)


def _mean_ratio(costs: list[float], base: list[float]) -> float:
    """Geometric mean of the ratios."""
    own, other = relative([costs, base])
    return float(own / other)


class NearestError:
    """A network's one-step error at the training sample nearest to state and inputs.

    Parameters
    ----------
    network : RecurrentNetwork
    snapshots : Snapshots
    """

    def __init__(self, network: RecurrentNetwork, snapshots: Snapshots) -> None:
        kept = slice(None, None, max(1, len(snapshots.x) // _MOST_SAMPLES))
        x, u = snapshots.x[kept], snapshots.u[kept]
        self._size = np.concatenate([network.x_scale, network.scaling.u_scale])
        self._tree = cKDTree(np.hstack([x, u]) / self._size)
        self._errors = snapshots.y_next[kept] - network.step(x, u)[:, : network.window.n_y]

    def __call__(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """Error `(n_y,)`; zero where state and inputs are no numbers."""
        point = np.concatenate([x, u]) / self._size
        if not np.isfinite(point).all():
            return np.zeros(self._errors.shape[1])
        return self._errors[int(self._tree.query(point)[1])]


def _disturbed(
    episodes: list[Episode], network: RecurrentNetwork, snapshots: Snapshots, moved: np.ndarray
) -> tuple[list[Episode], list[Episode]]:
    """Episodes with the network's errors, half without a load, half with one; one of each at least."""
    rng = np.random.default_rng(0)
    episodes = episodes if len(episodes) > 1 else 2 * episodes
    n = len(episodes) // 2
    error = NearestError(network, snapshots)
    size = _LOAD * np.ptp(snapshots.u, axis=0)
    made = []
    for i, episode in enumerate(episodes):
        load, gain, u_r = np.zeros_like(size), 1.0, episode.u_r
        if i >= n:
            load[moved] = (size * rng.choice([-1.0, 1.0], size=len(size)))[moved]
            gain += _MISMATCH * (1.0 if i % 2 else -1.0)
            # Inputs that hold the goal are those that undo load and mismatch.
            middle = 0.5 * (episode.u_low + episode.u_high)
            u_r = middle + (u_r - middle - load) / gain
        made.append(replace(episode, error=error, load=load, gain=gain, u_r=u_r))
    return made[:n], made[n:]
