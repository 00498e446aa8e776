r"""The one door by which controllers learn of the plant's state: estimators as pure steps on explicit states.

.. math::
    s_k = \mathrm{step}(s_{k-1}, y_k, u_{k-1}), \qquad \hat x_k = \mathrm{estimate}(s_k)

An estimator holds numbers only; what it remembers is in `s`, a frozen dataclass of arrays that its caller
keeps. So one estimator can serve any number of controllers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.augmented import Augmented
from koopctrl.errors import OptionError

# Where a constant disturbance may act; each estimator says which of them it knows.
DISTURBANCES = ("none", "output", "input", "state")
# Of a network: also on the inputs and, where more signals are measured, on what inputs do not move.
NETWORK_DISTURBANCES = (*DISTURBANCES, "mixed")


class Estimator(ABC):
    """What every controller has between its measurements and its law.

    Attributes
    ----------
    measured_names : tuple of str
        Signals in a measurement, in their order.
    disturbance : str
        Where the constant disturbance that is estimated acts: on the outputs as they are measured, on the
        inputs, or on the next state.
    silence : str
        Why there may be no estimate.
    """

    measured_names: tuple[str, ...]
    disturbance: str
    silence: str = "nothing has been measured yet, or the observer had to start anew"

    @property
    def n_measured(self) -> int:
        """Number of measured signals."""
        return len(self.measured_names)

    @abstractmethod
    def initial(self) -> Any:
        """State before the first sample: a frozen dataclass of arrays, see `koopctrl.controllers.state`."""

    @abstractmethod
    def step(self, state: Any, y: FloatArray, u_last: FloatArray | None) -> Any:
        """State after a sample.

        Parameters
        ----------
        state : dataclass
            Of the last sample; left as it is.
        y : (n_measured,) array
            NaN where a signal is missing.
        u_last : (n_u,) array or None
            All inputs of the model that acted since the last sample; None if none is known to have.
        """

    @abstractmethod
    def estimate(self, state: Any) -> FloatArray | None:
        """What is known at the state's sample; None where nothing can be planned on."""

    def outputs(self, y: FloatArray) -> FloatArray:
        """The model's outputs, which set-points are for, as far as a measurement tells them.

        Parameters
        ----------
        y : (n_measured,) array

        Returns
        -------
        (n_y,) array
            NaN where an output is not measured.
        """
        return y

    def rejected(self, state: Any) -> tuple[bool, int]:
        """Whether the sample's measurement was refused as an outlier, and how many have been."""
        return False, 0

    def recover(self, state: Any, y: FloatArray) -> Any:
        """State without what an absurd measurement has spoilt; called where no plan was found."""
        return state


class LinearEstimator(Estimator):
    """Of a lifted model: `[z; d] = basis estimate + offset`.

    What controllers compute online is affine in the estimate, so they fold `basis` and `offset` into their
    matrices, and nothing online need grow with the square of the lifted dimension.

    Attributes
    ----------
    model : Augmented
        The model with its disturbances, its inputs told apart.
    basis, offset : arrays
    """

    model: Augmented
    basis: FloatArray
    offset: FloatArray

    def disturbances(self, estimate: FloatArray) -> FloatArray:
        """The disturbances `d`, the last entries of an estimate."""
        return estimate[len(estimate) - self.model.n_d :]


class NetworkEstimator(Estimator):
    """Of a recurrent network's window and disturbances."""

    model: Any

    @abstractmethod
    def split(self, estimate: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Window `(n_x,)`, disturbance on the next outputs `(n_y,)`, and on all inputs (None: none)."""

    def disturbance_on_outputs(self, state: Any) -> FloatArray:
        """Disturbance on the next outputs `(n_y,)` in a state, zero where none is known."""
        estimate = self.estimate(state)
        return np.zeros(self.model.n_y) if estimate is None else self.split(estimate)[1]

    def output_offset(self, estimate: FloatArray) -> FloatArray | None:
        """Disturbance on the outputs as they are measured `(n_y,)`, which is no part of the window."""
        return None


def refuse_disturbance(kind: str, where: str, remedy: str) -> OptionError:
    """The error for a disturbance that an estimator cannot tell from the state."""
    return OptionError(f"disturbance is {kind!r}, but {where}; expected another kind. {remedy}")
