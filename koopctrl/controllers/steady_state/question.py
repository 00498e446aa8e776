"""What a network's steady state is sought for, what was found, and where the next search starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray


@dataclass(frozen=True)
class NonlinearTarget:
    """One steady state.

    Attributes
    ----------
    x, u, y : arrays
    converged : bool
        Whether it is one to 1e-6 of the signals' scales; if none was found, it is the last that was.
    """

    x: FloatArray
    u: FloatArray
    y: FloatArray
    converged: bool


@dataclass(frozen=True)
class Question:
    """What a steady state is sought for.

    Attributes
    ----------
    r : (n_y,) array
        Set-point.
    d : (n_y,) array
        Disturbance on the next outputs.
    v : (n_v,) array
        Measured disturbances.
    offset : (n,) array
        Disturbance on all inputs of the model.
    wish : (n_u,) array
        What idle inputs stay near.
    tracked : (n_y,) bool array
        Outputs that count.
    """

    r: FloatArray
    d: FloatArray
    v: FloatArray
    offset: FloatArray
    wish: FloatArray
    tracked: np.ndarray

    @property
    def context(self) -> FloatArray:
        """All but the set-point."""
        return np.concatenate([self.d, self.v, self.offset, self.wish])

    @property
    def vector(self) -> FloatArray:
        """All of it."""
        return np.concatenate([self.r, self.tracked, self.context])


@dataclass(frozen=True)
class TargetState:
    """Where the next search starts.

    Attributes
    ----------
    x, u : arrays
        The last target that reached its set-point.
    asked : (n_q,) array
        The last question,
    found_x, found_u : arrays
        what came of it,
    answered, converged : bool
        and whether there was one, and it converged.
    searched : (n_q,) array
        The question for which all starts were tried,
    has_searched : bool
        if the last answer is the best that came of that, and not its set-point.
    rows : (N, n_y) array
        Set-points of the last preview,
    rows_tracked : (N, n_y) bool array
    rows_x, rows_u : (N, n_x) and (N, n_u) arrays
        their steady states,
    rows_context : array
        under which disturbances,
    has_rows : bool
        and whether there was one.
    """

    x: FloatArray
    u: FloatArray
    asked: FloatArray
    found_x: FloatArray
    found_u: FloatArray
    answered: bool
    converged: bool
    searched: FloatArray
    has_searched: bool
    rows: FloatArray
    rows_tracked: np.ndarray
    rows_x: FloatArray
    rows_u: FloatArray
    rows_context: FloatArray
    has_rows: bool
