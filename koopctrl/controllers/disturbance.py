r"""Constant disturbances appended to the lifted state, for control without steady-state error.

.. math::
    z_{k+1} = A z_k + B (u_k - u_{op}) + c + B_d d_k, \quad d_{k+1} = d_k, \quad
    y_k = C z_k + y_{op} + C_d d_k

Pannocchia & Rawlings, *Disturbance models for offset-free model-predictive control*, AIChE Journal 49, 2003.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.lifted import LiftedModel

KINDS = ("none", "output", "input")


@dataclass(frozen=True)
class Augmented:
    """A lifted model with `n_d` disturbances as its last coordinates.

    Attributes
    ----------
    A, B, C, c : arrays
        Of `[z; d]`.
    Bd, Cd : (n_z, n_d) and (n_y, n_d) arrays
    lifted : LiftedModel
    """

    A: FloatArray
    B: FloatArray
    C: FloatArray
    c: FloatArray
    Bd: FloatArray
    Cd: FloatArray
    lifted: LiftedModel

    @property
    def n_d(self) -> int:
        """Number of disturbances."""
        return self.Bd.shape[1]


def augment(lifted: LiftedModel, Bd: FloatArray, Cd: FloatArray) -> Augmented:
    """Append disturbances that act through `Bd` on the state and `Cd` on the outputs."""
    n_d = Bd.shape[1]
    return Augmented(
        np.block([[lifted.A, Bd], [np.zeros((n_d, lifted.n_z)), np.eye(n_d)]]),
        np.vstack([lifted.B, np.zeros((n_d, lifted.n_u))]),
        np.hstack([lifted.C, Cd]),
        np.concatenate([lifted.c, np.zeros(n_d)]),
        Bd,
        Cd,
        lifted,
    )


def augment_by_kind(lifted: LiftedModel, kind: str) -> Augmented:
    """`none`; `output`: one integrator on each output; `input`: one on each input."""
    n_z, n_y, n_u = lifted.n_z, lifted.n_y, lifted.n_u
    if kind == "output":
        return augment(lifted, np.zeros((n_z, n_y)), np.eye(n_y))
    if kind == "input":
        return augment(lifted, lifted.B, np.zeros((n_y, n_u)))
    return augment(lifted, np.zeros((n_z, 0)), np.zeros((n_y, 0)))
