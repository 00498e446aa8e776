"""Kalman filters in generated C: time-varying covariance, partly missing measurements, innovation gate."""

import numpy as np
import pytest
from c_tools import FLAGS, check_clean, compare, gcc, run

from koopctrl import KalmanFilter, LiftedModel, LinearMPC
from koopctrl.export.c.code import mpc_to_c
from koopctrl.export.c.sil import CompiledMPC

A = np.array([[0.98, 0.2, 0.0], [0.0, 0.9, 0.3], [0.1, 0.0, 0.7]])
B = np.array([[0.0, 0.5], [1.0, 0.0], [0.2, 0.3]])
C = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
R = np.array([[4e-4, 1e-4], [1e-4, 9e-4]])
FILTERS = {
    "time-varying": {"steady": False},
    "gate": {"gate": 3.0},
    "both": {"steady": False, "gate": 3.0, "P0": [1.0, 2.0, 0.5]},
    "both, disturbances": {
        "steady": False, "gate": 4.0, "disturbance": "output", "Qd": 1e-4, "P0": [1.0, 2.0, 0.5, 0.1, 0.1],
    },
    "gate, disturbances": {"gate": 4.0, "disturbance": "input", "Qd": 1e-4},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def compiler():
    return gcc()


def make(c=C, n=12, **options):
    lifted = LiftedModel.from_matrices(A, B, c, dt=0.1)
    observer = KalmanFilter(lifted, 4e-4, R if len(c) == 2 else 4e-4, **options)
    bounds = {"u_min": -1.0, "u_max": [1.0, 0.8], "y_max": 0.9}
    return LinearMPC(lifted, n, Q=1.0, R=0.1, observer=observer, **bounds)


def plant(x, u):
    return np.zeros(3) if x is None else A @ x + B @ (u + 0.05)


@pytest.mark.parametrize("options", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("lifts", [False, True])
def test_closed_loop_and_estimate_are_those_of_python(tmp_path, options, lifts):
    if lifts and "disturbance" in options:
        options = {k: v for k, v in options.items() if k != "disturbance"} | {"P0": 1.0}
    mpc = make(np.eye(3) if lifts else C, **options)
    rows = 3 if lifts else 2
    worst, statuses = compare(
        mpc, tmp_path, plant, lambda x: x[:rows].copy(), n_missing=0.2, follow=True, outliers=0.1
    )
    assert worst <= 1e-6
    assert "optimal" in statuses
    assert mpc.observer.n_rejected > (5 if "gate" in options else -1)


def test_the_rest_of_a_partly_missing_measurement_counts(tmp_path):
    x, errors = np.array([0.8, -0.5, 0.3]), {}
    for steady in (True, False):
        compiled = CompiledMPC(mpc_to_c(make(steady=steady), tmp_path / str(steady)), flags=FLAGS)
        z = x
        for _ in range(25):
            u = compiled.control([z[0], np.nan])
            estimate = compiled.lifted_state(3)
            errors[steady] = np.abs(estimate - z).max()
            z = A @ z + B @ u
    assert errors[False] < 1e-2
    assert errors[False] < 0.1 * errors[True]


@pytest.mark.parametrize("steady", [True, False])
def test_five_in_a_row_are_rejected_and_then_the_estimate_is_doubted(tmp_path, steady):
    mpc = make(steady=steady, gate=3.0)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    for _ in range(30):
        compiled.control([0.0, 0.0])
    seen = []
    for _ in range(7):
        compiled.control([5.0, 5.0])
        seen.append(compiled.info.rejected)
    assert seen == [True] * 5 + [False] * 2
    assert compiled.info.n_rejected == 5
    assert np.abs(compiled.lifted_state(3)).max() > 1.0
    compiled.control([np.nan, np.nan])
    assert (compiled.info.rejected, compiled.info.n_rejected) == (False, 5)
    compiled.reset()
    compiled.control([0.0, 0.0])
    assert compiled.info.n_rejected == 0


@pytest.mark.parametrize("options", [{}, {"gate": 3.0}, {"steady": False}, {"steady": False, "gate": 3.0}])
def test_absurd_measurements_pass(tmp_path, options):
    compiled = CompiledMPC(mpc_to_c(make(**options), tmp_path), flags=FLAGS)
    for value in (0.1, 1e300, -np.inf, 1e8, 0.1):
        u = compiled.control([value, -value])
        assert np.isfinite(u).all()
        assert (np.abs(u) <= 1.0).all()
    for _ in range(300):
        compiled.control([0.1, 0.1])
    assert compiled.info.status == "optimal"
    assert compiled.info.kkt_residual <= 1e-6


def test_years_without_a_measurement_end_with_the_next(tmp_path):
    # An unstable plant: estimate and covariance overflow on the way.
    lifted = LiftedModel.from_matrices([[1.5, 0.1], [0.0, 0.5]], [[0.0], [1.0]], dt=0.1)
    observer = KalmanFilter(lifted, 1e-2, 1e-2, steady=False, gate=3.0)
    mpc = LinearMPC(lifted, 8, Q=1.0, R=0.1, u_min=-1.0, u_max=1.0, observer=observer)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    compiled.control([0.3, 0.0])
    for _ in range(4000):
        assert abs(compiled.control([np.nan, np.nan])[0]) <= 1.0
    x = np.array([0.1, 0.0])
    for _ in range(20):
        x = lifted.A @ x + lifted.B @ compiled.control(x)
    assert compiled.info.status == "optimal"
    np.testing.assert_allclose(compiled.lifted_state(2), x, atol=0.1)


def test_sizes_are_those_of_the_compiler(tmp_path):
    for name, options in FILTERS.items():
        folder = tmp_path / name.replace(" ", "_")
        code = mpc_to_c(make(**options), folder, "sized", diagnostics=False)
        (folder / "size.c").write_text(
            '#include <stdio.h>\n#include "sized.h"\n'
            'int main(void) { printf("%d", (int)sizeof(sized_state)); return 0; }\n'
        )
        run("gcc", folder / "size.c", "-o", folder / "size")
        assert int(run(folder / "size").stdout) == code.state_bytes
        run("gcc", *FLAGS, "-c", folder / "sized.c", "-o", folder / "sized.o")


@pytest.mark.slow
@pytest.mark.parametrize("options", FILTERS.values(), ids=FILTERS)
def test_clean_under_sanitizers_and_valgrind(tmp_path, options):
    mpc_to_c(make(n=8, **options), tmp_path)
    answer = check_clean(tmp_path, 2, 10_000, 500)
    assert (np.abs(answer[:, :2]) <= 1.0).all()
