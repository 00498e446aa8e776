r"""What a record says before a model is made: dead times, order, and what its inputs cannot show.

Dead time: the impulse response of each input-output pair by least squares on `q` past inputs of *all* inputs
and `p` past outputs (a long ARX model, whose leading coefficients on inputs are those of the impulse
response); the first one that noise alone does not explain. Bounds hold for all lags together (Bonferroni).

Order: linear models of every order, refined on their free run and judged by it on held-out data; the lowest
within noise of the best.

Sources: Ljung, *System Identification*, 2nd ed., sections 13.3 (excitation), 16.4 and 16.5 (order, delay).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from koopctrl._validation import FloatArray, check_bool, check_integer, check_number
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError
from koopctrl.identification.hidden import HiddenFit, fit_hidden, standardise
from koopctrl.identification.hidden_layers import HiddenSettings
from koopctrl.identification.initial_state import estimate_initial_states
from koopctrl.identification.past_future import Standardised
from koopctrl.identification.refinement import RefineOptions
from koopctrl.identification.segments import cut
from koopctrl.identification.sensitivities import Weights, free_run
from koopctrl.identification.subspace import last_third, lowest_within_noise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ITERATIONS = 20
_ROWS_A_COLUMN = 5  # least-squares rows for each coefficient


@dataclass(frozen=True, eq=False)
class DelaySuggestion:
    """Dead times of all pairs.

    Attributes
    ----------
    delay : (n_y, n_u) integer array
        Samples from an input to the first output it changes: 0 is feedthrough, 1 none but the hold's; -1
        where nothing is seen of the input.
    impulse : (n_lags + 1, n_y, n_u) array
        Leading coefficients of the response, in the signals' units.
    bound : (n_lags + 1, n_y, n_u) array
        What noise alone does not exceed.
    output_names, input_names : tuple of str
    """

    delay: FloatArray
    impulse: FloatArray
    bound: FloatArray
    output_names: tuple[str, ...]
    input_names: tuple[str, ...]

    @property
    def feedthrough(self) -> bool:
        """Whether an input acts on an output of the same sample."""
        return bool((self.delay == 0).any())

    def plot(self) -> Figure:
        """Figure; see `koopctrl.plotting.plot_delays`."""
        from koopctrl.plotting import plot_delays

        return plot_delays(self)

    def __str__(self) -> str:
        """One line a pair."""
        lines = []
        for i, y in enumerate(self.output_names):
            for j, u in enumerate(self.input_names):
                d = int(self.delay[i, j])
                lines.append(f"{u} to {y}: {'no effect seen' if d < 0 else f'{d} samples'}")
        return "\n".join(lines)


def suggest_delay(
    data: Trajectories | Iterable[Trajectory], *, n_lags: int = 20, confidence: float = 0.99
) -> DelaySuggestion:
    """Dead time of every input-output pair.

    Parameters
    ----------
    data : Trajectories
    n_lags : int
        Longest dead time looked for, in samples; fewer where the records are short.
    confidence : float
        That a pair without effect shows none, in (0, 1).

    Returns
    -------
    DelaySuggestion
        `print` it; `delay` are the numbers, `plot()` the figure.

    Raises
    ------
    DataError
        If there are no inputs, or the records are too short for any lag.
    """
    records = Trajectories.coerce(data, "data")
    n_lags = check_integer(n_lags, "n_lags", low=1)
    check_number(confidence, "confidence", low=0.0, high=1.0, strict=True)
    n_y, n_u = records.n_y, records.n_u
    if not n_u:
        raise DataError("data have no inputs; expected some, whose delay can be looked for")
    past = Standardised(records, feedthrough=False)
    direct = all(len(e.inputs) == len(e) for e in records)
    total = sum(map(len, records))
    while True:
        lags = n_lags + 1 if direct else n_lags
        width = 1 + lags * n_u + n_lags * n_y
        rows = sum(max(0, min(len(y), len(u) + (not direct)) - n_lags) for y, u in past.records)
        if rows >= _ROWS_A_COLUMN * width or n_lags == 1:
            break
        n_lags -= 1
    if rows <= width:
        raise DataError(f"data have {total} samples; expected more to look for delays")
    table, target = [], []
    for y, u in past.records:
        last = min(len(y), len(u)) if direct else min(len(y), len(u) + 1)
        if last <= n_lags:
            continue
        first = 0 if direct else 1
        columns = [u[n_lags - k : last - k] for k in range(first, n_lags + 1)]
        columns += [y[n_lags - k : last - k] for k in range(1, n_lags + 1)]
        table.append(np.concatenate([np.ones((last - n_lags, 1)), *columns], axis=1))
        target.append(y[n_lags:last])
    phi, w = np.concatenate(table), np.concatenate(target)
    # What inputs that move together do cannot be told apart: the pseudo-inverse shares it, and its rows say
    # how well each coefficient is seen.
    u_, s, vt = np.linalg.svd(phi, full_matrices=False)
    keep = s > s[0] * len(s) * np.finfo(float).eps
    inverse = vt[keep].T / s[keep]
    coef = inverse @ (u_[:, keep].T @ w)
    residual = w - phi @ coef
    variance = np.sum(residual**2, axis=0) / max(len(w) - int(keep.sum()), 1)
    # Noise-free records leave rounding alone, which is no noise: at least that of the data.
    variance = np.maximum(variance, (1e-10 * np.sqrt(np.mean(w**2, axis=0))) ** 2)
    spread = np.sqrt(np.sum(inverse**2, axis=1)[:, None] * variance)
    level = 1.0 - 0.5 * (1.0 - confidence) / (lags * n_u * n_y)
    rank = slice(1, 1 + lags * n_u)
    impulse = coef[rank].reshape(lags, n_u, n_y).transpose(0, 2, 1)
    bound = stats.norm.ppf(level) * spread[rank].reshape(lags, n_u, n_y).transpose(0, 2, 1)
    seen = np.abs(impulse) > bound
    delay = np.where(seen.any(axis=0), seen.argmax(axis=0) + (0 if direct else 1), -1)
    unit = past.scaling.y_scale[:, None] / past.scaling.u_scale
    if not direct:
        gap = np.zeros((1, n_y, n_u))
        impulse, bound = np.concatenate([gap, impulse]), np.concatenate([gap, bound])
    return DelaySuggestion(delay, impulse * unit, bound * unit, records.output_names, records.input_names)


@dataclass(frozen=True, eq=False)
class OrderSuggestion:
    """Orders and their errors.

    Attributes
    ----------
    order : int
        Lowest one within noise of the best.
    errors : dict of int to float
        Free-run error on held-out data of every order, over the outputs' spread; infinite where it diverges.
    singular_values : array
        Of the past's projection, from all data: a gap after `n` of them says order `n`.
    """

    order: int
    errors: dict[int, float]
    singular_values: FloatArray

    def plot(self) -> Figure:
        """Figure; see `koopctrl.plotting.plot_orders`."""
        from koopctrl.plotting import plot_orders

        return plot_orders(self)

    def __str__(self) -> str:
        """Table, the suggestion marked."""
        lines = ["order  held-out error"]
        lines += [f"{n:5d}  {e:.4g}{'  <-' if n == self.order else ''}" for n, e in self.errors.items()]
        return "\n".join(lines)


def suggest_order(
    data: Trajectories | Iterable[Trajectory], *, max_order: int = 10, feedthrough: bool = False
) -> OrderSuggestion:
    """Order of a linear model.

    Parameters
    ----------
    data : Trajectories
        The last third is held out.
    max_order : int
        Largest order that is tried.
    feedthrough : bool
        Whether `u[k]` acts on `y[k]`.

    Returns
    -------
    OrderSuggestion
        `print` it; `order` is the number, `plot()` the figure.

    Raises
    ------
    DataError
        If the records are too short for any order.
    """
    records = Trajectories.coerce(data, "data")
    max_order = check_integer(max_order, "max_order", low=1)
    check_bool(feedthrough, "feedthrough")
    first, last = last_third(records)
    squares: dict[int, FloatArray] = {}
    singular = np.empty(0)
    for order in range(1, max_order + 1):
        try:
            settings = HiddenSettings(
                order, 0, feedthrough=feedthrough, options=RefineOptions(max_iter=_ITERATIONS)
            )
            found = fit_hidden(first, settings, np.random.default_rng(0), with_noise=False)
        except DataError:  # too few samples for this order, and so for higher ones
            break
        squares[order] = _squares(found, last, 2 * max_order)
        singular = found.start.linear.singular_values
    if not any(len(e) for e in squares.values()):
        raise DataError(
            f"data have {records.n_steps} steps in {len(records)} episodes, too few for a model of any "
            "order; expected longer records"
        )
    errors = {
        n: float(np.sqrt(e.mean())) if len(e) and np.isfinite(e).all() else np.inf for n, e in squares.items()
    }
    return OrderSuggestion(lowest_within_noise(squares), errors, singular)


def _squares(found: HiddenFit, data: Trajectories, n_init: int) -> FloatArray:
    """Squared free-run errors at every sample after those that initialise, all episodes in a row."""
    net = found.network
    parts = []
    for y, u in standardise(data, net.scaling):
        first = min(n_init, len(y) // 2)
        if not first:
            continue
        whole = cut([(y, u)], len(y), net.readout.feedthrough, n_min=0)
        x0 = estimate_initial_states(net, whole.head(first), found.prior)
        _, out = free_run(net, Weights(net.coef, net.readout.coef, x0), whole)
        with np.errstate(over="ignore", invalid="ignore"):
            parts.append(np.sum(((out - whole.w) * whole.mask)[first:, 0] ** 2, axis=1))
    return np.concatenate(parts) if parts else np.empty(0)
