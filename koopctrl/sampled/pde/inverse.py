r"""Inverse problems: unknown parameters, actuator gains and sources from noisy fields, by one least squares.

With test functions `w(t)` that vanish at the ends of a window, and the equation projected on the leading
functions `psi_k` of the basis,

.. math::
    -\int \dot w\, c_k\,dt - \int w\,[\text{known}]_k\,dt = \sum_p \theta_p \int w\,[G_p(c)]_k\,dt
    + \sum_j g_j \int w\,B_{kj} v_j\,dt + \sum_s a_s \int w\,S_{ks}\,dt

is linear in all unknowns. Nothing noisy is differentiated, in time or (the weak form) more than once in
space. What noise in the fields does to these equations is known, so they are weighted with its inverse
covariance (`inverse_windows`): generalised least squares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._threads import few_threads
from koopctrl._validation import FloatArray, as_float_array, as_signal, check_finite, check_integer
from koopctrl.errors import DataError, OptionError, ShapeError, TimeBaseError
from koopctrl.identification.least_squares import QRAccumulator
from koopctrl.sampled.pde.inverse_windows import Window, make_windows, plain, whitened
from koopctrl.sampled.pde.semi_discrete import SemiDiscrete
from koopctrl.sampled.pde.solve import held_inputs
from koopctrl.sampled.pde.terms import values_at

_CLEAR = 40.0  # signal over noise of a mode that is tested on
_LEAST_TESTS = 4
_SWEEPS = 2  # of weighting: the motion that weights follow changes little after the first


@dataclass(frozen=True, eq=False)
class FieldRecord:
    """One experiment: a field over time.

    Parameters
    ----------
    t : (n_times,) array_like
        Rising times, s.
    values : (n_times, n_points) array_like
        Measured `u`.
    inputs : (n_times - 1, n_inputs) array_like, optional
        Held from each time to the next.
    """

    t: ArrayLike
    values: ArrayLike
    inputs: ArrayLike | None = None


@dataclass(frozen=True, eq=False)
class Identified:
    """Result of `identify`.

    Attributes
    ----------
    values : dict
        Estimates by name: parameters, `gain <input>`, `source <i>`.
    std : dict
        Their standard deviations, from the residuals of the weighted equations: what noise does. Where there
        is next to none, what the basis does not hold is larger, and not in them.
    model : SemiDiscrete
        The model with the estimates put in: parameters and gains.
    n_modes : int
        Basis functions that the fields were projected on.
    noise : float
        Root mean square of what these do not explain of the fields.
    n_equations : int
    """

    values: dict[str, float]
    std: dict[str, float]
    model: SemiDiscrete
    n_modes: int
    noise: float
    n_equations: int

    def __str__(self) -> str:
        """A table of the estimates."""
        rows = [f"{name:>16} {value: .6g} +- {self.std[name]:.2g}" for name, value in self.values.items()]
        return "\n".join(rows)


@few_threads()
def identify(
    model: SemiDiscrete,
    points: ArrayLike,
    records: FieldRecord | Sequence[FieldRecord],
    *,
    unknown: Sequence[str] | None = None,
    gains: bool = False,
    sources: Sequence[Callable[[FloatArray], ArrayLike]] = (),
    n_modes: int | None = None,
    n_tests: int | None = None,
    windows: int | None = None,
) -> Identified:
    """Estimate what an equation does not know from fields that were measured on it.

    Parameters
    ----------
    model : SemiDiscrete
        Of first order in time, boundary conditions without data.
    points : (n_points, dim) array_like
        Where the fields are measured.
    records : FieldRecord or sequence of them
    unknown : sequence of str, optional
        Parameters to estimate; all by default. The others keep their values.
    gains : bool
        Whether each input's gain is unknown too; 1 means the actuator is as declared.
    sources : sequence of callables
        Shapes of constant sources whose amplitudes are unknown.
    n_modes : int, optional
        Basis functions for the fields; chosen by Akaike's information criterion by default.
    n_tests : int, optional
        Leading functions on which the equation is tested. By default those whose coefficients stand clear of
        the noise, by a factor of forty: noise in what multiplies an unknown pulls it towards zero.
    windows : int, optional
        Windows in a record's time, each overlapping the next by three quarters; by default such that each
        holds about eighty samples, at least seven and at most 39. Long ones average noise, short ones follow
        inputs that change quickly.

    Raises
    ------
    DataError
        If there is nothing to estimate, or the data do not determine it.
    """
    if model.pde.order != 1 or model.offset is not None:
        raise OptionError("model is of second order or has boundary data; expected first order without")
    names = list(model.parameters) if unknown is None else list(unknown)
    for name in names:
        if name not in model.parameters:
            raise OptionError(f"unknown has {name!r}; expected some of {sorted(model.parameters)}")
    if not names and not gains and not sources:
        raise DataError("nothing is unknown: no parameters, gains or sources; expected at least one of them")
    if windows is not None:
        check_integer(windows, "windows", low=2)
    at = model.pde.domain.check_points(points)
    data = [_checked(model, r, len(at)) for r in ([records] if isinstance(records, FieldRecord) else records)]
    modes, noise = _choose_modes(model, at, data, n_modes)
    inverse = np.linalg.pinv(model.basis(at) @ model.null[:, :modes])
    tests = (
        _clear_modes(data, inverse, noise) if n_tests is None else check_integer(n_tests, "n_tests", low=1)
    )
    labels = [*names, *(f"gain {n}" for n in (model.pde.input_names or ()) if gains)]
    labels += [f"source {i}" for i in range(len(sources))]
    shapes = [model.project @ values_at(s, model.points, f"sources[{i}]") for i, s in enumerate(sources)]

    cut = []
    for t, values, inputs in data:
        coordinates = np.zeros((len(t), model.n_coordinates))
        coordinates[:, :modes] = values @ inverse.T
        n = 2 * int(np.clip(len(t) // 40, 4, 20)) - 1 if windows is None else windows
        cut.append(make_windows(model, t, coordinates, inputs, names, gains, shapes, min(tests, modes), n))
    return _solved(model, cut, inverse, labels, names, gains, modes, noise)


def _checked(
    model: SemiDiscrete, record: FieldRecord, n_points: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    t = check_finite(as_float_array(record.t, "t"), "t")
    if t.ndim != 1 or len(t) < 10 or not (np.diff(t) > 0).all():
        raise TimeBaseError(f"t has shape {t.shape}; expected ten rising times or more")
    values = as_signal(record.values, "values", n_points)
    if len(values) != len(t):
        raise ShapeError(f"values has {len(values)} rows; expected {len(t)}, one a time")
    return t, values, np.asarray(held_inputs(model, record.inputs, len(t) - 1))


def _choose_modes(
    model: SemiDiscrete, at: FloatArray, data: Sequence[tuple[FloatArray, ...]], n_modes: int | None
) -> tuple[int, float]:
    """Number of basis functions for the fields, and what they leave unexplained."""
    fields = np.concatenate([values for _, values, _ in data])
    psi = model.basis(at) @ model.null
    most = min(model.n_coordinates, int(0.8 * len(at)))
    if n_modes is not None:
        tried = [min(check_integer(n_modes, "n_modes", low=1), most)]
    else:
        tried = sorted({int(k) for k in np.linspace(min(4, most), most, 24)})
    best: tuple[float, int, float] | None = None
    for k in tried:
        q = np.linalg.qr(psi[:, :k])[0]
        left = fields - (fields @ q) @ q.T
        square = max(float(np.sum(left**2)), 1e-28 * float(np.sum(fields**2)))
        score = fields.size * np.log(square) + 2.0 * k * len(fields)
        noise = float(np.sqrt(square / max(1, len(fields) * (len(at) - k))))
        if best is None or score < best[0]:
            best = (score, k, noise)
    assert best is not None  # at least one number is tried
    return best[1], best[2]


def _clear_modes(data: Sequence[tuple[FloatArray, ...]], inverse: FloatArray, noise: float) -> int:
    """Leading modes before the first whose coefficient varies by less than `_CLEAR` times its noise."""
    coefficients = np.concatenate([values @ inverse.T for _, values, _ in data])
    clear = coefficients.std(axis=0) > _CLEAR * noise * np.linalg.norm(inverse, axis=1)
    first = len(clear) if clear.all() else int(np.argmin(clear))
    return max(_LEAST_TESTS, first)


def _solved(
    model: SemiDiscrete,
    records: Sequence[Sequence[Window]],
    inverse: FloatArray,
    labels: Sequence[str],
    names: Sequence[str],
    gains: bool,
    modes: int,
    noise: float,
) -> Identified:
    found, n_equations = model, sum(len(w.target) for windows in records for w in windows)
    theta = np.zeros(len(labels))
    std = theta
    for sweep in range(_SWEEPS + 1):
        # First as they are; then weighted, with the motion that the last estimates give.
        accumulator, square = QRAccumulator(len(labels), 1), []
        for windows in records:
            rows, targets = plain(windows) if sweep == 0 else whitened(found, windows, inverse)
            accumulator.update(rows, targets[:, None])
            square.append((rows, targets))
        answer = accumulator.solve(1e-10)
        if answer.rank < len(labels):
            raise DataError(
                f"the fields determine {answer.rank} of {len(labels)} unknowns ({', '.join(labels)}); "
                "expected all. Excite "
                "every input, let the solution vary, or ask for fewer"
            )
        theta = answer.coef[:, 0]
        x = np.concatenate([rows for rows, _ in square])
        left = np.concatenate([targets for _, targets in square]) - x @ theta
        scale = np.linalg.norm(x, axis=0)
        factor = float(left @ left) / max(len(left) - len(labels), 1)
        std = np.sqrt(factor * np.diag(np.linalg.pinv((x / scale).T @ (x / scale)))) / scale
        found = model.at(**{n: float(theta[i]) for i, n in enumerate(names)})
        if gains:
            gain = theta[len(names) : len(names) + model.n_inputs]
            found = replace(found, input_parts={p: m * gain for p, m in found.input_parts.items()})
    values = {label: float(v) for label, v in zip(labels, theta, strict=True)}
    return Identified(values, dict(zip(labels, std.tolist(), strict=True)), found, modes, noise, n_equations)
