"""RNNMPC: Jacobians, the linear case, cost beside true-model NMPC, bounds, lags, offsets, bad input."""

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import koopctrl_envs  # noqa: F401
from koopctrl import KoopmanRNN, LinearMPC, Trajectories, run_closed_loop
from koopctrl.controllers import NMPC, RNNMPC
from koopctrl.controllers.qp.soft import StepSolution
from koopctrl.errors import NotFittedError, OptionError, ShapeError
from koopctrl.network.folded import Rollout


@pytest.fixture(scope="module")
def linear_network():
    """A network that is exactly linear, fitted to a two-input plant with an unstable mode."""
    a, b = np.array([[1.1, 0.2], [0.0, 0.8]]), np.array([[0.0, 0.5], [1.0, 0.1]])
    rng = np.random.default_rng(0)
    x, u = np.empty((30, 21, 2)), rng.uniform(-1, 1, (30, 20, 2))
    x[:, 0] = rng.uniform(-1, 1, (30, 2))
    for k in range(20):
        x[:, k + 1] = x[:, k] @ a.T + u[:, k] @ b.T
    data = Trajectories.from_arrays(x, u, dt=0.1)
    return KoopmanRNN(0, input_coupling="linear", random_state=0).fit(data), a, b


@pytest.mark.parametrize("coupling", ["linear", "bilinear", "quadratic", "network"])
@pytest.mark.parametrize("lags", [1, 3])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_roll_outs_and_jacobians_are_the_networks(van_der_pol_data, coupling, lags, activation):
    model = KoopmanRNN(
        30, input_coupling=coupling, output_lags=lags, input_lags=lags, activation=activation, random_state=0
    ).fit(van_der_pol_data)
    network, roll = model.network_, Rollout(model.network_)
    rng = np.random.default_rng(0)
    episode = van_der_pol_data[0]
    x0 = network.window.initial(episode.outputs, episode.inputs, 40)
    u = rng.uniform(-1, 1, (3, 6, 1))
    x = roll.run(x0, u, np.zeros(2))
    expected, _ = network.rollout(np.tile(x0, (3, 1)), u)
    np.testing.assert_allclose(x[..., :2], expected, rtol=1e-7, atol=1e-7)
    a, b = roll.jacobians(x[0, :-1], u[0])
    for k in range(6):
        a_k, b_k = network.jacobian(x[0, k], u[0, k])
        np.testing.assert_allclose(a[k], a_k, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(b[k], b_k, rtol=1e-6, atol=1e-6)


def test_on_a_linear_network_it_is_the_linear_mpc(linear_network):
    model, a, b = linear_network
    options = {
        "R_rate": 0.2, "u_min": -0.5, "u_max": 0.5, "du_min": -0.4, "du_max": 0.4, "y_min": -1.5,
        "y_max": 1.5,
    }  # fmt: skip
    nonlinear = RNNMPC(model, 8, [1.0, 2.0], 0.3, **options)
    linear = LinearMPC(model.lift_at(x_op=0, u_op=0), 8, [1.0, 2.0], 0.3, **options)
    x = np.array([0.5, -1.0])
    for mpc in (nonlinear, linear):
        mpc.applied([0.0, 0.0])  # else the input before the first is the data's mean
    for k in range(12):
        r = [0.3, 0.1] if k > 4 else [0.0, 0.0]
        u = nonlinear.control(x, r)
        np.testing.assert_allclose(u, linear.control(x, r), atol=1e-6)
        np.testing.assert_allclose(nonlinear.info.inputs, linear.info.inputs, atol=1e-5)
        np.testing.assert_allclose(nonlinear.info.outputs, linear.info.outputs, atol=1e-5)
        x = a @ x + b @ u
    assert nonlinear.info.status == "optimal"


def test_a_preview_is_tracked_as_by_the_linear_mpc(linear_network):
    model, _, _ = linear_network
    preview = np.column_stack([np.sin(np.arange(9)), np.cos(np.arange(9))])
    nonlinear, linear = RNNMPC(model, 8, 1.0, 0.3), LinearMPC(model.lift_at(x_op=0, u_op=0), 8, 1.0, 0.3)
    for _ in range(2):
        np.testing.assert_allclose(
            nonlinear.control([0.5, -1.0], preview), linear.control([0.5, -1.0], preview), atol=1e-6
        )


def test_cost_on_the_true_plant_is_that_of_nmpc_with_the_true_model(network):
    env = gymnasium.make("koopctrl/VanDerPol-v0")
    plant = env.unwrapped.plant
    mpc = RNNMPC(network, 20, 1.0, 0.1, u_min=-3, u_max=3)
    targets = mpc.law.targets
    origin = targets.question(np.zeros(2), np.zeros(2))
    P = targets.weight(targets.find(targets.initial(), origin)[0], origin).P
    true = NMPC(plant.step_components, 2, 1, 20, 1.0, 0.1, dt=0.1, P=P, u_min=-3, u_max=3)
    for x0 in ([2.0, -1.0], [-2.5, 2.5]):
        found, best = (run_closed_loop(env, c, 100, [0.0, 0.0], x0=x0) for c in (mpc, true))
        assert found.cost < 1.01 * best.cost
        assert np.abs(found.inputs).max() <= 3.0
        assert set(found.statuses) == {"optimal"}


def test_output_bounds_are_kept_on_the_true_plant_and_moves_are_bounded(network):
    env = gymnasium.make("koopctrl/VanDerPol-v0")
    mpc = RNNMPC(network, 20, 1.0, 0.1, u_min=-3, u_max=3, du_min=-1.5, du_max=1.5, y_min=[-5, -0.8])
    result = run_closed_loop(env, mpc, 60, [0.0, 0.0], x0=[2.0, 0.0])
    assert result.outputs[1:, 1].min() > -0.8 - 1e-3
    assert result.outputs[1:, 1].min() < -0.79
    assert np.abs(np.diff(result.inputs, axis=0)).max() <= 1.5 + 1e-8


def test_the_merit_never_rises_between_iterations(network, monkeypatch):
    monkeypatch.setattr("koopctrl.controllers.mpc.rnn_law.COLD_ITERATIONS", 1)
    x, costs = [2.5, 2.0], []
    for n in (1, 2, 4, 8):
        mpc = RNNMPC(network, 25, 1.0, 0.01, u_min=-2, u_max=2, n_iterations=n)
        mpc.control(x, [1.0, 0.0])
        costs.append(mpc.info.objective)
    assert (np.diff(costs) <= 1e-9 * costs[0]).all()
    assert costs[-1] < costs[0]


def test_lag_models_track_outputs(lag_model):
    model, plant = lag_model
    mpc = RNNMPC(model, 15, 1.0, 0.01, u_min=-0.5, u_max=0.5, y_max=0.45, blocks=8)
    result = run_closed_loop(plant, mpc, 100, reference=[0.4], x0=[-1.0, 0.0])
    assert abs(result.outputs[-1, 0] - 0.4) < 1e-6
    assert result.outputs.max() < 0.45 + 1e-6


def test_offset_free_removes_a_load_and_a_wrong_parameter(network):
    env = gymnasium.make("koopctrl/VanDerPol-v0", mu=1.2, disturbance=0.4)
    errors = {}
    for offset_free in (False, True):
        mpc = RNNMPC(network, 20, [1.0, 0.0], 0.1, u_min=-3, u_max=3, offset_free=offset_free)
        result = run_closed_loop(env, mpc, 120, [0.7, 0.0], x0=[0.0, 0.0])
        errors[offset_free] = abs(result.outputs[-1, 0] - 0.7)
    assert errors[False] > 0.05
    assert errors[True] < 1e-6
    _, _, load = mpc.observer.split(mpc.observer.estimate)
    assert abs(load[0] - 0.4) < 1e-3


def test_a_set_point_beyond_the_inputs_gives_the_nearest_and_does_not_wind_up(network):
    env = gymnasium.make("koopctrl/VanDerPol-v0")
    mpc = RNNMPC(network, 20, [1.0, 0.0], 0.01, u_min=-1, u_max=1, offset_free=True)
    rows = np.zeros((140, 2))
    rows[:80, 0], rows[80:, 0] = 1.5, 0.5
    result = run_closed_loop(env, mpc, 140, rows, x0=[1.0, 0.0])
    # At rest x1 = u, so 1 is as near to 1.5 as |u| <= 1 allows; and the way back starts at once.
    assert abs(result.outputs[79, 0] - 1.0) < 1e-4
    assert result.inputs[81, 0] < 0.5
    assert abs(result.outputs[-1, 0] - 0.5) < 1e-3


@given(
    st.integers(0, 10_000),
    st.integers(1, 10),
    st.floats(-3, 3),
    st.floats(-3, 3),
    st.floats(-2, 1),
    st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_every_step_is_certified_or_says_so_and_never_leaves_the_bounds(
    network, seed, horizon, log_q, log_r, log_bound, outputs
):
    bound, rng = 10.0**log_bound, np.random.default_rng(seed)
    mpc = RNNMPC(
        network, horizon, 10.0**log_q, 10.0**log_r, u_min=-bound, u_max=bound, du_min=-0.5 * bound,
        du_max=0.3 * bound, y_max=1.0 if outputs else None,
    )  # fmt: skip
    last = mpc.law.policy.effective_last(mpc.state.history)
    for _ in range(3):
        u = mpc.control(rng.uniform(-3, 3, 2), rng.uniform(-1, 1, 2))
        assert np.isfinite(u).all()
        assert np.abs(u).max() <= bound
        assert (u - last <= 0.3 * bound + 1e-8).all()
        assert (u - last >= -0.5 * bound - 1e-8).all()
        if mpc.info.status in ("optimal", "softened"):
            assert mpc.info.kkt_residual <= 1e-6
        else:
            assert mpc.info.reason
        last = u


def test_fall_back_follows_the_plan_then_holds(network, monkeypatch):
    mpc = RNNMPC(network, 3, 1.0, 0.1, u_min=-1, u_max=1)
    mpc.control([1.0, 0.0])
    plan = mpc.info.inputs.copy()
    np.testing.assert_array_equal(mpc.control([np.nan, 0.0]), plan[1])
    assert mpc.info.status == "fallback_plan"
    broken = StepSolution(None, "solver crashed", float("inf"), 1)
    monkeypatch.setattr(mpc.law.iteration._solver, "solve", lambda *_: broken)
    np.testing.assert_array_equal(mpc.control([1.0, 0.0]), plan[2])
    np.testing.assert_array_equal(mpc.control([1.0, 0.0]), plan[2])
    assert mpc.info.status == "fallback_hold"
    assert mpc.info.reason == "solver crashed"


def test_measurements_far_outside_the_data_never_raise_nor_give_nan(network):
    mpc = RNNMPC(network, 30, 1.0, 0.1, u_min=-1, u_max=1)
    for size in (10.0, 1e3, 1e6, 1e150, 1.0):
        with np.errstate(all="ignore"):
            u = mpc.control([size, -size])
        assert np.isfinite(u).all()
        assert np.abs(u).max() <= 1
        assert mpc.info.status == "optimal" or mpc.info.reason


def test_models_and_options_that_cannot_be_posed_are_refused(network, van_der_pol, van_der_pol_data):
    with pytest.raises(OptionError, match="expected a fitted KoopmanRNN"):
        RNNMPC(van_der_pol, 5, 1.0, 1.0)
    with pytest.raises(NotFittedError):
        RNNMPC(KoopmanRNN(), 5, 1.0, 1.0)
    autonomous = KoopmanRNN(10, random_state=0).fit(
        Trajectories.from_arrays([e.outputs for e in van_der_pol_data], dt=0.1)
    )
    with pytest.raises(OptionError, match="no inputs"):
        RNNMPC(autonomous, 5, 1.0, 1.0)
    with pytest.raises(OptionError, match="n_iterations"):
        RNNMPC(network, 5, 1.0, 1.0, n_iterations=0)
    with pytest.raises(ShapeError, match="Q has shape"):
        RNNMPC(network, 5, np.ones(3), 1.0)
    with pytest.raises(ShapeError, match="measurement"):
        RNNMPC(network, 5, 1.0, 1.0).control([1.0])


def test_plans_that_end_far_from_the_target_are_compared_with_new_ones(network, monkeypatch):
    """Every fifth sample while the plan ends far away, never near the target."""
    counts = []
    for every in (5, 10**9):
        monkeypatch.setattr("koopctrl.controllers.mpc.rnn_law.RECHECK", every)
        mpc = RNNMPC(network, 8, [1.0, 1.0], 0.1, u_min=-3, u_max=3, terminal="none")
        mpc.control([2.5, 2.0], [0.0, 0.0])
        tried = 0
        cold = mpc.law.iteration.cold_plans

        def counting(*args, cold=cold):
            nonlocal tried
            tried += 1
            return cold(*args)

        monkeypatch.setattr(mpc.law.iteration, "cold_plans", counting)
        for _ in range(10):
            mpc.control([2.5, 2.0], [0.0, 0.0])  # the plant stays far away
        far = tried
        for _ in range(10):
            mpc.control([0.0, 0.0], [0.0, 0.0])
        counts.append((far, tried - far))
    assert counts == [(2, 0), (0, 0)]
