r"""How well records determine a linear model: bands of frequency response, step response and poles.

With `J` the Jacobian of the free run's outputs with respect to all parameters `(A, B, c, C, D, d)` and
initial states, and `e` its errors, the parameters' covariance is the sandwich

.. math:: (J'J)^+ \Big( \sum_{|l| \le L} w_l \sum_k J_k' e_k e_{k-l}' J_{k-l} \Big) (J'J)^+

(Newey & West: errors of a free run are coloured). Directions that change no output, those of the state's
basis, have no variance, and nothing that is shown here depends on them. Bands are linear in the parameters'
errors.

Sources: Ljung, *System Identification*, 2nd ed., chapter 9; Newey & West, *A simple, positive semi-definite,
heteroskedasticity and autocorrelation consistent covariance matrix*, Econometrica 55, 1987.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, stats

from koopctrl._validation import FloatArray, check_integer, check_number
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError, OptionError
from koopctrl.identification.hidden import standardise
from koopctrl.identification.hidden_layers import linear_start
from koopctrl.identification.initial_state import StatePrior, estimate_initial_states
from koopctrl.identification.linear_model import InnovationModel
from koopctrl.identification.segments import cut
from koopctrl.identification.sensitivities import Weights, free_run, linearise
from koopctrl.network.hidden_state import HiddenNetwork
from koopctrl.network.recurrent import Scaling

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_RANK_TOL = 1e-9
_LAGS = 0.75  # Newey & West: lags grow with the third root of the samples


@dataclass(frozen=True, eq=False)
class LinearUncertainty:
    """A linear model in physical units, and the covariance of its matrices.

    Attributes
    ----------
    A, B, C, D : arrays
        In the state's basis of the fit.
    cov : (n, n) array
        Of the entries of `[A, B, C, D]`, each in row-major order.
    dt : float
    output_names, input_names : tuple of str
    """

    A: FloatArray
    B: FloatArray
    C: FloatArray
    D: FloatArray
    cov: FloatArray
    dt: float
    output_names: tuple[str, ...]
    input_names: tuple[str, ...]

    def frequency_response(self, omega: ArrayLike) -> tuple[NDArray[np.complex128], FloatArray, FloatArray]:
        """Response and its uncertainty.

        Parameters
        ----------
        omega : (n,) array_like
            Frequencies in rad/s.

        Returns
        -------
        response : (n, n_y, n_u) complex array
        gain_std : (n, n_y, n_u) array
            Relative standard deviation of the gain (of its natural logarithm).
        phase_std : (n, n_y, n_u) array
            Standard deviation of the phase in radians.
        """
        z = np.exp(1j * np.atleast_1d(np.asarray(omega, dtype=float)) * self.dt)
        n = len(self.A)
        right = np.linalg.solve(z[:, None, None] * np.eye(n) - self.A, self.B + 0j)  # (zI - A)^-1 B
        left = np.linalg.solve(z[:, None, None] * np.eye(n) - self.A.T, self.C.T + 0j).swapaxes(1, 2)
        response = self.C @ right + self.D
        # dG = left (dA right + dB) + dC right + dD, entry by entry of the matrices.
        n_y, n_u = self.D.shape
        grad = np.zeros((len(z), n_y, n_u, len(self.cov)), dtype=complex)
        a = np.einsum("kyi,kju->kyuij", left, right).reshape(len(z), n_y, n_u, -1)
        b = np.einsum("kyi,ju->kyuij", left, np.eye(n_u)).reshape(len(z), n_y, n_u, -1)
        c = np.einsum("yi,kju->kyuij", np.eye(n_y), right).reshape(len(z), n_y, n_u, -1)
        d = np.einsum("yi,ju->yuij", np.eye(n_y), np.eye(n_u)).reshape(n_y, n_u, -1)
        edges = np.cumsum([0, n * n, n * n_u, n_y * n, n_y * n_u])
        for part, value in zip(np.split(np.arange(edges[-1]), edges[1:-1]), (a, b, c, d), strict=True):
            grad[..., part] = value
        log = grad / np.where(response == 0, 1.0, response)[..., None]  # d log G = dG / G
        return response, self._std(log.real), self._std(log.imag)

    def step_response(self, n_samples: int) -> tuple[FloatArray, FloatArray]:
        """Responses to unit steps of each input at the first sample, and their standard deviations.

        Parameters
        ----------
        n_samples : int

        Returns
        -------
        steps, std : (n_samples, n_y, n_u) arrays
        """
        n_samples = check_integer(n_samples, "n_samples", low=1)
        n, (n_y, n_u) = len(self.A), self.D.shape
        n_p = len(self.cov)
        steps, std = np.zeros((n_samples, n_y, n_u)), np.zeros((n_samples, n_y, n_u))
        x, dx = np.zeros((n, n_u)), np.zeros((n, n_u, n_p))
        edges = np.cumsum([0, n * n, n * n_u, n_y * n])
        for k in range(n_samples):
            steps[k] = self.C @ x + self.D
            grad = np.einsum("yi,iup->yup", self.C, dx)
            for y in range(n_y):
                grad[y, :, edges[2] + y * n : edges[2] + (y + 1) * n] += x.T
                for u in range(n_u):
                    grad[y, u, edges[3] + y * n_u + u] += 1.0
            std[k] = self._std(grad)
            dx = np.einsum("ij,jup->iup", self.A, dx)
            for i in range(n):
                dx[i, :, i * n : (i + 1) * n] += x.T
                for u in range(n_u):
                    dx[i, u, edges[1] + i * n_u + u] += 1.0
            x = self.A @ x + self.B
        return steps, std

    def poles(self) -> tuple[NDArray[np.complex128], FloatArray]:
        """Eigenvalues of `A` and covariances `(n, 2, 2)` of their real and imaginary parts, to first order.

        Of eigenvalues that nearly meet the covariance is large: they do move fast.
        """
        values, left, right = cast("Any", linalg.eig)(self.A, left=True, right=True)
        overlap = np.einsum("ik,ik->k", np.conj(left), right)
        size = np.where(np.abs(overlap) > 1e-300, overlap, 1e-300)
        grad = np.einsum("ik,jk->kij", np.conj(left), right) / size[:, None, None]
        grad = grad.reshape(len(values), -1)
        top = self.cov[: grad.shape[1], : grad.shape[1]]
        both = np.stack([grad.real, grad.imag], axis=1)
        return values, both @ top @ both.swapaxes(1, 2)

    def zeros(self) -> NDArray[np.complex128]:
        """Invariant zeros of `(A, B, C, D)` where there are as many inputs as outputs; else none."""
        n, (n_y, n_u) = len(self.A), self.D.shape
        if n_y != n_u:
            return np.empty(0, dtype=complex)
        pencil = np.block([[self.A, self.B], [self.C, self.D]])
        shift = linalg.block_diag(np.eye(n), np.zeros((n_y, n_u)))
        values = linalg.eigvals(pencil, shift)
        far = 1e6 * (1.0 + np.abs(linalg.eigvals(self.A)).max(initial=0.0))
        return values[np.isfinite(values) & (np.abs(values) < far)]

    def plot(self, confidence: float = 0.95) -> Figure:
        """Step, Bode and pole-zero figure with bands; see `koopctrl.plotting.plot_uncertainty`."""
        from koopctrl.plotting import plot_uncertainty

        return plot_uncertainty(self, confidence=confidence)

    def factor(self, confidence: float) -> float:
        """Standard deviations each way that hold a normal variable with probability `confidence`."""
        check_number(confidence, "confidence", low=0.0, high=1.0, strict=True)
        return float(stats.norm.ppf(0.5 + 0.5 * confidence))

    def _std(self, grad: FloatArray) -> FloatArray:
        return np.sqrt(np.maximum(np.einsum("...i,ij,...j->...", grad, self.cov, grad), 0.0))


def linear_uncertainty(model: Any, data: Trajectories | Iterable[Trajectory]) -> LinearUncertainty:
    """Uncertainty of a linear model from the records it was fitted to.

    Parameters
    ----------
    model : InnovationModel, or KoopmanRNN with a hidden state and no neurons
        Best one that was refined on its free run, `KoopmanRNN(0, n_states=n)`: the covariance is that of the
        least free-run error.
    data : Trajectories
        The training records.

    Returns
    -------
    LinearUncertainty

    Raises
    ------
    OptionError
        If the model is not linear with a hidden state.
    DataError
        If the records have fewer samples than the model parameters.
    """
    records = Trajectories.coerce(data, "data", missing=True)
    if isinstance(model, InnovationModel):
        both = (np.concatenate([e.outputs for e in records]), np.concatenate([e.inputs for e in records]))
        feedthrough = bool(model.D.any())
        net = linear_start(model, Scaling.from_data(*both), feedthrough)
        scale = net.scaling.y_scale
        prior = StatePrior(
            np.zeros(model.n_x), model.state_cov, model.innovation_cov / np.outer(scale, scale)
        )
    else:
        net = getattr(model, "network_", None)
        if not isinstance(net, HiddenNetwork) or net.layer.n_features or net.readout.layer.n_features:
            raise OptionError(
                f"model is a {type(model).__name__} that is not linear with a hidden state; expected one of "
                "subspace(..) or KoopmanRNN(0, n_states=..)"
            )
        prior = model.state_prior_
    segments = cut(standardise(records, net.scaling), max(map(len, records)), net.readout.feedthrough)
    x0 = estimate_initial_states(net, segments, prior)
    weights = Weights(net.coef, net.readout.coef, x0)
    x, out = free_run(net, weights, segments)
    if not np.isfinite(out).all():
        raise DataError("the model diverges on the records; expected one with a finite free run")
    lin = linearise(net, weights, segments, x)
    n_time, batch, n_y = segments.w.shape
    n_state, n_out, n_x = lin.state.shape[2], lin.output.shape[2], lin.x0.shape[2]
    n_w = n_state + n_out
    jac = np.zeros((n_time, batch, n_w + batch * n_x, n_y))
    jac[:, :, :n_state], jac[:, :, n_state:n_w] = lin.state, lin.output
    for s in range(batch):
        jac[:, s, n_w + s * n_x : n_w + (s + 1) * n_x] = lin.x0[:, s]
    jac = jac.transpose(1, 0, 3, 2) * segments.mask.transpose(1, 0, 2)[..., None]
    error = ((segments.w - out) * segments.mask).transpose(1, 0, 2)
    cov = _sandwich(jac, error, segments.count)[:n_w, :n_w]
    return _physical(net, cov, records)


def _sandwich(jac: FloatArray, error: FloatArray, count: float) -> FloatArray:
    """Covariance of all parameters from `(batch, time, n_y, n_p)` and `(batch, time, n_y)`."""
    n_p = jac.shape[-1]
    rows = jac.reshape(-1, n_p)
    scale = np.linalg.norm(rows, axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    _, s, vt = np.linalg.svd(rows / scale, full_matrices=False)
    keep = s > _RANK_TOL * s.max(initial=0.0)
    rank = int(keep.sum())
    if count <= rank:
        raise DataError(
            f"data have {count:.0f} output samples and the model {rank} parameters that show in them; "
            "expected more samples"
        )
    score = np.einsum("bkyp,bky->bkp", jac, error) / scale @ vt[keep].T / s[keep]
    n_time = score.shape[1]
    lags = min(n_time - 1, int(np.ceil(_LAGS * n_time ** (1.0 / 3.0))) + rank)
    middle = np.einsum("bki,bkj->ij", score, score)
    for lag in range(1, lags + 1):
        cross = np.einsum("bki,bkj->ij", score[:, lag:], score[:, :-lag])
        middle += (1.0 - lag / (lags + 1.0)) * (cross + cross.T)
    middle *= count / (count - rank)
    back = (vt[keep].T / s[keep]) / scale[:, None]
    return back @ middle @ back.T


def _physical(net: HiddenNetwork, cov: FloatArray, records: Trajectories) -> LinearUncertainty:
    """Matrices and covariance in physical inputs and outputs."""
    n_x, n_u = net.window.n_x, net.window.n_u
    n_y = net.readout.coef.shape[1]
    s = net.scaling
    w, v = net.coef, net.readout.coef
    a = np.eye(n_x) + w[1 : 1 + n_x].T
    b = w[1 + n_x :].T / s.u_scale
    c = v[1 : 1 + n_x].T * s.y_scale[:, None]
    direct = net.readout.feedthrough
    d = v[1 + n_x :].T * s.y_scale[:, None] / s.u_scale if direct else np.zeros((n_y, n_u))
    # Sensitivities come target by target: row i of A, B is target i's coefficients [1, x, v].
    r, r_out = w.shape[0], v.shape[0]
    chosen: list[int] = []
    factor: list[float] = []
    for i in range(n_x):
        chosen += [i * r + 1 + j for j in range(n_x)]
        factor += [1.0] * n_x
    for i in range(n_x):
        chosen += [i * r + 1 + n_x + j for j in range(n_u)]
        factor += list(1.0 / s.u_scale)
    base = n_x * r
    for i in range(n_y):
        chosen += [base + i * r_out + 1 + j for j in range(n_x)]
        factor += [float(s.y_scale[i])] * n_x
    n_known = len(chosen)
    if direct:
        for i in range(n_y):
            chosen += [base + i * r_out + 1 + n_x + j for j in range(n_u)]
            factor += list(s.y_scale[i] / s.u_scale)
    scale = np.array(factor)
    part = cov[np.ix_(chosen, chosen)] * np.outer(scale, scale)
    full = np.zeros((n_known + n_y * n_u,) * 2)
    full[: len(chosen), : len(chosen)] = part
    return LinearUncertainty(a, b, c, d, full, records.dt, records.output_names, records.input_names)
