"""Which linear model becomes the lifted face: tried in closed loop on the network, simplest of the best."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.lifted.candidates import Candidate, Workshop
from koopctrl.lifted.regulator_trial import RegulatorTrial, relative_costs
from koopctrl.lifted.stability import spectral_radius

# Scores this close to the best are as good.
_SAME = 0.02
# Candidates whose loops cost at most this share more than the best are alike: the network is no truer than
# that.
_ALIKE = 0.05
# Share of what the best predicts better than plain least squares that a simpler model may give away.
_GIVEN_AWAY = 1.0 / 3.0
# One that costs more than this many times what plain least squares does, in any episode, is out.
REGRET = 10.0
# More than this many times only if its free run errs no worse than that of least squares.
_LOSES, _NO_WORSE = 1.5, 1.1


@dataclass(frozen=True)
class Tried:
    """One candidate and how it did.

    Attributes
    ----------
    name : str
    n_z : int
    error : float
        Held-out error of the free run over the horizon, in standard deviations of the outputs; NaN where no
        held-out episode is long enough.
    cost : float
        Closed loop on the network, cost relative to the best candidate's (geometric mean over episodes); NaN
        where there is nothing to control.
    worst : float
        Its largest cost in an episode, relative to that of plain least squares.
    spectral_radius : float
    """

    name: str
    n_z: int
    error: float
    cost: float
    worst: float
    spectral_radius: float


@dataclass(frozen=True)
class LiftChoice:
    """What was tried for a lifted model, and what was taken.

    Attributes
    ----------
    horizon : int
        Samples over which candidates were compared.
    chosen : Tried
    linear : Tried
        The plain linear model beside it: least squares on the state alone, or the network itself where it is
        linear.
    tried : tuple of Tried
        All of them, best first.
    """

    horizon: int
    chosen: Tried
    linear: Tried
    tried: tuple[Tried, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON; what is not finite becomes None."""
        rows = [
            {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in asdict(t).items()}
            for t in self.tried
        ]
        places = {id(t): i for i, t in enumerate(self.tried)}
        return {
            "horizon": self.horizon,
            "tried": rows,
            "chosen": places[id(self.chosen)],
            "linear": places[id(self.linear)],
        }

    @classmethod
    def from_dict(cls, made: dict[str, Any]) -> LiftChoice:
        """Inverse of `to_dict`.

        Raises
        ------
        KeyError, TypeError, ValueError, IndexError
            If something is missing or of another kind.
        """
        tried = tuple(
            Tried(
                str(t["name"]), int(t["n_z"]), _number(t["error"]), _number(t["cost"]), _number(t["worst"]),
                _number(t["spectral_radius"]),
            )
            for t in made["tried"]
        )  # fmt: skip
        return cls(int(made["horizon"]), tried[made["chosen"]], tried[made["linear"]], tried)

    def __str__(self) -> str:
        """Table of the best ten and the plain linear model."""
        shown = list(self.tried[:10])
        shown += [] if self.linear in shown else [self.linear]
        lines = [
            f"chosen: {self.chosen.name}, {self.chosen.n_z} coordinates; horizon {self.horizon} samples",
            "cost: closed loop on the network, over the best; worst: in an episode, over least squares;",
            "error: free run on held-out data, in spreads",
            f"{'candidate':44s}  n_z    cost   worst   error  radius",
        ]
        lines += [
            f"{t.name:44s} {t.n_z:4d} {t.cost:7.3f} {t.worst:7.3g} {t.error:7.4f} {t.spectral_radius:7.4f}"
            for t in shown
        ]
        return "\n".join(lines)


def choose(workshop: Workshop, trial: RegulatorTrial | None, horizon: int) -> tuple[Candidate, LiftChoice]:
    """The best candidate, made again from all the data.

    By the cost in closed loop where there is a trial, else by the error of the free run.
    """
    candidates = list(workshop.candidates())
    errors = np.array([workshop.error(c) for c in candidates])
    if trial is None:
        costs = worst = np.full(len(candidates), np.nan)
        score = np.where(np.isnan(errors), np.inf, errors)
    else:
        costs, worst = judged([trial.costs(c.observables, c.A, c.B, c.c) for c in candidates], trial.n_gains)
        score = np.where(admitted(worst, errors), costs, np.inf)
    tried = [
        Tried(str(c.recipe), len(c.A), float(e), float(k), float(w), spectral_radius(c.A))
        for c, e, k, w in zip(candidates, errors, costs, worst, strict=True)
    ]
    n_z = np.array([t.n_z for t in tried])
    # Where the weights are not the user's, loops tell less: the closest to the best are kept.
    in_loop = trial is not None and trial.n_gains > 1
    best = simplest_alike(score, errors, n_z) if in_loop else simplest_of_the_best(score, n_z)
    order = np.lexsort((costs, score))
    choice = LiftChoice(horizon, tried[best], tried[0], tuple(tried[i] for i in order))
    return workshop.make(candidates[best].recipe, all_data=True), choice


def judged(costs: list[FloatArray], n_gains: int) -> tuple[FloatArray, FloatArray]:
    """As `relative_costs`: the mean over all gains of the inputs, the worst as the network has them."""
    table = np.array(costs).reshape(len(costs), n_gains, -1)
    found = [relative_costs(list(table[:, i])) for i in range(n_gains)]
    mean = np.exp(np.mean(np.log([m for m, _ in found]), axis=0))
    return mean, found[0][1]


def admitted(worst: FloatArray, errors: FloatArray) -> np.ndarray:
    """Which candidates may be taken, the first of them being plain least squares.

    None that loses to it by far in an episode. One that loses in some episode, but wins on the whole, is
    believed if it predicts as well: the loops run on the network, whose own faults a candidate may share,
    and the free run is held against data. An error that is not known (NaN) speaks against none.
    """
    predicts = ~(errors > _NO_WORSE * errors[0])
    return (worst <= _LOSES) | ((worst <= REGRET) & predicts)


def simplest_of_the_best(score: FloatArray, n_z: np.ndarray) -> int:
    """Index of the smallest model within `_SAME` of the best score; of equally small ones the first."""
    close = np.flatnonzero(score <= (1.0 + _SAME) * score.min())
    return int(close[np.argmin(n_z[close])]) if len(close) else 0


def simplest_alike(costs: FloatArray, errors: FloatArray, n_z: np.ndarray) -> int:
    """Index of the smallest model among those alike in closed loop; of equally small ones the cheapest.

    The first, plain least squares, is taken where it costs as little as the best. Else loops on the network,
    which cannot say what it has wrong itself, do not tell candidates apart that differ by a few per cent;
    where free runs on held-out data (`errors`, NaN where unknown) do, they are heard: those are the plant's
    own word. A model is out if it errs a tenth more than the best of them and gives away more than a third of
    what that one gains over plain least squares.
    """
    best = costs.min()
    if costs[0] <= (1.0 + _SAME) * best:
        return 0
    close = np.flatnonzero(costs <= (1.0 + _ALIKE) * best)
    known = errors[close]
    if np.isfinite(known).any():
        least = float(np.nanmin(known))
        kept = least + _GIVEN_AWAY * np.nan_to_num(errors[0] - least)
        close = close[~(known > max(_NO_WORSE * least, kept))]
    small = close[n_z[close] == n_z[close].min()]
    return int(small[np.argmin(costs[small])])


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
