"""Duffing: LQR on the lifted model, on the true plant, beside the true plant's own local LQR.

The origin is a saddle between two wells. Data: 100 episodes x 50 steps, dt 0.1 s, starts uniform in [-2,
2]^2, inputs uniform in [-3, 3]. Closed loop: 60 starts in [-2, 2]^2, the same for all; 150 steps; input
clipped to the plant's [-10, 10]; Q = I, R = 0.1; a start counts as stabilised if the state ends within 1e-2
of the origin. Cost is the sum of x'Qx + u'Ru, mean over the starts.

Everything is done with one and with two BLAS threads: Riccati equations of badly conditioned models do not
agree.
"""

from __future__ import annotations

from typing import Any

import _common as c
import numpy as np

from koopctrl import LQR, KoopmanRNN, LiftedModel, Trajectories
from koopctrl_envs.duffing import Duffing

WIDTHS = (100, 200, 400)
Q, R = np.eye(2), np.array([[0.1]])
N_STARTS, N_STEPS, CLOSE = 60, 150, 1e-2
STARTS = np.random.default_rng(99).uniform(-2.0, 2.0, (N_STARTS, 2))


def train_data(seed: int) -> Trajectories:
    """Open-loop episodes."""
    plant, rng = Duffing(), np.random.default_rng(seed)
    u = rng.uniform(-3.0, 3.0, (100, 50, 1))
    x = np.empty((100, 51, 2))
    x[:, 0] = rng.uniform(-2.0, 2.0, (100, 2))
    for k in range(50):
        x[:, k + 1] = plant.step(x[:, k], u[:, k])
    return Trajectories.from_arrays(x, u, dt=plant.dt)


def closed_loop(lqr: LQR) -> tuple[float, int]:
    """Mean cost and number of starts that were stabilised, all starts at once."""
    plant, lifted = Duffing(), lqr.lifted
    u_0 = lqr.control(np.zeros(2))  # not quite 0: the model's equilibrium is the origin to its accuracy only
    x, cost = STARTS, np.zeros(N_STARTS)
    for _ in range(N_STEPS):
        u = np.clip(u_0 - lifted.lift(x) @ lqr.K.T, plant.u_min, plant.u_max)
        cost += np.einsum("bi,ij,bj->b", x, Q, x) + np.einsum("bi,ij,bj->b", u, R, u)
        x = plant.step(x, u)
    # The batched law above is what the controller does one measurement at a time.
    one = np.array([lqr.control(s) for s in STARTS[:5]])
    batch = np.clip(u_0 - lifted.lift(STARTS[:5]) @ lqr.K.T, plant.u_min, plant.u_max)
    if not np.allclose(one, batch, rtol=1e-7, atol=1e-7):
        raise RuntimeError(f"LQR.control differs from -K lift(x) by {np.abs(one - batch).max():.2e}")
    return float(cost.mean()), int(np.sum(np.linalg.norm(x, axis=1) < CLOSE))


def run(width: int, n_seeds: int, **settings: Any) -> dict[str, Any]:
    """All seeds of one width."""
    rows = []
    for seed in range(n_seeds):
        model = KoopmanRNN(width, random_state=seed, **settings).fit(train_data(seed))
        lifted = model.lift_at(x_op=0, u_op=0)
        cost, stabilised = closed_loop(LQR(lifted, Q, R, u_min=-10, u_max=10))
        rows.append({"cost": cost, "stabilised": stabilised, "n_z": lifted.n_z})
    return {key: [row[key] for row in rows] for key in rows[0]}


def main() -> None:
    """All widths with one and two threads."""
    p = c.parser(__doc__, seeds=20)
    p.add_argument("--coupling", default="bilinear", help="input coupling (default %(default)s)")
    args = p.parse_args()
    c.quiet()
    plant = Duffing()
    a, b = plant.jacobians(np.zeros(2), np.zeros(1), plant.dt)
    local = LQR(LiftedModel.from_matrices(a, b, dt=plant.dt), Q, R, u_min=-10, u_max=10)
    local_cost, local_stabilised = closed_loop(local)
    figures: dict[str, Any] = {"local_lqr": {"cost": local_cost, "stabilised": local_stabilised}}
    rows: list[list[Any]] = [
        ["true plant, local", "", f"{local_stabilised} of {N_STARTS}", local_cost, "", ""]
    ]
    for width in WIDTHS:
        by_threads = {}
        for n in (1, 2):
            with c.threads(n):
                by_threads[n] = run(width, args.seeds, input_coupling=args.coupling)
        one, two = by_threads[1], by_threads[2]
        cost, fewest = c.spread(one["cost"]), min(one["stabilised"] + two["stabilised"])
        apart = float(np.max(np.abs(np.subtract(one["cost"], two["cost"])) / one["cost"]))
        n_z = f"{min(one['n_z'])} .. {max(one['n_z'])}"
        rows.append(
            [f"lifted, width {width}", n_z, f"{fewest} of {N_STARTS}", cost["median"], cost["max"], apart]
        )
        figures[str(width)] = {
            "one_thread": one,
            "two_threads": two,
            "cost": cost,
            "fewest_stabilised": fewest,
            "threads_relative_difference": apart,
            "met": fewest == N_STARTS and cost["max"] <= local_cost,
        }
    c.print_table(
        f"Duffing, LQR at the unstable origin, {args.seeds} seeds, {args.coupling}",
        ["model", "lifted states", "stabilised, worst", "median cost", "worst cost", "1 vs 2 threads"],
        rows,
    )
    c.write(args, "duffing_lqr", {"coupling": args.coupling, **figures})


if __name__ == "__main__":
    main()
