"""How far a network's frequency response can be from its model's, frequency by frequency.

In the network's coordinates the model reads `(L + F, B + G, C - H)`. With `R = (s - L)^-1`, `X = R B` and
`X1 = R (F X + G)` its transfer function minus the network's is exactly

    C X1' - H (X + X1'),      X1' = (1 - R F)^-1 X1,

of which `C X1 - H X` is known with its sign. The rest is at most `(|C R F| + |H|) |X1| / (1 - |R F|)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, check_number
from koopctrl.errors import OptionError
from koopctrl.ltinet.construct.assembly import EPS
from koopctrl.ltinet.construct.residuals import residual_accuracy
from koopctrl.ltinet.grouped import Grouped
from koopctrl.ltinet.judge.frequency import frequencies, late, resolvent, transposed
from koopctrl.ltinet.structure import NetworkStructure

_MARGIN = 1.02  # rounding of the defects that are known
_BOTTOM = (
    8.0 * EPS * EPS
)  # rounding of the defects: of F before its first pass, cond(T) eps times the weights
_POLES = 300  # frequencies of poles on the default grid


@dataclass(frozen=True)
class TransferAccuracy:
    """Error of a frequency response, in the 2-norm over the inputs, output by output.

    Attributes
    ----------
    omega : array (N,)
        rad/s.
    magnitude : array (N, n_y)
        Of the network's own response.
    error : array (N, n_y)
        Known part of the model's minus the network's; equal to `bound` where only sizes are known.
    bound : array (N, n_y)
        What the difference cannot exceed: the network's weights taken as the float64 numbers they are, and
        evaluated exactly.
    """

    omega: FloatArray
    magnitude: FloatArray
    error: FloatArray
    bound: FloatArray

    @property
    def of_peak(self) -> FloatArray:
        """Largest bound over the largest response, per output: H-infinity norms over these frequencies."""
        peak = self.magnitude.max(axis=0, initial=0.0)
        return self.bound.max(axis=0, initial=0.0) / np.where(peak > 0.0, peak, 1.0)

    def relative(self, down_to: float = 1e-8) -> FloatArray:
        """Largest bound over the response at the same frequency, where that exceeds `down_to` of its peak.

        In roll-off layers of a parallel network cancel, so this is what their last digits leave.
        """
        down_to = check_number(down_to, "down_to", low=0.0)
        seen = self.magnitude > down_to * self.magnitude.max(axis=0, initial=0.0)
        ratio = np.where(seen, self.bound / np.where(seen, self.magnitude, 1.0), 0.0)
        return ratio.max(axis=0, initial=0.0)


def transfer_accuracy(net: NetworkStructure, omega: ArrayLike | None = None) -> TransferAccuracy:
    """Bound on the error of the frequency response.

    Parameters
    ----------
    net : NetworkStructure
    omega : array (N,), optional
        rad/s; 200 around the poles and those of up to 300 poles by default.

    Returns
    -------
    TransferAccuracy

    Raises
    ------
    OptionError
        The defects are known as norms alone: slow modes alone, or more than 1,200 states.
    """
    local = net.defects.local
    if local is None:
        raise OptionError(
            "accuracy was called of a network whose defects are known as norms alone; expected one that was "
            "refined (at most 1,200 states, all modes). Use error_bound"
        )
    grid = _with_poles(net) if omega is None else frequencies(net, omega)
    s = np.exp(1j * grid * net.sample_time) if net.discrete else 1j * grid
    order, grouped = net.grouped.order, net.grouped
    back = transposed(grouped)
    B, C, F = net.B[order], net.C[:, order], local.F[order][:, order]
    G, H = local.G[order], local.H[:, order]
    sizes = np.abs(F), np.abs(G), np.abs(H)
    # F comes from A T - T L, whose terms are known to `residual_accuracy` of the rows of A; seen through
    # T_inv
    size_A = net.defects.A / (
        (net.residual + EPS) * max(float(np.linalg.norm(net.T / net.scales[:, None])), 1e-300)
    )
    unknown = residual_accuracy(net.n_states) * size_A
    T_inv = net.T_inv[order] * net.scales
    size_F = float(np.linalg.norm(F)) + unknown * float(np.linalg.norm(T_inv))
    size_L, size_B = float(np.linalg.norm(net.eigenvalues)), float(np.linalg.norm(B))
    size_C = np.linalg.norm(C, axis=1)
    size_H = np.linalg.norm(H, axis=1)
    shape = (len(s), len(C))
    magnitude, error, bound = np.empty(shape), np.empty(shape), np.empty(shape)
    rounding = EPS * (8.0 + net.n_states)
    for i, point in enumerate(s):
        here = s[i : i + 1]
        X = resolvent(grouped, here, B)[0]
        Y = resolvent(back, here, np.ascontiguousarray(C.T))[0].T
        X1 = resolvent(grouped, here, F @ X + G)[0]
        first, response = C @ X1 - H @ X, C @ X + net.D
        worst = np.abs(Y) @ (sizes[0] @ np.abs(X) + sizes[1]) + sizes[2] @ np.abs(X)
        known = first if local.signed else worst
        hidden = unknown * np.linalg.norm(Y @ T_inv, axis=1) * np.linalg.norm(X)
        size_X, size_Y = np.linalg.norm(X), np.linalg.norm(Y, axis=1)
        hidden = hidden + _BOTTOM * net.cond * (size_Y * (size_L * size_X + size_B) + size_C * size_X)
        q = resolvent_norm(grouped, point) * size_F
        far = np.linalg.norm(X1) / (1.0 - q) if q < 1.0 else np.inf
        rest = (np.linalg.norm(Y @ F, axis=1) + unknown * np.linalg.norm(Y @ T_inv, axis=1) + size_H) * far
        scale = np.abs(late(net, here)[0])
        magnitude[i] = np.linalg.norm(response * scale, axis=1)
        error[i] = np.linalg.norm(known * scale, axis=1)
        bound[i] = np.linalg.norm((np.abs(known) + rounding * worst) * scale, axis=1)
        bound[i] += scale.max(axis=1) * (rest + hidden)
    left_out = net.defects.left_out
    if left_out.any():
        bound, error = bound + left_out, error + left_out
    bound = np.where(np.isnan(bound), np.inf, _MARGIN * bound)
    return TransferAccuracy(grid, magnitude, error if local.signed else bound.copy(), bound)


def _with_poles(net: NetworkStructure) -> FloatArray:
    values = net.eigenvalues
    at = np.abs(np.angle(values)) / net.sample_time if net.discrete else np.abs(values.imag)
    at = np.unique(at[at > 0.0])
    at = at[np.linspace(0, len(at) - 1, min(len(at), _POLES)).astype(int)] if len(at) else at
    return np.unique(np.concatenate([frequencies(net, None), at]))


def resolvent_norm(grouped: Grouped, s: complex) -> float:
    """Largest 2-norm of `(s - A_i)^-1` over the blocks; infinite at a pole."""
    with np.errstate(divide="ignore"):
        smallest = [np.abs(s - grouped.real).min(initial=np.inf)]
    stacks = [grouped.pairs, *grouped.others]
    for stack in stacks:
        if len(stack):
            M = s * np.eye(stack.shape[1]) - stack
            smallest.append(float(np.linalg.svd(M, compute_uv=False)[:, -1].min()))
    least = float(min(smallest))
    return 1.0 / least if least > 0.0 else np.inf
