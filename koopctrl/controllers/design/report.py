"""What a check of a design found: one row a controller, and whether the design may leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl.controllers.mpc.trial import WORSE, Beside, Episode, Outcome, relative

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHECKED = "this design"


@dataclass(frozen=True)
class DesignRow:
    """How one controller did.

    Attributes
    ----------
    name : str
    cost : float
        Over the best controller's, geometric mean over episodes.
    total : float
        Sum of the costs of all episodes.
    lost : int
        Episodes in which the outputs ran away.
    excess : float
        Largest violation of an output bound, in standard deviations of the outputs.
    leverage : float
        Largest leverage of states and inputs along its loops, over the largest of the records
        (`koopctrl.identification.record_leverage`): far above 1 the network, and with it this check, guesses.
    fallbacks : int
        Samples without a solution.
    statuses : dict
        Samples by status.
    median_step, p95_step : float
        Seconds a sample.
    """

    name: str
    cost: float
    total: float
    lost: int
    excess: float
    leverage: float
    fallbacks: int
    statuses: dict[str, int]
    median_step: float
    p95_step: float


@dataclass(frozen=True, eq=False)
class DesignReport:
    """Closed loops of a design and its rivals on one or several networks.

    Attributes
    ----------
    rows : tuple of DesignRow
        The design first.
    reasons : tuple of str
        What speaks against it; empty where nothing does.
    n_episodes : int
    dt : float
    episodes, outcomes
        What was run, and how it went, by controller; for figures.
    """

    rows: tuple[DesignRow, ...]
    reasons: tuple[str, ...]
    n_episodes: int
    dt: float
    output_names: tuple[str, ...]
    input_names: tuple[str, ...]
    episodes: tuple[Episode, ...] = field(repr=False)
    outcomes: Mapping[str, tuple[Outcome, ...]] = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the design."""
        return not self.reasons

    def plot(self, **options: Any) -> Figure:
        """Costs by episode, and the worst episode; see `koopctrl.plotting.design.plot_design`."""
        from koopctrl.plotting import plot_design

        return plot_design(self, **options)

    def __str__(self) -> str:
        """Table and verdict."""
        lines = [
            f"{self.n_episodes} episodes on the network; cost over the best controller's, geometric mean",
            f"{'':32s}   cost  lost  excess  leverage  fall-backs  step ms  p95 ms",
        ]
        lines += [
            f"{r.name:32s} {r.cost:6.3f} {r.lost:5d} {r.excess:7.3f} {r.leverage:9.2f} {r.fallbacks:11d} "
            f"{1e3 * r.median_step:8.2f} {1e3 * r.p95_step:7.2f}"
            for r in self.rows
        ]
        lines += [f"against it: {reason}" for reason in self.reasons] or ["nothing speaks against it"]
        return "\n".join(lines)


def make_rows(outcomes: Mapping[str, Sequence[Outcome]]) -> tuple[DesignRow, ...]:
    """One row for each controller."""
    costs = relative([[o.cost for o in found] for found in outcomes.values()])
    rows = []
    for (name, found), cost in zip(outcomes.items(), costs, strict=True):
        statuses = Counter(s for o in found for s in o.statuses)
        times = np.concatenate([o.step_times for o in found])
        rows.append(
            DesignRow(
                name, float(cost), float(sum(o.cost for o in found)), sum(o.lost for o in found),
                max(o.excess for o in found), max(o.leverage for o in found),
                sum(n for s, n in statuses.items() if s.startswith("fallback")),
                dict(statuses), float(np.median(times)), float(np.percentile(times, 95)),
            )
        )  # fmt: skip
    return tuple(rows)


def reasons_against(rows: Sequence[DesignRow], found: Beside | None) -> tuple[str, ...]:
    """What speaks against the first of some controllers, beside least squares (the last of them).

    That `RNNMPC` does better is a remark of the table's: it may be worth its time, or not.
    """
    own, rivals = rows[0], rows[1:][-1:]
    reasons: list[str] = []
    if found is not None and found.loses:
        reasons.append(f"it loses {found.lost} of {found.n} episodes more than {rivals[0].name}")
    if found is not None and found.costs:
        reasons.append(f"it costs {found.ratio:.2g} times what {rivals[0].name} does")
    calm = min((r.fallbacks for r in rivals), default=0)
    samples = sum(own.statuses.values())
    if own.fallbacks > max(calm, 0.05 * samples):
        reasons.append(f"{own.fallbacks} of {samples} samples have no solution")
    calm_excess = min((r.excess for r in rivals), default=0.0)
    if own.excess > max(0.1, WORSE * calm_excess):
        reasons.append(f"output bounds are exceeded by {own.excess:.2g} standard deviations")
    return tuple(reasons)
