r"""Whether what does not decay in a network can be seen in its measured outputs.

Hautus' test: :math:`\lambda` is seen if :math:`[F - \lambda I;\ H]` has full column rank. A nonlinear model
may hide at one point what it shows at another (a motor's current at zero field), so only what is hidden at
each of some points, spread like the training data, counts. Hautus, *Controllability and observability
conditions of linear autonomous systems*, 1969.
"""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.augmented_network import DisturbedRollout
from koopctrl.errors import OptionError, SolverError

_N_POINTS = 12
# Modes this close to the unit circle count as not decaying; singular values are those of a scaled matrix.
_CIRCLE, _RANK = 1e-6, 1e-7


def check_detectable(roll: DisturbedRollout, H: FloatArray, names: list[str]) -> None:
    """Refuse measured signals `H s`, called `names`, that leave an observer in the dark.

    Raises
    ------
    OptionError
        If there are more disturbances than signals.
    SolverError
        If modes that do not decay cannot be seen, or not be told from disturbances.
    """
    if roll.n_d > len(H):
        raise OptionError(
            f"disturbance is {roll.kind!r}, {roll.n_d} disturbances in all, but measured has {len(H)} "
            f"signals, {names}; expected at most as many disturbances, for more cannot be told apart. "
            "Measure more, or choose another kind"
        )
    unseen = unseen_modes(roll, H)
    if not len(unseen):
        return
    if roll.n_d and not len(unseen_modes(DisturbedRollout(roll.network, "none"), H[:, : roll.n_x])):
        raise SolverError(
            f"the measured signals {names} cannot tell disturbances of kind {roll.kind!r} from the model's "
            "own modes, so that the estimate would wander off. Measure more, or choose another disturbance"
        )
    raise SolverError(
        f"modes {', '.join(f'{v:.4g}' for v in unseen[:4])} of the model do not decay and cannot be seen in "
        f"the measured signals {names}. Name more signals in measured"
    )


def unseen_modes(roll: DisturbedRollout, H: FloatArray) -> np.ndarray:
    """Eigenvalues on or outside the unit circle that `H s` does not show, where they are fewest."""
    rng, scaling = np.random.default_rng(0), roll.network.scaling
    seen_x, seen_u = roll.mean, scaling.u_mean
    fewest = np.empty(0)
    for i in range(_N_POINTS):
        _, F = roll.advance(seen_x, seen_u)
        unseen = _unseen(F * roll.size / roll.size[:, None], H)
        if not len(unseen):
            return unseen
        fewest = unseen if i == 0 or len(unseen) < len(fewest) else fewest
        seen_x = roll.mean + roll.deviation * rng.standard_normal(roll.n)
        seen_u = scaling.u_mean + scaling.u_scale * rng.standard_normal(roll.n_u)
    return fewest


def _unseen(F: FloatArray, H: FloatArray) -> np.ndarray:
    values = np.asarray(np.linalg.eigvals(F))
    values = values[np.abs(values) > 1.0 - _CIRCLE]
    # A defective eigenvalue 1 (an integrator and a constant) is split by rounding: it is tried itself, too.
    if (np.abs(values - 1.0) < 1e-3).any():
        values = np.append(values, 1.0)
    identity = np.eye(len(F))
    smallest = [np.linalg.svd(np.vstack([F - v * identity, H]), compute_uv=False)[-1] for v in values]
    return values[np.array(smallest) < _RANK] if len(values) else values
