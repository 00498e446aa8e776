"""What a predictive controller is asked to do: one description shared by all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import (
    FloatArray,
    as_float_array,
    as_matrix,
    as_weight,
    check_choice,
    check_integer,
    check_number,
)
from koopctrl.controllers.lqr import input_bounds
from koopctrl.errors import OptionError


@dataclass(frozen=True)
class MPCProblem:
    r"""A finite-horizon problem in physical units.

    .. math::
        \min \sum_{k=0}^{N-1} |y_k - r_k|_Q^2 + |u_k - u_s|_R^2 + |u_k - u_{k-1}|_S^2 + V_N

    Attributes
    ----------
    horizon : int
        `N`.
    Q, R, S : arrays
        Weights on outputs `(n_y, n_y)` or lifted coordinates, inputs and input moves (`R_rate`).
    u_min, u_max, du_min, du_max : (n_u,) arrays
        Hard bounds, infinite where there is none.
    E, e_min, e_max : (n_e, n_y + n_x), (n_e,), (n_e,) arrays
        Bounded combinations of `[y; x]`, at steps 1 to N.
    soft : bool
        Whether those may be relaxed when they cannot be held.
    soft_weights : (float, float)
        Linear and quadratic cost of a relaxation, relative to the largest entry of `Q`.
    blocks : (n_blocks,) int array
        First step of each block over which the input is held.
    terminal : str
        `riccati` or `none`.
    """

    horizon: int
    Q: FloatArray
    R: FloatArray
    S: FloatArray
    u_min: FloatArray
    u_max: FloatArray
    du_min: FloatArray
    du_max: FloatArray
    E: FloatArray
    e_min: FloatArray
    e_max: FloatArray
    soft: bool
    soft_weights: tuple[float, float]
    blocks: np.ndarray
    terminal: str

    @property
    def n_u(self) -> int:
        """Number of inputs."""
        return len(self.R)

    @property
    def bounds_rate(self) -> bool:
        """Whether input moves are bounded."""
        return bool(np.isfinite(self.du_min).any() or np.isfinite(self.du_max).any())

    def blocking(self) -> FloatArray:
        """`(N n_u, n_blocks n_u)` map from block values to inputs."""
        owner = np.searchsorted(self.blocks, np.arange(self.horizon), side="right") - 1
        chosen = np.zeros((self.horizon, len(self.blocks)))
        chosen[np.arange(self.horizon), owner] = 1.0
        return np.kron(chosen, np.eye(self.n_u))


def describe_problem(
    n_y: int,
    n_x: int,
    n_u: int,
    *,
    horizon: int,
    Q: FloatArray,
    R: ArrayLike,
    R_rate: ArrayLike | None,
    u_min: ArrayLike | None,
    u_max: ArrayLike | None,
    du_min: ArrayLike | None,
    du_max: ArrayLike | None,
    y_min: ArrayLike | None,
    y_max: ArrayLike | None,
    constraints: tuple[ArrayLike, ArrayLike | None, ArrayLike | None] | None,
    soft: bool,
    soft_weights: tuple[float, float],
    blocks: int | Sequence[int] | None,
    terminal: str,
) -> MPCProblem:
    """Check everything and refuse what cannot be posed, with the reason.

    Raises
    ------
    OptionError, ShapeError, DataError
        Naming the argument at fault.
    """
    horizon = check_integer(horizon, "horizon", low=1)
    u_low, u_high = input_bounds(u_min, u_max, n_u)
    du_low, du_high = input_bounds(du_min, du_max, n_u, ("du_min", "du_max"))
    if (du_low > 0).any() or (du_high < 0).any():
        raise OptionError(
            f"du_min is {du_low.tolist()} and du_max is {du_high.tolist()}; expected du_min <= 0 <= du_max, "
            "since the "
            "input must be allowed to stay"
        )
    rows, lows, highs = [], [], []
    low, high = input_bounds(y_min, y_max, n_y, ("y_min", "y_max"))
    kept = np.isfinite(low) | np.isfinite(high)
    rows.append(np.eye(n_y, n_y + n_x)[kept])
    lows.append(low[kept])
    highs.append(high[kept])
    if constraints is not None:
        if not isinstance(constraints, tuple) or len(constraints) != 3:
            raise OptionError(
                "constraints is not (E, low, high); expected low <= E x <= high as a tuple of three"
            )
        E = as_matrix(np.atleast_2d(as_float_array(constraints[0], "constraints[0]")), "constraints[0]")
        E = as_matrix(E, "constraints[0]", (len(E), n_x))
        low, high = input_bounds(constraints[1], constraints[2], len(E), ("constraints[1]", "constraints[2]"))
        rows.append(np.hstack([np.zeros((len(E), n_y)), E]))
        lows.append(low)
        highs.append(high)
    if np.shape(soft_weights) != (2,):
        raise OptionError(f"soft_weights is {soft_weights!r}; expected a pair: linear and quadratic cost")
    linear, quadratic = soft_weights
    return MPCProblem(
        horizon=horizon,
        Q=Q,
        R=as_weight(R, "R", n_u, definite=True),
        S=np.zeros((n_u, n_u)) if R_rate is None else as_weight(R_rate, "R_rate", n_u),
        u_min=u_low,
        u_max=u_high,
        du_min=du_low,
        du_max=du_high,
        E=np.vstack(rows),
        e_min=np.concatenate(lows),
        e_max=np.concatenate(highs),
        soft=bool(soft),
        soft_weights=(
            check_number(linear, "soft_weights[0]", low=0.0, high=1e12),
            check_number(quadratic, "soft_weights[1]", low=0.0, high=1e12, strict=True),
        ),
        blocks=_check_blocks(blocks, horizon),
        terminal=check_choice(terminal, "terminal", ("riccati", "none")),
    )


def _check_blocks(blocks: int | Sequence[int] | None, horizon: int) -> np.ndarray:
    """First steps of the blocks: an integer is a control horizon, a sequence holds the blocks' lengths."""
    if blocks is None:
        return np.arange(horizon)
    if isinstance(blocks, (int, np.integer)):
        n = check_integer(blocks, "blocks", low=1)
        return np.arange(min(n, horizon))
    lengths = [check_integer(b, "blocks", low=1) for b in blocks]
    if sum(lengths) != horizon:
        raise OptionError(
            f"blocks is {lengths}, which add up to {sum(lengths)}; expected the horizon, {horizon}"
        )
    return np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(int)
