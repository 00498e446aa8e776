"""Generated C in floats: loops beside those in double, answers certified, bounds kept, honest refusals."""

import ctypes
import re

import numpy as np
import pytest
from c_tools import FLAGS, random_mpc, run

from koopctrl import (
    RNNMPC,
    ExtendedKalmanFilter,
    KalmanFilter,
    KoopmanRNN,
    LiftedModel,
    LinearMPC,
    LTINetwork,
    Trajectories,
)
from koopctrl.errors import OptionError
from koopctrl.export.c.cortex_m import missing_tools, run_on_cortex_m4
from koopctrl.export.c.footprint import footprint
from koopctrl.export.c.scalar import as_scalar
from koopctrl.export.c.sil import CompiledMPC
from koopctrl.export.c.single import _narrow_rounding, needs_doubles, network_rounding
from koopctrl.network.folded import Rollout
from koopctrl_envs import Pendulum, TwoTanks, VanDerPol

SINGLE = (*FLAGS, "-Wdouble-promotion", "-Wfloat-conversion")
A = np.array([[0.9, 0.3, 0.0], [-0.2, 0.8, 0.1], [0.0, 0.1, 0.6]])
B = np.array([[0.2, 0.0], [0.5, 0.1], [0.0, 1.0]])
C = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def test_one_place_turns_doubles_into_floats():
    text = '/* 1.0 double */ double x = 1.0e-3 + fmax(2.5, 3e4); int a_1e5 = 12; char c[] = "1.0"; y1.5'
    expected = (
        '/* 1.0 double */ float x = 1.0e-3f + fmaxf(2.5f, 3e4f); int a_1e5 = 12; char c[] = "1.0"; y1.5'
    )
    assert as_scalar(text, "float") == expected
    assert as_scalar(text, "double") == text


@pytest.mark.parametrize("case", ["bounds", "filtered", "gated", "unstable", "preview"])
def test_linear_controllers_decide_as_in_double(case, tmp_path):
    """Also with outputs untracked, samples missing, tunings, and a QP ill conditioned in the inputs."""
    a = 1.3 * A if case == "unstable" else A
    lifted = LiftedModel.from_matrices(a, B, C, dt=1.0)
    options = {"u_min": -0.8, "u_max": 0.9, "y_max": [0.9, 1.2]}
    if case in ("filtered", "gated"):
        options["estimator"] = KalmanFilter(lifted, 1e-3, 1e-2, disturbance="output",
                                            gate=6.0 if case == "gated" else None)  # fmt: skip
    mpc = LinearMPC(lifted, 30 if case == "unstable" else 9, 1.0, 0.1, **options)
    quiet = {"quiet": mpc.with_(R=1.0)}
    pair = [
        CompiledMPC(mpc.to_c(tmp_path / scalar, scalar=scalar, tunings=quiet), flags=SINGLE)
        for scalar in ("double", "float")
    ]
    rng, x, sent = np.random.default_rng(0), np.zeros(3), []
    for k in range(200):
        if k % 10 == 0:
            r = 0.5 * rng.normal(size=(5, 2) if case == "preview" else 2)
            if k % 30 == 10:
                r[..., 1] = np.nan
        if k % 50 == 25:
            for each in pair:
                each.retune("quiet" if k % 100 == 25 else "base")
        y = x.copy() if "estimator" not in options else C @ x
        if rng.random() < 0.05:
            y[0] = np.nan
        u, v = (each.control(y, r) for each in pair)
        assert pair[0].info.status == pair[1].info.status
        assert not (pair[1].info.kkt_residual > 2e-4)
        sent.append((u, v))
        x = a @ x + B @ u + 0.02 * rng.normal(size=3)
        x = np.clip(x, -1.0, 1.0)
        pair[1].applied(u)
    sent = np.array(sent)
    np.testing.assert_allclose(sent[:, 1], sent[:, 0], atol=1e-4 * np.ptp(sent[:, 0]))
    assert 0.0 < pair[1].code.rounding < 1e-3
    assert np.abs(sent[:, 1] - sent[:, 0]).max() > 0.0
    assert pair[1].code.data_bytes < 0.6 * pair[0].code.data_bytes
    assert pair[1].code.state_bytes < 0.6 * pair[0].code.state_bytes


def test_each_qp_is_certified_or_refused(tmp_path):
    """Random QPs: an answer that counts is near that of double; a refusal is of an ill-conditioned one."""
    from c_tools import CompiledQP, build_qp_library
    from qp_single import SingleQP, build_single_library

    library, single = build_qp_library(tmp_path), build_single_library(tmp_path)
    solved = refused = 0
    for seed in range(60):
        problem = random_mpc(np.random.default_rng(seed))
        exact, rounded = CompiledQP(library, problem.H, problem.A), SingleQP(single, problem.H, problem.A)
        for g, lo, hi in problem.steps:
            status, x, *_ = exact.solve(g, lo, hi)
            found, v, kkt = rounded.solve(g, lo, hi)
            if status != "solved" or found != "solved":
                refused += status == "solved"
                if status == "solved":
                    assert np.linalg.cond(problem.H) > 1e2 or len(problem.A)
                continue
            solved += 1
            assert kkt <= 2e-4
            size = max(np.abs(x).max(), np.abs(problem.A @ x).max(initial=0.0), 1e-5)
            cond = np.linalg.cond(problem.H)
            assert np.abs(v - x).max() <= size * (1e-3 + 1e-6 * cond)
    assert solved > 3 * refused


def records(plant, rng, n_episodes, n_steps, hold=4):
    """Held random inputs from random starts."""
    x = np.empty((n_episodes, n_steps + 1, plant.n_x))
    x[:, 0] = rng.uniform(plant.x0_low, plant.x0_high, (n_episodes, plant.n_x))
    levels = rng.uniform(plant.u_min, plant.u_max, (n_episodes, n_steps // hold, plant.n_u))
    u = np.repeat(levels, hold, axis=1)
    for k in range(u.shape[1]):
        x[:, k + 1] = plant.step(x[:, k], u[:, k])
    return Trajectories.from_arrays(plant.output(x), u, dt=plant.dt)


@pytest.mark.slow
@pytest.mark.parametrize("plant", [TwoTanks(), Pendulum(), VanDerPol()], ids=lambda p: type(p).__name__)
def test_closed_loops_on_plants(plant, tmp_path):
    """Networks and their lifts, identified; loops on the true plant, outputs apart by 1e-3 of their range."""
    rng = np.random.default_rng(0)
    model = KoopmanRNN(60, random_state=0, ridge=1e-6).fit(records(plant, rng, 20, 80))
    y_op, u_op = plant.output(plant.equilibria[0]), plant.equilibrium_inputs[0]
    weights = 1.0 / np.ptp(model.snapshots_.x, axis=0)[: model.n_y] ** 2
    size = {"horizon": 15, "Q": weights, "R": 0.01 / np.square(np.subtract(plant.u_max, plant.u_min)),
            "u_min": plant.u_min, "u_max": plant.u_max}  # fmt: skip
    lifted = model.lift_at(y_op, u_op, horizon=15, Q=np.diag(weights), R=np.diag(np.atleast_1d(size["R"])))
    made = {"rnn": RNNMPC(model, **size), "linear": LinearMPC(lifted, check=False, **size)}
    for name, mpc in made.items():
        loops = []
        for scalar in ("double", "float"):
            compiled = CompiledMPC(mpc.to_c(tmp_path / name / scalar, scalar=scalar, untracked=False))
            x, path = np.array(plant.equilibria[0], dtype=float), []
            x = x + 0.05 * (np.asarray(plant.x0_high) - np.asarray(plant.x0_low))
            for k in range(60):
                y = plant.output(x[None])[0]
                u = compiled.control(y, y_op if k < 30 else y_op + 0.1 * np.sqrt(1.0 / weights))
                path.append(y)
                x = plant.step(x[None], u[None])[0]
            loops.append(np.array(path))
        apart = np.abs(loops[1] - loops[0]) / np.ptp(loops[0], axis=0)
        assert apart.max() < 1e-3, name


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    u, x = rng.uniform(-1, 1, (10, 81, 2)), np.zeros((10, 81, 2))
    for k in range(80):
        x[:, k + 1, 0] = 0.9 * x[:, k, 0] + 0.2 * np.tanh(x[:, k, 1]) + 0.1 * u[:, k, 0] * u[:, k, 1]
        x[:, k + 1, 1] = 0.8 * x[:, k, 1] - 0.1 * x[:, k, 0] + 0.3 * u[:, k, 1]
    return Trajectories.from_arrays(300.0 + 3.0 * x, 1e3 * u, dt=0.1)


def loaded(part, name):
    run("gcc", *SINGLE, "-shared", "-fPIC", part.folder / f"{part.name}.c", "-o", part.folder / name, "-lm")
    return ctypes.CDLL(str(part.folder / name))


def pointers(*arrays):
    return [None if a is None else ctypes.c_void_p(a.ctypes.data) for a in arrays]


def test_models_within_their_bounds(data, tmp_path):
    """Far from zero, where digits cancel: the computed bound holds, and is not empty talk."""
    model = KoopmanRNN(25, random_state=0).fit(data)
    part = model.to_c(tmp_path / "net", "net", scalar="float")
    lib, net, rng, worst = loaded(part, "net.so"), model._network, np.random.default_rng(1), 0.0
    for _ in range(500):
        x = (net.x_mean + net.x_scale * rng.uniform(-2, 2, 2)).astype(np.float32)
        u, found = (1e3 * rng.uniform(-1, 1, 2)).astype(np.float32), np.empty(2, dtype=np.float32)
        lib.net_step(*pointers(x, u, found))
        exact = net.step(x[None].astype(float), u[None].astype(float))[0]
        worst = max(worst, float(np.max(np.abs(found - exact) / net.x_scale)))
    assert 0.01 * part.rounding < worst <= part.rounding
    lifted = model.lift_at(method="linear")
    part = lifted.to_c(tmp_path / "lin", "lin", scalar="float")
    lib, worst = loaded(part, "lin.so"), 0.0
    low, high = (side(lifted.training[0], axis=0) for side in (np.min, np.max))
    for _ in range(500):
        z, u = rng.uniform(low, high).astype(np.float32), (1e3 * rng.uniform(-1, 1, 2)).astype(np.float32)
        found = np.empty(lifted.n_z, dtype=np.float32)
        lib.lin_step(*pointers(z, u, found))
        exact = lifted.step(z.astype(float), u.astype(float))
        worst = max(worst, float(np.abs(found - exact)[: lifted.n_x].max()))
    assert 0.01 * part.rounding < worst <= part.rounding
    import control

    net = LTINetwork.from_statespace(control.ss(-np.eye(3) + 0.1 * A, B, C, 0))
    part = net.to_c(tmp_path / "lti", "lti", dt=0.1, scalar="float")
    lib, exact = loaded(part, "lti.so"), net.to_c(tmp_path / "lti64", "lti64", dt=0.1)
    run("gcc", *FLAGS, "-shared", "-fPIC", exact.folder / "lti64.c", "-o", exact.folder / "lti64.so", "-lm")
    double = ctypes.CDLL(str(exact.folder / "lti64.so"))
    w, w64 = np.zeros(3, dtype=np.float32), np.zeros(3)
    for _ in range(50):
        u = rng.uniform(-1, 1, 2).astype(np.float32)
        lib.lti_update(*pointers(w, u))
        double.lti64_update(*pointers(w64, u.astype(float)))
    np.testing.assert_allclose(w, w64, atol=1e-6)
    assert part.data_bytes * 2 == exact.data_bytes


def test_filters(data, tmp_path):
    model = KoopmanRNN(15, random_state=0).fit(data)
    lifted = model.lift_at(method="linear")
    kinds = {"kf": KalmanFilter(lifted, Qn=1e-2, Rn=1e-1, gate=6.0),
             "slow": KalmanFilter(lifted, Qn=1e-2, Rn=1e-1, steady=False),
             "ekf": ExtendedKalmanFilter(model, Qn=1e-2, Rn=1e-1, gate=6.0, disturbance="input")}  # fmt: skip
    for name, given in kinds.items():
        part = given.to_c(tmp_path / name, "seer", scalar="float")
        lib, rng = loaded(part, "seer.so"), np.random.default_rng(2)
        state = ctypes.create_string_buffer(part.state_bytes)
        lib.seer_reset(state)
        u = None
        given.observe(np.full(2, 300.0), None)
        estimate = np.empty(len(given.estimate), dtype=np.float32)
        lib.seer_observe(state, *pointers(np.full(2, 300.0, dtype=np.float32), None, estimate))
        for _ in range(100):
            y = (300.0 + rng.normal(size=2)).astype(np.float32)
            u = (1e3 * rng.uniform(-1, 1, 2)).astype(np.float32)
            given.observe(y.astype(float), u.astype(float))
            lib.seer_observe(state, *pointers(y, u, estimate))
            expected = given.estimate
            scale = np.abs(expected).max() + 1.0
            np.testing.assert_allclose(estimate, expected, atol=2e-4 * scale)


def test_what_floats_cannot_do_is_refused(data, tmp_path):
    lifted = LiftedModel.from_matrices(A, B, C, dt=1.0)
    with pytest.raises(OptionError, match="scalar is 'half'"):
        LinearMPC(lifted, 3, 1.0, 0.1).to_c(tmp_path, scalar="half")
    with pytest.raises(OptionError, match="single precision"):
        LinearMPC(lifted, 3, 1.0, 0.1, u_max=1e60).to_c(tmp_path, scalar="float")
    far = [e.outputs + 1e6 for e in data], [e.inputs for e in data]
    model = KoopmanRNN(20, random_state=0).fit(Trajectories.from_arrays(*far, dt=data.dt))
    assert network_rounding(Rollout(model._network)) > 1e-3
    for make in (lambda: model.to_c(tmp_path, scalar="float"),
                 lambda: RNNMPC(model, 5, 1.0, 0.1).to_c(tmp_path, scalar="float")):  # fmt: skip
        with pytest.raises(OptionError, match="scalar is 'float', and rounding alone"):
            make()


def test_networks_whose_weights_cancel_are_in_doubles(data, tmp_path):
    """Weights a million times the outputs, and more: steps and Jacobians in floats are the network's."""
    model = KoopmanRNN(100, random_state=0, feature_scale=0.02, rcond=1e-10, ridge=0.0).fit(data)
    roll = Rollout(model._network)
    assert needs_doubles(roll)
    assert _narrow_rounding(roll) > 1e3 * network_rounding(roll)
    part = model.to_c(tmp_path, "cancelling", scalar="float")
    library = tmp_path / "part.so"
    run("gcc", *FLAGS, "-shared", "-fPIC", tmp_path / "cancelling.c", "-o", library, "-lm")
    lib, rng = ctypes.CDLL(str(library)), np.random.default_rng(0)
    n_x, n_u, worst = roll.n_x, roll.n_u, 0.0
    for _ in range(200):
        x = (roll.network.x_mean + roll.x_scale * rng.uniform(-1.5, 1.5, n_x)).astype(np.float32)
        u = (roll.u_mean + roll.u_scale * rng.uniform(-1.5, 1.5, n_u)).astype(np.float32)
        after, A, B = (np.empty(n, dtype=np.float32) for n in (n_x, n_x * n_x, n_x * n_u))
        lib.cancelling_step(*(ctypes.c_void_p(a.ctypes.data) for a in (x, u, after)))
        expected = roll.step(x.astype(float), u.astype(float), np.zeros(roll.n_y))
        worst = max(worst, float(np.max(np.abs(after - expected) / roll.x_scale)))
        lib.cancelling_jacobian(*(ctypes.c_void_p(a.ctypes.data) for a in (x, u, A, B)))
        a, b = roll.jacobians(x.astype(float)[None], u.astype(float)[None])
        np.testing.assert_allclose(A.reshape(n_x, n_x), a[0], rtol=1e-4, atol=1e-5 * np.abs(a).max())
        np.testing.assert_allclose(B.reshape(n_x, n_u), b[0], rtol=1e-4, atol=1e-5 * np.abs(b).max())
    assert 0.01 * part.rounding < worst <= part.rounding < 1e-3


def test_loops_of_networks_whose_weights_cancel(tmp_path):
    """RNNMPC on a network that needs doubles: its QPs in floats, its loops within 1e-3 of double's."""
    plant, rng = VanDerPol(), np.random.default_rng(0)
    model = KoopmanRNN(80, random_state=0, feature_scale=0.02, rcond=1e-10, ridge=0.0, smooth=False)
    model.fit(records(plant, rng, 10, 60))
    assert needs_doubles(Rollout(model._network))
    mpc = RNNMPC(model, 10, 1.0, 0.1, u_min=-3.0, u_max=3.0, y_max=[1.5, 3.0])
    loops = []
    for scalar in ("double", "float"):
        code = mpc.to_c(tmp_path / scalar, scalar=scalar)
        compiled, x, path = CompiledMPC(code, flags=FLAGS), np.ones(2), []
        for k in range(50):
            u = compiled.control(x, [0.0, 0.0] if k < 25 else [0.8, 0.0])
            assert not compiled.info.status.startswith("fallback")
            path.append([*x, *u])
            x = plant.step(x[None], u[None])[0]
        loops.append(np.array(path))
    assert (np.abs(loops[1] - loops[0]) / np.ptp(loops[0], axis=0)).max() < 1e-3


def test_the_answer_says_what_it_costs(tmp_path):
    mpc = LinearMPC(LiftedModel.from_matrices(A, B, C, dt=1.0), 5, 1.0, 0.1, u_min=-1, u_max=1)
    code = mpc.to_c(tmp_path, scalar="float")
    notes = (tmp_path / "README.txt").read_text()
    assert f"{code.rounding:.1e}" in notes
    assert "2e-4" in notes
    source = re.sub(r"/\*.*?\*/", "", (tmp_path / "koopctrl_mpc.c").read_text(), flags=re.DOTALL)
    assert re.findall(r"\bdouble\b", source) == ["double"]  # the type of the wide sums
    sources = [tmp_path / "main.c", tmp_path / "koopctrl_mpc.c"]
    run("gcc", *FLAGS, *sources, "-o", tmp_path / "example", "-lm")
    answer = run(tmp_path / "example", input="0.5 0.1 0.0 0.1 0.2\n").stdout.split()
    u = mpc.control([0.5, 0.1, 0.0], [0.1, 0.2])
    np.testing.assert_allclose([float(a) for a in answer[:2]], u, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_tools()), reason=f"not on the PATH: {', '.join(missing_tools())}")
def test_on_a_cortex_m4(tmp_path):
    """Cross-compiled and emulated: the host's inputs, and fewer instructions than doubles take."""
    lifted = LiftedModel.from_matrices(A, B, C, dt=1.0)
    kf = KalmanFilter(lifted, 1e-3, 1e-2)
    mpc = LinearMPC(lifted, 8, 1.0, 0.1, u_min=-0.5, u_max=0.5, y_max=[0.6, 1.2], estimator=kf)
    rng = np.random.default_rng(0)
    y, r = 0.4 * rng.normal(size=(12, 2)), 0.4 * rng.normal(size=(12, 2))
    y[3, 0] = r[5, 1] = np.nan
    taken = {}
    for scalar, atol in (("float", 1e-5), ("double", 1e-10)):
        code = mpc.to_c(tmp_path / scalar, scalar=scalar)
        found, host = run_on_cortex_m4(code, y, r), CompiledMPC(code)
        sent = [host.control(a, b) for a, b in zip(y, r, strict=True)]
        np.testing.assert_allclose(found.inputs, sent, atol=atol)
        assert set(found.statuses) <= {"optimal", "softened"}
        taken[scalar] = (np.median(found.instructions), footprint(code))
    (n, small), (n64, large) = taken["float"], taken["double"]
    assert 1e4 < n < 0.7 * n64
    assert small.state < 0.6 * large.state
    assert small.constants < 0.75 * large.constants
    assert small.memory == 0
    assert small.code > 1000
