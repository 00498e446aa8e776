"""Fewer states: the leading directions of simulated snapshots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_signal, check_integer
from koopctrl.errors import DataError, OptionError
from koopctrl.sampled.pde.semi_discrete import SemiDiscrete


def reduce_model(model: SemiDiscrete, n_states: int, snapshots: ArrayLike) -> SemiDiscrete:
    """Galerkin projection onto the leading singular vectors of coordinates (proper orthogonal decomposition).

    The basis is orthonormal in the domain's quadrature, so these directions are those of the functions
    themselves.

    Parameters
    ----------
    model : SemiDiscrete
    n_states : int
        States to keep; even for an equation of second order, whose rates keep the same directions.
    snapshots : (n, n_states of the model) array_like
        States met in use, such as `solution.coordinates` under inputs like those of the loop.

    Raises
    ------
    DataError
        If the snapshots do not span that many directions.
    """
    n, order = model.n_coordinates, model.pde.order
    wanted = check_integer(n_states, "n_states", low=order) // order
    if wanted * order != n_states:
        raise OptionError(f"n_states is {n_states}; expected an even number, half of them are rates")
    data = as_signal(snapshots, "snapshots", model.n_states)
    if order == 2:
        # Rates in units of the positions, so that neither decides by its unit.
        c, rate = data[:, :n], data[:, n:]
        scale = np.linalg.norm(c) / (np.linalg.norm(rate) or 1.0)
        data = np.concatenate([c, scale * rate])
    _, s, vt = np.linalg.svd(data, full_matrices=False)
    rank = int(np.count_nonzero(s > 1e-12 * s[0]))
    if rank < wanted:
        raise DataError(
            f"snapshots span {rank} directions; expected at least {wanted}. Simulate longer or with inputs"
        )
    return onto(model, vt[:wanted].T)


def onto(model: SemiDiscrete, directions: FloatArray) -> SemiDiscrete:
    """Model restricted to orthonormal directions `(n_coordinates, k)` of its coordinates."""
    to = directions.T
    return replace(
        model,
        null=model.null @ directions,
        linear={p: to @ m for p, m in model.linear.items()},
        nonlinear=tuple((p, replace(term, project=to @ term.project)) for p, term in model.nonlinear),
        input_parts={p: to @ m for p, m in model.input_parts.items()},
        sources=tuple((p, _Projected(to, source)) for p, source in model.sources),
        project=to @ model.project,
        notes=(*model.notes, f"reduced from {model.n_coordinates} to {len(to)} coordinates"),
    )


class _Projected:
    """A source of time in fewer coordinates."""

    def __init__(self, to: FloatArray, source) -> None:
        self._to, self._source = to, source

    def __call__(self, t: float) -> FloatArray:
        return self._to @ self._source(t)
