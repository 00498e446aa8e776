"""A controller in the form of a stable-baselines3 policy: `predict(obs) -> action, state`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, broadcast_vector
from koopctrl.controllers.protocol import Controller
from koopctrl.errors import OptionError, ShapeError


class ControllerPolicy:
    """Wraps a controller for code that evaluates policies.

    Parameters
    ----------
    controller : Controller
    reference : (n_y,) array_like, optional
        Set-point of all calls; the controller's own by default.
    action_low, action_high : (n_u,) array_like, optional
        Where the environment's actions are scaled to [-1, 1], the inputs these stand for.

    Raises
    ------
    OptionError, ShapeError, DataError
        If `controller` has no `reset` and `control`, only one action limit is given, or they do not fit.
    """

    def __init__(
        self,
        controller: Any,
        reference: ArrayLike | None = None,
        *,
        action_low: ArrayLike | None = None,
        action_high: ArrayLike | None = None,
    ) -> None:
        if not isinstance(controller, Controller) or isinstance(controller, type):
            raise OptionError(
                f"controller is a {type(controller).__name__}; expected an object with reset() and control()"
            )
        if (action_low is None) != (action_high is None):
            raise OptionError("action_low and action_high belong together; expected both or neither")
        self.controller, self.reference = controller, reference
        self._low: FloatArray | None = None
        self._high: FloatArray | None = None
        if action_low is not None and action_high is not None:
            weight = getattr(controller, "R", None)
            size = np.size(action_low) if weight is None else len(weight)
            self._low = broadcast_vector(action_low, "action_low", size).copy()
            self._high = broadcast_vector(action_high, "action_high", size).copy()
            if (self._low >= self._high).any():
                raise OptionError(
                    f"action_low is {self._low.tolist()} and action_high is {self._high.tolist()}; expected "
                    "action_low < action_high in every entry"
                )
        controller.reset()

    def predict(
        self,
        observation: ArrayLike,
        state: Any = None,
        episode_start: ArrayLike | None = None,
        deterministic: bool = True,
    ) -> tuple[FloatArray, Any]:
        """Action for an observation.

        Parameters
        ----------
        observation : (n_y,) or (1, n_y) array_like
            One environment; a leading axis of one, as vectorised environments have, is kept in the action.
        state : object
            Handed back as it came: the controller keeps its own memory.
        episode_start : bool or (1,) array_like, optional
            Whether an episode begins, which resets the controller.
        deterministic : bool
            There for the signature's sake: controllers do not explore.

        Returns
        -------
        action : (n_u,) or (1, n_u) array
        state : object
        """
        del deterministic
        y = as_float_array(observation, "observation")
        if y.ndim > 2 or (y.ndim == 2 and len(y) != 1):
            raise ShapeError(
                f"observation has shape {y.shape}; expected (n_y,) or (1, n_y): a controller remembers one "
                "episode. Make one policy for each environment"
            )
        if episode_start is not None and np.any(episode_start):
            self.controller.reset()
        action = self.controller.control(y[0] if y.ndim == 2 else y, reference=self.reference)
        if self._low is not None and self._high is not None:
            action = 2.0 * (action - self._low) / (self._high - self._low) - 1.0
        return (action[None] if y.ndim == 2 else action), state
