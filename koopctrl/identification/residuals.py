r"""What a model leaves unexplained: whiteness of its residuals, and their correlation with past inputs.

With residuals `e` and inputs `u`, both centred and scaled,

.. math:: r_e(\tau) = \tfrac1N \sum_k e_k e_{k-\tau}, \qquad r_{eu}(\tau) = \tfrac1N \sum_k e_k u_{k-\tau}.

Of white residuals `r_e` is within `q / sqrt(N)` of 0; where residuals and inputs have nothing to do with each
other the variance of `r_eu` is `sum_s r_e(s) r_u(s) / N` (Bartlett), which holds for coloured ones too.
Lags at which the input comes later (negative ones) tell feedback, not a bad model, and are shown, not judged.
The bounds are those of the data alone: on records as long as those of training a right model's own
uncertainty shows too.

Source: Ljung, *System Identification*, 1999, section 16.6.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from koopctrl._validation import FloatArray, check_integer, check_kind, check_number
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError, RolloutWarning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FEWEST = 4  # samples a lag
_TAKEN_FOR_ZERO = 1e-9  # of an output's spread: residuals that are rounding have no correlation to speak of


@dataclass(frozen=True, eq=False)
class ResidualAnalysis:
    """Correlations of residuals.

    Attributes
    ----------
    autocorrelation : (n_lags + 1, n_y) array
        At lags 0, 1, ..; 1 at lag 0.
    cross_correlation : (2 n_lags + 1, n_y, n_u) array
        Of residuals with inputs `tau` samples before, `tau = -n_lags .. n_lags`.
    white_bound : float
        Bound on each autocorrelation of white residuals.
    cross_bound : (n_y, n_u) array
        Bound on each cross-correlation of independent signals.
    rms : (n_y,) array
        Of the residuals, in the outputs' units.
    kind : {"one step", "free run"}
        Which residuals. Those of a free run need not be white, and only their correlation with inputs is
        judged.
    confidence : float
    n_samples : int
    output_names, input_names : tuple of str
    """

    autocorrelation: FloatArray
    cross_correlation: FloatArray
    white_bound: float
    cross_bound: FloatArray
    rms: FloatArray
    kind: str
    confidence: float
    n_samples: int
    output_names: tuple[str, ...]
    input_names: tuple[str, ...]

    @property
    def n_lags(self) -> int:
        """Most samples between two correlated values."""
        return len(self.autocorrelation) - 1

    @property
    def outside_white(self) -> FloatArray:
        """Share of lags from 1 on at which each output's autocorrelation is outside its bound."""
        return np.mean(np.abs(self.autocorrelation[1:]) > self.white_bound, axis=0)

    @property
    def outside_inputs(self) -> FloatArray:
        """Share of lags from 0 on at which each `(output, input)` cross-correlation is outside its bound."""
        return np.mean(np.abs(self.cross_correlation[self.n_lags :]) > self.cross_bound, axis=0)

    @property
    def white(self) -> bool:
        """Whether no more lags are outside than chance allows: the model has used what the past says."""
        n = self.n_lags  # lags of white noise are independent: how many are outside has a binomial law
        return bool((n * self.outside_white <= stats.binom.ppf(0.99, n, 1.0 - self.confidence)).all())

    @property
    def independent(self) -> bool:
        """Whether inputs say nothing more of the residuals: the dynamics from inputs are all there.

        No lag may be outside a bound that all of them together keep to with the probability `confidence`
        (Bonferroni): of coloured residuals neighbouring lags go together, and counting them would not do.
        """
        n = (self.n_lags + 1) * max(self.cross_bound.size, 1)
        one, all_ = (stats.norm.ppf(1.0 - 0.5 * (1.0 - self.confidence) / m) for m in (1, n))
        return bool((np.abs(self.cross_correlation[self.n_lags :]) <= self.cross_bound * all_ / one).all())

    @property
    def ok(self) -> bool:
        """`independent`, and of one-step residuals `white`."""
        return self.independent and (self.white or self.kind == "free run")

    def plot(self, **options: Any) -> Figure:
        """Figure; see `koopctrl.plotting.plot_residual_analysis`."""
        from koopctrl.plotting import plot_residual_analysis

        return plot_residual_analysis(self, **options)

    def __str__(self) -> str:
        """What a reader wants to know first."""
        lines = [f"residuals of a {self.kind}, {self.n_samples} samples, {self.n_lags} lags"]
        for i, name in enumerate(self.output_names):
            part = f"{name}: rms {self.rms[i]:.3g}, {self.outside_white[i]:.0%} of lags outside white"
            for j, u in enumerate(self.input_names):
                part += f", {self.outside_inputs[i, j]:.0%} outside for {u}"
            lines.append(part)
        verdict = "inputs explain no more" if self.independent else "inputs explain more: order, lags, delay"
        if self.kind == "one step":
            verdict += "; white" if self.white else "; not white: the past says more"
        return "\n".join([*lines, verdict])


def residual_analysis(
    model: Any,
    data: Trajectories | Iterable[Trajectory],
    *,
    n_lags: int = 25,
    confidence: float = 0.99,
    n_init: int | None = None,
) -> ResidualAnalysis:
    """Test whether a model has left anything in its residuals.

    One-step residuals are used of lag windows and measured states, innovations of linear models from
    `subspace`, the errors of the free run of hidden states and ensembles.

    Parameters
    ----------
    model : KoopmanRNN, KoopmanEnsemble or InnovationModel
        Fitted.
    data : Trajectories
        Records, best those that it was not fitted to.
    n_lags : int
        Most samples between two correlated values.
    confidence : float
        Of the bounds, in (0, 1).
    n_init : int, optional
        Measured samples that initialise, and do not count.

    Returns
    -------
    ResidualAnalysis
        `print` it; `ok`, `white`, `independent` are the verdicts, `plot()` the figure.

    Raises
    ------
    DataError
        If the records are too short for so many lags.
    """
    records = Trajectories.coerce(data, "data")
    n_lags = check_integer(n_lags, "n_lags", low=1)
    check_number(confidence, "confidence", low=0.0, high=1.0, strict=True)
    one = "innovations" if hasattr(model, "innovations") else "predict"
    check_kind(model, "model", (one,), "a fitted KoopmanRNN, KoopmanEnsemble or InnovationModel")
    first = _first(model, records, n_init)
    records = records.long_enough(first + n_lags + 1, f"initialise (n_init) and {n_lags} lags (n_lags) take")
    runs, kind = _residuals(model, records, first)
    pairs = [(e, u[: len(e)]) for e, u in runs if min(len(e), len(u)) > n_lags]
    count = sum(len(u) for _, u in pairs)
    if count < _FEWEST * n_lags:
        raise DataError(
            f"data leave {count} residuals in records longer than {n_lags} lags; expected at least "
            f"{_FEWEST * n_lags}. Pass longer records or a smaller n_lags"
        )
    pairs = [(e[: len(u)], u) for e, u in pairs]
    outputs = np.concatenate([e.outputs for e in records])
    residuals, inputs = np.concatenate([e for e, _ in pairs]), np.concatenate([u for _, u in pairs])
    floor = _TAKEN_FOR_ZERO * outputs.std(axis=0)
    e_mean, e_scale = residuals.mean(axis=0), np.maximum(residuals.std(axis=0), floor)
    u_mean, u_scale = inputs.mean(axis=0), inputs.std(axis=0)
    e_scale, u_scale = (np.where(s > 0, s, 1.0) for s in (e_scale, u_scale))
    scaled = [((e - e_mean) / e_scale, (u - u_mean) / u_scale) for e, u in pairs]
    auto = np.stack([_mean_product(scaled, lag, count, "ee") for lag in range(n_lags + 1)])
    auto_u = np.stack([_mean_product(scaled, lag, count, "uu") for lag in range(n_lags + 1)])
    both = np.stack([_mean_product(scaled, lag, count, "eu") for lag in range(-n_lags, n_lags + 1)])
    own = np.stack([np.diagonal(a) for a in auto])
    own_u = np.stack([np.diagonal(a) for a in auto_u])
    spread = own[0][:, None] * own_u[0] + 2.0 * np.einsum("li,lj->ij", own[1:], own_u[1:])
    q = float(stats.norm.ppf(0.5 + 0.5 * confidence))
    bound = q / np.sqrt(count)
    # A Bartlett sum that is small, or negative, is an accident of few samples: white signals have 1.
    cross_bound = bound * np.sqrt(np.maximum(spread, own[0][:, None] * own_u[0]))
    return ResidualAnalysis(
        own, both, bound, cross_bound, np.sqrt(np.mean(residuals**2, axis=0)), kind, confidence, count,
        records.output_names, records.input_names,
    )  # fmt: skip


def _mean_product(runs: list[tuple[FloatArray, FloatArray]], lag: int, count: int, which: str) -> FloatArray:
    """`1/N sum_k a_k b_{k - lag}'` within records."""
    total: Any = 0.0
    for e, u in runs:
        a, b = (e if which[0] == "e" else u), (e if which[1] == "e" else u)
        later, earlier = (a[lag:], b[: len(b) - lag]) if lag >= 0 else (a[:lag], b[-lag:])
        total = total + later.T @ earlier
    return np.asarray(total) / count


def _first(model: Any, data: Trajectories, n_init: int | None) -> int:
    """Number of the first sample of each record that has a residual."""
    if hasattr(model, "innovations"):
        return check_integer(2 * model.n_x if n_init is None else n_init, "n_init", low=1)
    network = getattr(model, "network_", None)
    if network is not None and not model.hidden:
        return network.window.n_samples
    return getattr(model, "best_", model)._n_init(data, n_init)


def _residuals(model: Any, data: Trajectories, first: int) -> tuple[list[tuple[FloatArray, FloatArray]], str]:
    """Residuals of each record and the inputs of the same time, and their kind."""
    if hasattr(model, "innovations"):
        errors = model.innovations(data, first)
        return [(e[first:], r.inputs[first:]) for e, r in zip(errors, data, strict=True)], "one step"
    network = getattr(model, "network_", None)
    if network is not None and not model.hidden:
        model._check_signals(data)
        window, found = network.window, []
        for r in data:
            x, u, y_next = window.pairs(r.outputs, r.inputs)
            error = y_next - network.step(x, u)[:, : window.n_y]
            inputs = r.inputs[first : first + len(error)]
            found.append((error, inputs))
        return found, "one step"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RolloutWarning)  # seen in the residuals
        runs = model.predict(data, first)
    return [
        ((r.outputs - run)[first:], r.inputs[first:]) for r, run in zip(data, runs, strict=True)
    ], "free run"
