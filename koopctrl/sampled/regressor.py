"""SampledNetworkRegressor: hidden weights from pairs of samples, outer weights from one least squares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import validate_data

from koopctrl._validation import FloatArray
from koopctrl.sampled.network import SampledNetwork


class SampledNetworkRegressor(MultiOutputMixin, RegressorMixin, SampledNetwork):
    r"""Feed-forward network with sampled hidden weights, as a scikit-learn regressor.

    .. math:: y = V\,[1;\ x;\ \psi(x)]

    on standardised data; neurons `psi` are made from pairs of samples, `V` solves one linear least-squares
    problem. There is no iteration and no learning rate.

    Parameters
    ----------
    n_features : int, optional
        Width of each hidden layer; 0 leaves a linear model. By default a quarter of the samples, at most
        512.
    depth : int
        Number of hidden layers. One is nearly always best.
    sampler : {"swim", "uniform", "elm", "adaptive"}
        How hidden weights are drawn: from pairs of samples weighted by the target's slope, from uniform
        pairs, Gaussian; or as `swim`, then anew by the slope of the fit, which noise in the targets does not
        steer.
    activation : {"tanh", "relu", "softplus"}
        `relu` for functions with kinks, the others for smooth ones.
    feature_scale : float
        Multiplies the neurons' width constants; 1 bends a neuron between the two samples that made it, smooth
        functions like 0.1 to 0.5.
    ridge : float or "auto"
        Penalty on the outer weights, relative to each regressor's energy; `"auto"` chooses it for each target
        by the evidence of the data.
    rcond : float
        Singular values of the column-scaled regressors below `rcond` times the largest are cut.
    solver : {"auto", "svd", "gram"}
        Triangular factor and SVD, normal equations (half the work, half the digits), or normal equations
        where what they lose lies below the noise.
    rounds : int
        Times that `"adaptive"` samples anew.
    random_state : int, numpy.random.Generator or None
        Seed of the sampler.

    Attributes
    ----------
    layers_ : tuple of Layer
        Hidden layers on standardised points.
    solution_ : LeastSquares
        Outer weights on standardised data, rank, singular values, residuals, penalties.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Notes
    -----
    Equal samples are joined and a sample of weight two is the sample twice; the order of the samples changes
    nothing. Source: Bolager et al., *Sampling weights of deep neural networks*, NeurIPS 2023, arXiv
    2306.16830.
    """

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> SampledNetworkRegressor:
        """Sample the hidden layers and solve for the outer weights.

        Parameters
        ----------
        X : (n, n_in) array_like
        y : (n,) or (n, n_targets) array_like
        sample_weight : (n,) array_like, optional
            How often each sample counts.

        Returns
        -------
        The estimator itself.

        Raises
        ------
        OptionError
            If a parameter is outside the values it may take.
        ValueError
            If the data do not fit each other or are not finite.
        """
        X, targets = self._table(X, y, reset=True)
        self._fit_rows(X, targets, self._weights(sample_weight, X))
        return self

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> SampledNetworkRegressor:
        """Add a batch: the first one fixes scaling and hidden layers, all of them the outer weights.

        Rows are kept as one triangular factor, so the result is that of one solve over all batches.

        Parameters
        ----------
        X : (n, n_in) array_like
        y : (n,) or (n, n_targets) array_like
        sample_weight : (n,) array_like, optional
            How often each sample counts.

        Returns
        -------
        The estimator itself.
        """
        first = not hasattr(self, "solution_")
        X, targets = self._table(X, y, reset=first)
        weights = self._weights(sample_weight, X)
        if first:
            self._fit_rows(X, targets, weights, stream=True)
        else:
            self._add_rows(X, targets, weights)
        return self

    def predict(self, X: ArrayLike) -> FloatArray:
        """Targets `(n,)` or `(n, n_targets)` at points `X`, `(n, n_in)`."""
        y = self._outputs(X)
        return y[:, 0] if self._single else y

    def _table(self, X: Any, y: Any, reset: bool) -> tuple[FloatArray, FloatArray]:
        X, y = validate_data(
            self, X, y, dtype=np.float64, reset=reset, multi_output=True, y_numeric=True,
            ensure_min_samples=2 if reset else 1,
        )  # fmt: skip
        y = np.asarray(y, dtype=np.float64)
        if reset:
            self._single = y.ndim == 1
        return X, y.reshape(len(X), -1)
