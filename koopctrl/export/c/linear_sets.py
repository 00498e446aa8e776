"""The laws that one `LinearMPC` in C switches between: tunings, and outputs that are not tracked.

An output without a set-point has no weight: target, terminal weight and Hessian are others then. They are
worked out here,
one set of numbers for each choice of outputs, not on the processor. Where a preview leaves outputs out at
some of its samples,
the set is the one of its end, and weights are put on or taken off in the samples that differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.mpc.condensing import condense, predictions
from koopctrl.controllers.mpc.feedback import condition
from koopctrl.errors import OptionError

if TYPE_CHECKING:
    from koopctrl.controllers.mpc.linear_law import LinearLaw

# Outputs up to which all choices of untracked ones are written by default, and at most.
FEW, MOST = 3, 6
# Condition number of the Hessian from which inputs are written as a feedback in single precision.
_SINGLE_COND_LIMIT = 100.0


@dataclass(frozen=True)
class LinearSets:
    """Laws of the same sizes.

    Attributes
    ----------
    laws : list of LinearLaw
        Of each tuning the whole one, then those without some outputs.
    names : list of str
    tunings : tuple of str
    masks : (n_masks, n_y) bool array
        Tracked outputs; the first row is all of them.
    has_lqr, rate_cost, bounded, mixes : bool
        Whether any of them has an LQR to fall back to, a cost of moves, bounded inputs; and whether
        previews may leave outputs
        out at some samples.
    """

    laws: list[LinearLaw]
    names: list[str]
    tunings: tuple[str, ...]
    masks: np.ndarray
    has_lqr: bool
    rate_cost: bool
    bounded: bool
    mixes: bool

    @property
    def slots(self) -> list[int]:
        """For each set of untracked outputs, as bits, the row of `masks`; -1 for none."""
        n_y = self.masks.shape[1]
        found = [-1] * (1 << n_y) if len(self.masks) > 1 else [0]
        for k, mask in enumerate(self.masks):
            found[sum(1 << i for i in range(n_y) if not mask[i])] = k
        return found


def linear_sets(laws: Mapping[str, LinearLaw], untracked: bool | None, scalar: str = "double") -> LinearSets:
    """All sets of numbers that a controller needs.

    Parameters
    ----------
    laws : mapping
        The controller's law, and those of its tunings.
    untracked : bool or None
        Whether references may leave outputs out; None for where there are three outputs or fewer.
    scalar : str
        In single precision the inputs are a feedback sooner.

    Raises
    ------
    OptionError
        If there are too many outputs for all choices of them.
    """
    base = next(iter(laws.values()))
    n_y = base.lifted.n_y
    if untracked and n_y > MOST:
        raise OptionError(
            f"untracked is True, and the controller has {n_y} outputs; expected {MOST} at most, for "
            f"each choice of "
            "untracked ones is a set of data. Pass untracked=False, or set the weights of tunings to zero"
        )
    wanted = untracked or (untracked is None and n_y <= FEW)
    choices = list(product([True, False], repeat=n_y)) if wanted else [(True,) * n_y]
    masks = np.array(choices, dtype=bool)
    found, names = [], []
    for name, law in laws.items():
        for mask in masks:
            found.append(law if mask.all() else law.without(mask))
            left_out = ", ".join(o for o, kept in zip(base.output_names, mask, strict=True) if not kept)
            names.append(name + (f", without {left_out}" if left_out else ""))
    single = scalar == "float" and any(condition(law.qp.H) > _SINGLE_COND_LIMIT for law in found)
    if single or any(law.qp.n_inputs for law in found):
        found = [_with_feedback(law) for law in found]
    bounds = [np.isfinite([law.problem.u_min, law.problem.u_max]).any() for law in found]
    return LinearSets(
        found, names, tuple(laws), masks, any(law.riccati is not None for law in found),
        any(law.policy.has_rate_cost for law in found), any(bounds),
        wanted and base.problem.Q.shape[1] == n_y,
    )  # fmt: skip


def _with_feedback(law: LinearLaw) -> LinearLaw:
    """The same law with the QP's variables added to a feedback: the same answers."""
    if law.qp.n_inputs:
        return law
    P = None if law.riccati is None else law.riccati.P
    estimator = law.estimator
    qp = condense(law.model, law.problem, law.target, P, estimator.basis, estimator.offset, feedback=True)
    return replace(law, qp=qp)


@dataclass(frozen=True)
class TrackedResponses:
    """Outputs at steps 1 to N in deviations from `y_op`: `from_v v + from_p p + constant + from_w w`."""

    from_v: FloatArray
    from_p: FloatArray
    constant: FloatArray
    from_w: FloatArray


def tracked_responses(law: LinearLaw) -> TrackedResponses:
    """What a preview's weights count on, sample by sample, `(N, n_y, ..)`."""
    model, problem, source = law.model, law.problem, law.estimator
    P = None if law.riccati is None else law.riccati.P
    seen, _ = predictions(model, problem, P, bool(law.qp.n_inputs))
    state, block = np.linalg.matrix_power(model.A, problem.delay), 0
    u, free = np.zeros((model.n_u, len(model.A))), []
    for k in range(problem.horizon):
        if seen.gains is not None and block < len(seen.blocks) and k == seen.blocks[block]:
            u, block = -seen.gains[block] @ state, block + 1
        state = model.A @ state + model.B @ u
        free.append(model.C @ state)
    rows = np.stack(free)
    forced = model.C @ seen.forced[1:]
    return TrackedResponses(
        seen.tracked, rows @ source.basis, rows @ source.offset + forced[:, :, 0], forced[:, :, 1:]
    )


def tuned_laws(
    mpc: object, tunings: Mapping[str, object] | None, check: Sequence[str] = ()
) -> dict[str, object]:
    """The laws of a controller and of its tunings, by name.

    Raises
    ------
    OptionError
        If a tuning is no controller of the same kind, or its name is no identifier or differs from another in
        its case alone.
    """
    laws: dict[str, object] = {"base": mpc.law}  # type: ignore[attr-defined]
    if tunings is None:
        return laws
    if not isinstance(tunings, Mapping):
        raise OptionError(
            f"tunings is a {type(tunings).__name__}; expected a mapping of names to controllers"
        )
    for name, other in tunings.items():
        if not isinstance(name, str) or not name.isidentifier() or not name.isascii() or name == "base":
            raise OptionError(
                f"tunings has the name {name!r}; expected an identifier other than 'base', which is the "
                f"controller itself"
            )
        alike = [known for known in laws if known.upper() == name.upper()]
        if alike:
            raise OptionError(
                f"tunings has the names {alike[0]!r} and {name!r}, which are one constant in C; expected "
                "names that differ in more than their case"
            )
        if type(other) is not type(mpc):
            raise OptionError(
                f"tunings[{name!r}] is a {type(other).__name__}; expected a {type(mpc).__name__}, made with "
                "mpc.with_(...)"
            )
        laws[name] = other.law  # type: ignore[attr-defined]
    return laws
