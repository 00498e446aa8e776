"""SampledNetworkClassifier: least squares on indicators of the classes, probabilities by one temperature."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize
from scipy.special import log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from koopctrl._validation import FloatArray
from koopctrl.errors import DataError
from koopctrl.sampled.network import AUTO, SampledNetwork

# Rows of the first batches that the temperature is fitted to.
_CALIBRATION = 5000
_TEMPERATURES = (-2.0, 4.0)  # logarithms to base ten of the gain on scores


class SampledNetworkClassifier(ClassifierMixin, SampledNetwork):
    r"""Feed-forward network with sampled hidden weights, as a scikit-learn classifier.

    The scores :math:`s = V [1; x; \psi(x)]` are the least-squares fit to the indicators of the classes;
    probabilities are :math:`\mathrm{softmax}(\beta s)` with the one number :math:`\beta` of largest
    likelihood, judged on residuals that are widened to what the fit would leave on samples it has not seen
    (generalised cross-validation).

    Parameters
    ----------
    n_features : int, optional
        Width of each hidden layer; by default a quarter of the number of samples, at most 512.
    depth : int
        Number of hidden layers.
    sampler : {"swim", "uniform", "elm", "adaptive"}
        As in `SampledNetworkRegressor`.
    activation : {"tanh", "relu", "softplus"}
    feature_scale : float
        Multiplies the neurons' width constants. Edges of classes are steeper than functions: twice the
        regressor's by default.
    ridge : float or "auto"
        Penalty on the outer weights; `"auto"` chooses it for each class by the evidence of the data.
    rcond : float
        Singular values below `rcond` times the largest are cut.
    solver : {"auto", "svd", "gram"}
    rounds : int
        Times that `"adaptive"` samples anew.
    random_state : int, numpy.random.Generator or None

    Attributes
    ----------
    classes_ : array
        Labels, sorted.
    layers_, solution_
        As in `SampledNetworkRegressor`.
    gain_ : float
        :math:`\beta`.
    """

    def __init__(
        self,
        n_features: int | None = None,
        *,
        depth: int = 1,
        sampler: str = "swim",
        activation: str = "tanh",
        feature_scale: float = 2.0,
        ridge: float | str = AUTO,
        rcond: float = 1e-12,
        solver: str = AUTO,
        rounds: int = 1,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            n_features, depth=depth, sampler=sampler, activation=activation, feature_scale=feature_scale,
            ridge=ridge, rcond=rcond, solver=solver, rounds=rounds, random_state=random_state,
        )  # fmt: skip

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> SampledNetworkClassifier:
        """Sample the hidden layers and solve for the outer weights.

        Parameters
        ----------
        X : (n, n_in) array_like
        y : (n,) array_like
            Labels.
        sample_weight : (n,) array_like, optional
            How often each sample counts.

        Returns
        -------
        The estimator itself.
        """
        points, labels = self._table(X, y, reset=True)
        weights = self._weights(sample_weight, points)
        self.classes_ = np.unique(labels if weights is None else labels[weights > 0])
        self._begin(points, labels, weights)
        return self

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> SampledNetworkClassifier:
        """Add a batch: the first one fixes scaling and hidden layers, all of them the outer weights.

        Parameters
        ----------
        X : (n, n_in) array_like
        y : (n,) array_like
            Labels.
        classes : array_like, optional
            All labels; needed with the first batch where it does not have them all.
        sample_weight : (n,) array_like, optional
            How often each sample counts.

        Returns
        -------
        The estimator itself.
        """
        first = not hasattr(self, "solution_")
        points, labels = self._table(X, y, reset=first)
        weights = self._weights(sample_weight, points)
        if first:
            self.classes_ = np.unique(np.asarray(labels if classes is None else classes))
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise DataError(
                f"y has the classes {unknown.tolist()}, which the first batch did not name; expected labels "
                f"among {self.classes_.tolist()}. Pass all of them as classes with the first batch"
            )
        if first:
            self._begin(points, labels, weights, stream=True)
        else:
            self._add_rows(points, self._indicators(labels), weights)
            self._calibrate(points, labels, weights)
        return self

    def predict(self, X: ArrayLike) -> Any:
        """Most probable labels `(n,)` at points `X`, `(n, n_in)`."""
        best = np.argmax(self._outputs(X), axis=1)
        return self.classes_[best]

    def decision_function(self, X: ArrayLike) -> FloatArray:
        """Scores `(n, n_classes)` at points `X`; of two classes the second's lead, `(n,)`."""
        scores = self._outputs(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Probabilities `(n, n_classes)` at points `X`, in the order of `classes_`."""
        scores = self._outputs(X)
        return softmax(self.gain_ * scores, axis=1)

    def predict_log_proba(self, X: ArrayLike) -> FloatArray:
        """Logarithms of the probabilities at points `X`."""
        scores = self._outputs(X)
        return log_softmax(self.gain_ * scores, axis=1)

    def _table(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        X, y = validate_data(self, X, y, dtype=np.float64, reset=reset, ensure_min_samples=2 if reset else 1)
        check_classification_targets(y)
        return X, np.asarray(y)

    def _indicators(self, y: Any) -> FloatArray:
        return (y[:, None] == self.classes_).astype(np.float64)

    def _begin(self, X: FloatArray, y: Any, weights: FloatArray | None, stream: bool = False) -> None:
        self._kept = [(np.empty((0, X.shape[1])), y[:0], np.empty(0))]
        self._fit_rows(X, self._indicators(y), weights, stream)
        self._calibrate(X, y, weights)

    def _calibrate(self, X: FloatArray, y: Any, weights: FloatArray | None) -> None:
        """Gain on the scores of largest likelihood, on rows kept of the stream."""
        counts = np.ones(len(X)) if weights is None else weights
        x0, y0, w0 = self._kept[0]
        room = _CALIBRATION - len(x0)
        kept = (
            np.concatenate([x0, X[:room]]),
            np.concatenate([y0, y[:room]]),
            np.concatenate([w0, counts[:room]]),
        )
        self._kept = [kept]
        X, y, counts = kept
        truth, s = self._indicators(y), self.solution_.singular_values
        # What a fit of so many degrees of freedom leaves on its own samples is this much too small.
        freedom = np.sum(s**2 / (s**2 + np.maximum(self.solution_.ridge.mean(), 1e-300)))
        share = max(1.0 - freedom / self.solution_.n_rows, 0.1)
        scores = truth - (truth - self._targets(X)) / share
        rows = np.argmax(truth, axis=1)

        def loss(exponent: float) -> float:
            log_p = log_softmax(10.0**exponent * scores, axis=1)
            return -float(counts @ log_p[np.arange(len(rows)), rows])

        best: Any = optimize.minimize_scalar(loss, bounds=_TEMPERATURES, method="bounded")
        self.gain_ = float(10.0**best.x)
