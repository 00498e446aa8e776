"""Generated C of LinearMPC and RNNMPC in the loop with Van der Pol: a million steps, speed beside Python's.

The controllers are on a network of 300 features, horizon 20, |u| <= 3: once with these bounds alone, once
with bounds on moves and soft ones on outputs too; RNNMPC does a tenth of the steps. A driver in C closes the
loop with the true plant (RK4), changes the set-point at random every 25 steps (some unreachable, some out of
all range), loses 2 % of the measurements (NaN), now and then measures infinity or 1e100, and checks every
input: finite, within its bounds, moves within theirs to 1e-8. Memory is the process's resident set before
and after.

Speed: the first steps' measurements and set-points are replayed through Python's `control`; medians and their
ratio are of the same steps in the same run, and the inputs are compared. The Python controller is told the
input that the plant took, as the C one sent it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import _common as c
import numpy as np

from koopctrl import RNNMPC, KoopmanRNN, LinearMPC, Trajectories
from koopctrl.export.c.code import mpc_to_c
from koopctrl_envs import VanDerPol

N_RECORDED = 2000
VARIANTS: dict[str, dict[str, Any]] = {
    "input bounds": {},
    "moves, soft outputs": {"du_min": -1.0, "du_max": 1.0, "y_min": -1.5, "y_max": 1.5},
}

DRIVER = r"""
#define _POSIX_C_SOURCE 199309L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "controller.h"

static unsigned long long seed = 88172645463325252ULL;
static double uniform(void) {
    seed ^= seed << 13; seed ^= seed >> 7; seed ^= seed << 17;
    return (double)(seed >> 11) / 9007199254740992.0;
}
static void rhs(const double *x, double u, double *dx) {
    dx[0] = x[1];
    dx[1] = (1.0 - x[0] * x[0]) * x[1] - x[0] + u;
}
static void plant(double *x, double u, double dt) {
    double h = dt / 4, k[4][2], s[2];
    int i, j, n;
    for (n = 0; n < 4; n++) {
        for (i = 0; i < 4; i++) {
            for (j = 0; j < 2; j++) s[j] = x[j] + (i ? (i == 3 ? h : h / 2) * k[i - 1][j] : 0.0);
            rhs(s, u, k[i]);
        }
        for (j = 0; j < 2; j++) x[j] += h / 6 * (k[0][j] + 2 * k[1][j] + 2 * k[2][j] + k[3][j]);
    }
}
static long resident(void) {
    long pages = 0, ignored;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%ld %ld", &ignored, &pages) != 2) pages = -1;
    if (f) fclose(f);
    return pages;
}
static int later(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
int main(int argc, char **argv) {
    static controller_state state;
    long n = atol(argv[1]), recorded = atol(argv[2]), k, before, after, status[6] = {0, 0, 0, 0, 0, 0};
    long violations = 0, not_finite = 0, uncertified = 0, missing = 0, iterations = 0;
    double dt = atof(argv[3]), u_limit = atof(argv[4]), du_limit = atof(argv[5]);
    double x[2] = {0, 0}, r[2] = {0, 0}, u = 0, last = 0, y[2], worst = 0;
    double *times = malloc((size_t)n * sizeof(double));
    FILE *log = fopen(argv[6], "wb");
    (void)argc;
    if (!times || !log) return 1;
    for (k = 0; k < n; k++) times[k] = 0;
    controller_reset(&state);
    before = resident();
    for (k = 0; k < n; k++) {
        controller_info info;
        struct timespec start, stop;
        double chance = uniform(), record[5];
        if (k == recorded) before = resident(); /* program and data are in memory by now */
        if (k % 25 == 0) {
            double size = uniform() < 0.05 ? 100.0 : 2.0;
            r[0] = size * (2 * uniform() - 1);
            r[1] = uniform() < 0.3 ? size * (2 * uniform() - 1) : 0.0;
        }
        y[0] = x[0];
        y[1] = x[1];
        if (chance < 0.02) y[chance < 0.01] = NAN;
        if (k >= recorded && chance > 0.999) y[0] = chance > 0.9995 ? INFINITY : 1e100;
        missing += !(isfinite(y[0]) && isfinite(y[1]));
        clock_gettime(CLOCK_MONOTONIC, &start);
        status[controller_control(&state, y, r, &u, &info)]++;
        clock_gettime(CLOCK_MONOTONIC, &stop);
        times[k] = (double)(stop.tv_sec - start.tv_sec) * 1e6 + (double)(stop.tv_nsec - start.tv_nsec) * 1e-3;
        iterations += info.iterations;
        if (k == 0) last = u; /* its move is from the operating input, which the driver does not know */
        not_finite += !isfinite(u);
        worst = fmax(worst, fmax(fabs(u) - u_limit, fabs(u - last) - du_limit));
        violations += !(fabs(u) <= u_limit + 1e-8 && fabs(u - last) <= du_limit + 1e-8);
        uncertified += info.status < 3 && !(info.kkt_residual <= 1e-6);
        if (k < recorded) {
            record[0] = y[0]; record[1] = y[1]; record[2] = r[0]; record[3] = r[1]; record[4] = u;
            fwrite(record, sizeof(double), 5, log);
            fwrite(times + k, sizeof(double), 1, log);
        }
        last = u;
        plant(x, u, dt);
    }
    after = resident();
    fclose(log);
    qsort(times, (size_t)n, sizeof(double), later);
    printf("{\"steps\": %ld, \"optimal\": %ld, \"softened\": %ld, ", n, status[0], status[1]);
    printf("\"inexact\": %ld, \"fallback_plan\": %ld, ", status[2], status[3]);
    printf("\"fallback_lqr\": %ld, \"fallback_hold\": %ld, ", status[4], status[5]);
    printf("\"missing\": %ld, \"violations\": %ld, \"worst_excess\": %.3g, ", missing, violations, worst);
    printf("\"not_finite\": %ld, \"uncertified\": %ld, ", not_finite, uncertified);
    printf("\"resident_pages_grown\": %ld, ", after - before);
    printf("\"iterations_mean\": %.4g, \"us_median\": %.4g, ", (double)iterations / (double)n, times[n / 2]);
    printf("\"us_99_percent\": %.4g, \"us_max\": %.4g}\n", times[n - 1 - n / 100], times[n - 1]);
    free(times);
    return 0;
}
"""


def identify(seed: int, n_features: int = 300) -> KoopmanRNN:
    """A network on the forced oscillator."""
    plant, rng = VanDerPol(), np.random.default_rng(seed)
    x, u = np.empty((100, 76, 2)), rng.uniform(-3, 3, (100, 75, 1))
    x[:, 0] = rng.uniform(-3, 3, (100, 2))
    for k in range(75):
        x[:, k + 1] = plant.step(x[:, k], u[:, k])
    data = Trajectories.from_arrays(x, u, dt=plant.dt)
    return KoopmanRNN(n_features, random_state=seed).fit(data)


def run(mpc: Any, folder: Path, n_steps: int) -> dict[str, Any]:
    """Generate, compile, run the driver, replay its first steps in Python."""
    code = mpc_to_c(mpc, folder, "controller", diagnostics=False)
    (folder / "driver.c").write_text(DRIVER)
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    build = ["gcc", *flags, "driver.c", "controller.c", "-o", "driver", "-lm"]
    subprocess.run(build, cwd=folder, check=True)
    move = float(mpc.du_max[0]) if np.isfinite(mpc.du_max[0]) else 1e300
    arguments = [
        str(n_steps),
        str(N_RECORDED),
        repr(mpc.dt),
        repr(float(mpc.u_max[0])),
        repr(move),
        "log.bin",
    ]
    done = subprocess.run(["./driver", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    figures = json.loads(done.stdout)
    log = np.fromfile(folder / "log.bin").reshape(-1, 6)
    times, difference = np.empty(len(log)), 0.0
    mpc.reset()
    for k, row in enumerate(log):
        start = time.perf_counter()
        u = mpc.control(row[:2], row[2:4])
        times[k] = 1e6 * (time.perf_counter() - start)
        difference = max(difference, float(np.abs(u - row[4]).max()))
        mpc.applied(row[4:5])
    return figures | {
        "data_bytes": code.data_bytes,
        "state_bytes": code.state_bytes,
        "python_us_median": float(np.median(times)),
        "c_us_median_same_steps": float(np.median(log[:, 5])),
        "ratio": float(np.median(times) / np.median(log[:, 5])),
        "largest_input_difference": difference,
    }


def main() -> None:
    """Run both variants and report."""
    p = c.parser(__doc__, seeds=1)
    p.add_argument("--steps", type=int, default=1_000_000, help="steps of the driver (default %(default)s)")
    args = p.parse_args()
    figures: dict[str, Any] = {}
    with c.threads(args.threads):
        for seed in range(args.seeds):
            network = identify(seed)
            lifted = network.lift_at(x_op=0.0, u_op=0.0)
            for kind, model, steps in (
                (LinearMPC, lifted, args.steps),
                (RNNMPC, network, args.steps // 10),
            ):
                for name, options in VARIANTS.items():
                    mpc = kind(model, 20, Q=1.0, R=0.1, u_min=-3.0, u_max=3.0, **options)
                    with tempfile.TemporaryDirectory() as folder:
                        figures[f"{kind.__name__}, {name}, seed {seed}"] = run(mpc, Path(folder), steps)
    names = list(next(iter(figures.values())))
    rows = [[name, *(f[name] for f in figures.values())] for name in names]
    c.print_table("Generated C in closed loop", ["", *figures], rows)
    c.write(args, "c_controller", figures, ("casadi",))


if __name__ == "__main__":
    main()
