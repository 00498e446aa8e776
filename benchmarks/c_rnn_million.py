"""Generated C of RNNMPC in the loop with Van der Pol: a million steps on a small network.

The driver is that of `c_controller`: true plant, random set-points (some unreachable, some out of all
range), 2 % of the measurements lost (NaN), now and then an infinite one or 1e100; every input is checked:
finite, within its bounds, moves within theirs to 1e-8; memory is the process's resident set before and after.
The network has 80 features and the horizon is 10, so that a million steps take minutes; `c_controller` has a
tenth of them at 300 features and horizon 20.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import tempfile
from pathlib import Path
from typing import Any

import _common as c
from c_controller import VARIANTS, identify, run

from koopctrl import RNNMPC


def main() -> None:
    """Run both variants and report."""
    p = c.parser(__doc__, seeds=1)
    p.add_argument("--steps", type=int, default=1_000_000, help="steps of the driver (default %(default)s)")
    args = p.parse_args()
    figures: dict[str, Any] = {}
    with c.threads(args.threads):
        for seed in range(args.seeds):
            network = identify(seed, 80)
            for name, options in VARIANTS.items():
                mpc = RNNMPC(network, 10, Q=1.0, R=0.1, u_min=-3.0, u_max=3.0, **options)
                with tempfile.TemporaryDirectory() as folder:
                    figures[f"{name}, seed {seed}"] = run(mpc, Path(folder), args.steps)
    names = list(next(iter(figures.values())))
    rows = [[name, *(f[name] for f in figures.values())] for name in names]
    c.print_table("Generated C of RNNMPC, a million steps", ["", *figures], rows)
    c.write(args, "c_rnn_million", figures, ("casadi",))


if __name__ == "__main__":
    main()
