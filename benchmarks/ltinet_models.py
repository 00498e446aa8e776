"""Thirty models that rounding likes to spoil: transfer error against 60 digits, and the bound.

    python benchmarks/ltinet_models.py [WORD ...]

Largest error over the peak and largest relative error where the response is above 1e-8 of the peak, on 12
frequencies and at the poles; the same for the unrefined block form; the bound on outputs. Takes the models
whose names hold one of the words given, and writes `benchmarks/results/ltinet_models.json` after each.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import numpy as np
import scipy
from scipy.linalg import block_diag

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from koopctrl.ltinet import LTINetwork, block_form
from tests.ltinet import digits
from tests.ltinet.test_accuracy import models


def main() -> None:
    """Run, print and write."""
    versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    target = Path(__file__).parent / "results" / "ltinet_models.json"
    figures = json.loads(target.read_text())["figures"] if target.exists() else {}
    for name, (A, B, C, D) in models().items():
        if len(sys.argv) > 1 and not any(word in name for word in sys.argv[1:]):
            continue
        model = A, B[:, :1], C[:1], D[:1, :1]
        net = LTINetwork.from_statespace(model)
        size = np.abs(net.eigenvalues)
        points = 1j * np.concatenate(
            [np.geomspace(0.03 * size.min(), 30 * size.max(), 12), net.eigenvalues.imag[::4]]
        )
        G = digits.transfer(model, points)[:, 0, 0]
        peak = np.abs(G).max()
        seen = np.abs(G) > 1e-8 * peak

        def errors(matrices, G=G, peak=peak, seen=seen, points=points, model=model) -> tuple[float, float]:
            gap = np.abs(digits.transfer_difference(model, matrices, points)[:, 0, 0])
            return float(gap.max() / peak), float((gap[seen] / np.abs(G[seen])).max())

        mine = errors((net.block_matrix().toarray(), net.B[:, :1], net.C[:1], net.D[:1, :1]))
        form = block_form(model[0])
        A, B, C = block_diag(*form.blocks), form.T_inv @ model[1], model[2] @ form.T
        raw = errors((A, B[:, :1], C[:1], model[3][:1, :1]))
        told = net.accuracy(points.imag)
        found = net.error_bound(1.0).total[0] / peak
        figures[name] = {
            "states": net.n_states, "layers": len(net.blocks), "cond": net.cond, "error": mine[0],
            "pointwise": mine[1], "unrefined": raw[0], "bound": float(found),
            "told": float(told.of_peak[0]), "told_pointwise": float(told.relative(1e-8)[0]),
        }  # fmt: skip
        print(
            f"{name:36s} {net.n_states:3d} states {len(net.blocks):3d} layers cond {net.cond:.0e} "
            f"error {mine[0]:.0e} pointwise {mine[1]:.0e} unrefined {raw[0]:.0e} bound {found:.0e}",
            flush=True,
        )
        target.write_text(json.dumps({"figures": figures, "versions": versions}, indent=1) + "\n")


if __name__ == "__main__":
    main()
