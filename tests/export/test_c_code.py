"""Generated C of LinearMPC: agreement with Python, honesty, clean under compiler, sanitizers and valgrind."""

import re

import numpy as np
import pytest
from c_tools import FLAGS, check_clean, compare, gcc, run
from effort import many

from koopctrl import LQR, KalmanFilter, KoopmanRNN, LiftedModel, LinearMPC, Trajectories
from koopctrl.controllers.estimation.kalman_law import KalmanLaw
from koopctrl.errors import DataError, OptionError, ShapeError
from koopctrl.export.c.code import mpc_to_c
from koopctrl.export.c.sil import CompiledMPC
from koopctrl.export.c.writer import check_identifier, comment, number
from koopctrl_envs import VanDerPol

A = np.array([[1.1, 0.2, 0.0], [0.0, 1.0, 0.3], [0.1, 0.0, 0.7]])
B = np.array([[0.0, 0.5], [1.0, 0.0], [0.2, 0.3]])
OPTIONS = {
    "bounds": {},
    "unbounded": {"u_min": None, "u_max": None},
    "one side": {"u_min": None, "du_max": [0.4, np.inf]},
    "moves": {"du_min": -0.2, "du_max": [0.3, 0.1], "R_rate": 0.5},
    "soft outputs": {"y_min": -0.6, "y_max": [0.5, 0.6, 0.7]},
    "hard outputs": {"y_max": 1.2, "soft": False},
    "everything": {
        "y_max": 0.7, "constraints": ([[1.0, -1.0, 0.5]], -0.5, 0.6), "du_min": -0.3, "du_max": 0.3,
        "R_rate": [1.0, 0.1], "blocks": [1, 1, 2, 4, 4],
    },
    "control horizon": {"blocks": 4},
    "no terminal cost": {"terminal": "none", "y_min": -0.6},
    "weights per step": {"Q": np.arange(1.0, 13.0)[:, None, None] * np.eye(3), "y_min": -0.6},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def compiler():
    return gcc()


@pytest.fixture(scope="module")
def network():
    plant, rng = VanDerPol(), np.random.default_rng(0)
    x, u = np.empty((25, 81, 2)), rng.uniform(-3, 3, (25, 80, 1))
    x[:, 0] = rng.uniform(-3, 3, (25, 2))
    for k in range(80):
        x[:, k + 1] = plant.step(x[:, k], u[:, k])
    data = Trajectories.from_arrays(x, u, dt=plant.dt)
    return {
        act: KoopmanRNN(60, activation=act, random_state=0).fit(data) for act in ("tanh", "relu")
    }, KoopmanRNN(40, output_lags=3, input_lags=2, input_coupling="network", random_state=0).fit(
        Trajectories.from_arrays(x[:, :, :1], u, dt=plant.dt)
    )


def linear_mpc(**options):
    lifted = LiftedModel.from_matrices(A, B, dt=0.1)
    return LinearMPC(lifted, 12, **{"Q": 1.0, "R": 0.1, "u_min": -1.0, "u_max": [1.0, 0.8], **options})


def linear_plant(x, u):
    return np.zeros(3) if x is None else A @ x + B @ u


def van_der_pol(x, u):
    return np.zeros(2) if x is None else VanDerPol().step(x, u)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_closed_loop_is_that_of_python(tmp_path, options):
    worst, statuses = compare(linear_mpc(**options), tmp_path, linear_plant, lambda x: x.copy())
    assert worst <= 1e-6
    assert {"optimal", "fallback_plan"} <= statuses
    if options.get("soft", True) and "y_max" in options:
        assert "softened" in statuses


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_lifted_models(tmp_path, network, activation):
    lifted = network[0][activation].lift_at(x_op=0.0, u_op=0.0)
    mpc = LinearMPC(lifted, 20, Q=1.0, R=0.1, u_min=-3.0, u_max=3.0, y_min=-1.0)
    assert compare(mpc, tmp_path, van_der_pol, lambda x: x.copy())[0] <= 1e-6
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path, "again"), flags=FLAGS)
    for x in np.random.default_rng(0).uniform(-2, 2, (50, 2)):
        compiled.control(x)
        z = lifted.lift(x)
        np.testing.assert_allclose(compiled.lifted_state(lifted.n_z), z, atol=1e-10 * np.abs(z).max())


@pytest.mark.parametrize("bilinear", [False, True])
def test_lag_windows_with_missing_samples(tmp_path, network, bilinear):
    lifted = network[1].lift_at(x_op=0.0, u_op=0.0, rank_tol=1e-4, bilinear=bilinear)
    mpc = LinearMPC(lifted, 15, Q=1.0, R=0.1, u_min=-3.0, u_max=3.0)
    assert compare(mpc, tmp_path, van_der_pol, lambda x: x[:1].copy(), n_missing=0.2)[0] <= 1e-6


def test_kalman_filter(tmp_path, network):
    lifted = network[0]["tanh"].lift_at(x_op=0.0, u_op=0.0)
    mpc = LinearMPC(
        lifted, 15, Q=1.0, R=0.1, u_min=-3.0, u_max=3.0, observer=KalmanFilter(lifted, 1e-3, 1e-2)
    )
    assert (
        compare(mpc, tmp_path / "lift", van_der_pol, lambda x: x.copy(), n_missing=0.2, follow=True)[0]
        <= 1e-6
    )
    partial = LiftedModel.from_matrices(A, B, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dt=0.1)
    mpc = LinearMPC(
        partial, 15, Q=1.0, R=0.1, u_min=-1.0, u_max=1.0, observer=KalmanFilter(partial, 1e-3, 1e-2)
    )
    assert (
        compare(mpc, tmp_path / "partial", linear_plant, lambda x: x[:2].copy(), n_missing=0.2, follow=True)[
            0
        ]
        <= 1e-6
    )


@pytest.mark.parametrize("offset_free", [0.3, True, "input"])
def test_offset_free_without_observer(tmp_path, network, offset_free):
    lifted = network[0]["tanh"].lift_at(x_op=0.0, u_op=0.0, rank_tol=1e-4)
    mpc = LinearMPC(lifted, 15, Q=1.0, R=0.1, u_min=-3.0, u_max=3.0, offset_free=offset_free)
    assert compare(mpc, tmp_path / "state", van_der_pol, lambda x: x.copy())[0] <= 1e-6
    if offset_free == "input":  # refused with input lags
        return
    lifted = network[1].lift_at(x_op=0.0, u_op=0.0, rank_tol=1e-3)
    mpc = LinearMPC(lifted, 15, Q=1.0, R=0.1, u_min=-3.0, u_max=3.0, offset_free=offset_free)
    assert compare(mpc, tmp_path / "lags", van_der_pol, lambda x: x[:1].copy())[0] <= 1e-6


@pytest.mark.parametrize("disturbance", ["output", "input"])
def test_kalman_filter_with_disturbances(tmp_path, disturbance):
    lifted = LiftedModel.from_matrices(0.9 * A, B, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dt=0.1)
    observer = KalmanFilter(lifted, 1e-3, 1e-2, disturbance=disturbance, Qd=1e-3)
    mpc = LinearMPC(lifted, 15, Q=1.0, R=0.1, u_min=-1.0, u_max=1.0, y_max=0.8, observer=observer)
    plant = lambda x, u: np.zeros(3) if x is None else 0.9 * A @ x + B @ (u + 0.1)  # noqa: E731
    assert compare(mpc, tmp_path, plant, lambda x: x[:2].copy(), n_missing=0.2, follow=True)[0] <= 1e-6


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), ([-0.3, -np.inf], 0.5), ([0.1, -1.0], [0.1, 1.0])])
def test_set_points_out_of_reach_move_as_in_python(tmp_path, bounds):
    # Three outputs and two inputs, and one output and two inputs: the steady map loses rank on either side.
    for name, c in {"many": None, "few": [[1.0, 0.5, 0.0]]}.items():
        lifted = LiftedModel.from_matrices(0.8 * A, B, c, dt=0.1)
        observer = KalmanFilter(lifted, 1.0, 1.0) if c else None
        mpc = LinearMPC(lifted, 10, Q=1.0, R=0.1, u_min=bounds[0], u_max=bounds[1], observer=observer)
        compiled = CompiledMPC(mpc_to_c(mpc, tmp_path / name), flags=FLAGS)
        rng, moved = np.random.default_rng(0), 0
        for _ in range(200):
            y, r = 0.1 * rng.normal(size=lifted.n_y), 20.0 * rng.normal(size=lifted.n_y)
            moved += not np.array_equal(mpc.law.reachable.nearest(r, np.empty(0))[0], r)
            expected = mpc.control(y, r)
            np.testing.assert_allclose(compiled.control(y, r), expected, atol=1e-6)
            compiled.applied(expected)
            np.testing.assert_allclose(compiled.plan, mpc.info.inputs, atol=1e-6)
        assert moved > 50


def test_fall_backs_in_their_order(tmp_path):
    # Hard bounds on the outputs that the plant's start violates: no solution, and at first no plan.
    lifted = LiftedModel.from_matrices(A, B, dt=0.1)
    mpc = LinearMPC(lifted, 5, Q=1.0, R=0.1, u_min=-1.0, u_max=1.0, y_max=0.5, soft=False)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    expected = {0: ("fallback_hold", "measurement"), 1: ("fallback_lqr", "infeasible"), 2: ("optimal", "")}
    inputs = [np.full(3, np.nan), np.array([9.0, 1.0, 0.0]), np.array([0.1, 0.0, 0.0])]
    for k, y in enumerate(inputs):
        np.testing.assert_allclose(compiled.control(y), mpc.control(y), atol=1e-9)
        assert (compiled.info.status, compiled.info.reason) == expected[k]
    plan = compiled.plan
    for k in range(1, 5):
        np.testing.assert_array_equal(compiled.control(np.full(3, np.nan)), plan[k])
        assert compiled.info.status == "fallback_plan"
    np.testing.assert_array_equal(compiled.control(np.full(3, np.nan)), plan[4])
    assert compiled.info.status == "fallback_hold"
    compiled.control([0.1, 0.0, 0.0])
    compiled.control([0.1, 0.0, 0.0], [np.inf, 0.0, 0.0])
    assert (compiled.info.status, compiled.info.reason) == ("fallback_plan", "reference")
    compiled.reset()
    assert compiled.plan is None


def test_infinite_and_huge_measurements_never_pass(tmp_path):
    compiled = CompiledMPC(mpc_to_c(linear_mpc(y_max=0.5, du_min=-0.1, du_max=0.1), tmp_path), flags=FLAGS)
    last = np.zeros(2)
    for y in (np.inf, -np.inf, 1e300, -1e308, np.nan, 1e150, 0.0):
        u = compiled.control(np.full(3, y), [1.0, 0.0, 1e200])
        assert np.isfinite(u).all()
        assert (np.abs(u - last) <= 0.1 + 1e-12).all()
        last = u
        assert compiled.info.status.startswith("fallback") or compiled.info.kkt_residual <= 1e-6
    u = compiled.control(np.zeros(3))
    assert compiled.info.status in ("optimal", "softened")


def test_sizes_are_those_of_the_compiler(tmp_path):
    code = mpc_to_c(linear_mpc(**OPTIONS["everything"]), tmp_path, "sized")
    (tmp_path / "size.c").write_text(
        '#include <stdio.h>\n#include "sized.h"\n'
        'int main(void) { printf("%d %d", (int)sizeof(sized_state), SIZED_DATA_BYTES); return 0; }\n'
    )
    run("gcc", tmp_path / "size.c", "-o", tmp_path / "size")
    assert run(tmp_path / "size").stdout == f"{code.state_bytes} {code.data_bytes}"
    run("gcc", *FLAGS, "-O2", "-c", tmp_path / "sized.c", "-o", tmp_path / "sized.o")
    sections = dict(re.findall(r"^(\.\w+)\s+(\d+)", run("size", "-A", tmp_path / "sized.o").stdout, re.M))
    assert (int(sections[".data"]), int(sections[".bss"])) == (0, 0)
    assert 0.95 * code.data_bytes <= int(sections[".rodata"]) <= 1.05 * code.data_bytes + 512
    # libm, and what compilers take for granted even without a C library.
    undefined = run("nm", "-u", tmp_path / "sized.o").stdout.split()
    assert {u for u in undefined if u != "U"} <= {
        "sqrt",
        "hypot",
        "tanh",
        "fmin",
        "fmax",
        "memset",
        "memcpy",
        "memmove",
    }


def test_example_reads_lines_and_writes_inputs(tmp_path):
    mpc = linear_mpc()
    code = mpc_to_c(mpc, tmp_path, "demo_1", diagnostics=False)
    assert code.files == ("demo_1.h", "demo_1.c", "main.c", "README.txt")
    assert all((tmp_path / f).is_file() for f in code.files)
    run("gcc", *FLAGS, tmp_path / "main.c", tmp_path / "demo_1.c", "-o", tmp_path / "example", "-lm")
    lines = "0.1 0.2 0.3 0 0 0\nnan 0 0 0 0 0\n"
    answer = np.array(
        [line.split() for line in run(tmp_path / "example", input=lines).stdout.splitlines()], float
    )
    first = mpc.control([0.1, 0.2, 0.3], np.zeros(3))
    second = mpc.control([np.nan, 0.0, 0.0], np.zeros(3))
    np.testing.assert_allclose(answer, [[*first, 0], [*second, 3]], atol=1e-9)


def test_two_controllers_in_one_program_do_not_meet(tmp_path):
    mpc = linear_mpc()
    code = mpc_to_c(mpc, tmp_path)
    first, second = CompiledMPC(code), CompiledMPC(code)
    rng = np.random.default_rng(0)
    for _ in range(20):
        y = rng.normal(size=3)
        expected = mpc.control(y)
        np.testing.assert_allclose(first.control(y), expected, atol=1e-9)
        second.control(rng.normal(size=3))


def test_text_is_safe(tmp_path, network):
    lifted = LiftedModel.from_matrices(
        [[0.9]],
        [[1.0]],
        dt=0.1,
        output_names=['*/ int evil; /* ??/ "'],
        input_names=["Temperatur °C\n#error"],
    )
    mpc = LinearMPC(lifted, 3, Q=1.0, R=1.0)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    np.testing.assert_allclose(compiled.control(0.5), mpc.control(0.5), atol=1e-12)
    assert comment("a*/b") == "a* /b"
    for value in (1 / 3, 1e-300, -0.0, 5.0, 2.0**60, np.nextafter(1.0, 2.0)):
        assert float(number(value)) == value
    assert (number(5.0), number(-np.inf)) == ("5.0", "-INFINITY")


@pytest.mark.parametrize("name", ["", "2fast", "a b", "int", "kc_x", "ü", "a" * 40, None, "main", "x;y"])
def test_names_that_are_no_identifiers_are_refused(name):
    with pytest.raises(OptionError, match="C identifier"):
        check_identifier(name)


def test_what_has_no_code_is_refused(tmp_path):
    lifted = LiftedModel.from_matrices(A, B, dt=0.1)

    class Other(KalmanLaw):
        pass

    with pytest.raises(OptionError, match="estimator is a Other"):
        mpc_to_c(LinearMPC(lifted, 5, Q=1.0, R=1.0, estimator=Other(lifted, 1.0, 1.0)), tmp_path)
    with pytest.raises(OptionError, match="mpc is a LQR"):
        mpc_to_c(LQR(lifted, 1.0, 1.0), tmp_path)
    mpc = linear_mpc()
    mpc.K[0, 0] = np.nan
    with pytest.raises(DataError, match="lqr_p has NaN"):
        mpc_to_c(mpc, tmp_path)
    compiled = CompiledMPC(mpc_to_c(linear_mpc(), tmp_path), flags=("-std=c99", "-O0"))
    with pytest.raises(ShapeError, match="measurement"):
        compiled.control([0.0, 0.0])
    with pytest.raises(ShapeError, match="reference"):
        compiled.control(np.zeros(3), np.zeros((2, 2)))
    with pytest.raises(OptionError, match="knows of no measured disturbances"):
        compiled.control(np.zeros(3), disturbance=1.0)
    with pytest.raises(OptionError, match="nocc"):
        CompiledMPC(compiled.code, compiler="nocc")


@pytest.mark.slow
@pytest.mark.parametrize("options", ["everything", "hard outputs", "bounds"])
def test_clean_under_sanitizers_and_valgrind(tmp_path, options):
    mpc_to_c(linear_mpc(**OPTIONS[options]), tmp_path)
    check_clean(tmp_path, 3)


@pytest.mark.slow
def test_thousands_of_steps_within_bounds(tmp_path):
    mpc = linear_mpc(**OPTIONS["everything"])
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=("-std=c99", "-O0"))
    rng, last, x = np.random.default_rng(0), np.zeros(2), np.zeros(3)
    for k in range(many(20_000)):
        if k % 25 == 0:
            r = rng.normal(size=3) * 10.0 ** rng.integers(-2, 2)
        y = x.copy()
        if rng.random() < 0.02:
            y[rng.integers(3)] = rng.choice([np.nan, np.inf, 1e100])
        u = compiled.control(y, r)
        assert (u >= -1.0).all()
        assert (u <= [1.0, 0.8]).all()
        assert (np.abs(u - last) <= 0.3 + 1e-8).all()
        last = u
        x = np.clip(A @ x + B @ u + 0.05 * rng.normal(size=3), -20, 20)


@pytest.mark.parametrize("low", [0.0, 0.1])
def test_set_points_of_integrators_are_kept_in_c_too(tmp_path, low):
    tank = LiftedModel.from_matrices([[1.0, 0.1], [0.0, 0.9]], [[0.0], [0.1]], dt=0.1)
    mpc = LinearMPC(tank, 8, 1.0, 0.1, u_min=low, u_max=2.0)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=FLAGS)
    for y in ([3.0, 0.0], [-3.0, 0.5], [0.5, 0.2]):
        np.testing.assert_allclose(compiled.control(y, [1.0, 0.0]), mpc.control(y, [1.0, 0.0]), atol=1e-6)
