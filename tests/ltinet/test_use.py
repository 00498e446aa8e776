"""Networks in use: frequencies, files, C, controllers, closed loops, an environment."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import control
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from koopctrl import LQR, KalmanFilter, LinearMPC, LTINetwork, load, run_closed_loop
from koopctrl.errors import DataError, OptionError
from koopctrl_envs import LTINetworkEnv
from tests.ltinet.test_discrete import identified
from tests.plants_lti import Matrices, chain, convection_diffusion_1d, diffusion_2d, jordan, random_mimo

KINDS = {
    "plate": diffusion_2d(4),
    "masses": chain(3),
    "mixed": random_mimo(9, 2, 2, 8),
    "one layer": convection_diffusion_1d(9, 0.9),
    "Jordan": jordan(4),
}


@pytest.mark.parametrize("name", KINDS)
def test_frequency_responses_agree_with_pythons_control(name: str) -> None:
    net, sys = LTINetwork.from_statespace(KINDS[name]), control.StateSpace(*KINDS[name])
    response = net.frequency_response()
    theirs = sys(1j * response.omega, squeeze=False)
    np.testing.assert_allclose(
        np.moveaxis(response.response, 0, -1), theirs, atol=1e-10 * np.abs(theirs).max()
    )
    np.testing.assert_allclose(response.to_frd().frdata, np.moveaxis(response.response, 0, -1))
    discrete = net.sample(0.1).frequency_response([0.5, 3.0])
    theirs = control.c2d(sys, 0.1)(np.exp(0.1j * discrete.omega), squeeze=False)
    np.testing.assert_allclose(
        np.moveaxis(discrete.response, 0, -1), theirs, atol=1e-8 * np.abs(theirs).max()
    )


def test_bode_plots_can_be_laid_over_each_other() -> None:
    import matplotlib.pyplot as plt

    net = LTINetwork.from_statespace(KINDS["plate"])
    axes = net.bode(label="all")
    again = net.reduce(4).bode(axes=axes, label="four", linestyle="--")
    assert len(again[0].lines) == 2 * 9
    lines = {line.get_label() for line in again[0].lines}
    assert "four, u0 to y2" in lines
    axes[0].figure.canvas.draw()
    plt.close("all")


@pytest.mark.parametrize("name", KINDS)
def test_step_responses(name: str) -> None:
    net = LTINetwork.from_statespace(KINDS[name])
    t = np.linspace(0, 2, 41)
    run = net.step(t)
    for j in range(net.B.shape[1]):
        theirs = control.step_response(control.StateSpace(*KINDS[name]), t, input=j, squeeze=False).outputs[
            :, 0
        ]
        np.testing.assert_allclose(run.outputs[j].T, theirs, atol=1e-8 * max(np.abs(theirs).max(), 1.0))
    own = net.step()
    if net.stable:
        static = net.transfer_function([0.0])[0].real
        settled = own.outputs[:, -1].T
        assert np.abs(settled - static).max() <= 0.05 * np.abs(static).max()
    assert net.sample(0.1).step().time[1] == pytest.approx(0.1)
    np.testing.assert_array_equal(net.poles, net.eigenvalues)


@pytest.mark.parametrize("name", KINDS)
def test_files_give_the_same_network_back(name: str, tmp_path: Path) -> None:
    net = LTINetwork.from_statespace(KINDS[name], input_delays=0.2)
    for one in (
        net,
        net.sample(0.1),
        LTINetwork.from_statespace(KINDS[name]).reduce(4) if net.stable else net,
    ):
        one.save(tmp_path / "net.npz")
        back = LTINetwork.load(tmp_path / "net.npz")
        for field in ("T", "T_inv", "B", "C", "D", "scales"):
            np.testing.assert_array_equal(getattr(back, field), getattr(one, field))
        for mine, theirs in zip(back.blocks, one.blocks, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert (back.dt, back.cond, back.merges) == (one.dt, one.cond, one.merges)
        np.testing.assert_array_equal(load(tmp_path / "net.npz").B, one.B)
        assert str(back.summary()) == str(one.summary())
        np.testing.assert_array_equal(back.error_bound().total, one.error_bound().total)
        if one.reduction is not None:
            assert back.reduction.bound == one.reduction.bound


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    LTINetwork.from_statespace(chain(2)).save(path)
    whole = path.read_bytes()
    for damage in (b"", b"no zip at all", whole[: len(whole) // 2], whole[:200] + bytes(50) + whole[250:]):
        path.write_bytes(damage)
        with pytest.raises(DataError, match=r"net\.npz"):
            LTINetwork.load(path)
    with pytest.raises(FileNotFoundError):
        LTINetwork.load(tmp_path / "none.npz")


@pytest.mark.parametrize("method", ["auto", "schur"])
@pytest.mark.parametrize("name", KINDS)
def test_generated_c_takes_the_same_steps(name: str, method: str, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    assert compiler, "there is no C compiler on the PATH; install gcc"
    net = LTINetwork.from_statespace(KINDS[name], method=method)
    code = net.to_c(tmp_path, "plant", dt=0.05)
    flags = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic", "-shared", "-fPIC"]
    subprocess.run(
        [compiler, *flags, str(tmp_path / "plant.c"), "-o", str(tmp_path / "plant.so")], check=True
    )
    library = ctypes.CDLL(str(tmp_path / "plant.so"))
    pointer = ctypes.POINTER(ctypes.c_double)

    def address(v: np.ndarray):
        return v.ctypes.data_as(pointer)

    rng = np.random.default_rng(0)
    u = rng.standard_normal((60, net.B.shape[1]))
    expected = net.simulate(0.05 * np.arange(60), u).outputs
    w, y, out = np.full(code.n_states, 7.0), np.empty(code.n_outputs), []
    library.plant_reset(address(w))
    for row in np.ascontiguousarray(u):
        library.plant_output(address(w), address(row), address(y))
        out.append(y.copy())
        library.plant_update(address(w), address(row))
    np.testing.assert_allclose(out, expected, atol=1e-12 * max(np.abs(expected).max(), 1.0) * net.cond)
    assert "malloc" not in (tmp_path / "plant.c").read_text()
    assert code.data_bytes > 0


def test_c_without_inputs_outputs_or_states_compiles(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    assert compiler
    for n, n_u, n_y in ((0, 1, 1), (2, 0, 1), (2, 1, 0)):
        net = LTINetwork.from_statespace(
            (-np.eye(n), np.ones((n, n_u)), np.ones((n_y, n)), np.zeros((n_y, n_u)))
        )
        net.to_c(tmp_path, "plant", dt=0.1)
        flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-c"]
        subprocess.run(
            [compiler, *flags, str(tmp_path / "plant.c"), "-o", str(tmp_path / "plant.o")], check=True
        )
    with pytest.raises(OptionError, match="sample time"):
        LTINetwork.from_statespace(chain(2)).to_c(tmp_path)


def loops() -> dict[str, Matrices]:
    unstable = np.array([[0.6, 1.0, 0.0], [0.0, -0.5, 1.0], [0.0, 0.0, -2.0]])
    marginal = np.array([[0.0, 1.0], [0.0, 0.0]])
    return {
        "unstable": (unstable, np.array([[0.0], [0.0], [1.0]]), np.eye(3)[:1], np.zeros((1, 1))),
        "marginal": (marginal, np.array([[0.0], [1.0]]), np.eye(2)[:1], np.zeros((1, 1))),
        "plate": (
            diffusion_2d(4)[0],
            diffusion_2d(4)[1][:, :1],
            diffusion_2d(4)[2][2:],
            np.zeros((1, 1)),
        ),
    }


@pytest.mark.parametrize("name", ["unstable", "marginal", "plate"])
def test_controllers_are_designed_on_networks_and_hold_the_true_plant(name: str) -> None:
    model = loops()[name]
    dt = 0.01 if name == "plate" else 0.1
    net = LTINetwork.from_statespace(model).sample(dt)
    theirs = control.c2d(control.StateSpace(*model), dt)
    weight = net.C.T @ net.C
    lqr = LQR(net, Q=1.0, R=0.1, estimator=KalmanFilter(net, Qn=1e-2 * np.eye(net.n_states), Rn=1e-4))
    K, _, _ = control.dlqr(net.to_statespace().A, net.B, weight, 0.1)
    np.testing.assert_allclose(lqr.K, K, rtol=1e-6, atol=1e-8)
    mpc = LinearMPC(
        net, horizon=20, Q=1.0, R=0.1, u_min=-5.0, u_max=5.0,
        estimator=KalmanFilter(net, Qn=1e-2 * np.eye(net.n_states), Rn=1e-4),
    )  # fmt: skip
    reference = 0.3
    for controller in (lqr, mpc):
        controller.reset()
        x, out = np.zeros(len(model[0])), []
        for _ in range(150):
            y = model[2] @ x
            u = controller.control(y, reference=np.array([reference]))
            x = theirs.A @ x + theirs.B @ u
            out.append(y[0])
        assert abs(out[-1] - reference) <= 2e-2 * reference


def test_large_networks_condense_block_by_block_to_the_same_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    from koopctrl.controllers.estimation import augmented

    A, B, C, _ = diffusion_2d(15)
    net = LTINetwork.from_statespace((A, B[:, :2], C[1:], 0)).sample(0.003)
    settings = {
        "horizon": 12,
        "Q": [1.0, 50.0],
        "R": 0.1,
        "u_min": 0.0,
        "u_max": 1.0,
        "terminal": "none",
        "check": False,
    }
    plans = []
    for large in (10, 10_000):
        monkeypatch.setattr(augmented, "_LARGE", large)
        mpc = LinearMPC(net, y_max=[0.4, np.inf], soft=True, **settings)
        x, u = np.zeros(net.n_states), []
        for _ in range(6):
            u.append(mpc.control(x, reference=np.array([0.3, 0.2])))
            x = net.next_state(x, u[-1])
        plans.append((mpc.law.qp, np.array(u)))
    for name in ("H", "rows", "online_set_point", "constant_set_point", "from_set_point", "lower", "upper"):
        one, two = (getattr(qp, name) for qp, _ in plans)
        finite = np.isfinite(two)
        np.testing.assert_array_equal(np.isfinite(one), finite)
        np.testing.assert_allclose(
            one[finite], two[finite], rtol=1e-9, atol=1e-11 * np.abs(two[finite]).max(initial=0.0)
        )
    np.testing.assert_allclose(plans[0][1], plans[1][1], atol=1e-7)


def test_closed_loops_through_python_control() -> None:
    model = loops()["unstable"]
    net = LTINetwork.from_statespace(model)
    loop = control.feedback(net, control.StateSpace([], [], [], [[6.0]]))
    reference = control.feedback(control.StateSpace(*model), control.StateSpace([], [], [], [[6.0]]))
    for s in (0.3, 1j, 2 + 1j):
        np.testing.assert_allclose(loop(s), reference(s), rtol=1e-10)
    other = LTINetwork.from_statespace(([[-1.0]], [[1.0]], [[2.0]], 0))
    np.testing.assert_allclose(
        net.feedback(other)(1j), control.feedback(control.StateSpace(*model), other.to_statespace())(1j)
    )
    closed = LTINetwork.from_statespace(net.feedback(other))
    assert closed.n_states == 4


def test_the_environment_is_the_network() -> None:
    net = LTINetwork.from_statespace(KINDS["masses"])
    env = LTINetworkEnv(net, 0.1, x0_scale=0.5, Q=[1.0, 2.0], y_min=-50.0, y_max=50.0)
    check_env(env, skip_render_check=True)
    observation, info = env.reset(seed=0)
    x0 = net.to_states(info["x"])
    rng = np.random.default_rng(0)
    u = rng.uniform(-1, 1, (40, 1))
    y = net.simulate(0.1 * np.arange(41), np.vstack([u, u[-1:]]), x0).outputs
    np.testing.assert_allclose(observation, y[0], atol=1e-12)
    for k in range(40):
        observation, reward, terminated, truncated, info = env.step(u[k])
        np.testing.assert_allclose(observation, y[k + 1], atol=1e-11)
        assert reward == pytest.approx(-(y[k + 1] ** 2 @ [1.0, 2.0] + 0.1 * u[k, 0] ** 2), rel=1e-9)
        assert not terminated
        assert not truncated
    again, _ = env.reset(seed=0)
    np.testing.assert_allclose(again, y[0])


def test_a_controller_in_the_environment() -> None:
    net = LTINetwork.from_statespace(loops()["unstable"])
    env = LTINetworkEnv(net, 0.1, u_min=-5.0, u_max=5.0, y_max=3.0, reference=0.3)
    mpc = LinearMPC(
        env.net, horizon=20, Q=1.0, R=0.01, u_min=-5.0, u_max=5.0,
        estimator=KalmanFilter(env.net, Qn=1e-2 * np.eye(3), Rn=1e-4),
    )  # fmt: skip
    result = run_closed_loop(env, mpc, n_steps=120, reference=np.array([0.3]), seed=0)
    assert abs(result.outputs[-1, 0] - 0.3) <= 0.01
    _, _ = env.reset(seed=0)
    for _ in range(200):
        _, _, terminated, _, info = env.step(5.0 * np.ones(1))
        if terminated:
            break
    assert terminated
    assert "y0" in info["failure"]
    with pytest.raises(ValueError, match="below"):
        LTINetworkEnv(net, 0.1, u_min=1.0, u_max=-1.0)
    with pytest.raises(ValueError, match="sample time"):
        LTINetworkEnv(net)


def test_a_lifted_model_needs_a_sample_time() -> None:
    net = LTINetwork.from_statespace(chain(2))
    with pytest.raises(OptionError, match="sample"):
        net.to_lifted()
    lifted = net.to_lifted(0.2)
    assert lifted.dt == 0.2
    np.testing.assert_allclose(lifted.A, net.sample(0.2).block_matrix().toarray())
    *model, dt = identified(4, 1, 1, 0)
    discrete = LTINetwork.from_statespace((*model[:3], 0 * model[3], dt))
    assert discrete.to_lifted().dt == dt
    late = LTINetwork.from_statespace(chain(2), input_delays=0.4)
    assert late.to_lifted(0.2).n_z == 4 + 2
