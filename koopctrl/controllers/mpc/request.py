"""What a controller is asked for at one sample: set-points, trajectories, and disturbances it is told of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, as_signal, as_vector
from koopctrl.errors import OptionError, ShapeError


@dataclass(frozen=True)
class Request:
    """One sample's wishes and knowledge.

    Attributes
    ----------
    r : (n_y,) array, or (N + 1, n_y) for a preview
        From the first sample on which the new input can act.
    u_r : None, (n_u,) array, or (N, n_u) for a preview
    v : (N + delay, n_v) array
        Measured disturbances from now on.
    """

    r: FloatArray
    u_r: FloatArray | None
    v: FloatArray

    @property
    def is_preview(self) -> bool:
        """Whether the outputs have a trajectory."""
        return self.r.ndim == 2


class RequestReader:
    """Checks and completes what `control` was called with.

    Parameters
    ----------
    n_y, n_u, n_v : int
    horizon, delay : int
    set_point : (n_y,) array
        Where no reference is given.
    v_op : (n_v,) array
        Where no disturbance was ever given.
    """

    def __init__(
        self, n_y: int, n_u: int, n_v: int, horizon: int, delay: int, set_point: FloatArray, v_op: FloatArray
    ) -> None:
        self._n_y, self._n_u, self._n_v = n_y, n_u, n_v
        self._horizon, self._delay, self._set_point, self._v_op = horizon, delay, set_point, v_op
        self._none = np.empty((horizon + delay, 0))
        self.reset()

    def reset(self) -> None:
        """Forget the last disturbance."""
        self.v_last: FloatArray | None = None

    def read(
        self, reference: ArrayLike | None, input_reference: ArrayLike | None, disturbance: ArrayLike | None
    ) -> Request:
        """Completed by the defaults; rows beyond the last one given repeat it."""
        N, delay = self._horizon, self._delay
        r, u_r = self._set_point, None
        if reference is not None:
            r = _one_or_rows(reference, "reference", self._n_y, delay, N + 1)
        if input_reference is not None:
            u_r = _one_or_rows(input_reference, "input_reference", self._n_u, 0, N)
        return Request(r, u_r, self._disturbances(disturbance) if self._n_v else self._refuse(disturbance))

    def _refuse(self, disturbance: ArrayLike | None) -> FloatArray:
        if disturbance is not None:
            raise OptionError(
                "disturbance is given, but the controller knows of no measured disturbances; name the inputs "
                "that are with measured_disturbances=[...] when making it"
            )
        return self._none

    def _disturbances(self, disturbance: ArrayLike | None) -> FloatArray:
        last = self._v_op if self.v_last is None else self.v_last
        rows = self._horizon + self._delay
        if disturbance is None:
            v = np.tile(last, (rows, 1))
        else:
            array = as_float_array(disturbance, "disturbance")
            missing = np.isnan(array)
            v, unknown = (
                np.broadcast_to(_one_or_rows(part, "disturbance", self._n_v, 0, rows), (rows, self._n_v))
                for part in (np.where(missing, 0.0, array), missing.astype(float))
            )
            v = v.copy()
            # A missing sample counts as unchanged.
            for k in np.flatnonzero(unknown.any(axis=1)):
                v[k] = np.where(unknown[k] > 0.0, last if k == 0 else v[k - 1], v[k])
        self.v_last = v[0]
        return v


def _one_or_rows(value: ArrayLike, name: str, size: int, first: int, count: int) -> FloatArray:
    """A vector `(size,)` as it is; of a preview the rows `first` to `first + count`, the last one held."""
    array = as_float_array(value, name)
    if array.ndim < 2:
        return as_vector(array, name, size)
    if array.ndim > 2 or not len(array):
        raise ShapeError(
            f"{name} has shape {array.shape}; expected ({size},) or a preview (n, {size}) with n >= 1"
        )
    rows = as_signal(array, name, size)
    rows = rows[min(first, len(rows) - 1) : first + count]
    missing = count - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows
