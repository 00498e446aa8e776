"""Accuracy of four ways to simulate, against a 50-digit reference.

    python benchmarks/ltinet_accuracy.py

First-order hold, random inputs, 200 steps; largest error of any output over the largest reference output.
Writes `benchmarks/results/ltinet_accuracy.json`.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import control
import mpmath
import numpy as np
import scipy
from scipy.linalg import expm
from scipy.signal import lsim

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from koopctrl import LTINetwork
from tests.plants_lti import (
    Matrices,
    chain,
    companion,
    convection_diffusion_1d,
    diffusion_2d,
    jordan,
    random_mimo,
)

CASES: dict[str, tuple[Matrices, float]] = {
    "diffusion 3 x 3": (diffusion_2d(3), 0.01),
    "chain of 4 masses": (chain(4), 0.3),
    "Jordan block, n = 6": (jordan(6), 0.1),
    "companion, clustered roots": (companion(np.array([-1, -1.001, -1.002, -5, -2 + 3j, -2 - 3j])), 0.05),
    "convection-diffusion, n = 10, Pe 0.5": (convection_diffusion_1d(10, 0.5), 0.002),
    "random, n = 8": (random_mimo(8, 2, 2, 0), 0.1),
    "stiff, poles -1e-3 to -1e6": (
        (np.diag([-1e-3, -1.0, -1e3, -1e6]), np.ones((4, 1)), np.ones((1, 4)), np.zeros((1, 1))),
        0.05,
    ),
}


def fifty_digits(model: Matrices, h: float, u: np.ndarray) -> np.ndarray:
    """Outputs under first-order hold by mpmath, inputs and matrices taken as the float64 they are."""
    A, B, C, D = model
    n, m = B.shape
    with mpmath.workdps(50):
        M = mpmath.zeros(n + 2 * m)
        step = mpmath.mpf(h)
        for i in range(n):
            for j in range(n):
                M[i, j] = mpmath.mpf(float(A[i, j])) * step
            for j in range(m):
                M[i, n + j] = mpmath.mpf(float(B[i, j])) * step
        for j in range(m):
            M[n + j, n + m + j] = 1
        E = mpmath.expm(M, method="taylor")
        Phi, held, ramp = E[:n, :n], E[:n, n : n + m], E[:n, n + m :]
        Cm, Dm, x, out = mpmath.matrix(C.tolist()), mpmath.matrix(D.tolist()), mpmath.zeros(n, 1), []
        for k in range(len(u)):
            now = mpmath.matrix(u[k].tolist())
            out.append([float(v) for v in Cm * x + Dm * now])
            if k + 1 < len(u):
                x = Phi * x + held * now + ramp * (mpmath.matrix(u[k + 1].tolist()) - now)
    return np.array(out)


def dense(model: Matrices, h: float, u: np.ndarray) -> np.ndarray:
    """Stepping by hand with scipy's exponential."""
    A, B, C, D = model
    n, m = B.shape
    M = np.zeros((n + 2 * m, n + 2 * m))
    M[:n, :n], M[:n, n : n + m], M[n : n + m, n + m :] = A * h, B * h, np.eye(m)
    E = expm(M)
    x, out = np.zeros(n), []
    for k in range(len(u)):
        out.append(C @ x + D @ u[k])
        if k + 1 < len(u):
            x = E[:n, :n] @ x + E[:n, n : n + m] @ u[k] + E[:n, n + m :] @ (u[k + 1] - u[k])
    return np.array(out)


def main() -> None:
    """Measure, print a table, write the figures."""
    rows = []
    names = ("network", "network, schur", "forced_response", "lsim", "dense expm")
    print(f"{'case':38s}{'cond(T)':>9s}{'bound':>9s}" + "".join(f"{name:>17s}" for name in names))
    for case, (model, h) in CASES.items():
        u = np.random.default_rng(0).uniform(-1, 1, (201, model[1].shape[1]))
        t = h * np.arange(201)
        step = float((t[-1] - t[0]) / 200)
        exact = fifty_digits(model, step, u)
        net, whole = LTINetwork.from_statespace(model), LTINetwork.from_statespace(model, method="schur")
        sys_control = control.StateSpace(*model, remove_useless_states=False)
        outputs = {
            "network": net.simulate(t, u, hold="foh").outputs,
            "network, schur": whole.simulate(t, u, hold="foh").outputs,
            "forced_response": control.forced_response(sys_control, t, u.T, squeeze=False).outputs.T,
            "lsim": np.asarray(lsim(model, u, t)[1]).reshape(201, -1),
            "dense expm": dense(model, step, u),
        }
        size = np.abs(exact).max()
        errors = {name: float(np.abs(y - exact).max() / size) for name, y in outputs.items()}
        bound = float(net.error_bound(1.0).total.max() / size)
        rows.append({"case": case, "cond": net.cond, "bound": bound, **errors})
        print(f"{case:38s}{net.cond:9.1e}{bound:9.1e}" + "".join(f"{errors[name]:17.1e}" for name in names))
    target = Path(__file__).parent / "results" / "ltinet_accuracy.json"
    target.parent.mkdir(exist_ok=True)
    versions = {"numpy": np.__version__, "scipy": scipy.__version__, "control": control.__version__}
    record = {
        "rows": rows,
        "versions": versions,
        "python": platform.python_version(),
        "seeds": "0 for inputs",
    }
    target.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
