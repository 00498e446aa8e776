"""States at rest in the neighbourhood of one: what set-points and quiet paths are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Plant

TIE = 1e-6
"""Outputs that can be moved as far as the most movable, to this part, count as equal: the first is taken.
What is reached to this part is reached: rounding decides nothing."""

ROUNDING = 1e-12
"""Coordinates below this, in their scales, are zeros that were computed."""

N_STEPS = 20
"""Steps from a rest point to the end of its way."""


@dataclass(frozen=True)
class RestPoint:
    """State and input at rest: `f(x, u) = 0`."""

    x: FloatArray
    u: FloatArray


class RestManifold:
    r"""Rest points around the first equilibrium of a plant, along ways on which outputs move.

    The equations :math:`f(x, u) = 0` leave as many directions free as there are inputs; with
    :math:`w = (x, u)` over their scales these span the null space of :math:`\partial f/\partial w`. Way
    number one moves the output that can be moved most for its range, as directly as possible; each further
    way moves the next one and is orthogonal to those before.

    Parameters
    ----------
    plant : Plant
        With an equilibrium.
    """

    def __init__(self, plant: Plant) -> None:
        if not len(plant.equilibria):
            raise ValueError(f"{type(plant).__name__} names no equilibrium; its tasks need one")
        self.plant = plant
        self.origin = RestPoint(plant.equilibria[0], plant.equilibrium_inputs[0])
        n_x = plant.n_x
        self._x_scale = _widths(plant.x0_low, plant.x0_high, np.ones(n_x))
        self._u_scale = _widths(plant.u_min, plant.u_max, np.ones(plant.n_u))
        self._scale = np.concatenate([self._x_scale, self._u_scale])
        self._w0 = np.concatenate([self.origin.x, self.origin.u]) / self._scale
        low, high = plant.output_bounds()
        C = plant.output_jacobian(self.origin.x) * self._x_scale
        # What the box of starts moves an output by, or its own range where that is smaller.
        self.y_scale = np.fmin(_widths(low, high, np.full(plant.n_y, np.inf)), np.abs(C).sum(axis=1))
        self.y_scale = np.where(self.y_scale > 0.0, self.y_scale, 1.0)
        self.ways = self._ways(C / self.y_scale[:, None])
        self._farthest: dict[tuple[int, float, float], float] = {}

    def _ways(self, C: FloatArray) -> list[FloatArray]:
        """Unit vectors `(n_x + n_u,)` in scaled coordinates, at most two."""
        free = self._null_space(self._w0)
        motion = C @ free[: self.plant.n_x]
        largest = np.linalg.norm(motion, axis=1).max(initial=0.0)
        ways = []
        for _ in range(min(2, free.shape[1])):
            sizes = np.linalg.norm(motion, axis=1)
            if not sizes.max() > 1e-3 * largest or not largest > 0.0:
                break
            chosen = int(np.flatnonzero(sizes >= sizes.max() * (1.0 - TIE))[0])
            along = motion[chosen] / sizes[chosen]
            ways.append(free @ along)
            motion = motion - np.outer(motion @ along, along)
        return ways

    def _null_space(self, w: FloatArray) -> FloatArray:
        _, s, vt = np.linalg.svd(self._slope(w))
        rank = int(np.sum(s > 1e-9 * s[0]))
        return vt[rank:].T

    def _slope(self, w: FloatArray) -> FloatArray:
        x, u = np.split(w * self._scale, [self.plant.n_x])
        A, B = self.plant.jacobians(x, u)
        return np.concatenate([A * self._x_scale, B * self._u_scale], axis=1) * (
            self.plant.dt / self._x_scale[:, None]
        )

    def at(self, amounts: FloatArray) -> RestPoint | None:
        """Rest point nearest to the origin moved by an amount along each way; None where there is none."""
        w = self._w0.copy()
        for fraction in np.linspace(0.0, 1.0, 5)[1:]:
            guess = self._w0 + fraction * sum(a * way for a, way in zip(amounts, self.ways, strict=False))
            w = self._settled(w + (guess - w))
            if w is None:
                return None
        # What is left of a zero is the machine's, and no two machines' alike.
        x, u = np.split(np.where(np.abs(w) > ROUNDING, w, 0.0) * self._scale, [self.plant.n_x])
        return RestPoint(x, u)

    def _settled(self, w: FloatArray) -> FloatArray | None:
        """Newton's method to the nearest solution, by smallest steps."""
        for _ in range(30):
            x, u = np.split(w * self._scale, [self.plant.n_x])
            residual = self.plant.rhs(x, u) * self.plant.dt / self._x_scale
            if not np.isfinite(residual).all():
                return None
            step = np.linalg.lstsq(self._slope(w), residual, rcond=1e-12)[0]
            w = w - step
            if np.abs(step).max() < 1e-13 * max(1.0, float(np.abs(w).max())):
                break
        x, u = np.split(w * self._scale, [self.plant.n_x])
        residual = self.plant.rhs(x, u) * self.plant.dt / self._x_scale
        return w if np.abs(residual).max() < 1e-9 else None

    def farthest(self, way: int, sign: float, reach: float) -> float:
        """Amount along one way up to where outputs have moved by `reach` of their range.

        It ends before that where inputs have used up more than 60 % of what lies between rest and their
        limits, states leave four fifths of their limits, or rest points end; 0 where nothing moves.
        """
        asked = (way, sign, reach)
        if asked not in self._farthest:
            self._farthest[asked] = self._search(way, sign, reach)
        return self._farthest[asked]

    def _search(self, way: int, sign: float, reach: float) -> float:
        plant, best = self.plant, 0.0
        y0 = plant.output(self.origin.x)
        C = plant.output_jacobian(self.origin.x) * self._x_scale / self.y_scale[:, None]
        speed = float(np.abs(C @ self.ways[way][: plant.n_x]).max())
        if not speed > 0.0:
            return 0.0
        for amount in np.linspace(0.0, 1.5 * reach / speed, N_STEPS + 1)[1:]:
            amounts = np.zeros(len(self.ways))
            amounts[way] = sign * amount
            point = self.at(amounts)
            if point is None or not self._inside(point):
                break
            moved = np.abs((plant.output(point.x) - y0) / self.y_scale).max()
            if moved > reach * (1.0 + TIE):
                break
            best = float(sign * amount)
        return best

    def _inside(self, point: RestPoint) -> bool:
        plant, rest = self.plant, self.origin
        room = np.where(point.u > rest.u, np.subtract(plant.u_max, rest.u), np.subtract(rest.u, plant.u_min))
        if (np.abs(point.u - rest.u) > 0.6 * room).any():
            return False
        room = np.where(point.x > rest.x, np.subtract(plant.x_max, rest.x), np.subtract(rest.x, plant.x_min))
        return bool((np.abs(point.x - rest.x) <= 0.8 * room).all())


def speeds_of(plant: Plant, origin: RestPoint) -> list[tuple[int, int]]:
    """Pairs `(i, j)` of states of which the second is the time derivative of the first."""
    A, B = plant.jacobians(origin.x, origin.u)
    pairs = []
    for i, row in enumerate(A):
        entries = np.flatnonzero(row)
        if len(entries) == 1 and entries[0] != i and row[entries[0]] == 1.0 and not B[i].any():
            pairs.append((i, int(entries[0])))
    return pairs


def _widths(low: object, high: object, otherwise: FloatArray) -> FloatArray:
    width = np.subtract(high, low)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return np.where(np.isfinite(width) & (width > 0.0), width, otherwise)
