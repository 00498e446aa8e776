"""A compiler for the tests of generated C, the QP solver called through ctypes, and random MPC QPs."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from effort import many

from koopctrl.export.c.code import mpc_to_c
from koopctrl.export.c.sil import CompiledMPC

# Compiling is most of the work of these tests, and takes a quarter of the time without optimisation. What is
# put under valgrind is compiled with some, which finds warnings that need it; tests of sizes and of
# `mpc.compile()` have -O2.
FLAGS = ("-std=c99", "-O0", "-Wall", "-Wextra", "-Wconversion", "-Werror")
OPTIMISED = (*FLAGS, "-O1")

_HARNESS = """
#include <stdlib.h>
#include "qp.c"
typedef struct { kc_qp qp; kc_qp_work w; double *lam; int *saved; } handle;
void *qp_new(int n, int m, int s, const double *H, const double *A, const double *Linv, const double *unit) {
    handle *h = malloc(sizeof *h);
    size_t N = (size_t)(n + s), c = (size_t)(n + m + 2 * s);
    kc_qp qp;
    if (h == NULL) abort();
    qp.n = n; qp.m = m; qp.n_slack = s; qp.H = H; qp.A = A; qp.Linv = Linv; qp.unit = unit;
    qp.n_inputs = 0; qp.strict = 0;
    h->qp = qp;
    h->w.Jt = malloc(N * N * sizeof(double)); h->w.R = malloc((N + 1) * N / 2 * sizeof(double));
    h->w.x = malloc(N * sizeof(double)); h->w.lam = malloc(N * sizeof(double));
    h->w.d = malloc(N * sizeof(double)); h->w.r = malloc(N * sizeof(double));
    h->w.work = malloc(N * sizeof(double)); h->w.value = malloc(c * sizeof(double));
    h->w.active = malloc(N * sizeof(int)); h->w.side = malloc(c * sizeof(int));
    h->saved = malloc(2 * N * sizeof(int)); h->w.k = -1;
    return h;
}
void qp_free(void *p) {
    handle *h = p;
    free(h->w.Jt); free(h->w.R); free(h->w.x); free(h->w.lam); free(h->w.d); free(h->w.r); free(h->w.work);
    free(h->w.value); free(h->w.active); free(h->w.side); free(h->saved); free(h);
}
int qp_solve(void *p, const double *g, const double *lo, const double *hi, int limit, int warm, double *x,
             double *multipliers, double *kkt, int *iterations) {
    handle *h = p;
    int status, i, N = h->qp.n + h->qp.n_slack, c = N + h->qp.m + h->qp.n_slack;
    if (!warm) h->w.k = -1;
    status = kc_qp_solve(&h->qp, &h->w, g, lo, hi, limit, h->saved);
    for (i = 0; i < N; i++) x[i] = h->w.x[i];
    for (i = 0; i < c; i++) multipliers[i] = 0.0;
    for (i = 0; i < h->w.k; i++)
        multipliers[h->w.active[i]] = (double)h->w.side[h->w.active[i]] * h->w.lam[i];
    *kkt = h->w.kkt;
    *iterations = h->w.iterations;
    return status;
}
"""


def gcc() -> str:
    """Path of gcc; without a compiler generated C cannot be tested: that is a failure and no skip."""
    path = shutil.which("gcc")
    if path is None:
        raise RuntimeError(
            "gcc is not on the PATH; the tests of generated C need it. Install it (apt install gcc)"
        )
    return path


def run(*command: str | Path, **kwargs) -> subprocess.CompletedProcess:
    """Run, with what the command said in the error if it fails."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **kwargs)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(map(str, command))} gave {done.returncode}:\n{done.stdout[-99:]}{done.stderr[-4000:]}"
        )
    return done


def loaded(part):
    """A generated model or estimator as a library."""
    library = part.folder / "part.so"
    run("gcc", *FLAGS, "-shared", "-fPIC", part.folder / f"{part.name}.c", "-o", library, "-lm")
    return ctypes.CDLL(str(library))


def call(function, *arrays):
    """With pointers to arrays, null for None."""
    pointers = [None if a is None else ctypes.c_void_p(a.ctypes.data) for a in arrays]
    return function(*pointers)


def build_qp_library(folder: Path) -> Path:
    """Compile the QP template with a harness around it."""
    templates = resources.files("koopctrl.export.c") / "templates"
    text = "".join((templates / f"{name}.c").read_text() for name in ("dot", "axpy", "qp_factor", "qp"))
    (folder / "qp.c").write_text(text)
    (folder / "harness.c").write_text(_HARNESS)
    library = folder / "libqp.so"
    run(gcc(), *FLAGS, "-shared", "-fPIC", folder / "harness.c", "-o", library, "-lm")
    return library


def _pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


class CompiledQP:
    """The C solver on one `H` and `A`; `unit` are the slacks' coefficients on the last rows."""

    STATUS = ("solved", "infeasible", "iteration_limit", "inaccurate", "beyond")

    def __init__(self, library: Path, H: np.ndarray, A: np.ndarray, unit: np.ndarray | None = None) -> None:
        self._lib = ctypes.CDLL(str(library))
        self._lib.qp_new.restype = ctypes.c_void_p
        unit = np.empty(0) if unit is None else unit
        inverse = np.linalg.inv(np.linalg.cholesky(H))
        self._data = [np.ascontiguousarray(a, dtype=float) for a in (H, A, inverse, unit)]
        self.n, self.m, self.s = len(H), len(A), len(unit)
        self._handle = ctypes.c_void_p(self._lib.qp_new(self.n, self.m, self.s, *map(_pointer, self._data)))

    def __del__(self) -> None:
        self._lib.qp_free(self._handle)

    def solve(self, g, lo, hi, *, warm=False, limit=10_000):
        """`(status, x, multipliers, KKT residual, iterations)`."""
        x, multipliers = np.empty(self.n + self.s), np.empty(self.n + self.m + 2 * self.s)
        kkt, iterations = ctypes.c_double(), ctypes.c_int()
        inputs = [np.ascontiguousarray(a, dtype=float) for a in (g, lo, hi)]
        code = self._lib.qp_solve(
            self._handle, *map(_pointer, inputs), limit, int(warm), _pointer(x), _pointer(multipliers),
            ctypes.byref(kkt), ctypes.byref(iterations),
        )  # fmt: skip
        return self.STATUS[code], x, multipliers, kkt.value, iterations.value


@dataclass
class RandomMPC:
    """A condensed MPC problem and a short closed loop of gradients and bounds on it."""

    H: np.ndarray
    A: np.ndarray
    steps: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
    row_scale: np.ndarray


def random_mpc(rng: np.random.Generator, n_steps: int = 5) -> RandomMPC:
    """A random plant, weights over six orders, tight and loose bounds, repeated and redundant rows.

    Scaled as koopctrl's condensing does it: unit diagonal of H, rows of norm 1.
    """
    n_x, n_u, n_y = (int(rng.integers(1, k)) for k in (7, 4, 4))
    N = int(rng.integers(2, 26))
    A = rng.normal(size=(n_x, n_x))
    A *= rng.uniform(0.5, 1.08) / np.abs(np.linalg.eigvals(A)).max()
    B, C = rng.normal(size=(n_x, n_u)), rng.normal(size=(n_y, n_x))
    q, r = 10.0 ** rng.uniform(-3, 3, size=2)
    powers = [np.eye(n_x)]
    for _ in range(N):
        powers.append(A @ powers[-1])
    gamma = np.zeros((N, n_y, N, n_u))
    for k in range(N):
        for j in range(k + 1):
            gamma[k, :, j] = C @ powers[k - j] @ B
    gamma = gamma.reshape(N * n_y, N * n_u)
    phi = np.concatenate([C @ p for p in powers[1:]])
    H = r * np.eye(N * n_u) + q * gamma.T @ gamma
    scale = 1 / np.sqrt(np.diag(H))
    H = H * scale * scale[:, None]
    move = np.eye(N * n_u) - np.eye(N * n_u, k=-n_u)
    kinds = [k for k in ("rate", "output", "repeated", "combined") if rng.random() < 0.5]
    n_e, rows = N * n_y, [np.empty((0, N * n_u))]
    sizes = {"rate": rng.uniform(0.05, 2.0), "output": 10.0 ** rng.uniform(-1, 1)}
    if "rate" in kinds:
        rows.append(move)
    if "output" in kinds:
        rows.append(gamma)
        if "repeated" in kinds:
            rows.append(gamma)
        if "combined" in kinds:
            rows.append(gamma[:n_y] + gamma[-n_y:])
    raw = np.concatenate(rows) * scale
    norms = np.linalg.norm(raw, axis=1)
    row_scale = 1.0 / np.where(norms > 0, norms, 1.0)
    bound = 10.0 ** rng.uniform(-1.5, 1.0)
    x, last = rng.normal(size=n_x), np.zeros(n_u)
    reference = rng.normal(size=n_y) * rng.choice([0.0, 1.0, 10.0])
    steps = []
    for _ in range(n_steps):
        free = phi @ x
        g = q * gamma.T @ (free - np.tile(reference, N)) * scale
        lo, hi = [np.full(N * n_u, -bound) / scale], [np.full(N * n_u, bound) / scale]
        if "rate" in kinds:
            shift = np.concatenate([last, np.zeros((N - 1) * n_u)])
            lo.append(-sizes["rate"] * bound + shift)
            hi.append(sizes["rate"] * bound + shift)
        if "output" in kinds:
            width = np.full(n_e, sizes["output"])
            for _ in range(2 if "repeated" in kinds else 1):
                lo.append(-width - free)
                hi.append(width - free)
            if "combined" in kinds:
                total = free[:n_y] + free[-n_y:]
                lo.append(-2 * width[:n_y] - total)
                hi.append(2 * width[:n_y] - total)
        low, high = np.concatenate(lo), np.concatenate(hi)
        n_v = N * n_u
        low[n_v:] *= row_scale
        high[n_v:] *= row_scale
        steps.append((g, low, high))
        # The plant moves on under a saturated guess, pushed about: warm starts that are half right.
        u = np.clip(-np.linalg.solve(H, g)[:n_u] * scale[:n_u], -bound, bound)
        u = np.clip(u, last - sizes["rate"] * bound, last + sizes["rate"] * bound)
        x = A @ x + B @ u + rng.normal(scale=0.05, size=n_x)
        last = u
    return RandomMPC(H, raw * row_scale[:, None], steps, row_scale)


def compare(
    mpc,
    folder,
    plant,
    measure,
    *,
    n_steps=180,
    seed=0,
    n_missing=0.05,
    spread=0.6,
    follow=False,
    outliers=0.0,
):
    """Run both controllers in the loop with one plant and return the largest difference of their inputs.

    Set-points, previews, none; measurements go missing; the plant is pushed about. Statuses have to be the
    same. `follow` tells the C that the plant took Python's input: with an observer the loop from its own
    input through its own estimate need not be stable where no plant closes it. `outliers` is the share of
    samples with a gross error in one of the outputs. Inputs act after the controller's delay; of measured
    disturbances it is told in all the ways there are.
    """
    compiled = CompiledMPC(mpc_to_c(mpc, folder), flags=FLAGS)
    rng, worst, statuses = np.random.default_rng(seed), 0.0, set()
    x, r = np.zeros(len(plant(None, None))), None
    mpc.reset()
    sent = [mpc.law.u_rest] * mpc.problem.delay
    for k in range(n_steps):
        if k % 18 == 0:
            rows = int(rng.integers(1, 20))
            r = [
                None,
                spread * rng.normal(size=mpc.lifted.n_y),
                spread * rng.normal(size=(rows, mpc.lifted.n_y)),
            ][k // 18 % 3]
        y = measure(x)
        if rng.random() < n_missing:
            y[rng.integers(len(y))] = np.nan
        if outliers and rng.random() < outliers:
            y[rng.integers(len(y))] += 100.0 * rng.normal()
        told = random_disturbance(rng, mpc.n_v)
        expected, u = mpc.control(y, r, **told), compiled.control(y, r, **told)
        worst = max(worst, float(np.abs(expected - u).max()))
        statuses.add(mpc.info.status)
        assert compiled.info.status == mpc.info.status
        observer = mpc.observer
        if observer is not None and observer.estimate is not None:
            z, size = observer.estimate[: mpc.lifted.n_z], 1.0 + np.abs(observer.estimate).max()
            np.testing.assert_allclose(compiled.lifted_state(len(z)), z, atol=1e-10 * size)
            assert (compiled.info.rejected, compiled.info.n_rejected) == (
                observer.rejected,
                observer.n_rejected,
            )
        if mpc.info.status in ("optimal", "softened"):
            assert compiled.info.kkt_residual <= 1e-6
            np.testing.assert_allclose(compiled.plan, mpc.info.inputs, atol=1e-6)
            predicted = mpc.info.outputs
            size = 1.0 + np.abs(predicted).max()
            np.testing.assert_allclose(compiled.predict(mpc.info.inputs), predicted, atol=1e-10 * size)
            assert compiled.info.slack == pytest.approx(mpc.info.slack, abs=1e-6)
        if k % 7 == 0:  # the plant takes another input than was sent
            u = expected + 0.01
            for controller in (mpc, compiled):
                controller.applied(u)
        elif follow:
            compiled.applied(expected)
        sent.append(u)
        x = plant(x, mpc.join(sent.pop(0), mpc.state.told)) + (
            0.5 if rng.random() < 0.03 else 0.02
        ) * rng.normal(size=len(x))
    return worst, statuses


def random_disturbance(rng, n_v):
    """Arguments of `control`: nothing, a vector, or a preview, some of their numbers missing."""
    kind = int(rng.integers(3)) if n_v else 0
    if kind == 0:
        return {}
    v = 0.3 * rng.normal(size=(int(rng.integers(1, 20)), n_v) if kind == 1 else n_v)
    return {"disturbance": np.where(rng.random(v.shape) < 0.2, np.nan, v)}


def random_lines(n, seed, n_y, n_v=0):
    """Random measurements and references, some of them wild or missing, as the example reads them."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 2 * n_y + n_v)) * 10.0 ** rng.integers(-2, 2, (n, 1))
    wild = rng.random(n) < 0.02
    values[wild, :n_y] = rng.choice([np.nan, np.inf, -np.inf, 1e200], (int(wild.sum()), n_y))
    values[rng.random(n) < 0.01, 2 * n_y - 1] = np.nan
    return "\n".join(" ".join(f"{v:.6g}" for v in row) for row in values)


def check_clean(folder, n_y, n_lines=20_000, n_valgrind=1000, n_v=0):
    """Run the generated example under the sanitizers and under valgrind; its numbers, a row a line."""
    n_lines, n_valgrind = many(n_lines), many(n_valgrind)
    sources = [folder / "main.c", folder / "koopctrl_mpc.c"]
    sanitize = ("-g", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
    run("gcc", *FLAGS, *sanitize, *sources, "-o", folder / "sanitized", "-lm")
    run("gcc", *OPTIMISED, "-g", *sources, "-o", folder / "plain", "-lm")
    lines = run(folder / "sanitized", input=random_lines(n_lines, 0, n_y, n_v)).stdout.splitlines()
    answer = np.array([line.split() for line in lines], float)
    assert len(answer) == n_lines
    assert np.isfinite(answer).all()
    assert shutil.which("valgrind"), "valgrind is not on the PATH; this test needs it (apt install valgrind)"
    options = ("-q", "--error-exitcode=9", "--leak-check=full")
    assert not run("valgrind", *options, folder / "plain", input=random_lines(n_valgrind, 1, n_y, n_v)).stderr
    return answer
