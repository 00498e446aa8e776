r"""Weak-form equations of `identify` in time windows, and what noise in the fields does to them.

A window `j` has the weight `w_j(t) = (1 - s^2)^4`. Noise `e(t)` in the fields, white in time and of one
variance everywhere, has the coordinates `P e`, with `S = P P'`; to first order it changes the equations of
the window by

.. math::
    \delta_j = -\sum_t (\dot w_j(t)\, I + w_j(t)\, J_j)\, P e(t),

with the Jacobian `J_j` of the whole right-hand side in the middle of the window. So the covariance of all
equations is known up to the variance of the noise, that of overlapping windows and of different functions
included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray
from koopctrl.errors import DataError
from koopctrl.sampled.pde.semi_discrete import SemiDiscrete

_POWER = 4  # of the window (1 - s^2)^4: three derivatives vanish at its ends
_FLOOR = 1e-10  # on the eigenvalues of the correlations


@dataclass(frozen=True, eq=False)
class Window:
    """Equations of one window.

    Attributes
    ----------
    regressors : (n_tests, n_unknowns) array
    target : (n_tests,) array
    weight, rate : (n_times,) arrays
        The window and its derivative, times the lengths of samples.
    c, v : arrays
        Coordinates and inputs in its middle.
    """

    regressors: FloatArray
    target: FloatArray
    weight: FloatArray
    rate: FloatArray
    c: FloatArray
    v: FloatArray


def make_windows(
    model: SemiDiscrete,
    t: FloatArray,
    c: FloatArray,
    inputs: FloatArray,
    names: Sequence[str],
    gains: bool,
    shapes: Sequence[FloatArray],
    tests: int,
    windows: int,
) -> list[Window]:
    """Equations of a record with coordinates `c` `(n_times, n_coordinates)`.

    Windows lie three quarters over the next. With half, what happens near the edges of all that cover it
    counts little, and estimates spread three times as much; closer ones add nothing.

    Parameters
    ----------
    names : sequence of str
        Unknown parameters.
    gains : bool
        Whether the inputs' gains are unknown too.
    shapes : sequence of (n_coordinates,) arrays
        Of sources with unknown amplitudes.
    tests, windows : int
        Numbers of functions and of windows.
    """
    acting = np.concatenate([inputs, inputs[-1:]])
    full = c @ model.null.T + acting @ model.lift_inputs.T
    known = np.zeros((len(t), model.n_coordinates))
    columns: dict[str, FloatArray] = {name: np.zeros_like(known) for name in names}
    for p, matrix in model.linear.items():
        _add(model, p, full @ matrix.T, known, columns)
    for p, term in model.nonlinear:
        _add(model, p, term.value(full), known, columns)
    for s_parameter, source in model.sources:
        _add(model, s_parameter, np.array([source(float(time)) for time in t]), known, columns)
    push = {p: m[:tests] for p, m in model.input_parts.items() if p is None or p in model.parameters}
    width = 4.0 * float(t[-1] - t[0]) / (windows + 3)
    step = np.gradient(t)
    step[[0, -1]] = 0.5 * np.array([t[1] - t[0], t[-1] - t[-2]])
    found = []
    for j in range(windows):
        middle, half = float(t[0]) + (j + 2) * width / 4.0, width / 2.0
        s = (t - middle) / half
        inside = np.abs(s) < 1.0
        if np.count_nonzero(inside) < 5:
            raise DataError(f"windows is {windows}, with fewer than 5 times in one; expected longer windows")
        w = np.where(inside, (1.0 - s**2) ** _POWER, 0.0) * step
        rate = np.where(inside, -2.0 * _POWER * s * (1.0 - s**2) ** (_POWER - 1) / half, 0.0) * step
        target = -(rate @ c[:, :tests]) - w @ known[:, :tests]
        regressors = [w @ columns[name][:, :tests] for name in names]
        held = _held_integral(t, middle, half) @ inputs  # exact for inputs that jump at the times
        if gains:
            whole = model.combined(push)  # pyright: ignore[reportArgumentType]
            regressors += [whole[:, i] * held[i] for i in range(model.n_inputs)]
        else:
            target = target - model.combined(push) @ held  # pyright: ignore[reportArgumentType]
        regressors += [shape[:tests] * w.sum() for shape in shapes]
        k = int(np.argmin(np.abs(s)))
        found.append(Window(np.stack(regressors, axis=1), target, w, rate, c[k], acting[k]))
    return found


def plain(windows: Sequence[Window]) -> tuple[FloatArray, FloatArray]:
    """Equations of a record as they are: rows `(n, n_unknowns)` and targets."""
    return np.concatenate([w.regressors for w in windows]), np.concatenate([w.target for w in windows])


def whitened(
    model: SemiDiscrete, windows: Sequence[Window], inverse: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The same, weighted so that noise in the fields leaves errors of one variance, not correlated.

    Parameters
    ----------
    model : SemiDiscrete
        At the estimates so far.
    windows : sequence of Window
    inverse : (n_modes, n_points) array
        `P`, of fields to coordinates.
    """
    rows, targets = plain(windows)
    n, tests, modes = len(windows), len(windows[0].target), len(inverse)
    S = inverse @ inverse.T
    J = np.concatenate([model.slope_jacobian(w.c, w.v)[0][:tests, :modes] for w in windows])
    weights, rates = np.array([w.weight for w in windows]), np.array([w.rate for w in windows])

    def spread(over_time: FloatArray, block: FloatArray) -> FloatArray:
        return np.repeat(np.repeat(over_time, tests, axis=0), tests, axis=1) * block

    once = np.tile(J @ S[:, :tests], (1, n))
    covariance = spread(rates @ rates.T, np.tile(S[:tests, :tests], (n, n)))
    covariance += spread(weights @ rates.T, once) + spread(rates @ weights.T, once.T)
    covariance += spread(weights @ weights.T, J @ S @ J.T)
    size = np.sqrt(np.diag(covariance))
    correlation = covariance / size / size[:, None]
    factor = linalg.cholesky(correlation + _FLOOR * np.eye(len(size)), lower=True)
    both = np.concatenate([rows, targets[:, None]], axis=1) / size[:, None]
    both = linalg.solve_triangular(factor, both, lower=True)
    return both[:, :-1], both[:, -1]


def _add(
    model: SemiDiscrete,
    parameter: str | None,
    value: FloatArray,
    known: FloatArray,
    columns: dict[str, FloatArray],
) -> None:
    if parameter in columns:
        columns[parameter] += value  # pyright: ignore[reportArgumentType]
    else:
        known += model.weight(parameter) * value


def _held_integral(t: FloatArray, middle: float, half: float) -> FloatArray:
    """Integral of the window over each sample, `(n_times - 1,)`: its antiderivative is a polynomial."""
    s = np.clip((t - middle) / half, -1.0, 1.0)
    polynomial = np.polynomial.Polynomial([1.0, 0.0, -1.0]) ** _POWER
    return half * np.diff(polynomial.integ()(s))
