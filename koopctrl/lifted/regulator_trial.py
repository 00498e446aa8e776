r"""Closed loops of candidate models on the network: what a lifted model is for, tried before it is chosen.

An error of prediction does not say what a model does in a loop: one that is nearly perfect on the data may
send inputs that no data resemble, and one that is right around its operating point alone may regulate well
from far. So each candidate gets a receding-horizon regulator of its own, without constraints,

.. math::
    \min_{u} \sum_{k=1}^{N} |y_k - r|_Q^2 + \sum_{k=0}^{N-1} |u_k - u_s|_R^2

whose first input is affine in `z`, `r` and the model's own steady input `u_s`. It is cut at the range of the
training inputs and sent to the network, which re-lifts at each sample; all episodes run side by side. They
lead between equilibria of the network and from states of the data, in the data's range. The plant is not the
network: with `GAINS` the same episodes are run once more with inputs that act a fifth less or more than the
network knows, counted from the middle of their range. A model that is bold because it is right there, and
would fail where it is nearly right, shows in them.

Candidates are compared by the geometric mean over episodes of their cost relative to the best one's, so that
a hard episode does not decide for the others; but one that loses by far to plain least squares in any of them
is out.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray
from koopctrl.identification.held_out import Snapshots
from koopctrl.lifted.equilibrium import equilibria_near
from koopctrl.lifted.observables import Observables
from koopctrl.network.recurrent import RecurrentNetwork

# Without weights of the caller's: outputs and inputs relative to their spread, inputs cheap and dear.
_INPUT_WEIGHTS = (0.01, 1.0)
_N_EQUILIBRIA, _N_STATES = 10, 10
# What one sample costs at most, relative to the outputs being a spread away: a loop that runs away must end.
_CAP = 1e6
# By which inputs act: as the network has it, a fifth less, a fifth more.
GAINS = (1.0, 0.8, 1.2)
# Costs this much below the typical one are alike.
_FLOOR = 1e-3
# Weight of a small steady input beside the outputs, relative to both; only where several inputs hold a
# set-point.
_TIE = 1e-8


class RegulatorTrial:
    """Episodes on one network for all candidates.

    Parameters
    ----------
    network : RecurrentNetwork
    snapshots : Snapshots
        Training pairs.
    x_op, u_op : arrays
        Operating point.
    horizon : int
        `N`.
    Q, R : arrays or None
        Weights, in physical units; both or none.
    gains : tuple of float
        By which the inputs that are sent act.
    """

    def __init__(
        self,
        network: RecurrentNetwork,
        snapshots: Snapshots,
        x_op: FloatArray,
        u_op: FloatArray,
        horizon: int,
        Q: FloatArray | None,
        R: FloatArray | None,
        gains: tuple[float, ...] = (1.0,),
    ) -> None:
        self._network, self._u_op, self._horizon = network, u_op, horizon
        self._n_y = network.window.n_y
        self._y_op = x_op[: self._n_y]
        self._low, self._high = snapshots.u.min(axis=0), snapshots.u.max(axis=0)
        scaling = network.scaling
        self._scaled = np.diag(1.0 / scaling.y_scale**2)
        by_spread = np.diag(1.0 / scaling.u_scale**2)
        self._weights = [(self._scaled, w * by_spread) for w in _INPUT_WEIGHTS]
        if Q is not None and R is not None:
            self._weights = [(Q, R)]
        rng = np.random.default_rng(0)
        points = equilibria_near(network, snapshots, _N_EQUILIBRIA, rng)
        home = (x_op, u_op)
        legs = []
        for i, point in enumerate(points):
            other = points[(i + 1) % len(points)]
            legs += [(x_op, point), (point[0], home), (other[0], point)]
        everywhere = [home, *points]
        chosen = rng.choice(len(snapshots.x), size=min(_N_STATES, len(snapshots.x)), replace=False)
        for i, k in enumerate(chosen):
            legs += [(snapshots.x[k], home), (snapshots.x[k], everywhere[i % len(everywhere)])]
        self.n_gains = n = len(gains)
        self._starts = np.array([start for start, _ in legs] * n)
        self._r = np.array([goal[0][: self._n_y] for _, goal in legs] * n)
        self._u_r = np.array([goal[1] for _, goal in legs] * n)
        self._gain = np.repeat(gains, len(legs))[:, None]

    def costs(self, observables: Observables, A: FloatArray, B: FloatArray, c: FloatArray) -> FloatArray:
        """Cost of each episode under each weight, one after the other; so for each gain."""
        C = np.zeros((self._n_y, len(A)))
        C[:, : self._n_y] = np.diag(observables.x_scale[: self._n_y])
        found = []
        for Q, R in self._weights:
            with np.errstate(all="ignore"):
                law = _regulator(A, B, C, c, self._horizon, Q, R)
            worst = np.full(len(self._starts), _CAP * 2 * self._horizon)
            found.append(worst if law is None else self._run(observables, law, Q, R))
        return np.concatenate([cost.reshape(self.n_gains, -1) for cost in found], axis=1).ravel()

    def _run(
        self,
        observables: Observables,
        law: tuple[FloatArray, FloatArray, FloatArray],
        Q: FloatArray,
        R: FloatArray,
    ) -> FloatArray:
        K, on_r, constant = law
        net, layer = self._network, observables.layer
        on_x, on_psi = observables.on_features(K)
        r = self._r - self._y_op
        fixed = r @ on_r.T + constant + self._u_op + observables.x_op @ on_x.T
        lifts = observables.reduce.shape[1] > 0
        if lifts:
            fixed = fixed + layer(observables.x_op) @ on_psi.T
        x, total = self._starts, np.zeros(len(self._starts))
        middle = 0.5 * (self._low + self._high)
        for _ in range(2 * self._horizon):
            with np.errstate(all="ignore"):
                u = fixed - x @ on_x.T
                if lifts:
                    u -= layer(x) @ on_psi.T
                u = np.clip(u, self._low, self._high)
                u = np.where(np.isfinite(u), u, self._u_op)
                acting = np.clip(u + (self._gain - 1.0) * (u - middle), self._low, self._high)
                x = net.step(x, acting)
                error, moved = x[:, : self._n_y] - self._r, u - self._u_r
                stage = np.einsum("ni,ij,nj->n", error, Q, error)
                stage += np.einsum("ni,ij,nj->n", moved, R, moved)
                away = np.einsum("ni,ij,nj->n", error, self._scaled, error) > _CAP
            lost = away | ~np.isfinite(stage)
            total += np.where(lost, _CAP, stage)
            x = np.where(lost[:, None], net.x_mean, x)  # costs the cap once more at each later excursion
        return total


def relative_costs(costs: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Compare candidates by their costs in each episode.

    Returns
    -------
    mean : (n_candidates,) array
        Geometric mean over episodes of the cost relative to the best one's.
    worst : (n_candidates,) array
        Largest cost in an episode relative to the first candidate's, which is plain least squares.
    """
    table = np.array(costs)
    best = table.min(axis=0)
    floor = _FLOOR * float(np.median(best)) + np.finfo(float).tiny
    mean = np.exp(np.mean(np.log((table + floor) / (best + floor)), axis=1))
    return mean, np.max((table + floor) / (table[0] + floor), axis=1)


def _regulator(
    A: FloatArray, B: FloatArray, C: FloatArray, c: FloatArray, N: int, Q: FloatArray, R: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """`(K, F, f)` of the first input `u - u_op = F r - K z + f`, `r` from the operating output; None if there
    is none.

    With `Y = Phi z + Gamma U + kappa` the plan is `H^-1 [Gamma'Q (r - Phi z - kappa) + R u_s]`.
    """
    n_y, n_z = C.shape
    n_u = B.shape[1]
    phi, kappa = np.empty((N, n_y, n_z)), np.empty((N, n_y))
    response = np.empty((N, n_y, n_u))
    row, z = C, np.zeros(n_z)
    for k in range(N):
        response[k] = row @ B
        row = row @ A
        phi[k] = row
        z = A @ z + c
        kappa[k] = C @ z
    if not (np.isfinite(phi).all() and np.isfinite(kappa).all()):
        return None
    gamma = np.zeros((N, n_y, N, n_u))
    for k in range(N):
        gamma[k, :, : k + 1] = response[k::-1].transpose(1, 0, 2)
    flat = gamma.reshape(N * n_y, N * n_u)
    weighted = np.einsum("ij,kjm->kim", Q, gamma.reshape(N, n_y, -1)).reshape(N * n_y, N * n_u)
    hessian = flat.T @ weighted + linalg.block_diag(*[R] * N)
    scale = 1.0 / np.sqrt(np.diag(hessian))
    right = np.hstack([weighted.T, np.tile(R, (N, 1))])
    try:
        factor = linalg.cho_factor(hessian * scale * scale[:, None])
    except linalg.LinAlgError:
        return None
    first = (linalg.cho_solve(factor, right * scale[:, None]) * scale[:, None])[:n_u]
    on_y, on_steady = first[:, : N * n_y], first[:, N * n_y :]
    steady_gain, steady_constant = _steady_input(A, B, C, c, Q, R)
    K = on_y @ phi.reshape(N * n_y, n_z)
    F = on_y.reshape(n_u, N, n_y).sum(axis=1) + on_steady @ steady_gain
    return K, F, on_steady @ steady_constant - on_y @ kappa.ravel()


def _steady_input(
    A: FloatArray, B: FloatArray, C: FloatArray, c: FloatArray, Q: FloatArray, R: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """`(G, g)` of the steady input `G r + g` that comes nearest to `r` in the model."""
    n_z = len(A)
    r_factor, q_factor = linalg.cholesky(R), _root(Q)
    # Columns of B in units of their weight: otherwise the rank of [I - A, -B] depends on the inputs' units.
    unit = 1.0 / np.sqrt(np.diag(R))
    u, s, vt = np.linalg.svd(np.hstack([np.eye(n_z) - A, -B * unit]))
    rank = int(np.count_nonzero(s > 1e-10 * s[0]))
    particular = vt[:rank].T @ ((u[:, :rank].T @ c) / s[:rank])
    null = vt[rank:].T
    seen, spent = q_factor @ C @ null[:n_z], r_factor @ (unit[:, None] * null[n_z:])
    top, beside = np.linalg.norm(seen), np.linalg.norm(spent)
    tie = np.sqrt(_TIE) * (top / beside if beside > 0 else 1.0)
    choose = np.linalg.lstsq(
        np.vstack([seen, tie * spent]), np.vstack([q_factor, np.zeros((len(R), len(C)))]), rcond=1e-12
    )[0]
    gain = unit[:, None] * (null[n_z:] @ choose)
    return gain, unit * particular[n_z:] - gain @ (C @ particular[:n_z])


def _root(Q: FloatArray) -> FloatArray:
    """`W` with `W'W = Q`, semi-definite and in any units."""
    unit = np.sqrt(np.diag(Q))
    safe = np.where(unit > 0, unit, 1.0)
    values, vectors = np.linalg.eigh(Q / safe / safe[:, None])
    return np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T * safe
