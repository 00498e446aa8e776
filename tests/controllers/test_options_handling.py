"""Options of both predictive controllers as objects: clocks, copies, refusals, units, what is shown."""

import copy
import pickle

import numpy as np
import pytest

import koopctrl_envs  # noqa: F401
from koopctrl import ExtendedKalmanFilter, KoopmanRNN, LinearMPC, Trajectories
from koopctrl.controllers import RNNMPC
from koopctrl.controllers.mpc.rnn_outlook import Goal
from koopctrl.errors import DataError, OptionError, ShapeError
from koopctrl_envs import VanDerPol

A = np.array([[0.9, 0.3, 0.0], [-0.2, 0.8, 0.1], [0.0, 0.1, 0.6]])


# Three inputs of the model: the middle one is a disturbance in most tests.
B = np.array([[0.0, 0.2, 0.4], [0.5, 0.1, 0.0], [0.1, 0.4, 0.2]])


@pytest.fixture(scope="module")
def model():
    """Exactly linear, measured states."""
    rng = np.random.default_rng(0)
    x, u = np.empty((40, 21, 3)), rng.uniform(-1, 1, (40, 20, 3))
    x[:, 0] = rng.uniform(-1, 1, (40, 3))
    for k in range(20):
        x[:, k + 1] = x[:, k] @ A.T + u[:, k] @ B.T
    data = Trajectories.from_arrays(x, u, dt=0.1, input_names=["pump", "load", "valve"])
    return KoopmanRNN(0, input_coupling="linear", random_state=0).fit(data)


def make(kind, model, *args, **options):
    """Either controller; both start from zero inputs."""
    if kind == "linear":
        return LinearMPC(model.lift_at(x_op=0.0, u_op=0.0), *args, **options)
    return RNNMPC(model, *args, **options)


@pytest.mark.parametrize("kind", ["linear", "rnn"])
def test_out_of_time_it_falls_back_and_says_so(model, kind):
    mpc = make(kind, model, 8, 1.0, 0.1, u_min=-1, u_max=1, max_solve_time=1e-9)
    u = mpc.control([1.0, 0.0, 0.0])
    assert mpc.info.status.startswith("fallback")
    assert "max_solve_time" in mpc.info.reason
    assert np.isfinite(u).all()
    generous = make(kind, model, 8, 1.0, 0.1, u_min=-1, u_max=1, max_solve_time=100.0)
    generous.control([1.0, 0.0, 0.0])
    assert generous.info.status == "optimal"


@pytest.mark.parametrize("solver", ["qpoases", "highs"])
def test_plugins_with_a_time_limit_of_their_own_are_given_it(model, solver):
    limited = LinearMPC(
        model.lift_at(x_op=0.0, u_op=0.0),
        8,
        1.0,
        0.1,
        u_min=-0.1,
        u_max=0.1,
        solver=solver,
        max_solve_time=50.0,
    )
    limited.control([1.0, 0.0, 0.0])
    assert limited.info.status == "optimal"


@pytest.mark.parametrize("kind", ["linear", "rnn"])
def test_copies_and_pickles_go_on_where_the_original_was(model, kind):
    mpc = make(kind, model, 8, 1.0, 0.1, u_min=-0.5, u_max=0.5, y_max=0.8, input_delay=1, offset_free=True)
    for k in range(3):
        mpc.control([1.0 - 0.1 * k, 0.2, 0.0])
    twins = copy.deepcopy(mpc), pickle.loads(pickle.dumps(mpc))
    expected = mpc.control([0.6, 0.3, 0.0])
    for twin in twins:
        np.testing.assert_allclose(twin.control([0.6, 0.3, 0.0]), expected, atol=1e-9)
    assert "horizon=8" in repr(mpc)
    assert "input_delay=1" in repr(mpc)


@pytest.mark.parametrize("kind", ["linear", "rnn"])
def test_an_absurd_measurement_is_forgotten(model, kind):
    mpc = make(kind, model, 8, 1.0, 0.1, u_min=-1, u_max=1, offset_free=0.3)
    x = np.array([1.0, 0.0, 0.0])
    for k in range(40):
        u = mpc.control(x if k != 5 else np.full(3, 1e300), np.zeros(3))
        assert np.isfinite(u).all()
        x = A @ x + B @ u
    assert mpc.info.status == "optimal"
    assert np.abs(x).max() < 1e-3


def test_what_cannot_be_posed_is_refused(model):
    lifted = model.lift_at(x_op=0.0, u_op=0.0)
    cases = [
        ({"measured_disturbances": ["wind"]}, OptionError, "wind"),
        ({"measured_disturbances": [0, 1, 2]}, OptionError, "at least one to be moved"),
        ({"measured_disturbances": ["load", 1]}, OptionError, "at most once"),
        ({"measured_disturbances": 1.5}, OptionError, "measured_disturbances has 1.5"),
        ({"blocks": 2.5}, OptionError, "blocks is 2.5"),
        ({"input_delay": -1}, OptionError, "input_delay"),
        ({"max_solve_time": 0.0}, OptionError, "max_solve_time"),
        ({"soft": "no"}, OptionError, "soft is 'no'"),
        ({"terminal_set": (np.eye(3), 0.1, 1.0)}, (OptionError, ShapeError), "terminal_set"),
        ({"terminal_set": (np.eye(3), [0.1] * 3, [1.0] * 3)}, OptionError, "low <= 0 <= high"),
        ({"Q": np.ones((4, 3, 3))}, ShapeError, "one weight a step"),
        ({"R": -np.ones((8, 3, 3))}, OptionError, r"R\[0\]"),
    ]
    for options, error, words in cases:
        arguments = {"Q": 1.0, "R": 0.1, **options}
        for maker, source in ((LinearMPC, lifted), (RNNMPC, model)):
            with pytest.raises(error, match=words):
                maker(source, 8, **arguments)
    mpc = LinearMPC(lifted, 8, 1.0, 0.1)
    with pytest.raises(OptionError, match="measured_disturbances"):
        mpc.control(np.zeros(3), disturbance=[1.0])
    told = LinearMPC(lifted, 8, 1.0, 0.1, measured_disturbances="load")
    for bad in ([1.0, 2.0], [[np.inf]], np.zeros((0, 1))):
        with pytest.raises((ShapeError, DataError), match="disturbance"):
            told.control(np.zeros(3), disturbance=bad)
    with pytest.raises(ShapeError, match="input_reference"):
        told.control(np.zeros(3), input_reference=[1.0])


def test_a_plan_whose_roll_out_breaks_a_hard_bound_says_so(network):
    mpc = RNNMPC(network, 5, 1.0, 1.0, y_min=5.0, y_max=6.0, soft=False)
    mpc.control([0.0, 0.0])
    assert mpc.info.status == "inexact" or mpc.info.status.startswith("fallback")
    if mpc.info.status == "inexact":
        outside = np.maximum(5.0 - mpc.info.outputs[1:], mpc.info.outputs[1:] - 6.0).max()
        assert mpc.info.slack == pytest.approx(outside)
        assert mpc.info.slack > 0


def test_as_a_block_it_takes_what_is_measured_and_told(model):
    mpc = RNNMPC(model, 5, 1.0, 0.1, u_min=-1, u_max=1, measured_disturbances=["load"], input_delay=2,
                 observer=ExtendedKalmanFilter(model, 1e-4, 1e-4, measured=[0, 2]))  # fmt: skip
    block = mpc.to_nlsys()
    assert block.input_labels == ["x0", "x2", "r_x0", "r_x1", "r_x2", "load"]
    memory = np.zeros(block.nstates)
    rng = np.random.default_rng(0)
    for _ in range(6):
        y, load = rng.normal(size=2), rng.normal(size=1)
        u = mpc.control(y, np.zeros(3), disturbance=load)
        signals = np.concatenate([y, np.zeros(3), load])
        np.testing.assert_allclose(block.output(0.0, memory, signals), u, atol=1e-9)
        memory = block.dynamics(0.0, memory, signals)


@pytest.mark.parametrize("kind", ["linear", "rnn"])
def test_what_a_controller_shows_is_not_what_it_remembers(model, kind):
    mpc = make(kind, model, 8, 1.0, 0.1, u_min=-1, u_max=1)
    op = mpc.lifted.y_op.copy() if kind == "linear" else None
    mpc.control(np.ones(3), np.zeros(3))
    plan = mpc.info.inputs.copy()
    mpc.info.inputs[:] = 99.0
    np.testing.assert_array_equal(mpc.control(np.full(3, np.nan)), plan[1])
    mpc.set_point[:] = 5.0
    if op is not None:
        np.testing.assert_array_equal(mpc.lifted.y_op, op)


def in_units(data, of_outputs=1.0, of_inputs=1.0):
    """A network fitted to the same records in other units."""
    x, u = ([getattr(e, k) * s for e in data] for k, s in (("outputs", of_outputs), ("inputs", of_inputs)))
    records = Trajectories.from_arrays(x, u, dt=data[0].dt)
    return KoopmanRNN(40, input_coupling="bilinear", random_state=0).fit(records)


def test_plans_of_a_network_do_not_depend_on_the_units_of_its_inputs(van_der_pol_data):
    """Bounds on moves hold up to rounding, which is in the units of the inputs."""
    plant, found = VanDerPol(), []
    for unit in (1.0, 1e6):
        bounds = {"u_min": -1.5 * unit, "u_max": 1.5 * unit, "du_min": -0.5 * unit, "du_max": 0.5 * unit}
        network = in_units(van_der_pol_data, of_inputs=unit)
        mpc = RNNMPC(network, 10, [1.0, 0.1], 0.01 / unit**2, y_max=[0.8, 9.0], **bounds)
        x, inputs = np.array([1.0, 1.0]), []
        for k in range(24):
            inputs.append(mpc.control(x, [0.0 if k < 8 else 2.0, 0.0]) / unit)
            x = plant.step(x, inputs[-1])
        found.append(inputs)
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)


@pytest.mark.parametrize("unit", [1.0, 1e-7])
def test_a_roll_out_beyond_its_bounds_is_told_in_small_units_too(van_der_pol_data, unit):
    mpc = RNNMPC(in_units(van_der_pol_data, of_outputs=unit), 5, 1.0 / unit**2, 1.0, y_max=unit)
    Q, shift = mpc.problem.Q, np.zeros(len(mpc.problem.E))
    goal = Goal(np.zeros((6, 2)), np.zeros((5, 1)), np.zeros(2), None, None, np.zeros(1), Q, shift)
    for height, kept in ((1.0, True), (1.0 + 1e-8, True), (1.5, False)):
        states = np.full((6, 2), height * unit)
        assert mpc.law.iteration.excess(states, goal, np.zeros((5, 1)))[1] == kept
