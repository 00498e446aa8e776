"""Random problems, and their optimum from another formulation in extended precision.

States stay variables, so that nothing is condensed and nothing grows; the equations of optimality on a set
of active bounds are solved by LU and refined with residuals in long doubles. A point that satisfies them with
multipliers of the right sign, inside all bounds, is the optimum of a strictly convex problem, wherever the
set came from.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg

EXTENDED = np.longdouble


@dataclass
class Posed:
    """A plant, options of `LinearMPC`, where it is and what was sent last; the set-point is the origin."""

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    horizon: int
    options: dict[str, Any]
    x0: np.ndarray
    u_last: np.ndarray


def random_problem(rng: np.random.Generator) -> Posed:
    """Stable to unstable up to radius two, short to long, in all kinds of units."""
    n, m, p = int(rng.integers(1, 5)), int(rng.integers(1, 3)), int(rng.integers(1, 3))
    N = int(rng.choice([1, 3, 8, 15, 25]))
    A, B, C = rng.normal(size=(n, n)), rng.normal(size=(n, m)), rng.normal(size=(p, n))
    A *= rng.choice([0.5, 0.9, 1.0, 1.1, 1.4, 2.0]) / np.abs(np.linalg.eigvals(A)).max()
    u_unit, y_unit = 10.0 ** rng.uniform(-6, 6, m), 10.0 ** rng.uniform(-6, 6, p)
    bound = u_unit * rng.uniform(0.3, 1.0, m)
    options: dict[str, Any] = {
        "Q": rng.uniform(0.1, 1.0, p) / y_unit**2, "R": 10.0 ** rng.uniform(-3, 2) / u_unit**2,
        "u_min": -bound, "u_max": bound * rng.uniform(0.3, 1.0, m),
        "terminal": str(rng.choice(["riccati", "none"])),
    }  # fmt: skip
    if rng.random() < 0.3:
        options |= {"du_min": -0.4 * bound, "du_max": 0.3 * bound}
    if rng.random() < 0.3:
        options["R_rate"] = rng.uniform(0.1, 3.0) / u_unit**2
    if rng.random() < 0.5:
        options |= {"y_max": y_unit * rng.uniform(0.1, 1.0, p), "y_min": -y_unit * rng.uniform(0.1, 1.0, p)}
        options["soft"] = bool(rng.random() < 0.7)
    x0 = rng.normal(size=n) * 10.0 ** rng.uniform(-1.5, 0.3)
    return Posed(A, B / u_unit, y_unit[:, None] * C, N, options, x0, 0.3 * bound * rng.normal(size=m))


class Exact:
    """`min z'Hz/2 + f'z` with `E z = b` and `G z <= h` in `z = [u_0 x_1 .. u_{N-1} x_N e]`, scaled.

    `e` are the relaxations, there only if `softened`. Inputs, outputs and relaxations are in their own units.
    """

    def __init__(self, posed: Posed, P: np.ndarray | None, last: np.ndarray, softened: bool) -> None:
        o, N = posed.options, posed.horizon
        self.N, self.m, n = N, posed.B.shape[1], len(posed.A)
        m, p = self.m, len(posed.C)
        self.unit = 0.5 * (o["u_max"] - o["u_min"])
        bounded = "y_max" in o
        n_e = N * p if softened else 0
        size = N * (m + n) + n_e
        R, S = np.diag(np.broadcast_to(o["R"], m)), np.diag(np.broadcast_to(o.get("R_rate", 0.0), m))
        H, f = np.zeros((size, size)), np.zeros(size)
        E, b = np.zeros((N * n, size)), np.zeros(N * n)
        G, h = [], []

        def u(k: int) -> slice:
            return slice(k * (m + n), k * (m + n) + m)

        def x(k: int) -> slice:
            return slice((k - 1) * (m + n) + m, k * (m + n))

        def add(row: dict[int, float] | np.ndarray, high: float) -> None:
            if np.isfinite(high):
                G.append(row)
                h.append(high)

        U = np.diag(self.unit)
        for k in range(N):
            H[u(k), u(k)] += U @ (R + S) @ U
            if k:
                H[u(k - 1), u(k - 1)] += U @ S @ U
                H[u(k), u(k - 1)] -= U @ S @ U
                H[u(k - 1), u(k)] -= U @ S @ U
            else:
                f[u(0)] -= U @ S @ last
            weight = P if P is not None and k == N - 1 else posed.C.T @ np.diag(o["Q"]) @ posed.C
            H[x(k + 1), x(k + 1)] = weight
            rows = slice(k * n, (k + 1) * n)
            E[rows, x(k + 1)] = np.eye(n)
            E[rows, u(k)] = -posed.B @ U
            if k:
                E[rows, x(k)] = -posed.A
            else:
                b[rows] = posed.A @ posed.x0
            for i in range(m):
                for sign, side in ((1.0, o["u_max"]), (-1.0, -o["u_min"])):
                    row = np.zeros(size)
                    row[u(k)][i] = sign
                    add(row, side[i] / self.unit[i])
                if "du_max" in o:
                    for sign, side in ((1.0, o["du_max"]), (-1.0, -o["du_min"])):
                        row = np.zeros(size)
                        row[u(k)][i] = sign
                        if k:
                            row[u(k - 1)][i] = -sign
                        add(row, (side[i] + (0.0 if k else sign * last[i])) / self.unit[i])
            for i in range(p if bounded else 0):
                far = max(abs(o["y_max"][i]), abs(o["y_min"][i]))
                e = N * (m + n) + k * p + i
                for sign, side in ((1.0, o["y_max"]), (-1.0, -o["y_min"])):
                    row = np.zeros(size)
                    row[x(k + 1)] = sign * posed.C[i] / far
                    if softened:
                        row[e] = -1.0
                    add(row, side[i] / far)
                if softened:
                    H[e, e] = 2e3 * o["Q"][i] * far**2 / 2.0
                    f[e] = 0.5e3 * o["Q"][i] * far**2
                    row = np.zeros(size)
                    row[e] = -1.0
                    add(row, 0.0)
        level = np.abs(H).max()
        self.H, self.f, self.E, self.b = H / level, f / level, E, b
        self.G, self.h = np.array(G), np.array(h)

    def start(self, posed: Posed, inputs: np.ndarray, near: float = 1e-6) -> list[int]:
        """Bounds that a plan meets."""
        z, x = np.zeros(len(self.f)), posed.x0
        n, m = len(posed.A), self.m
        for k in range(self.N):
            x = posed.A @ x + posed.B @ inputs[k]
            z[k * (m + n) : k * (m + n) + m] = inputs[k] / self.unit
            z[k * (m + n) + m : (k + 1) * (m + n)] = x
        n_e = len(z) - self.N * (m + n)
        if n_e:
            over = self.G[:, : len(z) - n_e] @ z[: len(z) - n_e] - self.h
            for e in range(n_e):
                rows = np.flatnonzero((self.G[:, len(z) - n_e + e] != 0.0) & (self.h > 0.0))
                z[len(z) - n_e + e] = max(0.0, over[rows].max())
        return list(np.flatnonzero(self.h - self.G @ z < near))

    def solve(self, active: list[int]) -> np.ndarray | None:
        """The optimal inputs `(N, m)`, certified; None where no set of active bounds was found."""
        for _ in range(60):
            found = self._on(active)
            if found is None:
                return None
            z, lam, size = found
            over = self.G @ z - self.h
            over[active] = -np.inf
            worst = int(np.argmax(over))
            least = int(np.argmin(lam)) if len(active) else -1
            if over[worst] > 1e-11 * size:
                active = [*active, worst]
            elif len(active) and lam[least] < -1e-11 * max(np.abs(lam).max(), 1e-300):
                active = active[:least] + active[least + 1 :]
            else:
                stride = self.E.shape[0] // self.N + self.m
                return (
                    np.array([z[k * stride : k * stride + self.m] for k in range(self.N)], float) * self.unit
                )
        return None

    def _on(self, active: list[int]) -> tuple[np.ndarray, np.ndarray, float] | None:
        """Point and multipliers of the bounds in `active`, refined; None where they depend on each other."""
        N = np.vstack([self.E, self.G[active]])
        rhs = np.concatenate([-self.f, self.b, self.h[active]])
        K = np.block([[self.H, N.T], [N, np.zeros((len(N), len(N)))]])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                lu = linalg.lu_factor(K)
            except (linalg.LinAlgWarning, linalg.LinAlgError):
                return None
        if np.abs(np.diag(lu[0])).min() < 1e-13 * np.abs(np.diag(lu[0])).max():
            return None
        wide, z = K.astype(EXTENDED), np.zeros(len(rhs), EXTENDED)
        for _ in range(6):
            defect = (rhs.astype(EXTENDED) - wide @ z).astype(float)
            z = z + linalg.lu_solve(lu, defect)
        size = float(np.abs(z[: len(self.f)]).max())
        n = len(self.f)
        return z[:n], z[n + len(self.E) :], max(size, 1.0)
