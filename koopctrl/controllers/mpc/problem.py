"""What a predictive controller is asked to do: one description shared by all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import (
    FloatArray,
    as_float_array,
    as_matrix,
    as_weight,
    broadcast_vector,
    check_choice,
    check_finite,
    check_integer,
    check_number,
    shape_of,
    smallest_eigenvalue,
)
from koopctrl.controllers.bounds import input_bounds
from koopctrl.errors import OptionError, ShapeError

Bounds = tuple[ArrayLike, ArrayLike | None, ArrayLike | None]


@dataclass(frozen=True)
class MPCProblem:
    r"""A finite-horizon problem in physical units.

    .. math::
        \min \sum_{k=0}^{N-1} |y_k - r_k|_{Q_k}^2 + |u_k - u_s|_{R_k}^2 + |u_k - u_{k-1}|_{S_k}^2 + V_N

    Attributes
    ----------
    horizon : int
        `N`.
    Q : (N, n_y, n_y) or (N, n_z, n_z) array
        Weights on outputs or lifted coordinates; `Q[k]` is on the sample that `u_k` leads to, `k + 1`.
    R, S : (N, n_u, n_u) arrays
        Weights on inputs and on input moves (`R_rate`).
    u_min, u_max, du_min, du_max : (n_u,) arrays
        Hard bounds, infinite where there is none.
    E, e_min, e_max : (n_e, n_y + n_x), (n_e,), (n_e,) arrays
        Bounded combinations of `[y; x]`, at steps 1 to N.
    E_end, end_min, end_max : (n_t, n_x), (n_t,), (n_t,) arrays
        Bounded combinations of `x_N - x_s`: the terminal set.
    soft : bool
        Whether those may be relaxed when they cannot be held.
    soft_weights : (2, n_e + n_t) array
        Linear and quadratic cost of relaxing each row, in the cost's units: see `relaxation_costs`.
    blocks : (n_blocks,) int array
        First step of each block over which the input is held.
    terminal : str
        `auto` (on networks), `riccati` or `none`.
    delay : int
        Samples that pass before an input acts; outputs and bounds count from then on.
    max_solve_time : float
        Seconds after which no further QP is begun; infinite by default.
    margin : (N, n_e) array
        What is taken off both bounds of each combination, step by step.
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
    E_end: FloatArray
    end_min: FloatArray
    end_max: FloatArray
    soft: bool
    soft_weights: FloatArray
    blocks: np.ndarray
    terminal: str
    delay: int
    max_solve_time: float
    margin: FloatArray

    @property
    def e_low(self) -> FloatArray:
        """Lower bounds `(N, n_e)` of the combinations, drawn in."""
        return self.e_min + self.margin

    @property
    def e_high(self) -> FloatArray:
        """Upper bounds `(N, n_e)` of the combinations, drawn in."""
        return self.e_max - self.margin

    @property
    def is_tightened(self) -> bool:
        """Whether anything is taken off."""
        return bool(self.margin.any())

    @property
    def n_u(self) -> int:
        """Number of inputs."""
        return self.R.shape[1]

    @property
    def n_bounded(self) -> int:
        """Number of rows that bound outputs and states over the whole horizon."""
        return len(self.E) * self.horizon + len(self.E_end)

    @property
    def row_soft_weights(self) -> FloatArray:
        """`soft_weights` of all bounded rows, `(2, n_bounded)`: every step's, then the terminal set's."""
        n_e = len(self.E)
        return np.hstack([np.tile(self.soft_weights[:, :n_e], self.horizon), self.soft_weights[:, n_e:]])

    @property
    def idle_units(self) -> FloatArray:
        """Factors `(n_bounded,)` of bounded rows that no input reaches: by what relaxing them costs."""
        return np.sqrt(self.row_soft_weights[1])

    def repeated(self, first: int) -> tuple[int, int, int]:
        """Rows that look at the same combinations in every step, after `first` others: see `scale_rows`."""
        return first, self.horizon, len(self.E)

    @property
    def input_weight(self) -> FloatArray:
        """`R`, or `R + S` where `R` alone is not definite: what picks among inputs that do the same."""
        R = self.R[-1]
        return R if smallest_eigenvalue(R) > 1e-14 else R + self.S[-1]

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
    constraints: Bounds | None,
    terminal_set: Bounds | None,
    soft: bool,
    soft_weights: tuple[float, float],
    blocks: int | Sequence[int] | None,
    terminal: str,
    input_delay: int,
    max_solve_time: float | None,
    centre: FloatArray,
    tightening: ArrayLike | None = None,
) -> MPCProblem:
    """Check everything and refuse what cannot be posed, with the reason; `Q` has been checked before.

    `centre` holds the operating values of `[y; x]`, from which bounds are as far as signals are large.

    Raises
    ------
    OptionError, ShapeError, DataError
        Naming the argument at fault.
    """
    u_low, u_high = input_bounds(u_min, u_max, n_u)
    du_low, du_high = input_bounds(du_min, du_max, n_u, ("du_min", "du_max"))
    if (du_low > 0).any() or (du_high < 0).any():
        raise OptionError(
            f"du_min is {du_low.tolist()} and du_max is {du_high.tolist()}; expected du_min <= 0 <= du_max, "
            "since the input must be allowed to stay"
        )
    y_low, y_high = input_bounds(y_min, y_max, n_y, ("y_min", "y_max"))
    kept = np.isfinite(y_low) | np.isfinite(y_high)
    E, e_low, e_high = _combinations(constraints, "constraints", n_x)
    E_end, end_low, end_high = _combinations(terminal_set, "terminal_set", n_x)
    if (end_low > 0).any() or (end_high < 0).any():
        raise OptionError(
            f"terminal_set has bounds {end_low.tolist()} and {end_high.tolist()}; expected low <= 0 <= high, "
            "since they are on the distance from the steady target, which must be inside"
        )
    if not isinstance(soft, (bool, np.bool_)):
        raise OptionError(f"soft is {soft!r}; expected True or False")
    if shape_of(soft_weights) != (2,):
        raise OptionError(f"soft_weights is {soft_weights!r}; expected a pair: linear and quadratic cost")
    linear = check_number(soft_weights[0], "soft_weights[0]", low=0.0, high=1e12)
    quadratic = check_number(soft_weights[1], "soft_weights[1]", low=0.0, high=1e12, strict=True)
    limit = np.inf
    if max_solve_time is not None:
        limit = check_number(max_solve_time, "max_solve_time", low=0.0, strict=True)
    S = stage_weights(0.0 if R_rate is None else R_rate, "R_rate", (n_u,), horizon)
    R = stage_weights(R, "R", (n_u,), horizon, definite=not S.any())
    if min(smallest_eigenvalue(weight) for weight in np.unique(R + S, axis=0)) <= 1e-14:
        raise OptionError(
            "R and R_rate leave an input without any weight; expected R + R_rate to be positive definite"
        )
    E_all = np.vstack([np.eye(n_y, n_y + n_x)[kept], np.hstack([np.zeros((len(E), n_y)), E])])
    e_min, e_max = np.concatenate([y_low[kept], e_low]), np.concatenate([y_high[kept], e_high])
    tracking = np.zeros(len(E_all) + len(E_end))
    if Q.shape[1] == n_y:
        tracking[: int(kept.sum())] = np.diag(Q[-1])[kept]
    sizes = np.concatenate([_reach(e_min, e_max, E_all @ centre), _reach(end_low, end_high, 0.0)])
    boxed = np.isfinite(u_low) & np.isfinite(u_high)
    range_u = np.where(boxed, u_high, 0.0) - np.where(boxed, u_low, 0.0)
    inputs = (0.5 * range_u) ** 2 * np.diag(R[-1] + S[-1])
    costs = relaxation_costs(tracking, sizes, (Q, inputs))
    return MPCProblem(
        horizon=horizon,
        Q=Q,
        R=R,
        S=S,
        u_min=u_low,
        u_max=u_high,
        du_min=du_low,
        du_max=du_high,
        E=E_all,
        e_min=e_min,
        e_max=e_max,
        E_end=E_end,
        end_min=end_low,
        end_max=end_high,
        soft=bool(soft),
        soft_weights=np.array([[linear], [quadratic]]) * costs,
        blocks=_check_blocks(blocks, horizon),
        terminal=check_choice(terminal, "terminal", ("auto", "riccati", "none")),
        delay=check_integer(input_delay, "input_delay"),
        max_solve_time=limit,
        margin=np.hstack(
            [_tightening(tightening, horizon, (y_low, y_high))[:, kept], np.zeros((horizon, len(E)))]
        ),
    )


def _tightening(given: ArrayLike | None, horizon: int, bounds: tuple[FloatArray, FloatArray]) -> FloatArray:
    """What is taken off the outputs' bounds `(N, n_y)`, checked."""
    low, high = bounds
    n_y = len(low)
    if given is None:
        return np.zeros((horizon, n_y))
    taken = check_finite(as_float_array(given, "tightening"), "tightening")
    if taken.ndim < 2:
        taken = np.broadcast_to(broadcast_vector(taken, "tightening", n_y), (horizon, n_y))
    if taken.ndim != 2 or taken.shape[1] != n_y or len(taken) < horizon:
        raise ShapeError(
            f"tightening has shape {taken.shape}; expected half-widths ({n_y},), or ({horizon}, {n_y}) "
            "with a row for each step of the horizon"
        )
    if (taken < 0.0).any():
        raise OptionError(
            f"tightening has {float(taken.min()):.4g}; expected half-widths of bands, none below 0"
        )
    taken = taken[:horizon]
    bounded = np.isfinite(low) | np.isfinite(high)
    if taken.any() and not bounded.any():
        raise OptionError("tightening is given, but y_min and y_max are not; expected bounds to take it off")
    with np.errstate(invalid="ignore"):
        crossed = np.argwhere(high - low < 2.0 * taken)
    if len(crossed):
        k, i = crossed[0]
        raise OptionError(
            f"tightening takes {taken[k, i]:.4g} off both bounds of output {i} at step {k + 1}, which are "
            f"{high[i] - low[i]:.4g} apart; expected room between them. Take a smaller coverage or a better "
            "model"
        )
    return taken.copy()


def relaxation_costs(
    tracking: FloatArray, sizes: FloatArray, others: tuple[FloatArray, FloatArray]
) -> FloatArray:
    """Cost of relaxing each bounded row by `e`: `(2, n)`, of `e` and of `e^2`, before `soft_weights`.

    `q s` and `q`, with `s` the row's size and `q` its weight, so that units have no part in it: relaxing by
    `s` costs what an error of that size in a tracked output does. Where one of the two is not given, it
    follows from the other and from the level `q s^2` of the other rows, else of the inputs' bounds.

    Parameters
    ----------
    tracking : (n,) array
        `Q`'s diagonal entry of the output that a row bounds; 0 for other rows.
    sizes : (n,) array
        How far the bound is from the operating value; 0 where it is at it.
    others : (N, n, n) and (n_u,) arrays
        `Q`, and the cost of inputs at their bounds.
    """
    levels = tracking * sizes**2
    ceiling = float(np.abs(others[0]).max(initial=0.0)) or 1.0
    level = float(levels.max(initial=0.0)) or float(others[1].max(initial=0.0)) or ceiling
    weighted = np.where(tracking > 0.0, tracking, 1.0)
    size = np.where(sizes > 0.0, sizes, np.where(tracking > 0.0, np.sqrt(level / weighted), 1.0))
    weight = np.where(tracking > 0.0, tracking, level / size**2)
    return np.stack([weight * size, weight])


def _reach(low: FloatArray, high: FloatArray, middle: FloatArray | float) -> FloatArray:
    """Distance of the farther finite bound from a value; 0 where there is none."""
    far = np.abs(np.stack([low, high]) - middle)
    return np.max(np.where(np.isfinite(far), far, 0.0), axis=0)


def with_half_widths(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings in which bands have become what is taken off: numbers, which files can hold."""
    given = settings["tightening"]
    return settings | {"tightening": getattr(given, "half_widths", given)}


def stage_weights(
    value: ArrayLike, name: str, sizes: Sequence[int], horizon: int, *, definite: bool = False
) -> FloatArray:
    """`(N, n, n)` weights: one for all steps, or `(N, n, n)` with one a step; `n` is one of `sizes`.

    Raises
    ------
    ShapeError, OptionError
        If the shape fits none of `sizes`, or a weight is not symmetric and (semi-)definite.
    """
    array = as_float_array(value, name)
    size = next((n for n in sizes if array.ndim >= 2 and array.shape[-1] == n), sizes[0])
    if array.ndim == 3:
        if len(array) != horizon:
            raise ShapeError(
                f"{name} has shape {array.shape}; expected ({horizon}, {size}, {size}), one weight a step"
            )
        return np.stack([as_weight(w, f"{name}[{k}]", size, definite=definite) for k, w in enumerate(array)])
    weight = as_weight(array, name, size, definite=definite)
    return np.broadcast_to(weight, (horizon, size, size))


def _combinations(given: Bounds | None, name: str, n_x: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`(E, low, high)`, checked; no rows where nothing is given."""
    if given is None:
        return np.empty((0, n_x)), np.empty(0), np.empty(0)
    if not isinstance(given, tuple) or len(given) != 3:
        raise OptionError(f"{name} is not (E, low, high); expected low <= E x <= high as a tuple of three")
    E = np.atleast_2d(as_float_array(given[0], f"{name}[0]"))
    E = as_matrix(E, f"{name}[0]", (len(E), n_x))
    low, high = input_bounds(given[1], given[2], len(E), (f"{name}[1]", f"{name}[2]"))
    return E.copy(), low, high


def _check_blocks(blocks: int | Sequence[int] | None, horizon: int) -> np.ndarray:
    """First steps of the blocks: an integer is a control horizon, a sequence holds the blocks' lengths."""
    if blocks is None:
        return np.arange(horizon)
    if isinstance(blocks, (int, np.integer)):
        n = check_integer(blocks, "blocks", low=1)
        return np.arange(min(n, horizon))
    ranked = isinstance(blocks, np.ndarray) and blocks.ndim == 1
    if isinstance(blocks, (str, bytes)) or not (ranked or isinstance(blocks, Sequence)):
        raise OptionError(
            f"blocks is {blocks!r}; expected a control horizon, or a sequence of the blocks' lengths"
        )
    lengths = [check_integer(b, "blocks", low=1) for b in blocks]
    if sum(lengths) != horizon:
        raise OptionError(
            f"blocks is {lengths}, which add up to {sum(lengths)}; expected the horizon, {horizon}"
        )
    return np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(int)
