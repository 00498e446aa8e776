r"""What the last plan foresaw, to come back to where the plant has left it.

A shifted plan leads elsewhere once noise or a load has moved an unstable plant: its error grows along the
horizon, and the QPs that start from there may settle in a bad optimum. The plan is then led back,

.. math:: u_k = \bar u_k - K_k (x_k - \bar x_k)

along the states :math:`\bar x` that were foreseen, with the gains of the problem linearised there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray

# Share by which the cost of a shifted plan must pass the last one's, and times by which its error must grow
# along the horizon, to be led back; and the error, in deviations of the training data, that is none.
JUMP, GROWN, NONE = 1.2, 2.0, 1e-6


@dataclass(frozen=True)
class Course:
    """Of the last plan.

    Attributes
    ----------
    states : (N + 1, n_x) array
    merit : float
        Its cost.
    known : bool
        Whether there is one, and the plan that was shifted belongs to it.
    """

    states: FloatArray
    merit: float
    known: bool

    def shifted(self) -> FloatArray:
        """States a sample later, the last one twice."""
        return np.concatenate([self.states[1:], self.states[-1:]])

    def left(self, states: FloatArray, merit: float, size: FloatArray) -> bool:
        """Whether the roll-out of the shifted plan runs away from what was foreseen.

        Parameters
        ----------
        states : (N + 1, n_x) array
            Of the roll-out.
        merit : float
            Its cost.
        size : (n_x,) array
            Units of the states.
        """
        if not self.known or merit <= JUMP * self.merit:
            return False
        first = float(np.max(np.abs(states[0] - self.states[1]) / size))
        last = float(np.max(np.abs(states[-2] - self.states[-1]) / size))
        return first > NONE and not last <= GROWN * first
