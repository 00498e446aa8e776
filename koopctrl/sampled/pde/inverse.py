r"""Inverse problems: unknown parameters, actuator gains and sources from noisy fields, by one least squares.

With test functions `w(t)` that vanish at the ends of a window, and the equation projected on the leading
functions `psi_k` of the basis,

.. math::
    -\int \dot w\, c_k\,dt - \int w\,[\text{known}]_k\,dt = \sum_p \theta_p \int w\,[G_p(c)]_k\,dt
    + \sum_j g_j \int w\,B_{kj} v_j\,dt + \sum_s a_s \int w\,S_{ks}\,dt

is linear in all unknowns. Nothing noisy is differentiated, in time or (the weak form) more than once in
space.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, as_signal, check_finite, check_integer
from koopctrl.errors import DataError, OptionError, ShapeError, TimeBaseError
from koopctrl.identification.least_squares import QRAccumulator
from koopctrl.sampled.pde.semi_discrete import SemiDiscrete
from koopctrl.sampled.pde.solve import held_inputs
from koopctrl.sampled.pde.terms import values_at

_CLEAR = 40.0  # signal over noise of a mode that is tested on
_LEAST_TESTS = 4
_POWER = 4  # of the window (1 - s^2)^4: three derivatives vanish at its ends


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
        Their standard deviations, from the residuals of the windows (those of neighbouring windows are
        correlated, which is allowed for).
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
        Windows in a record's time, each overlapping the next by half; by default such that each holds about
        eighty samples, at least four and at most twenty. Long ones average noise, short ones follow inputs
        that change quickly.

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

    blocks = []
    for t, values, inputs in data:
        coordinates = np.zeros((len(t), model.n_coordinates))
        coordinates[:, :modes] = values @ inverse.T
        n = int(np.clip(len(t) // 40, 4, 20)) if windows is None else windows
        blocks += _equations(model, t, coordinates, inputs, names, gains, shapes, min(tests, modes), n)
    return _solved(model, blocks, labels, names, gains, modes, noise)


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


def _equations(
    model: SemiDiscrete,
    t: FloatArray,
    c: FloatArray,
    inputs: FloatArray,
    names: Sequence[str],
    gains: bool,
    shapes: Sequence[FloatArray],
    tests: int,
    windows: int,
) -> list[tuple[FloatArray, FloatArray]]:
    """`(regressors, targets)` of each window, `tests` rows each."""
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
    width = 2.0 * float(t[-1] - t[0]) / (windows + 1)
    step = np.gradient(t)
    step[[0, -1]] = 0.5 * np.array([t[1] - t[0], t[-1] - t[-2]])
    found = []
    for j in range(windows):
        middle, half = float(t[0]) + (j + 1) * width / 2.0, width / 2.0
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
        found.append((np.stack(regressors, axis=1), target))
    return found


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


def _solved(
    model: SemiDiscrete,
    blocks: Sequence[tuple[FloatArray, FloatArray]],
    labels: Sequence[str],
    names: Sequence[str],
    gains: bool,
    modes: int,
    noise: float,
) -> Identified:
    x = np.concatenate([b[0] for b in blocks])
    y = np.concatenate([b[1] for b in blocks])
    accumulator = QRAccumulator(len(labels), 1)
    accumulator.update(x, y[:, None])
    answer = accumulator.solve(1e-10)
    if answer.rank < len(labels):
        raise DataError(
            f"the fields determine {answer.rank} of {len(labels)} unknowns ({', '.join(labels)}); "
            "expected all. Excite "
            "every input, let the solution vary, or ask for fewer"
        )
    theta = answer.coef[:, 0]
    # Neighbouring windows overlap: scores are summed over pairs of them.
    scale = np.linalg.norm(x, axis=0)
    inverse = np.linalg.pinv((x / scale).T @ (x / scale))
    scores = [(b / scale).T @ (r - b @ theta) for b, r in blocks]
    middle = sum(np.outer(a, a) for a in scores)
    for a, b in itertools.pairwise(scores):
        middle = middle + 0.5 * (np.outer(a, b) + np.outer(b, a))
    # As many degrees of freedom as there are windows, less those that were fitted.
    freedom = len(blocks) / max(len(blocks) - len(labels), 1)
    variance = freedom * np.maximum(np.diag(inverse @ middle @ inverse), 0.0)
    std = np.sqrt(variance) / scale
    found = model.at(**{n: float(theta[i]) for i, n in enumerate(names)})
    if gains:
        gain = theta[len(names) : len(names) + model.n_inputs]
        found = replace(found, input_parts={p: m * gain for p, m in found.input_parts.items()})
    values = {label: float(v) for label, v in zip(labels, theta, strict=True)}
    return Identified(values, dict(zip(labels, std.tolist(), strict=True)), found, modes, noise, len(y))
