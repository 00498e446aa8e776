"""What a selection has tried, and the table of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._validation import FloatArray

if TYPE_CHECKING:
    import pandas as pd

# By which the error of one seed is raised: the best of many is the luckiest of them.
_LUCK = 0.15


@dataclass
class Trial:
    """One candidate: its settings, held-out errors by fold (and again with other seeds), and seconds."""

    settings: dict[str, Any]
    errors: list[float] = field(default_factory=list)
    seconds_by_fold: list[float] = field(default_factory=list)
    n_folds: int = 3
    message: str = ""
    runs: dict[int, list[list[FloatArray]]] = field(default_factory=dict, repr=False)  # held out, by seed

    @property
    def seconds(self) -> float:
        """Time spent on it."""
        return float(sum(self.seconds_by_fold))

    @property
    def linear(self) -> bool:
        """Whether it has no neurons, so that nothing in it is drawn."""
        return self.settings.get("n_features") == 0

    @property
    def hidden(self) -> bool:
        """Whether its state is hidden."""
        return self.settings.get("n_states") is not None

    @property
    def full(self) -> bool:
        """Whether it has been scored on all folds."""
        return len(self.errors) >= self.n_folds and bool(np.isfinite(self.error))

    @property
    def seeds(self) -> float:
        """Number of seeds that it has been scored with."""
        return len(self.errors) / self.n_folds

    @property
    def rank(self) -> tuple[bool, float]:
        """What trials are sorted by: those that saw all folds first; of errors that one seed alone has shown
        the best are lucky ones, and count a little more.
        """
        luck = 0.0 if self.linear else _LUCK / max(self.seeds, 1.0)
        return not self.full, self.error * (1.0 + luck)

    @property
    def error(self) -> float:
        """Mean over the folds, whatever the number of seeds on each."""
        return float(np.mean(self.by_fold)) if self.errors else np.inf

    @property
    def by_fold(self) -> FloatArray:
        """Error on each fold that it has seen, the mean over seeds."""
        n = self.n_folds
        return np.array([np.mean(self.errors[i::n]) for i in range(min(n, len(self.errors)))])


def ordered(trials: Sequence[Trial]) -> list[Trial]:
    """The best first, also of those that the clock has left with some folds only.

    One that saw a few folds is compared with the best of those that saw all by their ratio on these; the
    fewer, the more its luck counts, and with less than half of them it comes after the others, for it may
    diverge on the rest. Where nonlinear ones were confirmed with other seeds, one of them wins,
    or a linear one.
    """
    full = min((t for t in trials if t.full), key=lambda t: t.rank, default=None)
    confirmed = any(t.seeds >= 2.0 and not t.linear and t.full for t in trials)

    def key(t: Trial) -> tuple[bool, float]:
        behind = 2 * len(t.by_fold) < t.n_folds or (confirmed and t.seeds < 2.0 and not t.linear)
        if not np.isfinite(t.error):
            return behind, np.inf
        luck = 0.0 if t.linear else _LUCK / max(t.seeds, 1e-9)
        if full is None:
            return behind, t.error * (1.0 + luck)
        beside = float(np.mean(full.by_fold[: len(t.by_fold)]))
        ratio = t.error / beside if beside > 0.0 else np.inf
        return behind, full.error * (ratio if t is not full else 1.0) * (1.0 + luck)

    return sorted(trials, key=key)


@dataclass
class Selection:
    """What `select` tried.

    Attributes
    ----------
    trials : list of Trial
        Best first; those that other seeds confirmed before the others, linear ones among them.
    best : Trial
    n_folds : int
    message : str
        How the final model was made.
    """

    trials: list[Trial]
    best: Trial
    n_folds: int
    message: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Table of all candidates, the best first: settings, error relative to the outputs' spread, folds,
        seconds.
        """
        return [
            {
                **t.settings,
                "error": t.error,
                "folds": len(t.errors),
                "seconds": round(t.seconds, 3),
                "message": t.message,
            }
            for t in self.trials
        ]

    @property
    def table(self) -> pd.DataFrame:
        """`rows` as a DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.rows)
