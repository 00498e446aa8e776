"""`mpc.compile()`: the same controller in C, to Python the same."""

import copy
import pickle

import numpy as np
import pytest

from koopctrl import RNNMPC, KalmanFilter, KoopmanRNN, LiftedModel, LinearMPC, Trajectories, run_closed_loop
from koopctrl.controllers.protocol import check_controller
from koopctrl.errors import DataError, OptionError, ShapeError

A, B = np.array([[0.9, 0.3], [-0.3, 0.8]]), np.array([[0.1], [0.5]])


def linear(**options):
    plant = LiftedModel.from_matrices(A, B, dt=0.1)
    return LinearMPC(plant, 10, 1.0, 0.1, u_min=-0.7, u_max=0.7, y_max=[0.6, 9.0], **options)


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(0)
    u, x = rng.uniform(-1, 1, (10, 60, 1)), np.zeros((10, 61, 2))
    for k in range(60):
        x[:, k + 1] = np.tanh(x[:, k] @ A.T + u[:, k] @ B.T)
    return KoopmanRNN(20, random_state=0).fit(Trajectories.from_arrays(x, u, dt=0.1))


def step(x, u):
    return np.tanh(A @ x + B @ u)


@pytest.mark.parametrize("kind", ["linear", "filtered", "network"])
def test_the_same_controller(kind, network):
    """Protocol, decisions over changing references and missing samples, closed loop, copies, pickles."""
    mpc = linear() if kind == "linear" else RNNMPC(network, 8, 1.0, 0.05, u_min=-0.7, u_max=0.7)
    if kind == "filtered":
        mpc = linear(estimator=KalmanFilter(LiftedModel.from_matrices(A, B, dt=0.1), 1e-3, 1e-2, gate=6.0))
    compiled = mpc.compile()
    check_controller(compiled)
    assert compiled.dt == mpc.dt
    assert compiled.input_names == mpc.input_names
    rng, x, r = np.random.default_rng(1), np.zeros(2), np.zeros(2)
    for k in range(300):
        if k % 20 == 0:
            r = 0.5 * rng.normal(size=2)
        y = np.where(rng.random(2) < 0.05, np.nan, x)
        if k == 150:
            kept, twin, loaded = compiled.state, copy.deepcopy(compiled), pickle.loads(pickle.dumps(compiled))
        u, v = mpc.control(y, r), compiled.control(y, r)
        assert mpc.info.status == compiled.info.status
        np.testing.assert_allclose(v, u, atol=1e-6)
        assert bool(mpc.info.reason) == bool(compiled.info.reason)
        if mpc.info.status == "optimal":
            np.testing.assert_allclose(compiled.info.inputs, mpc.info.inputs, atol=1e-5)
        if k >= 150:
            np.testing.assert_array_equal(twin.control(y, r), v)
            np.testing.assert_array_equal(loaded.control(y, r), v)
            if k == 150:
                first = v
        x = step(x, u) + 0.02 * rng.normal(size=2)
        if k == 150:
            seen = y, r
    compiled.state = kept
    np.testing.assert_array_equal(compiled.control(*seen), first)
    loops = [
        run_closed_loop(step, c, n_steps=40, reference=[0.3, 0.1], dt=0.1, x0=[0.2, 0.0])
        for c in (mpc, compiled)
    ]
    np.testing.assert_allclose(loops[1].outputs, loops[0].outputs, atol=1e-5)


def test_what_it_cannot_do_is_said(network):
    with pytest.raises(OptionError, match=r"no-such-cc.*PATH"):
        linear().compile("no-such-cc")
    compiled = linear().compile()
    compiled.control([0.0, 0.0], [np.nan, 0.0])
    assert compiled.info.untracked == ("y0",)
    many = LinearMPC(LiftedModel.from_matrices(0.5 * np.eye(4), np.eye(4), dt=0.1), 3, 1.0, 0.1).compile()
    with pytest.raises(OptionError, match="NaN"):
        many.control(np.zeros(4), [np.nan, 0.0, 0.0, 0.0])
    with pytest.raises(DataError, match="infinite"):
        compiled.control([0.0, 0.0], [np.inf, 0.0])
    with pytest.raises(ShapeError, match="state"):
        compiled.state = np.zeros(3, dtype=np.uint8)
    with pytest.raises(AttributeError, match="with_"):
        compiled.with_(Q=2.0)
    by_network = RNNMPC(network, 8, 1.0, 0.05).compile()
    by_network.control([0.1, 0.0], [np.nan, 0.0])
    assert by_network.info.untracked == ("x0",)
