"""Ten thousand awkward systems: agreement within the bounds in time and in frequency, or a refusal.

    python benchmarks/ltinet_awkward.py [COUNT [SEED]]

Integer, repeated, nearly defective, nilpotent, graded, companion matrices and others, of up to eight
states, in
units from 1e-310 to 1e290. Every one that is answered and whose entries leave room for a reference (1e-8 to
1e8) is held to its bounds: the response over eight steps in 64-bit mantissas, the frequency response at 60
digits. Writes `benchmarks/results/ltinet_awkward.json`.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path

import numpy as np
import scipy

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.ltinet.test_robust import KINDS, SCALES, check


def main() -> None:
    """Run, count, write."""
    given = [int(value) for value in sys.argv[1:]]
    count, seed = given[0] if given else 10_000, given[1] if len(given) > 1 else 13
    rng = np.random.default_rng(seed)
    found = {"agrees": 0, "error": 0, "wrong": 0}
    wrong, start = [], time.perf_counter()
    for i in range(count):
        case = (
            str(rng.choice(KINDS)),
            int(rng.integers(1, 9)),
            float(rng.choice(SCALES)),
            int(rng.integers(2**32)),
        )
        try:
            found[check(*case, thorough=True)] += 1
        except (AssertionError, ArithmeticError, ValueError, RuntimeError) as error:
            found["wrong"] += 1
            wrong.append([*case, f"{type(error).__name__}: {error}"[:200]])
        if i % 1000 == 999:
            print(i + 1, found, wrong[-3:], flush=True)
    text = {
        "systems": count, "figures": found, "wrong": wrong, "seed": seed,
        "seconds": time.perf_counter() - start,
        "versions": {
            "python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__
        },
    }  # fmt: skip
    target = Path(__file__).parent / "results" / "ltinet_awkward.json"
    target.write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    main()
