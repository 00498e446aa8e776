"""Steps per CPU second of every plant: alone, as a batch of arrays, and as gymnasium's SyncVectorEnv.

Single envs are stepped under inputs halfway between set-point and limit and begun anew where they fail; the
batch has 4096 copies and takes all in one call. Batch and SyncVectorEnv are timed one after the other in the
same process, on the same actions, and the ratio is that of the medians over repeats. Burgers runs on 128
points too, at its own sample time, 0.5 s, and at that of its source, 0.01 s.
Seconds are those of the process, which waiting for other work on the machine does not lengthen.
"""

from __future__ import annotations

import time
from typing import Any

import _common as c
import gymnasium
import numpy as np

import koopctrl_envs  # noqa: F401 (registers)

COPIES, SYNC_COPIES = 4096, 256
BURGERS = {
    "Burgers, 128 points, 0.5 s": {"n_points": 128},
    "Burgers, 128 points, 0.01 s": {"n_points": 128, "dt": 0.01, "n_substeps": 1},
}


def alone(name: str, seconds: float, **options: Any) -> float:
    """Steps per second of one env."""
    env: Any = gymnasium.make(name, disable_env_checker=True, **options).unwrapped
    u = 0.5 * (env.input_reference + np.array(env.plant.u_max))
    env.reset(seed=0)
    n, began = 0, time.process_time()
    while time.process_time() - began < seconds:
        for _ in range(20):
            if env.step(u)[2]:
                env.reset()
        n += 20
    return n / (time.process_time() - began)


def batched(name: str, n: int, mode: str, repeats: int) -> list[float]:
    """Env steps per second of a batch, one figure a repeat."""
    envs: Any = gymnasium.make_vec(name, num_envs=n, vectorization_mode=mode)
    space = envs.single_action_space
    actions = np.random.default_rng(0).uniform(space.low, space.high, (n, *space.shape))
    envs.reset(seed=0)
    figures = []
    for _ in range(repeats):
        calls, began = 0, time.process_time()
        while time.process_time() - began < 0.3 or not calls:
            envs.step(actions)
            calls += 1
        figures.append(n * calls / (time.process_time() - began))
    return figures


def main() -> None:
    """Run."""
    args = c.parser(__doc__, seeds=1).parse_args()
    figures: dict[str, Any] = {
        "alone": {},
        "batch": {},
        "settings": {"copies": COPIES, "sync_copies": SYNC_COPIES},
    }
    with c.threads(1):
        for name in sorted(n for n in gymnasium.registry if n.startswith("koopctrl/")):
            stem = name.split("/")[1].removesuffix("-v0")
            figures["alone"][stem] = alone(name, 0.5)
        for label, options in BURGERS.items():
            figures["alone"][label] = max(alone("koopctrl/Burgers-v0", 0.5, **options) for _ in range(3))
        for stem in ("VanDerPol", "CartPole", "QuadrupleTank"):
            ours = batched(f"koopctrl/{stem}-v0", COPIES, "vector_entry_point", 5)
            theirs = batched(f"koopctrl/{stem}-v0", SYNC_COPIES, "sync", 3)
            figures["batch"][stem] = {
                "batched": float(np.median(ours)), "best": float(np.max(ours)),
                "sync": float(np.median(theirs)), "ratio": float(np.median(ours) / np.median(theirs)),
            }  # fmt: skip
    c.print_table(
        "steps per CPU second, alone",
        ["plant", "steps/s"],
        [[k, f"{v:,.0f}"] for k, v in figures["alone"].items()],
    )
    c.print_table(
        f"steps per CPU second, {COPIES} copies", ["plant", "batched", "SyncVectorEnv", "ratio"],
        [
            [k, f"{v['batched']:,.0f}", f"{v['sync']:,.0f}", f"{v['ratio']:.0f}"]
            for k, v in figures["batch"].items()
        ],
    )  # fmt: skip
    c.write(args, "plant_speed", figures, peers=("gymnasium",))


if __name__ == "__main__":
    main()
