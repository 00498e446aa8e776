"""Random MPC problems on linear plants, and what can be said of an answer without the package's own code."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy.optimize import linprog, lsq_linear

# Near enough to a bound to be called active, relative to the largest value at stake.
ACTIVE = 2e-6


@dataclass
class Problem:
    """A plant, options of `LinearMPC`, and what is measured and asked for at each sample."""

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    horizon: int
    options: dict[str, Any]
    u_last: np.ndarray
    states: list[np.ndarray]
    references: list[Any]
    kinds: dict[str, Any] = field(default_factory=dict)

    def on_states(self, A: np.ndarray, B: np.ndarray, n_y: int) -> Problem:
        """The same on another plant, of whose states the first `n_y` are the outputs.

        Without bounds on combinations of states where these are not all outputs.
        """
        options = {k: v[:n_y] if k in ("Q", "y_min", "y_max") else v for k, v in self.options.items()}
        if n_y < len(A):
            options.pop("constraints", None)
        references = [None if r is None else r[..., :n_y] for r in self.references]
        C = np.eye(n_y, len(A))
        return replace(self, A=A, B=B, C=C, options=options, references=references)

    def __repr__(self) -> str:
        n_x, n_u = self.B.shape
        sizes = f"{n_x} states, {n_u} inputs, {len(self.C)} outputs, horizon {self.horizon}"
        return f"Problem({sizes}, {self.kinds})"


@st.composite
def problems(draw, n_steps: int = 2, sizes: tuple[int, int] | None = None, longest: int = 40):
    """Kinds are drawn, so that they shrink, and numbers come from a seed.

    `sizes` fixes the numbers of states and inputs; all states are outputs then.
    """
    n_x, n_u = sizes or (draw(st.integers(1, 6)), draw(st.integers(1, 3)))
    n_y = n_x if sizes else draw(st.integers(1, 3))
    horizon = draw(st.integers(1, longest))
    plant = draw(st.sampled_from(["stable", "unstable", "integrating"]))
    inputs = draw(st.sampled_from(["none", "box", "box", "equal", "aside"]))
    moves = draw(st.sampled_from(["none", "none", "tight", "one side", "frozen"]))
    outputs = draw(st.sampled_from(["none", "box", "box", "equal", "one side"]))
    states = draw(st.booleans())
    soft = draw(st.booleans())
    rate_cost = draw(st.booleans())
    blocks = draw(st.sampled_from(["none", "none", "horizon", "lengths"]))
    terminal = draw(st.sampled_from(["riccati", "none"]))
    aims = [draw(st.sampled_from(["none", "near", "far", "preview"])) for _ in range(n_steps)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    log_q, log_r = rng.uniform(-3, 3, 2)
    log_bound, size = rng.uniform(-1.5, 1), rng.uniform(-1, 2)

    A = rng.normal(size=(n_x, n_x))
    if plant == "integrating":
        A = np.triu(0.5 * A, 1) + np.diag(rng.uniform(0.2, 0.95, n_x))
        A[-1, -1] = 1.0
    else:
        radius = rng.uniform(0.3, 0.98) if plant == "stable" else rng.uniform(1.0, 1.12)
        A *= radius / np.abs(np.linalg.eigvals(A)).max()
    B, C = rng.normal(size=(n_x, n_u)), rng.normal(size=(n_y, n_x))
    bound = 10.0**log_bound
    low, high = np.full(n_u, -np.inf), np.full(n_u, np.inf)
    if inputs != "none":
        low, high = -bound * rng.uniform(0.3, 1, n_u), bound * rng.uniform(0.3, 1, n_u)
    if inputs == "equal":
        k = int(rng.integers(n_u))
        low[k] = high[k]
    if inputs == "aside":
        low = 0.5 * high
    options: dict[str, Any] = {
        "Q": 10.0**log_q * rng.uniform(0.1, 1, n_y), "R": 10.0**log_r * rng.uniform(0.1, 1, n_u),
        "u_min": low, "u_max": high, "soft": soft, "terminal": terminal,
    }  # fmt: skip
    if moves in ("tight", "frozen"):
        options |= {"du_min": -0.2 * bound * rng.uniform(0.1, 1, n_u), "du_max": 0.2 * bound}
    if moves == "one side":
        options["du_max"] = 0.1 * bound
    if moves == "frozen":
        options["du_max"] = np.zeros(n_u)
    if rate_cost:
        options["R_rate"] = 10.0**log_r * rng.uniform(0, 3)
    level = 10.0 ** rng.uniform(-1, 1, n_y)
    if outputs != "none":
        options |= {"y_min": -level, "y_max": level.copy()}
    if outputs == "equal":
        options["y_min"][0] = level[0]
    if outputs == "one side":
        del options["y_min"]
    if states:
        E = rng.normal(size=(int(rng.integers(1, 3)), n_x))
        width = 10.0 ** rng.uniform(-1, 1, len(E))
        options["constraints"] = (E, -width if rng.random() < 0.7 else None, width)
    if blocks == "horizon":
        options["blocks"] = int(rng.integers(1, horizon + 3))
    if blocks == "lengths":
        cuts = np.flatnonzero(rng.random(horizon - 1) < 0.5) + 1
        options["blocks"] = np.diff([0, *cuts, horizon]).tolist()
    references = []
    for aim in aims:
        if aim == "none":
            references.append(None)
        elif aim == "preview":
            references.append(rng.normal(size=(int(rng.integers(1, horizon + 3)), n_y)))
        else:
            references.append(rng.normal(size=n_y) * (0.1 if aim == "near" else 1e3))
    u_last = bound * rng.normal(size=n_u)
    points = [10.0**size * rng.normal(size=n_x) * rng.choice([0.01, 1.0]) for _ in range(n_steps)]
    kinds = {
        "plant": plant, "inputs": inputs, "moves": moves, "outputs": outputs, "states": states, "soft": soft,
        "aims": aims, "log_q": log_q, "log_r": log_r, "log_bound": log_bound, "size": size, "blocks": blocks,
        "terminal": terminal,
    }  # fmt: skip
    return Problem(A, B, C, horizon, options, u_last, points, references, kinds)


class Judge:
    """Predictions, constraints and conditions of optimality, written down afresh."""

    def __init__(self, problem: Problem, P: np.ndarray | None) -> None:
        o, N = problem.options, problem.horizon
        self.N, self.n_u = N, problem.B.shape[1]
        A, B, n_x, n_u = problem.A, problem.B, len(problem.A), problem.B.shape[1]
        self.problem, self.P = problem, P
        blocks = o.get("blocks")
        if blocks is None:
            owner = np.arange(N)
        elif isinstance(blocks, int):
            owner = np.minimum(np.arange(N), min(blocks, N) - 1)
        else:
            owner = np.repeat(np.arange(len(blocks)), blocks)
        self.T = np.kron(np.eye(owner[-1] + 1)[owner], np.eye(n_u))
        self.free = np.stack([np.linalg.matrix_power(A, k) for k in range(1, N + 1)])
        self.reach = np.zeros((N, n_x, N, n_u))
        for k in range(N):
            self.reach[k, :, k] = B
            if k:
                self.reach[k, :, :k] = np.tensordot(A, self.reach[k - 1, :, :k], 1)
        self.reach = self.reach.reshape(N, n_x, N * n_u)
        rows, low, high = [], [], []
        n_y = len(problem.C)
        if "y_max" in o:
            rows.append(problem.C)
            low.append(np.broadcast_to(o.get("y_min", -np.inf), n_y))
            high.append(np.broadcast_to(o["y_max"], n_y))
        if "constraints" in o:
            E, e_low, e_high = o["constraints"]
            rows.append(E)
            low.append(np.full(len(E), -np.inf) if e_low is None else e_low)
            high.append(e_high)
        self.E = np.vstack(rows) if rows else np.empty((0, n_x))
        self.e_min = np.concatenate(low) if rows else np.empty(0)
        self.e_max = np.concatenate(high) if rows else np.empty(0)
        self.u_min, self.u_max = o["u_min"], o["u_max"]
        self.du_min = np.broadcast_to(o.get("du_min", -np.inf), n_u)
        self.du_max = np.broadcast_to(o.get("du_max", np.inf), n_u)

    def effective_last(self, last: np.ndarray) -> np.ndarray:
        """The last input, moved to where the bounds on inputs and on moves can both hold."""
        return np.clip(last, self.u_min - self.du_max, self.u_max - self.du_min)

    def combinations(self, x0: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """`E x` at steps 1 to N, by simulation."""
        x, out = x0, np.empty((self.N, len(self.E)))
        for k, u in enumerate(inputs):
            x = self.problem.A @ x + self.problem.B @ u
            out[k] = self.E @ x
        return out

    def excess(self, x0: np.ndarray, inputs: np.ndarray) -> tuple[float, float]:
        """Largest violation of a bound on combinations, and the largest value at stake."""
        e = self.combinations(x0, inputs)
        over = np.maximum(e - self.e_max, self.e_min - e)
        return float(over.max(initial=0.0)), float(np.abs(e).max(initial=0.0))

    def rows(self, x0: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """`low <= A v <= high` over the blocked inputs: inputs, moves, combinations; how many are hard."""
        n_v, n_u = self.T.shape[1], self.n_u
        A, low, high = [np.eye(n_v)], [np.tile(self.u_min, n_v // n_u)], [np.tile(self.u_max, n_v // n_u)]
        moves, shift = np.eye(n_v) - np.eye(n_v, k=-n_u), np.zeros(n_v)
        shift[:n_u] = last
        A.append(moves)
        low.append(np.tile(self.du_min, n_v // n_u) + shift)
        high.append(np.tile(self.du_max, n_v // n_u) + shift)
        free = (self.free @ x0) @ self.E.T
        A.append((self.E @ self.reach).reshape(-1, self.reach.shape[2]) @ self.T)
        low.append((self.e_min - free).ravel())
        high.append((self.e_max - free).ravel())
        return np.vstack(A), np.concatenate(low), np.concatenate(high), 2 * n_v

    def room(self, x0: np.ndarray, last: np.ndarray) -> float:
        """Largest margin by which all bounds on combinations can be held; negative if they cannot.

        NaN where the linear programme's solver gives up.
        """
        A, low, high, n_hard = self.rows(x0, last)
        soft, n_v = slice(n_hard, None), A.shape[1]
        columns, sides = [], []
        for sign, bound in ((1.0, high), (-1.0, -low)):
            kept = np.isfinite(bound[soft])
            columns.append(np.hstack([sign * A[soft][kept], np.ones((int(kept.sum()), 1))]))
            sides.append(bound[soft][kept])
            hard = np.isfinite(bound[self.T.shape[1] : n_hard])
            columns.append(np.hstack([sign * A[n_v:n_hard][hard], np.zeros((int(hard.sum()), 1))]))
            sides.append(bound[n_v:n_hard][hard])
        limits = [*zip(low[:n_v], high[:n_v], strict=True), (None, 1e3)]
        goal = np.zeros(n_v + 1)
        goal[-1] = -1.0
        for method in ("highs-ds", "highs-ipm"):
            found = linprog(goal, np.vstack(columns), np.concatenate(sides), bounds=limits, method=method)
            if found.status in (0, 2):
                return float(found.x[-1]) if found.status == 0 else -np.inf
        return np.nan

    def relaxation_costs(self) -> tuple[np.ndarray, np.ndarray]:
        """Cost of relaxing each bounded row by `e` and `e^2`: `q s` and `q` as documented.

        `s` is the farther bound's distance from zero, `q` the output's own weight; other rows cost, relaxed
        by `s`, what the costliest output does there.
        """
        far = np.abs([self.e_min, self.e_max])
        s = np.where(np.isfinite(far), far, 0.0).max(axis=0, initial=0.0)
        n_y = len(self.problem.C) if "y_max" in self.problem.options else 0
        q = np.zeros(len(s))
        q[:n_y] = self.problem.options["Q"][:n_y]
        level = (q * s**2).max(initial=0.0)
        if level == 0.0:  # no bounded output: that of inputs at their bounds, else Q's own
            o = self.problem.options
            width = 0.5 * (self.u_max - self.u_min)
            R = o["R"] + o.get("R_rate", 0.0)
            level = float((np.where(np.isfinite(width), width, 0.0) ** 2 * R).max()) or float(o["Q"].max())
        q[n_y:] = level / s[n_y:] ** 2
        return np.tile(q * s, self.N), np.tile(q, self.N)

    def kkt(
        self,
        x0: np.ndarray,
        last: np.ndarray,
        inputs: np.ndarray,
        target: tuple[np.ndarray, np.ndarray],
        softened: bool,
    ) -> float:
        """Scaled residual of stationarity with the best multipliers that signs and distances allow.

        `target` holds the steady state and input. The cost is half the sum of squares and half of what
        relaxing a bound by e costs beside it, `w1 e + w2 e^2`.
        """
        o, T, N = self.problem.options, self.T, self.N
        Q, R = np.diag(o["Q"]), np.diag(o["R"])
        x_s, u_s = target
        C, P = self.problem.C, self.P
        H = np.kron(np.eye(N), R)
        g = -np.tile(R @ u_s, N)
        for k in range(N):
            weight = P if P is not None and k == N - 1 else C.T @ Q @ C
            H = H + self.reach[k].T @ weight @ self.reach[k]
            g = g + self.reach[k].T @ weight @ (self.free[k] @ x0 - x_s)
        S = np.eye(self.n_u) * o.get("R_rate", 0.0)
        moves = np.eye(N * self.n_u) - np.eye(N * self.n_u, k=-self.n_u)
        H = H + moves.T @ np.kron(np.eye(N), S) @ moves
        g[: self.n_u] -= S @ last
        H, g, v = T.T @ H @ T, T.T @ g, np.linalg.lstsq(T, inputs.ravel(), rcond=None)[0]
        scale = 1 / np.sqrt(np.diag(H))
        H, g, v = H * scale * scale[:, None], g * scale, v / scale
        A, low, high, n_hard = self.rows(x0, last)
        A = A * scale
        norm = np.linalg.norm(A, axis=1)
        norm[norm == 0.0] = 1.0
        A, low, high = A / norm[:, None], low / norm, high / norm
        values = A @ v
        reach = ACTIVE * (1.0 + np.abs(values).max())
        columns, least, most = [], [], []
        w1, w2 = self.relaxation_costs()
        for i in range(len(A)):
            excess = max(values[i] - high[i], low[i] - values[i])
            if softened and i >= n_hard and excess > -reach:
                e = excess * norm[i]
                q1, q2 = 0.5e3 * w1[i - n_hard], 1e3 * w2[i - n_hard]
                slope = (q1 + q2 * (e + reach * norm[i])) * norm[i]
                floor = (q1 + q2 * (e - reach * norm[i])) * norm[i] if excess > reach else 0.0
                sign = 1.0 if values[i] - high[i] > low[i] - values[i] else -1.0
                both = abs(values[i] - high[i]) < reach and abs(values[i] - low[i]) < reach
                columns.append(sign * A[i])
                least.append(-slope if both else floor)
                most.append(slope)
            elif excess > -reach:
                columns.append(A[i])
                least.append(-np.inf if low[i] - values[i] > -reach else 0.0)
                most.append(np.inf if values[i] - high[i] > -reach else 0.0)
        gradient = H @ v + g
        dual = 1.0 + max(np.abs(g).max(), np.abs(H @ v).max())
        if not columns:
            return float(np.abs(gradient).max() / dual)
        M, least, most = np.array(columns).T, np.array(least), np.array(most)
        # Counted from what is known within a little, so that no digits are lost to its size.
        middle = np.where(least > 0.0, least, 0.0)
        gradient = gradient + M @ middle
        dual = max(dual, 1.0 + np.abs(middle).max())
        limits = (least - middle, most - middle)
        multipliers = lsq_linear(M, -gradient, limits, method="bvls", tol=1e-14, max_iter=1000)
        residual = gradient + M @ multipliers.x
        return float(np.abs(residual).max() / dual)
