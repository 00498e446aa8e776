"""Streaming fit: processor seconds and memory against the number of pairs, and the workers of a Dask cluster.

Episodes of a forced Van der Pol oscillator are made as they are read, so that no number of pairs needs
more memory than another one; a process of its own for every size, whose peak is that of the whole fit.
With `--workers` the same stream is fitted on a local cluster, once with one worker and once with as many
as are asked for, and once more with a worker killed half-way; seconds are those of the clock there, and
the answers are held against each other.

The cost model is `seconds = a + b n` at a fixed width; what it says of 1e8 pairs is marked as said and
not measured.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import multiprocessing
import resource
import signal
import time
from collections.abc import Iterator
from typing import Any

import _common as c
import numpy as np

from koopctrl import KoopmanRNN, Trajectories, Trajectory
from koopctrl_envs import VanDerPol

STEPS, BATCH = 1000, 20
SAID = 10**8


def episodes(n_episodes: int, n_steps: int, rng: np.random.Generator) -> Trajectories:
    """Side by side, from random starts under random inputs."""
    plant = VanDerPol()
    u = rng.uniform(-3.0, 3.0, (n_episodes, n_steps, 1))
    x = np.empty((n_episodes, n_steps + 1, 2))
    x[:, 0] = rng.uniform(-3.0, 3.0, (n_episodes, 2))
    for k in range(n_steps):
        x[:, k + 1] = plant.step(x[:, k], u[:, k])
    return Trajectories.from_arrays(x, u, dt=plant.dt)


def stream(n_pairs: int, seed: int = 0, kill: int | None = None) -> Iterator[Trajectory]:
    """Episodes with so many pairs in all; half-way the process `kill` is killed."""
    rng = np.random.default_rng(seed)
    for i in range(0, n_pairs // STEPS, BATCH):
        if kill is not None and 2 * i * STEPS >= n_pairs:
            os.kill(kill, signal.SIGKILL)
            kill = None
        yield from episodes(min(BATCH, n_pairs // STEPS - i), STEPS, rng)


def fit(n_pairs: int, width: int, **options: Any) -> KoopmanRNN:
    """A network of the stream; the penalty is stated, so that its choice is not what is timed."""
    model = KoopmanRNN(width, input_coupling="network", ridge=1e-10, random_state=0)
    kill = options.pop("kill", None)
    return model.fit(stream(n_pairs, kill=kill), **options)


def alone(n_pairs: int, width: int) -> dict[str, float]:
    """Seconds of making the stream, of the whole, and peak memory, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measure, (n_pairs, width))


def _measure(n_pairs: int, width: int) -> dict[str, float]:
    begun = time.process_time()
    for _ in stream(n_pairs):
        pass
    made = time.process_time()
    fit(n_pairs, width)
    done = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "pairs": n_pairs,
        "fit_s": done - made - (made - begun),
        "stream_s": made - begun,
        "peak_gib": peak,
    }


def on_workers(n_pairs: int, width: int, n_workers: int) -> dict[str, float]:
    """Clock seconds with one worker, with several, and with one of these killed half-way."""
    from distributed import Client, LocalCluster

    found: dict[str, float] = {}
    test = next(iter(stream(STEPS, seed=1)))
    runs = {}
    for name, count, killing in (
        ("one", 1, False),
        ("several", n_workers, False),
        ("killed", n_workers, True),
    ):
        with (
            LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=":0") as cluster,
            Client(cluster) as client,
        ):
            victim = next(iter(client.run(os.getpid).values())) if killing else None
            model, found[f"{name}_s"] = c.timed(
                lambda k=victim, cl=client: fit(n_pairs, width, client=cl, kill=k)
            )
        runs[name] = model.predict([test])[0]
    model = fit(n_pairs, width)
    runs["here"] = model.predict([test])[0]
    scale = np.abs(runs["here"]).max()
    found["over_halving"] = found["several_s"] / (found["one_s"] / n_workers)
    for name in ("one", "several", "killed"):
        found[f"{name}_difference"] = float(np.abs(runs[name] - runs["here"]).max() / scale)
    return {"pairs": n_pairs, "workers": n_workers, **found}


def main() -> None:
    """All sizes, then the cluster."""
    p = c.parser(__doc__, seeds=1)
    p.add_argument("--pairs", nargs="+", type=int, default=[100_000, 300_000, 1_000_000])
    p.add_argument("--width", type=int, default=300)
    p.add_argument("--workers", type=int, default=0, help="of a local cluster; 0 leaves it out")
    p.add_argument("--worker-pairs", type=int, default=300_000)
    args = p.parse_args()
    args.threads = 1
    c.quiet()
    figures: dict[str, Any] = c.earlier(args, "streaming_fit")
    if args.pairs != [0]:
        rows = [alone(n, args.width) for n in args.pairs]
        n, s = np.array([r["pairs"] for r in rows], float), np.array([r["fit_s"] for r in rows])
        per_pair, once = np.polyfit(n, s, 1)
        figures |= {
            "width": args.width, "sizes": rows,
            "exponent": float(np.polyfit(np.log(n), np.log(s), 1)[0]),
            "said": {"pairs": SAID, "fit_s": float(once + per_pair * SAID), "peak_gib": rows[-1]["peak_gib"]},
        }  # fmt: skip
        c.print_table(f"Streaming fit, {args.width} neurons", list(rows[0]), [list(r.values()) for r in rows])
    if args.workers:
        figures["workers"] = on_workers(args.worker_pairs, args.width, args.workers)
        print(figures["workers"])
    c.write(args, "streaming_fit", figures)


if __name__ == "__main__":
    main()
