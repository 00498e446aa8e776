"""Controllers in other libraries' forms: policies and python-control blocks."""

import control
import gymnasium
import numpy as np
import pytest

import koopctrl_envs  # noqa: F401
from koopctrl import LQR, KalmanFilter, LiftedModel, LinearMPC, run_closed_loop
from koopctrl.controllers import RNNMPC, ControllerPolicy
from koopctrl.controllers.state import unravel
from koopctrl.errors import DataError, OptionError, ShapeError


def test_a_policy_acts_like_its_controller_and_resets_where_an_episode_starts(van_der_pol):
    env = gymnasium.make("koopctrl/VanDerPol-v0")
    mpc = LinearMPC(van_der_pol, 10, 1.0, 0.1, u_min=-3, u_max=3, du_min=-1, du_max=1)
    x0 = [0.8, -0.6]
    expected = run_closed_loop(env, mpc, 30, [0.3, 0.0], x0=x0)
    policy = ControllerPolicy(mpc, [0.3, 0.0])
    for batched in (False, True):
        y, _ = env.reset(options={"x0": x0})
        state, inputs = None, []
        for k in range(30):
            action, state = policy.predict(y[None] if batched else y, state, np.array([k == 0]))
            assert action.shape == ((1, 1) if batched else (1,))
            inputs.append(action.ravel())
            y = env.step(inputs[-1])[0]
        np.testing.assert_array_equal(inputs, expected.inputs)


def test_a_policy_scales_its_actions(van_der_pol):
    lqr = LQR(van_der_pol, 1.0, 0.1, u_min=-3, u_max=3)
    scaled = ControllerPolicy(lqr, action_low=[-3.0], action_high=[3.0])
    np.testing.assert_allclose(scaled.predict([0.4, 0.1])[0], lqr.control([0.4, 0.1]) / 3.0)
    with pytest.raises(OptionError, match="both or neither"):
        ControllerPolicy(lqr, action_low=[-1.0])
    for not_one in (lambda y: y, LQR):
        with pytest.raises(OptionError, match="expected an object"):
            ControllerPolicy(not_one)
    for low, high in ((1.0, 1.0), (1.0, -1.0)):
        with pytest.raises(OptionError, match="action_low < action_high"):
            ControllerPolicy(lqr, action_low=low, action_high=high)
    with pytest.raises(ShapeError, match="action_low"):
        ControllerPolicy(lqr, action_low=[-1.0, -1.0], action_high=[1.0, 1.0])
    with pytest.raises(DataError, match="action_low"):
        ControllerPolicy(lqr, action_low=-np.inf, action_high=np.inf)
    with pytest.raises(ShapeError, match="one policy for each"):
        scaled.predict(np.zeros((2, 2)))


@pytest.mark.parametrize(
    "kind",
    ["lqr", "mpc", "observer", "time_varying", "offset_free", pytest.param("rnn", marks=pytest.mark.slow)],
)
def test_a_block_simulates_like_the_closed_loop(kind, network, van_der_pol, linear_plant):
    if kind in ("observer", "time_varying"):
        a, b, c = np.array([[1.0, 0.1], [0.0, 0.9]]), np.array([[0.0], [0.1]]), np.array([[1.0, 0.0]])
        model = LiftedModel.from_matrices(a, b, c, dt=0.1)
        kf = KalmanFilter(model, 1e-2, 1e-2, disturbance="input", Qd=1e-2, steady=kind == "observer")
        loop, r, x0 = LinearMPC(model, 8, 1.0, 0.1, u_min=-2, u_max=2, observer=kf), [0.5], [1.0, 0.0]
    else:
        a, b = np.array([[0.98, 0.1], [-0.1, 1.05]]), np.array([[0.0], [0.1]])
        c, r, x0 = np.eye(2), [0.3, 0.0], [1.0, -0.5]
        loop = {
            "lqr": lambda: LQR(van_der_pol, 1.0, 0.1, u_min=-3, u_max=3),
            "mpc": lambda: LinearMPC(van_der_pol, 8, 1.0, 0.1, u_min=-1, u_max=1, du_min=-0.5, du_max=0.5),
            "offset_free": lambda: LinearMPC(van_der_pol, 8, 1.0, 0.1, u_min=-3, u_max=3, offset_free=0.5),
            "rnn": lambda: RNNMPC(network, 8, 1.0, 0.1, u_min=-3, u_max=3, offset_free=True),
        }[kind]()
    expected = run_closed_loop(linear_plant(a, b, c), loop, 15, r, x0=x0)
    block = loop.to_nlsys()
    n_y = len(c)
    plant = control.ss(
        a, b, c, np.zeros((n_y, 1)), dt=0.1, inputs=["u"], outputs=[f"y{i}" for i in range(n_y)]
    )
    block = control.NonlinearIOSystem(
        block.updfcn, block.outfcn, inputs=[*(f"y{i}" for i in range(n_y)), *(f"r{i}" for i in range(n_y))],
        outputs=["u"], states=block.nstates, dt=0.1, name="controller",
    )  # fmt: skip
    whole = control.interconnect(
        [plant, block], inplist=[f"r{i}" for i in range(n_y)], inputs=[f"r{i}" for i in range(n_y)],
        outputs=["u", *(f"y{i}" for i in range(n_y))],
    )  # fmt: skip
    time = 0.1 * np.arange(15)
    start = np.concatenate([x0, np.zeros(block.nstates)])
    response = control.input_output_response(
        whole, time, np.tile(np.array(r)[:, None], (1, 15)), start, squeeze=False
    )
    np.testing.assert_allclose(response.outputs[0], expected.inputs[:, 0], atol=1e-6)
    np.testing.assert_allclose(response.outputs[1:].T, expected.outputs[:-1], atol=1e-6)


def test_a_state_carries_all_that_a_time_varying_filter_remembers():
    a, b, c = np.array([[1.0, 0.1], [0.0, 0.9]]), np.array([[0.0], [0.1]]), np.array([[1.0, 0.0]])
    model = LiftedModel.from_matrices(a, b, c, dt=0.1)
    sizes = {}
    for steady in (True, False):
        kf = KalmanFilter(model, 1e-3, 1e-2, steady=steady, P0=4.0, gate=3.0)
        loop = LQR(model, 1.0, 0.1, observer=kf)
        block, memory = loop.to_nlsys(), np.zeros(loop.to_nlsys().nstates)
        sizes[steady] = block.nstates
        rng = np.random.default_rng(0)
        for k in range(25):
            y = rng.normal(0.0, 0.1, 1) + (30.0 if k in (7, 8, 15) else 0.0)
            signals = np.append(y, 0.0)
            # What a simulator does: calls that are thrown away stand between those that count.
            block.dynamics(0.0, memory, signals + 1.0)
            block.output(0.0, np.zeros_like(memory), signals)
            u, memory = block.output(0.0, memory, signals), block.dynamics(0.0, memory, signals)
            np.testing.assert_array_equal(u, loop.control(y))
            carried = unravel(loop.law.initial(), memory[1:]).estimator
            np.testing.assert_array_equal(kf.seen_from(carried).covariance, loop.observer.covariance)
            assert carried.gate == loop.state.estimator.gate
        assert loop.observer.n_rejected == 3
        assert kf.estimate is None  # given to a controller, a filter is not touched
    # The covariance of a steady filter is constant: 300 lifted states would make it 90,000 numbers.
    assert sizes[False] == sizes[True] + 4


def test_a_block_finds_plans_although_there_is_none_at_its_set_point():
    """The size of its memory must not depend on whether the first steps fall back."""
    model = LiftedModel.from_matrices([[0.9, 0.1], [0.0, 0.8]], [[0.0], [0.5]], dt=0.1)
    mpc = LinearMPC(model, 6, 1.0, 0.1, u_min=-1, u_max=1, y_min=[0.5, -np.inf], soft=False)
    mpc.control(mpc.set_point)
    assert mpc.info.status.startswith("fallback")
    block, y, r = mpc.to_nlsys(), np.array([5.0, 5.0]), np.array([5.0, 0.0])
    memory = np.zeros(block.nstates)
    mpc.reset()
    for _ in range(4):
        signals = np.concatenate([y, r])
        np.testing.assert_allclose(block.output(0.0, memory, signals), mpc.control(y, r), atol=1e-9)
        memory = block.dynamics(0.0, memory, signals)
        assert memory.shape == (block.nstates,)
        y = 0.9 * y
