r"""Subspace identification: a linear state-space model from records by QR and SVD alone.

Rows of `[U_f, Z, Y_f]` (future inputs, past outputs and inputs, future outputs; `h` samples each way) over
all records are reduced to one triangle `R`. With `L = R_22^+ R_23`, the future is `Y_f = Z L + ..`, and

* `"moesp"`  takes the row space of `R_23`, the past's part outside the future inputs,
* `"n4sid"`  that of `Z L`, the oblique projection,
* `"cva"`    that of `R_23` weighted by the root of its covariance: canonical correlations;
* `"pbsid"`  needs no future inputs: a long one-step predictor, its shifts stacked (closed-loop records,
  resonances).

In the first three the extended observability matrix gives `A` and `C` by its shift; the states `x_k = z_k
M`, functions of the past, give `K` and the noise covariances from the residuals of `[x_{k+1}, y_k]` on
`[x_k, u_k]` (and `A`, `C` of `"pbsid"`); `B`, `D` and the operating point are then those of the smallest
free-run error, linear least squares again.

Sources: Van Overschee & De Moor, *Subspace Identification for Linear Systems*, 1996 (algorithms and their
common form by weights); Larimore, *Canonical variate analysis*, CDC 1990; Katayama, *Subspace Methods for
System Identification*, 2005.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from koopctrl._threads import few_threads
from koopctrl._validation import FloatArray, check_bool, check_choice, check_integer
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError
from koopctrl.identification.free_run_fit import fit_inputs
from koopctrl.identification.innovation_gain import with_judged_gain
from koopctrl.identification.linear_model import InnovationModel
from koopctrl.identification.past_future import Standardised, predictor_projection, project
from koopctrl.identification.realisation import assemble, noise_of, regress_states, stabilise

METHODS = ("cva", "moesp", "n4sid", "pbsid")
MAX_ORDER = 10
_HORIZONS = (1.0, 1.5, 3.0, 5.0)  # candidates for h, in orders per output
_RANK_TOL = 1e-10  # a direction of the past with a smaller singular value is rounding, not state
_NOT_A_FREE_RUN = 1e6
_BLOCKS = 10


@few_threads()
def subspace(
    train: Trajectories | Iterable[Trajectory],
    order: int | str = "validation",
    *,
    method: str = "best",
    horizon: int | None = None,
    feedthrough: bool = False,
    stable: bool = False,
    max_order: int = MAX_ORDER,
) -> InnovationModel:
    """Identify a linear state-space model.

    Parameters
    ----------
    train : Trajectories
        Records of any lengths; inputs and outputs of any number. Units and offsets do not matter.
    order : int, "gap" or "validation"
        Number of states; or the largest gap between the singular values; or, among orders up to `max_order`,
        the lowest whose free-run error on the last third of the data is within noise of the smallest.
    method : {"best", "cva", "moesp", "n4sid", "pbsid"}
        How states are read off the past; `"best"` is the one whose model has the smallest free-run error on
        `train`.
    horizon : int, optional
        Samples `h` of past and future; by default one of a few, chosen like the method.
    feedthrough : bool
        Whether `u[k]` acts on `y[k]` (`D`).
    stable : bool
        Whether to pull eigenvalues of `A` outside the unit circle inside it.
    max_order : int
        Largest order that is tried.

    Returns
    -------
    InnovationModel

    Raises
    ------
    DataError
        If the records are too short for the order, or outputs are constant.
    OptionError
        If an option is outside the values it may take.
    """
    data = Trajectories.coerce(train, "train")
    check_choice(method, "method", (*METHODS, "best"))
    check_bool(feedthrough, "feedthrough")
    check_bool(stable, "stable")
    check_integer(max_order, "max_order", low=1)
    if horizon is not None:
        check_integer(horizon, "horizon", low=2)
    if isinstance(order, str):
        check_choice(order, "order", ("gap", "validation"))
        if order == "validation":
            order = choose_order(data, method, horizon, feedthrough, max_order)
    else:
        check_integer(order, "order", low=1)
    past = Standardised(data, feedthrough)
    size = max_order if isinstance(order, str) else order
    found = candidates(past, order, _horizons(past, size, horizon), method, stable, max_order)
    if not found:
        raise DataError(
            f"the records have {data.n_steps} steps in {len(data)} episodes, the longest of "
            f"{max(map(len, data))} samples; expected more for order {order}. Choose a lower order or a "
            "shorter horizon"
        )
    return with_judged_gain(min(found, key=lambda pair: pair[1])[0], data)


def choose_order(
    data: Trajectories, method: str, horizon: int | None, feedthrough: bool, max_order: int
) -> int:
    """Lowest order whose free-run error on the last third of the data is within noise of the smallest."""
    first, last = last_third(data)
    past = Standardised(first, feedthrough)
    squares: dict[int, FloatArray] = {}
    for order in range(1, max_order + 1):
        found = candidates(past, order, _horizons(past, order, horizon), method, True, max_order)
        if found:
            model = min(found, key=lambda pair: pair[1])[0]
            squares[order] = squared_errors(model, last, past.scaling.y_scale, 2 * max_order)
    return lowest_within_noise(squares)


def last_third(data: Trajectories) -> tuple[Trajectories, Trajectories]:
    """Records to fit to, and those held out: the last third of the episodes, or of each of a few."""
    if len(data) >= 3:
        cut = len(data) - len(data) // 3
        return data[:cut], data[cut:]
    return data.split(1.0 / 3.0, by="time")


def lowest_within_noise(squares: dict[int, FloatArray]) -> int:
    """Lowest order whose squared errors are within noise of the smallest: their mean difference over
    consecutive blocks is below its standard error.
    """
    finite = {order: e for order, e in squares.items() if len(e) and np.isfinite(e).all()}
    if not finite:
        return 1
    best = min(finite, key=lambda order: float(finite[order].mean()))
    for order, e in finite.items():
        excess = np.array([part.mean() for part in np.array_split(e - finite[best], min(_BLOCKS, len(e)))])
        if excess.mean() <= excess.std() / np.sqrt(len(excess)) + 1e-12 * finite[best].mean():
            return order
    return best


def squared_errors(
    model: InnovationModel, data: Trajectories, y_scale: FloatArray, n_init: int
) -> FloatArray:
    """Standardised squared free-run error at every sample after the first `n_init`, all episodes in a row."""
    errors = []
    for e in data:
        first = min(n_init, len(e) // 2)
        if first:
            with np.errstate(over="ignore", invalid="ignore"):
                error = (model.predict([e], first)[0][first:] - e.outputs[first:]) / y_scale
                errors.append(np.sum(error**2, axis=1))
    return np.concatenate(errors) if errors else np.empty(0)


def _horizons(past: Standardised, order: int, horizon: int | None) -> list[int]:
    """Horizons to try: the given one, or those for which the data have rows enough."""
    if horizon is not None:
        return [horizon]
    n_y, n_u = past.data.n_y, past.data.n_u
    per_output = -(-order // n_y)
    wanted = sorted({max(per_output + 1, round(f * per_output) + 2) for f in _HORIZONS})
    return [h for h in wanted if past.rows(h) >= 3 * h * (n_u + n_y)] or [per_output + 1]


def candidates(
    past: Standardised, order: int | str, horizons: list[int], method: str, stable: bool, max_order: int
) -> list[tuple[InnovationModel, float]]:
    """Models of all horizons and methods with their free-run errors on the data, those that exist."""
    methods = METHODS if method == "best" else (method,)
    found = []
    for h in horizons:
        r = past.factor(h) if set(methods) != {"pbsid"} else np.empty((0, 0))
        for name in methods:
            model = fit_order(past, r, order, h, name, stable, max_order)
            if model is not None:
                found.append(model)
    return found


def fit_order(
    past: Standardised, r: FloatArray, order: int | str, h: int, method: str, stable: bool, max_order: int
) -> tuple[InnovationModel, float] | None:
    """Model of one horizon `h`, whose factor is `r`, and method, with its free-run error.

    None where the data do not reach.
    """
    n_y, n_u = past.data.n_y, past.data.n_u
    width = 1 + 2 * h * (n_y + n_u)
    if past.rows(h) <= h * (n_u + n_y):
        return None
    if method == "pbsid":
        p = predictor_projection(past, h, h)
    else:
        if len(r) < width:
            r = np.concatenate([r, np.zeros((width - len(r), width))])
        p = project(r, 1 + h * n_u, h * (n_y + n_u), method)
    s = p.singular_values
    if order == "gap":
        top = s[: min(max_order, (h - 1) * n_y) + 1]
        logs = np.log(np.maximum(top, 1e-14 * s.max(initial=1e-300)))
        order = int(np.argmax(logs[:-1] - logs[1:])) + 1 if len(top) > 1 else 1
    n = int(order)
    if n > min(len(s), (h - 1) * n_y) or not s[n - 1] > _RANK_TOL * s[0]:
        return None
    to_state = p.state[:, :n]
    if p.observability is None:
        a, c = regress_states(past, h, to_state)
    else:
        gamma = p.observability[:, :n]
        c = gamma[:n_y]
        a = np.linalg.lstsq(gamma[:-n_y], gamma[n_y:], rcond=None)[0]
    if stable:
        a = stabilise(a, 1.0 - 0.1 / max(len(y) for y, _ in past.records))
    noise = noise_of(past, h, to_state, a, c)
    fitted = fit_inputs(past.records, a, c, noise.gain, past.feedthrough)
    if fitted is None:
        return None
    # Where A is not stable the error is a predictor's, much smaller than a free run's: it comes second.
    error = fitted.rms + (0.0 if fitted.is_free_run else _NOT_A_FREE_RUN)
    return assemble(past, a, c, fitted.b, fitted.d, fitted.c, fitted.offset, noise, s), error
