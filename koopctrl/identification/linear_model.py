r"""InnovationModel: a linear state-space model in innovation form, as subspace identification returns it.

.. math::
    x_{k+1} = A x_k + B (u_k - u_{op}) + c + K e_k, \qquad
    y_k = C x_k + D (u_k - u_{op}) + y_{op} + e_k, \qquad \mathrm{cov}\,e = R_e

The Kalman filter of this model has the gain `K` itself; its process noise is `K e`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from koopctrl._validation import FloatArray, as_signal, as_vector, check_integer
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory
from koopctrl.identification.recurrences import linear_states
from koopctrl.network.free_run import check_signals, with_short

if TYPE_CHECKING:
    import control

    from koopctrl.lifted.model import LiftedModel


@dataclass(frozen=True, eq=False)
class InnovationModel:
    """Linear model with noise (see the module's equation).

    Attributes
    ----------
    A, B, C, D, K : arrays
        `(n, n)`, `(n, n_u)`, `(n_y, n)`, `(n_y, n_u)` and `(n, n_y)`.
    innovation_cov : (n_y, n_y) array
        `R_e`.
    u_op, y_op : arrays
        Operating point: `u = u_op` and `x = 0` give `y = y_op`.
    c : (n,) array
        Drift of the state there: zero unless `A` (nearly) integrates.
    state_cov : (n, n) array
        Covariance of the states over the training data, about 0: the prior of an unknown initial state.
    singular_values : array
        Of the projection that the order was read from.
    dt, output_names, input_names
        From the data.
    """

    A: FloatArray
    B: FloatArray
    C: FloatArray
    D: FloatArray
    K: FloatArray
    innovation_cov: FloatArray
    u_op: FloatArray
    y_op: FloatArray
    c: FloatArray
    state_cov: FloatArray
    singular_values: FloatArray
    dt: float
    output_names: tuple[str, ...]
    input_names: tuple[str, ...]

    @property
    def n_x(self) -> int:
        """Order."""
        return len(self.A)

    @property
    def n_y(self) -> int:
        """Number of outputs."""
        return len(self.C)

    @property
    def n_u(self) -> int:
        """Number of inputs."""
        return self.B.shape[1]

    @property
    def spectral_radius(self) -> float:
        """Largest modulus of an eigenvalue of `A`."""
        return float(np.abs(linalg.eigvals(self.A)).max(initial=0.0))

    @property
    def noise_covariances(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """`(Q, R, S)`: covariances of process noise `K e`, of measurement noise `e`, and between them."""
        r = self.innovation_cov
        return self.K @ r @ self.K.T, r, self.K @ r

    def markov_parameters(self, n: int) -> FloatArray:
        """`[D, C B, C A B, ..]`, shape `(n, n_y, n_u)`."""
        blocks, power = [self.D], self.B
        for _ in range(check_integer(n, "n", low=1) - 1):
            blocks.append(self.C @ power)
            power = self.A @ power
        return np.array(blocks)

    def simulate(self, x0: ArrayLike, u: ArrayLike) -> FloatArray:
        """Outputs, one a row of `u`, from the state `x0` under `(n_steps, n_u)` inputs, without noise."""
        inputs = as_signal(u, "u", self.n_u)
        x = run_states(self.A, (inputs - self.u_op) @ self.B.T + self.c, as_vector(x0, "x0", self.n_x))[:-1]
        return self.y_op + x @ self.C.T + (inputs - self.u_op) @ self.D.T

    def initial_state(self, outputs: ArrayLike, inputs: ArrayLike) -> FloatArray:
        """Most probable state at the first of some samples, by least squares with the training states' prior.

        Parameters
        ----------
        outputs : (n, n_y) array_like
        inputs : (n, n_u) or (n - 1, n_u) array_like
            The last output is not used where its input is missing and `D` is not zero.
        """
        y, u = as_signal(outputs, "outputs", self.n_y), as_signal(inputs, "inputs", self.n_u)
        n = min(len(y), len(u)) if self.D.any() else min(len(y), len(u) + 1)
        if not n:
            return np.zeros(self.n_x)
        v = np.zeros((n, self.n_u))
        rows = min(n, len(u))
        v[:rows] = u[:rows] - self.u_op
        forced = run_states(self.A, v @ self.B.T + self.c, np.zeros(self.n_x))[:-1] @ self.C.T + v @ self.D.T
        rest = y[:n] - self.y_op - forced
        observe = np.empty((n, self.n_y, self.n_x))
        observe[0] = self.C
        for k in range(1, n):
            observe[k] = observe[k - 1] @ self.A
        # Rows weighted by the innovations' spread; the prior's rows keep unseen directions near the data.
        spread = np.diag(self.C @ self.state_cov @ self.C.T)
        whiten = inverse_root(self.innovation_cov, spread)
        root = covariance_root(self.state_cov)
        left = np.concatenate([(whiten @ observe).reshape(-1, self.n_x) @ root, np.eye(root.shape[1])])
        right = np.concatenate([(rest @ whiten.T).ravel(), np.zeros(root.shape[1])])
        return root @ np.linalg.lstsq(left, right, rcond=None)[0]

    def predict(self, X: Trajectories | Iterable[Trajectory], n_init: int = 1) -> list[FloatArray]:
        """Free-run outputs of each episode; its first `n_init` samples give the initial state.

        Parameters
        ----------
        X : Trajectories
            Episodes with the signals of the training data.
        n_init : int
            Measured samples that initialise.

        Returns
        -------
        list of (n_samples, n_y) arrays
            The first `n_init` rows are the measured ones.
        """
        data = Trajectories.coerce(X)
        check_signals(data, self.dt, self.output_names, self.input_names)
        n_init = check_integer(n_init, "n_init", low=1)
        return with_short(data, n_init, lambda kept: [self._free_run(e, n_init) for e in kept])

    def _free_run(self, e: Trajectory, n_init: int) -> FloatArray:
        x0 = self.initial_state(e.outputs[:n_init], e.inputs[:n_init])
        u = e.inputs
        if len(u) < len(e):  # the last output: its input is not known, and held
            u = np.concatenate([u, u[-1:] if len(u) else self.u_op[None]])
        y = self.simulate(x0, u)
        y[:n_init] = e.outputs[:n_init]
        return y

    def innovations(self, X: Trajectories | Iterable[Trajectory], n_init: int = 1) -> list[FloatArray]:
        """One-step prediction errors `e_k` of each episode, by the filter with gain `K`."""
        data = Trajectories.coerce(X)
        check_signals(data, self.dt, self.output_names, self.input_names)
        errors = []
        for e in data:
            x0 = self.initial_state(e.outputs[:n_init], e.inputs[:n_init])
            n = len(e.inputs) if self.D.any() else len(e)
            v = np.zeros((n, self.n_u))
            v[: len(e.inputs)] = e.inputs[:n] - self.u_op
            w = e.outputs[:n] - self.y_op - v @ self.D.T
            x = run_states(self.A - self.K @ self.C, v @ self.B.T + self.c + w @ self.K.T, x0)[:-1]
            errors.append(w - x @ self.C.T)
        return errors

    def to_lifted(self) -> LiftedModel:
        """Same model as a `LiftedModel`, which controllers and exports take; `z` is the state."""
        from koopctrl.lifted.model import LiftedModel

        return LiftedModel.from_innovation_form(self)

    def to_statespace(self) -> control.StateSpace:
        """`control.StateSpace` of `(A, B, C, D)`, in deviations from the operating point."""
        from koopctrl.lifted.model import LiftedModel

        return LiftedModel.from_matrices(
            self.A, self.B, self.C, self.D, dt=self.dt,
            output_names=self.output_names, input_names=self.input_names,
        ).to_statespace()  # fmt: skip

    def __repr__(self) -> str:
        """Sizes, sample time and spectral radius."""
        return (
            f"InnovationModel(n_x={self.n_x}, n_u={self.n_u}, n_y={self.n_y}, dt={self.dt:g} s, "
            f"spectral radius {self.spectral_radius:.4f})"
        )


def run_states(a: FloatArray, driven: FloatArray, x0: FloatArray) -> FloatArray:
    """`x_{k+1} = A x_k + driven_k`, shape `(len(driven) + 1, n)`; finite or infinite, as it comes."""
    return linear_states(a.T, driven[:, None], x0[None])[:, 0]


def covariance_root(cov: FloatArray) -> FloatArray:
    """`L` with `L L' = cov`, its columns the directions that are not zero to rounding."""
    scale = np.sqrt(np.diag(cov))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(cov / np.outer(scale, scale))
    keep = values > len(values) * np.finfo(float).eps * values.max(initial=0.0)
    return scale[:, None] * vectors[:, keep] * np.sqrt(values[keep])


def inverse_root(cov: FloatArray, energy: FloatArray) -> FloatArray:
    """`W` with `W cov W' = I`; noise counts as at least 1e-8 of each signal's own root of `energy`."""
    scale = np.sqrt(np.maximum(np.diag(cov), 1e-16 * energy))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(cov / np.outer(scale, scale))
    return (vectors / np.sqrt(np.maximum(values, 1e-12))).T / scale
