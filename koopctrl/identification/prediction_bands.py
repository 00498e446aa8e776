r"""How far predictions err along a horizon, from records that the model was not fitted to.

.. math:: P(|y_{k+j} - \hat y_{k+j|k}| \le q_j) \ge 1 - \alpha, \qquad j = 1, \dots, N

with `q_j` the conformal quantile of the errors after `j` free steps (`koopctrl.identification.conformal`):
for starts that are exchangeable with those of the records, each output and each step by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._validation import FloatArray, check_integer, check_kind, check_number
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError, OptionError
from koopctrl.identification.conformal import conformal_quantile, fewest_scores
from koopctrl.identification.hidden_estimator import hidden_starts
from koopctrl.identification.report import hidden_ahead, lifted_ahead, starts_of

if TYPE_CHECKING:
    from koopctrl.ensemble import KoopmanEnsemble
    from koopctrl.koopman_rnn import KoopmanRNN
    from koopctrl.lifted.model import LiftedModel

_MAX_STARTS = 1000


@dataclass(frozen=True)
class PredictionBands:
    """Half-widths of bands around predictions.

    Attributes
    ----------
    half_widths : (N, n_y) array
        After 1 to N steps, in the outputs' units.
    coverage : float
        Of each output at each step.
    n_starts : (N,) int array
        Predictions behind each.
    output_names : tuple of str
    """

    half_widths: FloatArray
    coverage: float
    n_starts: np.ndarray
    output_names: tuple[str, ...]

    def __repr__(self) -> str:
        """Coverage, and the widths of the first and last step."""
        ends = [
            ", ".join(f"{name} {v:.3g}" for name, v in zip(self.output_names, row, strict=True))
            for row in self.half_widths[[0, -1]]
        ]
        return (
            f"PredictionBands(coverage={self.coverage:g}, steps 1 to {len(self.half_widths)}: "
            f"+-[{ends[0]}] to +-[{ends[1]}])"
        )


def prediction_bands(
    model: KoopmanRNN | KoopmanEnsemble | LiftedModel,
    records: Trajectories | Iterable[Trajectory],
    horizon: int,
    coverage: float = 0.95,
) -> PredictionBands:
    """Conformal bands of a model's predictions, for `tightening=` of `LinearMPC` and `RNNMPC`.

    Parameters
    ----------
    model : KoopmanRNN, KoopmanEnsemble or LiftedModel
        The face that the controller predicts with; of an ensemble its best member.
    records : Trajectories
        That it was not fitted to, like those that it will meet.
    horizon : int
        Steps, at least the controller's.
    coverage : float
        Nominal, in (0, 1), of each output at each step.

    Returns
    -------
    PredictionBands

    Raises
    ------
    DataError
        If the records are too few or too short for the coverage, or predictions leave all bounds.
    OptionError
        If the model is of another kind, or its outputs are not the records'.
    """
    horizon = check_integer(horizon, "horizon", low=1)
    coverage = check_number(coverage, "coverage", low=0.0, high=1.0, strict=True)
    if coverage == 1.0:
        raise OptionError("coverage is 1; expected less: no number of records bounds every error")
    data = Trajectories.coerce(records, "records")
    face: Any = getattr(model, "best_", model)
    linear = hasattr(face, "unlift")
    check_kind(face, "model", ("unlift",) if linear else ("_network", "lift_at"), "a fitted model")
    names = face.output_names if linear else face.output_names_
    if linear:
        if data.n_y != face.window.n_y:
            raise OptionError(
                f"records have {data.n_y} outputs, and the lifted model reads {face.window.n_y}; expected "
                "the signals it was lifted for. For a hidden state pass the KoopmanRNN"
            )
        first = face.window.n_samples
    else:
        face._check_signals(data)
        first = face._n_init(data, None)
    data = data.long_enough(first + horizon, f"initialise and {horizon} steps ahead take")
    widths, counts = [], []
    for k in range(1, horizon + 1):
        error = np.abs(_errors(face, linear, data, k, first))
        if len(error) < fewest_scores(coverage):
            raise DataError(
                f"records have {len(error)} starts for {k} steps; expected at least "
                f"{fewest_scores(coverage)} for a coverage of {coverage:g}. Pass longer records or a smaller "
                "coverage"
            )
        width = conformal_quantile(error, coverage)
        if not np.isfinite(width).all():
            raise DataError(
                f"predictions of {k} steps are not finite on more than {1.0 - coverage:.2g} of the records' "
                "starts; expected a model that predicts over the horizon, or a shorter horizon"
            )
        widths.append(width)
        counts.append(len(error))
    return PredictionBands(np.array(widths), coverage, np.array(counts), tuple(names))


def _errors(face: Any, linear: bool, data: Trajectories, k: int, first: int) -> FloatArray:
    """Errors `(n, n_y)` after `k` steps; NaN counts as infinite."""
    hidden = not linear and face.hidden
    if hidden:
        starts = hidden_starts(face, data, k, _MAX_STARTS, first)
    else:
        starts = starts_of(data, face.window if linear else face._network.window, k, first, _MAX_STARTS)
    assert starts is not None  # records are long enough
    x0, u, truth = starts
    with np.errstate(over="ignore", invalid="ignore"):
        if linear:
            ahead = lifted_ahead(face, x0, u)
        elif hidden:
            ahead = hidden_ahead(face._network, x0, u)
        else:
            ahead = face._network.rollout(x0, u)[0][:, -1]
        error = ahead - truth
    return np.where(np.isnan(error), np.inf, error)
