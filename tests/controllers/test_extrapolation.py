"""How far a plan leads out of the data: worked out from its outputs, and bounded by asking for it."""

import numpy as np
import plants
import pytest

from koopctrl import KoopmanRNN, LiftedModel, LinearMPC
from koopctrl.controllers import RNNMPC

A, B, DT = plants.oscillator()
DATA = plants.record(plants.linear_step(A, B), 2, 1, DT, n_episodes=6, n_steps=40)
MODEL = KoopmanRNN(0, input_coupling="linear").fit(DATA)
SIZE = {"horizon": 15, "Q": np.diag([10.0, 0.0]), "R": 1e-3}


def controllers(**options):
    lifted = MODEL.lift_at(method="linear")
    return [LinearMPC(lifted, **SIZE, **options), RNNMPC(MODEL, **SIZE, **options)]


@pytest.mark.parametrize("share", [0.0, 0.5, 3.0])
def test_it_is_the_largest_excess_over_the_range_of_the_records(share):
    outputs = np.concatenate([e.outputs for e in DATA])
    low, high = outputs.min(axis=0), outputs.max(axis=0)
    goal = [high[0] + share * (high[0] - low[0]), 0.0]
    for mpc in controllers():
        mpc.control(np.array([0.5 * (low[0] + high[0]), 0.0]), reference=goal)
        y = mpc.info.outputs[1:]
        seen = MODEL.y_range_ if isinstance(mpc, RNNMPC) else mpc.law.seen
        worst = max(
            0.0,
            float(((y - seen[1]) / (seen[1] - seen[0])).max()),
            float(((seen[0] - y) / (seen[1] - seen[0])).max()),
        )
        assert mpc.info.extrapolation == pytest.approx(worst)
        assert mpc.info.extrapolation > 0.3 * share


def test_bounds_at_the_range_keep_a_plan_inside():
    low, high = MODEL.y_range_
    goal = [high[0] + 2.0 * (high[0] - low[0]), 0.0]
    for mpc in controllers(y_min=low, y_max=high):
        mpc.control(0.5 * (low + high), reference=goal)
        assert mpc.info.status == "optimal"
        assert mpc.info.extrapolation < 0.05


def test_nothing_is_known_without_data_or_a_plan():
    plain = LiftedModel.from_matrices(A, B, dt=DT)
    mpc = LinearMPC(plain, **SIZE)
    mpc.control([1.0, 0.0])
    assert np.isnan(mpc.info.extrapolation)
    rnn = controllers()[1]
    rnn.control([np.nan, 0.0])
    assert np.isnan(rnn.info.extrapolation)


@pytest.mark.parametrize("share", [0.0, 3.0])
def test_leverage_is_that_of_the_plans_own_windows_in_the_records(share):
    x = np.concatenate([e.outputs[:-1] for e in DATA])
    u = np.concatenate([e.inputs for e in DATA])
    z = np.hstack([np.ones((len(x), 1)), x, u])
    inverse = np.linalg.inv(z.T @ z)
    top = np.einsum("ni,ij,nj->n", z, inverse, z).max()
    low, high = MODEL.y_range_
    goal = [high[0] + share * (high[0] - low[0]), 0.0]
    for mpc in controllers():
        mpc.control(np.array([0.5 * (low[0] + high[0]), 0.0]), reference=goal)
        planned = np.hstack([np.ones((15, 1)), mpc.info.outputs[:-1], mpc.info.inputs])
        expected = np.einsum("ni,ij,nj->n", planned, inverse, planned).max() / top
        assert mpc.info.leverage == pytest.approx(expected, rel=1e-6)
        assert mpc.info.leverage > 0.5 * share


def test_leverage_counts_measured_disturbances_and_dead_time():
    rng = np.random.default_rng(0)
    wide = plants.record(
        lambda x, u: plants.linear_step(A, B)(x, u[..., :1]) + 0.05 * u[..., 1:],
        2,
        2,
        DT,
        n_episodes=6,
        n_steps=40,
    )
    model = KoopmanRNN(0, input_coupling="linear").fit(wide)
    v = rng.uniform(-0.5, 0.5, (20, 1))
    x = np.concatenate([e.outputs[:-1] for e in wide])
    u = np.concatenate([e.inputs for e in wide])
    z = np.hstack([np.ones((len(x), 1)), x, u])
    inverse = np.linalg.inv(z.T @ z)
    top = np.einsum("ni,ij,nj->n", z, inverse, z).max()
    told = {"measured_disturbances": [1], "input_delay": 2}
    for mpc in (LinearMPC(model.lift_at(method="linear"), **SIZE, **told), RNNMPC(model, **SIZE, **told)):
        mpc.control(x[3], reference=[0.5, 0.0], disturbance=v)
        ahead = mpc.info
        planned = np.hstack([np.ones((15, 1)), ahead.outputs[:-1], ahead.inputs, v[2:17]])
        expected = np.einsum("ni,ij,nj->n", planned, inverse, planned).max() / top
        assert ahead.leverage == pytest.approx(expected, rel=1e-6)


def test_leverage_is_not_known_without_data_or_a_plan():
    mpc = LinearMPC(LiftedModel.from_matrices(A, B, dt=DT), **SIZE)
    mpc.control([1.0, 0.0])
    assert np.isnan(mpc.info.leverage)
    rnn = controllers()[1]
    rnn.control([np.nan, 0.0])
    assert np.isnan(rnn.info.leverage)
