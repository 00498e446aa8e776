"""What the supervised estimators share: parameters, sampling, streaming, features."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.utils.validation import _check_sample_weight, validate_data

from koopctrl._threads import few_threads
from koopctrl._validation import FloatArray, check_choice, check_integer, check_number
from koopctrl.errors import DataError, NotFittedError, OptionError
from koopctrl.identification.least_squares import AUTO, SOLVERS, LeastSquares
from koopctrl.identification.settings import make_rng
from koopctrl.network.activations import TABLE
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.samplers import SAMPLERS
from koopctrl.sampled.layers import sample_layers
from koopctrl.sampled.readout import fit_readout, regressors
from koopctrl.sampled.rows import Standardisation, joined

if TYPE_CHECKING:
    from koopctrl.export.c.model import GeneratedPart

ADAPTIVE = "adaptive"
_MOST_BY_DEFAULT, _SAMPLES_PER_FEATURE = 512, 4
_BLOCK = 16_000_000


def _work(network: Any, X: FloatArray, *_: Any, **__: Any) -> float:
    """Multiplications of the least squares."""
    asked = network.n_features if isinstance(network.n_features, int) else _MOST_BY_DEFAULT
    return float(len(X)) * max(asked, 0) ** 2


class UnfittedError(NotFittedError, SklearnNotFittedError):
    """Used before `fit`: the package's error and scikit-learn's."""


@dataclass(frozen=True)
class _Options:
    n_features: int | None
    depth: int
    sampler: str
    activation: str
    feature_scale: float
    ridge: float | str
    rcond: float
    solver: str
    rounds: int


class SampledNetwork(BaseEstimator):
    """Base of `SampledNetworkRegressor` and `SampledNetworkClassifier`."""

    layers_: tuple[Layer, ...]
    solution_: LeastSquares

    def __init__(
        self,
        n_features: int | None = None,
        *,
        depth: int = 1,
        sampler: str = "swim",
        activation: str = "tanh",
        feature_scale: float = 1.0,
        ridge: float | str = AUTO,
        rcond: float = 1e-12,
        solver: str = AUTO,
        rounds: int = 1,
        random_state: Any = None,
    ) -> None:
        self.n_features = n_features
        self.depth = depth
        self.sampler = sampler
        self.activation = activation
        self.feature_scale = feature_scale
        self.ridge = ridge
        self.rcond = rcond
        self.solver = solver
        self.rounds = rounds
        self.random_state = random_state

    def _options(self) -> _Options:
        ridge = self.ridge
        ridge = (
            check_choice(ridge, "ridge", (AUTO,))
            if isinstance(ridge, str)
            else check_number(ridge, "ridge", low=0.0)
        )
        return _Options(
            None if self.n_features is None else check_integer(self.n_features, "n_features"),
            check_integer(self.depth, "depth", low=1),
            check_choice(self.sampler, "sampler", (*SAMPLERS, ADAPTIVE)),
            check_choice(self.activation, "activation", tuple(TABLE)),
            check_number(self.feature_scale, "feature_scale", low=0.0, strict=True),
            ridge,
            check_number(self.rcond, "rcond", low=0.0, high=0.1),
            check_choice(self.solver, "solver", (*SOLVERS, AUTO)),
            check_integer(self.rounds, "rounds", low=1),
        )

    def _weights(self, sample_weight: Any, X: FloatArray) -> FloatArray | None:
        if sample_weight is None:
            return None
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not (weights > 0).any():  # older releases of scikit-learn let it pass
            raise DataError("sample_weight is zero throughout; expected at least one non-zero number")
        return weights

    @few_threads(_work)
    def _fit_rows(
        self, X: FloatArray, targets: FloatArray, weights: FloatArray | None, stream: bool = False
    ) -> None:
        """Sample the layers and solve, from one batch; of a `stream` the triangular factor is kept."""
        options = self._options()
        solver = "svd" if stream and options.solver == AUTO else options.solver
        X, targets, counts = joined(X, targets, weights)
        self._scaling = Standardisation.of(X, counts)
        self._target_scaling = Standardisation.of(targets, counts)
        points, aims = self._scaling.apply(X), self._target_scaling.apply(targets)
        width = options.n_features
        if width is None:
            width = min(_MOST_BY_DEFAULT, len(points) // _SAMPLES_PER_FEATURE)
        rng = make_rng(self.random_state)
        first = "swim" if options.sampler == ADAPTIVE else options.sampler
        shape, readout, steer = [width] * options.depth, None, aims
        n_rounds = options.rounds * (options.sampler == ADAPTIVE)
        for left in range(n_rounds, -1, -1):
            layers = sample_layers(
                points, steer, shape, first, options.activation, options.feature_scale, rng
            )
            readout, self.solution_ = fit_readout(
                layers, points, aims, counts, options.rcond, options.ridge, solver
            )
            self.layers_ = layers
            if left:
                steer = self._evaluate(points)
        self._readout: Any = readout

    @few_threads(_work)
    def _add_rows(self, X: FloatArray, targets: FloatArray, weights: FloatArray | None) -> None:
        """Add a batch to a readout whose layers and scaling stay as the first batch made them."""
        options = self._options()
        if self._readout is None:
            raise OptionError(
                f"this {type(self).__name__} was read from a file, which does not hold the rows it was "
                "fitted to; "
                "expected one that was fitted here. Call fit"
            )
        X, targets, counts = joined(X, targets, weights)
        self._readout.add(self._scaling.apply(X), self._target_scaling.apply(targets), counts)
        self.solution_ = self._readout.solve(options.rcond, options.ridge)

    def _evaluate(self, points: FloatArray) -> FloatArray:
        """Standardised targets at standardised points, block by block."""
        coef = self.solution_.coef
        step = max(1, _BLOCK // len(coef))
        parts = [
            regressors(self.layers_, points[start : start + step]) @ coef
            for start in range(0, len(points), step)
        ]
        return np.concatenate(parts)

    def save(self, path: str | PathLike[str]) -> None:
        """Write to the file `path` (`.npz`): arrays and JSON, no pickle. `koopctrl.load` reads it."""
        from koopctrl.sampled.storage import save_network

        save_network(self, path)

    def to_c(
        self, folder: str | PathLike[str], name: str = "koopctrl_network", *, scalar: str = "double"
    ) -> GeneratedPart:
        """C99 of the fitted network; see `koopctrl.export.c.supervised.supervised_to_c`."""
        from koopctrl.export.c.supervised import supervised_to_c

        if not hasattr(self, "solution_"):
            raise UnfittedError(f"this {type(self).__name__} is not fitted; call fit(X, y) first")
        return supervised_to_c(self, folder, name, scalar)

    def _outputs(self, X: Any) -> FloatArray:
        """Targets in raw units at raw points, `(n, n_targets)`."""
        if not hasattr(self, "solution_"):
            raise UnfittedError(f"this {type(self).__name__} is not fitted; call fit(X, y) first")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return self._targets(X)

    @few_threads(_work)
    def _targets(self, X: FloatArray) -> FloatArray:
        """The same, of a table that was checked."""
        return self._target_scaling.undo(self._evaluate(self._scaling.apply(X)))
