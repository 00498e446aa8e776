r"""The lifted model as controllers see it: constant disturbances appended, inputs told apart.

.. math::
    z_{k+1} = A z_k + B (u_k - u_{op}) + B_v (v_k - v_{op}) + c + B_d d_k, \quad d_{k+1} = d_k, \quad
    y_k = C z_k + y_{op} + C_d d_k

`d` is estimated, for control without steady-state error; `v` is measured.

Pannocchia & Rawlings, *Disturbance models for offset-free model-predictive control*, AIChE Journal 49, 2003.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from koopctrl._validation import FloatArray
from koopctrl.controllers.channels import InputChannels
from koopctrl.controllers.units import weight_factor
from koopctrl.lifted.model import LiftedModel

_LARGE, _SPARSE = 200, 0.02


@dataclass(frozen=True)
class Augmented:
    """A lifted model with `n_d` disturbances as its last coordinates.

    Attributes
    ----------
    A, B, C, c : arrays
        Of `[z; d]`; `B` belongs to the inputs that are moved.
    Bd, Cd : (n_z, n_d) and (n_y, n_d) arrays
    lifted : LiftedModel
    Bv : (n_z + n_d, n_v) array
        Of measured disturbances; no column unless `select` has told them apart.
    u_op, v_op : arrays
        Operating inputs and measured disturbances.
    B_all : (n_z + n_d, n_u + n_v) array
        Of all inputs, in the model's order.
    """

    A: FloatArray
    B: FloatArray
    C: FloatArray
    c: FloatArray
    Bd: FloatArray
    Cd: FloatArray
    lifted: LiftedModel
    Bv: FloatArray
    u_op: FloatArray
    v_op: FloatArray
    B_all: FloatArray

    @cached_property
    def dynamics(self) -> Any:
        """`A`, as a sparse matrix where it is one: linear networks condense in O(n) per step."""
        n = len(self.A)
        if n < _LARGE or np.count_nonzero(self.A) > _SPARSE * n * n:
            return self.A
        return sparse.csr_array(self.A)

    @property
    def n_d(self) -> int:
        """Number of estimated disturbances."""
        return self.Bd.shape[1]

    @property
    def n_u(self) -> int:
        """Number of inputs that are moved."""
        return self.B.shape[1]

    @property
    def n_v(self) -> int:
        """Number of measured disturbances."""
        return self.Bv.shape[1]

    def select(self, channels: InputChannels) -> Augmented:
        """The same model with its inputs told apart."""
        B, u_op = self.B_all, self.lifted.u_op
        return replace(
            self, B=B[:, channels.moved], Bv=B[:, channels.told], u_op=u_op[channels.moved],
            v_op=u_op[channels.told],
        )  # fmt: skip


def augment(lifted: LiftedModel, Bd: FloatArray, Cd: FloatArray) -> Augmented:
    """Append disturbances that act through `Bd` on the state and `Cd` on the outputs."""
    n_d = Bd.shape[1]
    B = np.vstack([lifted.B, np.zeros((n_d, lifted.n_u))])
    return Augmented(
        A=np.block([[lifted.A, Bd], [np.zeros((n_d, lifted.n_z)), np.eye(n_d)]]),
        B=B,
        C=np.hstack([lifted.C, Cd]),
        c=np.concatenate([lifted.c, np.zeros(n_d)]),
        Bd=Bd,
        Cd=Cd,
        lifted=lifted,
        Bv=np.empty((lifted.n_z + n_d, 0)),
        u_op=lifted.u_op,
        v_op=np.empty(0),
        B_all=B,
    )


def augment_by_kind(
    lifted: LiftedModel,
    kind: str,
    channels: InputChannels | None = None,
    measured: np.ndarray | None = None,
    noise: FloatArray | None = None,
) -> Augmented:
    """Constant disturbances of one kind.

    Parameters
    ----------
    lifted : LiftedModel
    kind : str
        `none`; `output`: one integrator on each measured output; `input`: one on each input that is moved;
        `state`: one added to each next measured output, through the change of the state that does so and is
        likeliest under the process noise.
    channels : InputChannels, optional
        All inputs are moved by default.
    measured : (n_measured,) int array, optional
        All outputs by default.
    noise : (n_z, n_z) array, optional
        Covariance of the process noise; by default coordinates change alike.
    """
    n_z, n_y = lifted.n_z, lifted.n_y
    seen = np.eye(n_y)[:, slice(None) if measured is None else measured]
    if kind == "output":
        return augment(lifted, np.zeros((n_z, seen.shape[1])), seen)
    if kind == "input":
        Bd = lifted.B if channels is None else lifted.B[:, channels.moved]
        return augment(lifted, Bd, np.zeros((n_y, Bd.shape[1])))
    if kind == "state":
        return augment(lifted, _likeliest(seen.T @ lifted.C, noise), np.zeros((n_y, seen.shape[1])))
    return augment(lifted, np.zeros((n_z, 0)), np.zeros((n_y, 0)))


def _likeliest(C: FloatArray, noise: FloatArray | None) -> FloatArray:
    """`Q C' (C Q C')^-1`; of the identity where `Q` does not reach all outputs."""
    if noise is not None:
        reach = weight_factor(noise)
        shown = C @ reach.T
        size = np.linalg.norm(shown, axis=1)
        if (size > 0.0).all() and np.linalg.matrix_rank(shown / size[:, None], tol=1e-9) == len(C):
            return reach.T @ np.linalg.pinv(shown / size[:, None]) / size
    return np.linalg.pinv(C)
