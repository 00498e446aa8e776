"""Partial differential equations on sampled bases: accuracy, control and inverse problems.

Each equation is solved with several seeds; errors are relative L2 errors over all compared times and points,
against closed forms, quadrature (Cole and Hopf) or a pseudospectral solver. `seconds` are those of sampling,
assembling and solving. Published figures of the method (other machines) stand beside. Settings (pair
distance, cut, number of neurons) were chosen on the first five seeds of the same equations.

`--only TEXT` runs the parts whose name contains it.
"""

from __future__ import annotations

from typing import Any

import _common as c
import _pde_cases as cases
import _pde_control as control
import _pde_references as ref
import numpy as np


def accuracy(only: str, n_seeds: int) -> dict[str, Any]:
    """All equations."""
    found: dict[str, Any] = {}
    for name, (case, target, published) in cases.CASES.items():
        if only not in name:
            continue
        runs = [case(seed) for seed in range(n_seeds)]
        found[name] = {key: c.spread([r[key] for r in runs]) for key in ("error", "seconds", "states")}
        found[name] |= {"target": target, "published": published}
    return found


def peers() -> dict[str, Any]:
    """Classical solvers on the same equations: what accuracy costs them here."""
    found: dict[str, Any] = {}
    for n in (200, 400):
        (x, u), seconds = c.timed(lambda n=n: ref.advection_by_differences(n, 40.0, 1.0))
        error = cases.relative(u, np.sin(x - 40.0))
        found[f"advection, speed 40: differences of order 4, {n} points"] = {
            "error": error,
            "seconds": seconds,
        }
    for n, rtol in ((1000, 1e-5), (4000, 1e-6)):
        (x, u), seconds = c.timed(
            lambda n=n, rtol=rtol: ref.burgers_by_differences(n, cases.NU, cases.TIMES, rtol)
        )
        exact = np.array([ref.cole_hopf(x, t, cases.NU) for t in cases.TIMES])
        found[f"Burgers shock: central differences, {n} points"] = {
            "error": cases.relative(u, exact), "seconds": seconds,
        }  # fmt: skip

    def spectral() -> np.ndarray:
        solver = ref.Pseudospectral(cases.LENGTH, 256, lambda k: k**2 - k**4, 1 / 50)
        return solver.run(cases._wrinkle(solver.x), 250)

    u, seconds = c.timed(spectral)
    error = cases.relative(u, cases.flame_reference(5.0)[1][::2])
    found["Kuramoto-Sivashinsky, t = 5: pseudospectral, 256 modes"] = {"error": error, "seconds": seconds}
    return found


def main() -> None:
    """All parts."""
    p = c.parser(__doc__, seeds=3)
    p.add_argument("--only", default="", help="part of a name: run these alone, and write nothing")
    args = p.parse_args()
    c.quiet()
    with c.threads(args.threads):
        figures: dict[str, Any] = {"accuracy": accuracy(args.only, args.seeds)}
        rows = [
            [name, f["error"]["median"], f["error"]["max"], f["seconds"]["median"], f["states"]["median"],
             f["target"], f["published"]]
            for name, f in figures["accuracy"].items()
        ]  # fmt: skip
        header = ["equation", "error", "worst", "s", "states", "target", "published"]
        c.print_table("Relative L2 errors", header, rows)
        if args.only in "peers":
            figures["peers"] = peers()
            c.print_table(
                "Classical solvers", ["", "error", "s"],
                [[n, f["error"], f["seconds"]] for n, f in figures["peers"].items()],
            )  # fmt: skip
        for name, part in control.PARTS.items():
            if args.only in name:
                figures[name] = part(args.seeds)
                control.show(name, figures[name])
    if not args.only:
        c.write(args, "pde", figures)


if __name__ == "__main__":
    main()
