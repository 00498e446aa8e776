r"""Artificial targets: steady states in as many coordinates as there are, each felt by the cost.

.. math:: z_s = z_0 + Z b, \quad u_s = u_0 + U b, \quad y_s = y_0 + Y b, \qquad b = V' W^{1/2} r

for a set-point `r`. `V` are right singular vectors of `P^{1/2} dz_s/dr W^{-1/2}`: both sides are in units of
the cost, so it does not matter what signals are measured in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.steady_state.linear import SteadyTarget
from koopctrl.controllers.units import weight_factor

# Part of the largest below which a direction is none.
_FELT = 1e-7


@dataclass(frozen=True)
class ArtificialTargets:
    """The family of targets.

    Attributes
    ----------
    Z, U, Y : arrays
        `n_b` columns each.
    z_0, u_0, y_0 : arrays
        At `b = 0`.
    from_reference : (n_b, n_y) array
    stiffness : float
        Largest cost to go over a distance, in what a sample at that distance costs.
    """

    Z: FloatArray
    U: FloatArray
    Y: FloatArray
    z_0: FloatArray
    u_0: FloatArray
    y_0: FloatArray
    from_reference: FloatArray
    stiffness: float

    @property
    def n_b(self) -> int:
        """Number of coordinates."""
        return self.Z.shape[1]

    def outputs(self, b: FloatArray) -> FloatArray:
        """Steady outputs."""
        return self.y_0 + self.Y @ b


def artificial_targets(target: SteadyTarget, P: FloatArray, weight: FloatArray) -> ArtificialTargets:
    """Of a map from set-points, the cost to go, and the weight that targets are sought with."""
    root, root_p = weight_factor(weight), weight_factor(P)
    unit = np.sqrt(np.diag(weight))
    inverse = np.where(unit > 0.0, 1.0 / np.where(unit > 0.0, unit, 1.0), 0.0)
    back = inverse[:, None] * np.linalg.pinv(root * inverse)
    _, s, vectors = np.linalg.svd(root_p @ (target.z_gain @ back), full_matrices=False)
    V = vectors[s > _FELT * s.max(initial=0.0)].T
    directions = back @ V
    return ArtificialTargets(
        Z=target.z_gain @ directions, U=target.u_gain @ directions, Y=target.y_gain @ directions,
        z_0=target.z_offset, u_0=target.u_offset, y_0=target.y_offset, from_reference=V.T @ root,
        stiffness=float(s.max(initial=0.0) ** 2),
    )  # fmt: skip
