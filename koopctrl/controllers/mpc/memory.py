"""A controller's memory as one vector, so that it can be called as a pure function.

Simulators evaluate an output function many times for one sample, in any order, and carry the state
themselves.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError

# Attributes that change from sample to sample, wherever they stand in a controller; None before the first.
_CHANGING = (
    "line", "v_last", "_plan", "_age", "x", "_z", "_d", "estimate", "covariance", "_in_a_row", "rejected",
    "n_rejected", "_u_last", "_since",
)  # fmt: skip
# These are no arrays; what was a number has to come back as the number it was.
_KINDS = {"_age": int, "_in_a_row": int, "n_rejected": int, "_since": int, "rejected": bool}


class PureController:
    """A copy of a controller whose memory is given and returned at every call.

    Parameters
    ----------
    controller : LQR, LinearMPC or RNNMPC
        Copied; the original is not touched. Its warm starts are dropped, which costs time but changes nothing
        beyond the solver's tolerance.

    Raises
    ------
    OptionError
        If what it measures are not the model's outputs.
    """

    def __init__(self, controller: Any) -> None:
        self._controller = copy.deepcopy(controller)
        self._controller.reset()
        self._owners = [
            self._controller,
            *(getattr(self._controller, n, None) for n in ("_memory", "_window", "_requests", "observer")),
        ]
        source = getattr(self._controller, "_source", None)
        self._owners += [source, getattr(source, "_memory", None), getattr(source, "observer", None)]
        self._owners = list({id(o): o for o in self._owners if o is not None}.values())
        self._fields = [(o, n) for o in self._owners for n in _CHANGING if _changes(o, n)]
        # Sizes are learned from two steps at a harmless measurement.
        calm = _calm_measurement(self._controller)
        self._controller.control(calm)
        self._controller.control(calm)
        # There is no plan yet where those steps had to fall back.
        self._shapes = [
            (self._controller.horizon, self._controller.n_u) if n == "_plan" else np.shape(getattr(o, n))
            for o, n in self._fields
        ]
        self._controller.reset()

    @property
    def size(self) -> int:
        """Length of the memory; its first entry says whether there was a sample before."""
        return 1 + sum(int(np.prod(shape)) for shape in self._shapes)

    @property
    def empty(self) -> FloatArray:
        """Memory before the first sample."""
        return np.zeros(self.size)

    def __call__(
        self, memory: FloatArray, y: FloatArray, r: FloatArray | None, v: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """New memory and input."""
        self._controller.reset()
        if memory[0] > 0.5:
            position = 1
            for (owner, name), shape in zip(self._fields, self._shapes, strict=True):
                n = int(np.prod(shape))
                value = memory[position : position + n].reshape(shape).copy()
                position += n
                if np.isnan(value).any():
                    value = None
                elif name in _KINDS:
                    value = _KINDS[name](np.rint(value))
                setattr(owner, name, value)
        told = {} if v is None or not len(v) else {"disturbance": v}
        u = self._controller.control(y, reference=r, **told)
        # What is None (no plan after a missing first sample, say) is carried as NaN.
        values = [(getattr(o, n), shape) for (o, n), shape in zip(self._fields, self._shapes, strict=True)]
        parts = [np.full(shape, np.nan) if v is None else np.asarray(v, dtype=float) for v, shape in values]
        return np.concatenate([[1.0], *(part.ravel() for part in parts)]), u


def _changes(owner: Any, name: str) -> bool:
    """Whether it has to be carried: the covariance of a steady filter is constant, and may be large."""
    return name in vars(owner) and not (name == "covariance" and getattr(owner, "steady", False))


def _calm_measurement(controller: Any) -> FloatArray:
    """What would be measured at the set-point."""
    set_point, n_measured = controller.set_point, controller.n_measured
    measured = getattr(getattr(controller, "observer", None), "measured", None)
    if measured is not None:
        return set_point[measured]
    if n_measured != len(set_point):
        raise OptionError(
            f"the controller measures {n_measured} signals but the model has {len(set_point)} outputs; "
            "expected the same. Give it an observer"
        )
    return set_point
