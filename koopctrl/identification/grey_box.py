r"""Physical coefficients of a grey-box model, jointly with its sampled remainder.

.. math::
    \min_{\theta, V} \sum_i \frac1{\sigma_i^2} \Big( \|y_i - f_i(\theta) - \Phi V_i\|^2
    + \lambda_i \|D V_i\|^2 \Big)

`y_i` is the next value of output `i`, `Phi` holds the regressors of the remainder and `D` their sizes. For
given `theta` the remainder is linear least squares, so it is projected out (variable projection; Golub &
Pereyra, *The differentiation of pseudo-inverses and nonlinear least squares problems whose variables
separate*, SIAM J. Numer. Anal. 10, 1973): with `Phi D^-1 = U diag(s) W'`, what is left of a vector `a` is

.. math:: e(a) = [a - U U'a;\ \sqrt{\lambda / (s^2 + \lambda)}\ U'a]

and `|e(y_i - f_i)|` is minimised over `theta` alone, by Levenberg-Marquardt steps, the first of them
undamped. Since `Phi` does not depend on `theta`, a model that is linear in it is solved exactly by this first
step: it is the joint least-squares solution.

A coefficient whose effect the remainder could have as well is told from it by the penalty alone. With
`ridge="auto"` the remainder's penalty goes to infinity here: the known part explains as much as it can, and
the remainder is then fitted to what is left (the orthogonal remainder of Plumlee, *Bayesian calibration of
inexact computer models*, JASA 112, 2017). Penalties of largest evidence, which suit predictions, would not
do: a rich remainder takes over what is known, and leaves coefficients to noise. A number for `ridge` is the
joint solution with this penalty, where the remainder's features are chosen such that they cannot have what
the coefficients do.

Standard deviations are those of the data's errors. A number's are of a normal distribution in which the
remainder's weights have the variances that the penalty stands for; for `"auto"` what is left is no white
noise, and they are made from its products with the slopes over neighbouring samples (Newey & West,
Econometrica 55, 1987). Neither knows of a bias where the true remainder resembles the effect of a
coefficient, nor, where records were smoothed first (`koopctrl.identification.smoothing`), of what that took
out. `sigma_i` comes from the data, in turns with `theta`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl._warnings import warn
from koopctrl.errors import NumericalWarning
from koopctrl.identification.held_out import Snapshots
from koopctrl.network.known import KnownPart, differentiate
from koopctrl.network.recurrent import RecurrentNetwork

_MAX_ITER, _MAX_TURNS = 100, 20
_SETTLED = 1e-9  # relative to a coefficient and to the cost
_TURNED = 1e-6  # of a coefficient, from one penalty to the next
# Least error of a step in standard deviations of an output: below, rounding decides what an output weighs.
_LEAST = 1e-10
# Of a coefficient's effect, that the remainder could not have as well.
_TOLD_APART = 1e-9


@dataclass(frozen=True, eq=False)
class GreyBoxFit:
    """Coefficients and how sure they are.

    Attributes
    ----------
    names : tuple of str
    theta, std : (n,) arrays
        Values and standard deviations, inf where a coefficient has no effect that the remainder could not
        have.
    covariance : (n, n) array
    sigma : (n_y,) array
        Errors of one step, in units of the outputs.
    ridge : float
        Penalty on the remainder, inf for `"auto"`.
    n_iterations : int
    converged : bool
    """

    names: tuple[str, ...]
    theta: FloatArray
    std: FloatArray
    covariance: FloatArray
    sigma: FloatArray
    ridge: float
    n_iterations: int
    converged: bool

    def __str__(self) -> str:
        """One line a coefficient."""
        width = max(len(name) for name in self.names)
        return "\n".join(
            f"{name:<{width}}  {value:.6g} +- {std:.2g}"
            for name, value, std in zip(self.names, self.theta, self.std, strict=True)
        )


class _Remainder:
    """What the remainder cannot have of a vector; all of it if its penalty is inf."""

    def __init__(self, regressors: FloatArray | None, rcond: float, ridge: float) -> None:
        self.U, self.s = np.empty((0, 0)), np.empty(0)
        if regressors is not None and regressors.shape[1] and np.isfinite(ridge):
            norms = np.linalg.norm(regressors, axis=0)
            q, r = np.linalg.qr(regressors / np.where(norms > 0, norms, 1.0))
            u, s, _ = np.linalg.svd(r)
            rank = int(np.count_nonzero(s > rcond * s[0]))
            self.U, self.s = q @ u[:, :rank], s[:rank]
        self.ridge = ridge

    def left(self, a: FloatArray) -> FloatArray:
        """`e(a)` of a vector `(n,)`."""
        if not len(self.s):
            return a
        part = self.U.T @ a
        weight = np.sqrt(self.ridge / (self.s**2 + self.ridge))
        rest = a - self.U @ part
        rest -= self.U @ (self.U.T @ rest)  # once more: what is left may be a billionth
        return np.concatenate([rest, part * weight])


def fit_alone(known: KnownPart, data: Snapshots, y_scale: FloatArray) -> KnownPart:
    """Coefficients without a remainder: where the joint fit starts, and what its neurons are sampled for."""
    if not known.names:
        return known
    return _solve(known, data, y_scale, _Remainder(None, 0.0, np.inf))[0]


def fit_jointly(blank: RecurrentNetwork, data: Snapshots, rcond: float, ridge: float | str) -> GreyBoxFit:
    """Coefficients of a network's known part beside its remainder.

    Parameters
    ----------
    blank : RecurrentNetwork
        Its layer, coupling, scaling and known part count; outer weights do not.
    data : Snapshots
        All pairs that are fitted to.
    rcond : float
        Cut of the remainder's singular values.
    ridge : float or "auto"
        Penalty on the remainder.

    Returns
    -------
    GreyBoxFit

    Warns
    -----
    NumericalWarning
        If the iteration ends early, or a coefficient cannot be told from the remainder.
    """
    known = blank.known
    assert known is not None  # asked for by whoever calls
    xs, us = blank.standardise(data.x, data.u)
    penalty = np.inf if isinstance(ridge, str) else float(ridge)
    remainder = _Remainder(blank.coupling.regressors(blank.dictionary(xs, us), us), rcond, penalty)
    y_scale = blank.scaling.y_scale
    known, sigma, slopes, n_iterations, converged = _solve(known, data, y_scale, remainder)
    covariance = _covariance(slopes)
    if np.isinf(penalty):
        left = (data.y_next - known(data.x, data.u)) / (y_scale * sigma)
        covariance = _sandwich(covariance, slopes.reshape(known.n_y, len(left), -1), left)
    std = np.sqrt(np.diag(covariance))
    lost = [name for name, s in zip(known.names, std, strict=True) if not np.isfinite(s)]
    if lost:
        warn(
            f"coefficients {lost} cannot be told from the remainder: what they do it can do as well. Use "
            "fewer "
            "features, or a ridge",
            NumericalWarning,
        )
    if not converged:
        warn(
            f"the coefficients {dict(zip(known.names, known.theta, strict=True))} have not settled after "
            f"{n_iterations} iterations; start from better guesses theta0",
            NumericalWarning,
        )
    return GreyBoxFit(
        known.names, known.theta, std, covariance, sigma * y_scale, penalty, n_iterations, converged
    )


def _solve(
    known: KnownPart, data: Snapshots, y_scale: FloatArray, remainder: _Remainder
) -> tuple[KnownPart, FloatArray, FloatArray, int, bool]:
    """Known part, errors of a step (scaled), whitened slopes of the coefficients, iterations, convergence."""
    unit = np.abs(known.theta)

    def residuals(theta: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return (data.y_next - known(data.x, data.u, theta)) / y_scale

    def whitened(r: FloatArray, sigma: FloatArray) -> FloatArray:
        return np.concatenate([remainder.left(r[:, i]) / sigma[i] for i in range(r.shape[1])])

    def whitened_slopes(theta: FloatArray, sigma: FloatArray) -> FloatArray:
        columns = differentiate(residuals, theta, np.maximum(unit, np.abs(theta)))
        return -np.stack([whitened(c, sigma) for c in columns], axis=1)

    theta, n_iterations, converged = known.theta.copy(), 0, False
    sigma = np.ones(known.n_y)
    for turn in range(_MAX_TURNS):
        if turn:
            sigma = _step_errors(residuals(theta), remainder)
        before = theta
        theta, used, settled = _levenberg_marquardt(
            theta,
            unit,
            lambda t, s=sigma: whitened(residuals(t), s),
            lambda t, s=sigma: whitened_slopes(t, s),
        )
        n_iterations += used
        if not settled:
            break
        if (np.abs(theta - before) <= _TURNED * np.maximum(np.abs(theta), unit * 1e-3)).all():
            converged = True
            break
    sigma = _step_errors(residuals(theta), remainder)
    slopes = whitened_slopes(theta, sigma)
    lengths = np.array(
        [np.linalg.norm(c / sigma) for c in differentiate(residuals, theta, np.maximum(unit, np.abs(theta)))]
    )
    lost = np.linalg.norm(slopes, axis=0) <= _TOLD_APART * lengths
    slopes[:, lost] = 0.0
    return known.with_theta(theta), sigma, slopes, n_iterations, converged


def _step_errors(r: FloatArray, remainder: _Remainder) -> FloatArray:
    """Root mean square errors of one step, `(n_y,)`, as the evidence has them."""
    left = [remainder.left(r[:, i]) for i in range(r.shape[1])]
    rms = np.array([np.linalg.norm(e) for e in left]) / np.sqrt(len(r))
    return np.maximum(rms, _LEAST)


def _levenberg_marquardt(
    theta: FloatArray,
    unit: FloatArray,
    residuals: Callable[[FloatArray], FloatArray],
    slopes: Callable[[FloatArray], FloatArray],
) -> tuple[FloatArray, int, bool]:
    """Least squares from `theta`; the first step is tried without damping."""
    e = residuals(theta)
    cost, damping = float(e @ e), 0.0
    for iteration in range(1, _MAX_ITER + 1):
        J = slopes(theta)
        size = np.linalg.norm(J, axis=0)
        scale = np.where(size > 0, size, 1.0)
        while True:
            step = _damped(J / scale, e, damping) / scale
            new = theta + step
            e_new = residuals(new)
            cost_new = float(e_new @ e_new)
            if np.isfinite(cost_new) and cost_new <= cost * (1.0 + 1e-14):
                break
            damping = max(10.0 * damping, 1e-4)
            small = (np.abs(step) <= _SETTLED * np.maximum(np.abs(theta), 1e-3 * unit)).all()
            if small or damping > 1e12:
                return theta, iteration, bool(small)
        moved = np.abs(new - theta) <= _SETTLED * np.maximum(np.abs(new), 1e-3 * unit)
        gained = cost - cost_new
        theta, e, cost = new, e_new, cost_new
        damping = 0.1 * damping if damping > 1e-8 else 0.0
        if moved.all() or (gained <= _SETTLED**2 * cost and damping == 0.0):
            return theta, iteration, True
    return theta, _MAX_ITER, False


def _damped(J: FloatArray, e: FloatArray, damping: float) -> FloatArray:
    """`argmin |J d - e|^2 + damping |d|^2` for columns of unit length."""
    n = J.shape[1]
    rows = np.concatenate([J, np.sqrt(damping) * np.eye(n)])
    return np.linalg.lstsq(rows, np.concatenate([e, np.zeros(n)]), rcond=1e-13)[0]


def _sandwich(inverse: FloatArray, slopes: FloatArray, left: FloatArray) -> FloatArray:
    """Covariance where residuals `left` `(n, n_y)` go on over samples; slopes `(n_y, n, n_theta)`."""
    scores = np.einsum("ynt,ny->nt", slopes, left)
    n_lags = int(len(scores) ** (1.0 / 3.0))
    middle = scores.T @ scores
    for lag in range(1, n_lags + 1):
        product = scores[lag:].T @ scores[:-lag]
        middle += (1.0 - lag / (n_lags + 1.0)) * (product + product.T)
    finite = np.isfinite(np.diag(inverse))
    out = inverse.copy()
    kept = np.ix_(finite, finite)
    out[kept] = inverse[kept] @ middle[kept] @ inverse[kept]
    return out


def _covariance(slopes: FloatArray) -> FloatArray:
    """Inverse of `slopes' slopes`, with inf where a column is zero."""
    size = np.linalg.norm(slopes, axis=0)
    scale = np.where(size > 0, size, 1.0)
    r = np.asarray(np.linalg.qr(slopes / scale, mode="r"))
    kept = size > 0
    out = np.full((len(size), len(size)), 0.0)
    inverse = np.linalg.pinv(r[:, kept])
    out[np.ix_(kept, kept)] = inverse @ inverse.T
    out = out / np.outer(scale, scale)
    out[np.diag_indices(len(size))] = np.where(kept, np.diag(out), np.inf)
    return out
