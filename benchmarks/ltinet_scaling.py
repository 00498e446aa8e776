"""How simulation time grows with the number of first- and of second-order neurons.

    python benchmarks/ltinet_scaling.py

10,000 steps, one input, outputs only; medians of nine processor times (the machine is shared).
Writes `benchmarks/results/ltinet_scaling.json`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from koopctrl import LTINetwork
from tests.plants_lti import chain


def oscillators(n: int) -> LTINetwork:
    """Independent second-order neurons, n states."""
    m = n // 2
    rng = np.random.default_rng(0)
    one = LTINetwork.from_statespace(chain(1))
    blocks = tuple(one.blocks[0] * rng.uniform(0.5, 2.0) for _ in range(m))
    return _many(one, blocks, n, rng)


def decays(n: int) -> LTINetwork:
    """Independent first-order neurons."""
    rng = np.random.default_rng(0)
    one = LTINetwork.from_statespace(([[-1.0]], [[1.0]], [[1.0]], 0))
    return _many(one, tuple(-rng.uniform(0.1, 5.0, (n, 1, 1))), n, rng)


def _many(one: LTINetwork, blocks: tuple[np.ndarray, ...], n: int, rng: np.random.Generator) -> LTINetwork:
    from dataclasses import replace

    T = np.ones((1, n)) / n
    B, C = rng.standard_normal((n, 1)), rng.standard_normal((1, n)) / n
    none = replace(one.defects, local=None)
    return replace(
        one,
        defects=none,
        state_names=("x",),
        scales=np.ones(1),
        blocks=blocks,
        T=T,
        T_inv=T.T,
        B=B,
        C=C,
        D=np.zeros((1, 1)),
        output_names=("y",),
    )


def main() -> None:
    """Measure, print, write."""
    rows, t = [], 0.05 * np.arange(10_001)
    u = np.random.default_rng(1).standard_normal(10_001)
    for kind, make in (("first-order", decays), ("second-order", oscillators)):
        for n in (500, 1000, 2000, 4000, 8000, 16000):
            net = make(n)
            net.simulate(t, u)
            seconds = []
            for _ in range(9):
                start = time.process_time()
                net.simulate(t, u)
                seconds.append(time.process_time() - start)
            spent = statistics.median(seconds)
            rows.append({"neurons": kind, "n": n, "seconds": spent})
            each = 1e9 * spent / n / 10_000
            print(f"{kind:14s}{n:7d} states {1e3 * spent:8.2f} ms {each:8.3f} ns each per step")
    target = Path(__file__).parent / "results" / "ltinet_scaling.json"
    target.write_text(json.dumps({"rows": rows, "steps": 10_000, "seeds": "0 and 1"}, indent=1))


if __name__ == "__main__":
    main()
