"""What a controller is asked for at one sample: set-points, trajectories, and disturbances it is told of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, check_finite
from koopctrl.errors import DataError, OptionError, ShapeError


@dataclass(frozen=True)
class Request:
    """One sample's wishes and knowledge.

    Attributes
    ----------
    r : (n_y,) array, or (N + 1, n_y) for a preview
        From the first sample on which the new input can act; finite.
    u_r : None, (n_u,) array, or (N, n_u) for a preview
    v : None, or (N + delay, n_v) array
        Measured disturbances from now on, NaN where not known; None without any news.
    tracked : None, or bool array of the shape of `r`
        Which entries of `r` were given; None for all.
    parameters : None, or (N, n_p) array
        Of stage functions.
    """

    r: FloatArray
    u_r: FloatArray | None
    v: FloatArray | None
    tracked: np.ndarray | None = None
    parameters: FloatArray | None = None

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
    """

    def __init__(self, n_y: int, n_u: int, n_v: int, horizon: int, delay: int, set_point: FloatArray) -> None:
        self._n_y, self._n_u, self._n_v = n_y, n_u, n_v
        self._horizon, self._delay, self.set_point = horizon, delay, set_point
        self._default = Request(set_point, None, None)

    def read(
        self,
        reference: ArrayLike | None,
        input_reference: ArrayLike | None = None,
        disturbance: ArrayLike | None = None,
        inputs_name: str = "input_reference",
    ) -> Request:
        """Completed by the defaults; rows beyond the last one given repeat it.

        NaN in a reference marks an output that shall not be tracked at that sample. Messages call
        `input_reference` by `inputs_name`.
        """
        if reference is None and input_reference is None and disturbance is None:
            return self._default
        N, delay = self._horizon, self._delay
        r, u_r, tracked = self.set_point, None, None
        if reference is not None:
            r = _one_or_rows(reference, "reference", self._n_y, delay, N + 1)
            given = ~np.isnan(r)
            if not given.all():
                # Whatever stands there has no weight; what holds in the end makes the steady inputs smooth.
                end = r if r.ndim == 1 else r[-1]
                r = np.where(given, r, np.where(np.isnan(end), self.set_point, end))
                tracked = given
            _refuse_infinite(r, "reference")
        if input_reference is not None:
            u_r = check_finite(_one_or_rows(input_reference, inputs_name, self._n_u, 0, N), inputs_name)
        return Request(r, u_r, self._disturbances(disturbance), tracked)

    def _disturbances(self, disturbance: ArrayLike | None) -> FloatArray | None:
        if disturbance is None:
            return None
        if not self._n_v:
            raise OptionError(
                "disturbance is given, but the controller knows of no measured disturbances; name the inputs "
                "that are with measured_disturbances=[...] when making it"
            )
        rows = self._horizon + self._delay
        v = _one_or_rows(disturbance, "disturbance", self._n_v, 0, rows)
        _refuse_infinite(v, "disturbance")
        return np.broadcast_to(v, (rows, self._n_v))


def read_parameters(value: ArrayLike, size: int, first: int, count: int) -> FloatArray:
    """Parameters of stage functions `(count, size)` from one row or a preview, whose last row is held."""
    rows = check_finite(_one_or_rows(value, "cost_parameters", size, first, count), "cost_parameters")
    return np.broadcast_to(rows, (count, size))


def complete_disturbances(v: FloatArray | None, last: FloatArray, rows: int) -> FloatArray:
    """Rows `(rows, n_v)` in which a sample that is not known counts as unchanged."""
    if v is None:
        return np.tile(last, (rows, 1))
    unknown = np.isnan(v)
    if not unknown.any():
        return v
    v = v.copy()
    for k in np.flatnonzero(unknown.any(axis=1)):
        v[k] = np.where(unknown[k], last if k == 0 else v[k - 1], v[k])
    return v


def _refuse_infinite(array: FloatArray, name: str) -> None:
    if np.isinf(array).any():
        raise DataError(f"{name} has infinite values; expected numbers, or NaN for none")


def _one_or_rows(value: ArrayLike, name: str, size: int, first: int, count: int) -> FloatArray:
    """A vector `(size,)` as it is; of a preview the rows `first` to `first + count`, the last one held."""
    array = as_float_array(value, name)
    if array.ndim < 2:
        if array.ndim == 0 and size == 1:
            array = array[None]
        if array.shape != (size,):
            raise ShapeError(f"{name} has shape {array.shape}; expected ({size},)")
        return array
    if array.ndim > 2 or not len(array):
        raise ShapeError(
            f"{name} has shape {array.shape}; expected ({size},) or a preview (n, {size}) with n >= 1"
        )
    if array.shape[1] != size:
        raise ShapeError(f"{name} has {array.shape[1]} columns; expected {size}")
    rows = array[min(first, len(array) - 1) : first + count]
    missing = count - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows
