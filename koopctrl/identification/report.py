"""What to know before a model is used: sizes, conditioning, and errors by horizon of both faces."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._validation import FloatArray, check_integer, check_kind, shape_of
from koopctrl.data.trajectories import Trajectories
from koopctrl.errors import DataError, OptionError
from koopctrl.identification.advice import advice
from koopctrl.identification.hidden_estimator import hidden_starts
from koopctrl.network.lag_window import LagWindow

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN
    from koopctrl.lifted.model import LiftedModel

_MAX_STARTS = 500


@dataclass(frozen=True)
class HorizonError:
    """Errors after `horizon` free steps, from `n_starts` windows spread over the records.

    RMSE per output in its own unit; `nrmse` is their mean relative to each output's spread.
    """

    horizon: int
    n_starts: int
    rnn_rmse: list[float]
    lifted_rmse: list[float]
    rnn_nrmse: float
    lifted_nrmse: float


@dataclass(frozen=True)
class Report:
    """Figures of one model on one set of records.

    Attributes
    ----------
    sizes : dict
        `n_x, n_u, n_y, n_features, n_z`, regressors and training pairs.
    rank, condition
        Of the column-scaled regressors of the nonlinear face's fit, after the cut.
    ridge : list of float
        Penalty on the outer weights, per output; relative to each regressor's energy.
    residual_rms : list of float
        One-step residual on the training data, per output, in standard deviations.
    spectral_radius : float
        Of the lifted face.
    worst_mode_residual : float
        Largest residual over the lifted face's modes.
    operating_point : list of float
        `x_op` of the lifted face.
    horizons : list of HorizonError
    score : float
        Mean free-run R2 of the nonlinear face.
    hint : str or None
        What to try where the free run is poor.
    """

    sizes: dict[str, int]
    rank: int
    condition: float
    ridge: list[float]
    residual_rms: list[float]
    spectral_radius: float
    worst_mode_residual: float
    operating_point: list[float]
    horizons: list[HorizonError]
    score: float
    hint: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON; a figure that is not finite becomes None."""
        return _finite_or_none(asdict(self))

    def __str__(self) -> str:
        """Text table."""
        sizes = ", ".join(f"{k} {v}" for k, v in self.sizes.items())
        lines = [
            f"sizes: {sizes}",
            f"fit: rank {self.rank}, condition {self.condition:.2e}, "
            f"penalty {max(self.ridge, default=math.nan):.1e}, "
            f"one-step residual {max(self.residual_rms):.2e} std",
            f"lifted face: spectral radius {self.spectral_radius:.4f}, "
            f"worst mode residual {self.worst_mode_residual:.2e}",
            f"free-run R2 (nonlinear face): {self.score:.6f}",
            "nonlinear: re-lifted at every step; lifted: A, B, C, D in lifted coordinates throughout;",
            "NRMSE: error / spread of the output, 1 is no better than its mean",
            "horizon  starts  NRMSE nonlinear  NRMSE lifted",
        ]
        lines += [
            f"{h.horizon:7d}  {h.n_starts:6d}  {h.rnn_nrmse:15.3e}  {h.lifted_nrmse:12.3e}"
            for h in self.horizons
        ]
        return "\n".join([*lines, f"The free run is poor: {self.hint}"] if self.hint else lines)


def make_report(
    model: KoopmanRNN,
    data: Trajectories,
    horizons: tuple[int, ...] = (1, 10, 100),
    lifted: LiftedModel | None = None,
    n_init: int | None = None,
) -> Report:
    """Report on `data`, which should be unseen.

    Parameters
    ----------
    model : KoopmanRNN
        Fitted.
    data : Trajectories
        Records with the model's signals.
    horizons : tuple of int
        Steps ahead; those longer than every record are left out.
    lifted : LiftedModel, optional
        The linear face to report on; by default `model.lift_at()`.
    n_init : int, optional
        Measured samples that initialise free runs, and after which errors by horizon begin; by default as
        many as `model.predict` takes.

    Returns
    -------
    Report

    Raises
    ------
    DataError
        If no record is long enough for any horizon.
    """
    if len(shape_of(horizons) or ()) != 1:
        raise OptionError(f"horizons is {horizons!r}; expected a sequence of numbers of samples, as (1, 10)")
    check_kind(model, "model", ("_network", "lift_at"), "a fitted KoopmanRNN")
    net = model._network
    data = Trajectories.coerce(data, "data")
    model._check_signals(data)
    first = model._n_init(data, n_init)
    data = data.long_enough(first + 1, "initialise (n_init) and one step ahead take")
    # A linear face that varies with measured parameters, and the one at their mean.
    family = model.lift_family() if lifted is None and model.parameter_names_ else None
    lifted = model.lift_at() if lifted is None else lifted
    linear = lifted if family is None else family
    spread = np.concatenate([e.outputs for e in data]).std(axis=0)
    spread = np.where(spread > 0, spread, net.scaling.y_scale)
    rows = []
    for horizon in horizons:
        check_integer(horizon, "horizons", low=1)
        starts = (
            hidden_starts(model, data, horizon, _MAX_STARTS, first)
            if model.hidden
            else starts_of(data, net.window, horizon, first)
        )
        if starts is None:
            continue
        x0, u, truth = starts
        with np.errstate(over="ignore", invalid="ignore"):
            ahead = hidden_ahead(net, x0, u) if model.hidden else net.rollout(x0, u)[0][:, -1]
        rnn = _rms(ahead - truth)
        lin = _rms(lifted_ahead(linear, x0, u, model.hidden) - truth)
        rows.append(
            HorizonError(
                horizon,
                len(x0),
                rnn.tolist(),
                lin.tolist(),
                float(np.mean(rnn / spread)),
                float(np.mean(lin / spread)),
            )
        )
    if not rows:
        raise DataError(
            f"no record is longer than the shortest of the horizons {horizons}; pass shorter ones"
        )
    residuals = lifted.spectrum().residuals
    sizes = {
        "n_x": model.n_x,
        "n_u": model.n_u,
        "n_y": model.n_y,
        "n_features": net.layer.n_features,
        "n_z": lifted.n_z,
    }
    if model.hidden:  # refined weights have no one solve behind them
        n_weights = net.coef.size + net.readout.coef.size
        sizes |= {"n_regressors": n_weights, "n_pairs": len(model.snapshots_.x)}
        residual = np.sqrt(np.diag(model.noise_[1])) / net.scaling.y_scale
        fit: tuple[int, float, list[float], list[float]] = (n_weights, math.nan, [], residual.tolist())
    else:
        solution = model.solution_
        sizes |= {"n_regressors": len(solution.coef), "n_pairs": solution.n_rows}
        fit = solution.rank, solution.condition, solution.ridge.tolist(), solution.residual_rms.tolist()
    score = model.score(data, n_init=first)
    return Report(
        sizes,
        *fit,
        lifted.spectral_radius,
        float(np.nanmax(residuals)) if np.isfinite(residuals).any() else math.nan,
        lifted.x_op.tolist(),
        rows,
        score,
        advice(model, score, rows[0].rnn_nrmse if rows[0].horizon == 1 else math.nan),
    )


def starts_of(
    data: Trajectories, window: LagWindow, horizon: int, n_init: int, most: int = _MAX_STARTS
) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """Windows, the inputs of the next `horizon` steps, and the outputs after them."""
    first, shift = max(window.n_samples, n_init) - 1, window.shift
    index = [(i, k) for i, e in enumerate(data) for k in range(first, len(e) - horizon)]
    if not index:
        return None
    index = index[:: max(1, -(-len(index) // most))]
    x0, u, truth = [], [], []
    for i, k in index:
        e = data[i]
        x0.append(window.windows(e.outputs, e.inputs, k, k + 1)[0])
        u.append(e.inputs[k + shift : k + shift + horizon])
        truth.append(e.outputs[k + horizon])
    return np.stack(x0), np.stack(u), np.stack(truth)


def hidden_ahead(net: Any, x: FloatArray, u: FloatArray) -> FloatArray:
    """Output of a hidden state at the time of the last input row."""
    for k in range(u.shape[1] - 1):
        x = net.step(x, u[:, k])
    return net.output(x, u[:, -1])


def lifted_ahead(lifted: Any, x0: FloatArray, u: FloatArray, hidden: bool = False) -> FloatArray:
    """Newest output after all inputs, on the linear face; of a hidden state at the time of the last one."""
    z, parameters = lifted.observables(x0), getattr(lifted, "parameter_names", None)
    with np.errstate(over="ignore", invalid="ignore"):  # an infinite error says it all
        for k in range(u.shape[1] - 1 if hidden else u.shape[1]):
            if parameters is None:
                z = lifted.step(z, u[:, k])
            else:
                z = lifted.advance(z, *lifted.split_inputs(u[:, k]))
        if hidden:
            y = lifted.output(z, u[:, -1])
            return np.where(np.isnan(y), np.inf, y)
        x = lifted.x_op + z[:, : lifted.n_x] * lifted.observables.x_scale
    return np.where(np.isnan(x), np.inf, x)[:, : lifted.window.n_y]


def _rms(error: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):
        return np.sqrt(np.mean(error**2, axis=0))


def _finite_or_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite_or_none(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite_or_none(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
