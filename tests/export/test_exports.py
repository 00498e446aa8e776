"""Exports agree with numpy to 1e-10 relative on random inputs; names and dt survive."""

import casadi
import control
import numpy as np
import plants
import pytest

from koopctrl import KoopmanRNN, LiftedModel, Trajectories
from koopctrl.errors import DataError, KoopctrlError, OptionError, SolverError, TimeBaseError
from koopctrl.export.pycontrol import frequency_response, step_response, trajectories_from_timeresponse
from koopctrl.network.coupling import COUPLINGS

STEP = plants.sampled(plants.duffing, 0.1)
DUFFING = plants.record(STEP, 2, 1, 0.1, n_episodes=10, n_steps=30, x_max=1.5, last_input=True)
NAMED = Trajectories.from_arrays(
    [e.outputs for e in DUFFING],
    [e.inputs for e in DUFFING],
    dt=0.1,
    state_names=["pos", "vel"],
    input_names=["force"],
)
WINDOWS = [(1, 1, False), (2, 1, False), (3, 2, False), (1, 1, True), (2, 3, True)]
each_window = pytest.mark.parametrize(("p", "q", "feedthrough"), WINDOWS)
each_coupling = pytest.mark.parametrize("coupling", COUPLINGS)


def fitted(data=NAMED, **options) -> KoopmanRNN:
    return KoopmanRNN(**{"n_features": 12, "random_state": 0, "rcond": 1e-5, **options}).fit(data)


def close(a, b, tolerance=1e-10):
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    assert a.shape == b.shape
    np.testing.assert_allclose(
        a, b, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(b).max(initial=0.0)))
    )


# --- CasADi ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@each_window
@each_coupling
def test_the_casadi_function_is_the_step(coupling, p, q, feedthrough, activation):
    model = fitted(
        input_coupling=coupling, output_lags=p, input_lags=q, feedthrough=feedthrough, activation=activation
    )
    function = model.to_casadi()
    assert isinstance(function, casadi.Function)
    assert (function.name_in(), function.name_out()) == (["x", "u"], ["x_next"])
    assert function.size_in(0) == (model.n_x, 1)
    rng = np.random.default_rng(0)
    for _ in range(5):
        x, u = rng.normal(size=model.n_x), rng.normal(size=1)
        close(np.asarray(function(x, u)).ravel(), model.network_.step(x, u))
        close(np.asarray(function.expand()(x, u)).ravel(), model.network_.step(x, u))


@each_coupling
def test_casadi_s_derivatives_are_the_jacobian(coupling):
    model = fitted(input_coupling=coupling, output_lags=2, input_lags=2)
    x, u = casadi.MX.sym("x", model.n_x), casadi.MX.sym("u", 1)
    x_next = model.to_casadi()(x, u)
    function = casadi.Function("f", [x, u], [casadi.jacobian(x_next, x), casadi.jacobian(x_next, u)])
    point = np.random.default_rng(1).normal(size=model.n_x), np.array([0.3])
    for got, expected in zip(function(*point), model.network_.jacobian(*point), strict=True):
        close(np.asarray(got), expected)


@pytest.mark.parametrize("bilinear", [False, True])
@pytest.mark.parametrize(("p", "q", "feedthrough"), [(1, 1, False), (2, 3, True)])
def test_the_casadi_function_of_the_linear_face_is_its_step_and_output(p, q, feedthrough, bilinear):
    lifted = fitted(output_lags=p, input_lags=q, feedthrough=feedthrough).lift_at(
        x_op=0.2, u_op=0.1, bilinear=bilinear
    )
    function = lifted.to_casadi()
    assert (function.name_in(), function.name_out()) == (["z", "u"], ["z_next", "y"])
    rng = np.random.default_rng(0)
    z, u = rng.normal(size=lifted.n_z), rng.normal(size=1)
    z_next, y = function(z, u)
    close(np.asarray(z_next).ravel(), lifted.step(z, u))
    close(np.asarray(y).ravel(), lifted.output(z, u))


def test_autonomous_and_featureless_models_go_to_casadi():
    data = plants.record(plants.koopman_polynomial(), 2, 0, 0.1)
    for model in (fitted(data), fitted(data, n_features=0), fitted(n_features=0)):
        x, u = np.array([0.2, -0.3]), np.full(model.n_u, 0.4)
        close(np.asarray(model.to_casadi()(x, u)).ravel(), model.network_.step(x, u))
        lifted = model.lift_at(x_op=0)
        z = np.random.default_rng(0).normal(size=lifted.n_z)
        close(np.asarray(lifted.to_casadi()(z, u)[0]).ravel(), lifted.step(z, u))


# --- python-control --------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@each_window
@each_coupling
def test_the_nonlinear_system_rolls_out_as_the_model(coupling, p, q, feedthrough, activation):
    model = fitted(
        input_coupling=coupling, output_lags=p, input_lags=q, feedthrough=feedthrough, activation=activation
    )
    system = model.to_nlsys()
    assert isinstance(system, control.NonlinearIOSystem)
    assert system.dt == 0.1
    assert (system.input_labels, system.output_labels) == (["force"], ["pos", "vel"])
    assert system.nstates == model.n_x
    rng = np.random.default_rng(0)
    x, u = 0.3 * rng.normal(size=model.n_x), 0.3 * rng.normal(size=(12, 1))
    response = control.input_output_response(system, 0.1 * np.arange(12), u.T, x, squeeze=False)
    states = [x]
    for row in u:
        states.append(model.network_.step(states[-1], row))
    expected = np.array(states[1:] if feedthrough else states[:-1])[:, :2]
    close(response.outputs.T, expected)


@pytest.mark.parametrize("x_op", [None, [0.6, 0.3]])
@each_window
def test_the_state_space_simulates_deviations_exactly(p, q, feedthrough, x_op):
    model = fitted(output_lags=p, input_lags=q, feedthrough=feedthrough, rcond=1e-3)
    lifted = model.lift_at(x_op=x_op, u_op=0.1)
    system = lifted.to_statespace()
    assert isinstance(system, control.StateSpace)
    assert system.dt == 0.1
    assert (system.input_labels, system.output_labels) == (["force"], ["pos", "vel"])
    assert system.nstates == lifted.n_z
    assert len(set(system.state_labels)) == lifted.n_z
    z_e, y_e = lifted.equilibrium()
    rng = np.random.default_rng(0)
    x, u = lifted.x_op + 0.1 * rng.normal(size=model.n_x), 0.1 + 0.1 * rng.normal(size=(15, 1))
    response = control.forced_response(
        system, 0.1 * np.arange(15), (u - lifted.u_op).T, lifted.lift(x) - z_e, squeeze=False
    )
    close(response.outputs.T + y_e, lifted.simulate(x, u)[:-1], 1e-10 if x_op is None else 1e-7)  # z_e is far
    direct = model.to_statespace(x_op=x_op, u_op=0.1)
    np.testing.assert_array_equal(direct.A, system.A)


def test_a_linear_plant_comes_out_with_its_own_transfer_function():
    a, b, dt = plants.oscillator()
    data = plants.record(plants.linear_step(a, b), 2, 1, dt, n_episodes=10, n_steps=60)
    system = KoopmanRNN(20, random_state=0).fit(data).to_statespace(x_op=0, u_op=0)
    plant = control.StateSpace(a, b, np.eye(2), np.zeros((2, 1)), dt)
    omega = np.linspace(0.1, 0.9 * np.pi / dt, 20)
    close_to = control.frequency_response(plant, omega, squeeze=False).complex
    np.testing.assert_allclose(
        control.frequency_response(system, omega, squeeze=False).complex, close_to, atol=1e-7
    )


def test_a_drift_without_a_fixed_point_cannot_be_a_state_space():
    import dataclasses

    model = dataclasses.replace(LiftedModel.from_matrices(1.0, 1.0, dt=1.0), c=np.ones(1))
    with pytest.raises(SolverError, match="equilibrium"):
        model.to_statespace()


def test_names_that_repeat_between_signals_do_not_break_the_exports():
    data = Trajectories.from_arrays(
        [e.outputs for e in DUFFING],
        [e.inputs for e in DUFFING],
        dt=0.1,
        state_names=["z3", "u"],
        input_names=["f"],
    )
    model = fitted(data, output_lags=2, input_lags=2)
    model.to_nlsys()
    model.to_statespace()
    model.to_casadi()


def test_the_nonlinear_system_can_be_interconnected():
    system = fitted().to_nlsys()
    gain = control.ss(
        [], [], [], [[-1.0, -1.0]], dt=0.1, inputs=["pos", "vel"], outputs=["force"], name="gain"
    )
    loop = control.interconnect([system, gain], inputs=[], outputs=["pos"])
    assert loop.nstates == 2
    assert loop.dt == 0.1


def test_exports_do_not_change_with_the_model_they_came_from():
    model = fitted()
    function, system = model.to_casadi(), model.to_nlsys()
    x, u = np.array([0.3, -0.1]), np.array([0.2])
    before = np.asarray(function(x, u)).ravel()
    in_system = system.dynamics(0.0, x, u)
    model.fit(plants.record(STEP, 2, 1, 0.1, seed=4))
    np.testing.assert_array_equal(np.asarray(function(x, u)).ravel(), before)
    np.testing.assert_array_equal(system.dynamics(0.0, x, u), in_system)


# --- from python-control ---------------------------------------------------------------------------------


def responses():
    a, b, dt = plants.three_states()
    system = control.ss(
        a,
        b,
        np.eye(3)[:2],
        np.zeros((2, 2)),
        dt,
        inputs=["a", "b"],
        outputs=["p", "q"],
        states=["r", "s", "t"],
    )
    u = np.random.default_rng(0).normal(size=(2, 20))
    return system, control.forced_response(system, dt * np.arange(20), u, return_x=True), u


def test_a_time_response_becomes_a_record():
    _, response, u = responses()
    data = Trajectories.from_timeresponse(response)
    assert len(data) == 1
    assert data.dt == pytest.approx(0.2)
    assert (data.output_names, data.input_names) == (("p", "q"), ("a", "b"))
    np.testing.assert_array_equal(data[0].inputs, u.T)
    np.testing.assert_array_equal(data[0].outputs, response.y.T)
    states = Trajectories.from_timeresponse(response, signals="states")
    assert states.output_names == ("r", "s", "t")
    np.testing.assert_array_equal(states[0].outputs, response.x.T)
    model = KoopmanRNN(0, input_coupling="linear").fit(states)
    np.testing.assert_allclose(
        model.network_.jacobian(np.zeros(3), np.zeros(2))[0], plants.three_states()[0], atol=1e-8
    )


def test_each_trace_of_a_response_is_an_episode():
    system, _, _ = responses()
    response = control.step_response(system, 0.2 * np.arange(15))
    data = trajectories_from_timeresponse(response)
    assert len(data) == 2
    np.testing.assert_array_equal(data[1].outputs, np.asarray(response.y)[:, 1, :].T)
    np.testing.assert_array_equal(data[1].inputs, np.tile([0.0, 1.0], (15, 1)))


def test_an_initial_response_has_no_inputs():
    system, _, _ = responses()
    response = control.initial_response(system, 0.2 * np.arange(15), [1.0, 0.0, 0.0])
    data = trajectories_from_timeresponse(response)
    assert data.n_y == 2
    np.testing.assert_array_equal(data[0].outputs, np.asarray(response.y).reshape(2, 15).T)


def test_uneven_times_and_missing_signals_are_refused():
    uneven = control.TimeResponseData([0.0, 0.1, 0.3], np.zeros((1, 3)), inputs=np.zeros((1, 3)), issiso=True)
    with pytest.raises(TimeBaseError, match="uniform"):
        Trajectories.from_timeresponse(uneven)
    single = control.TimeResponseData([0.0], np.zeros((1, 1)), issiso=True)
    with pytest.raises(TimeBaseError):
        Trajectories.from_timeresponse(single)
    without = control.TimeResponseData([0.0, 0.1], np.zeros((1, 2)), inputs=np.zeros((1, 2)), issiso=True)
    with pytest.raises(DataError, match="states"):
        Trajectories.from_timeresponse(without, signals="states")
    with pytest.raises(OptionError, match="signals"):
        Trajectories.from_timeresponse(without, signals="inputs")
    with pytest.raises(KoopctrlError, match="response"):
        Trajectories.from_timeresponse(np.zeros((3, 2)))  # type: ignore[arg-type]


def test_step_and_frequency_responses_have_time_first():
    system, _, _ = responses()
    time, y = step_response(system)
    assert y.shape == (len(time), 2, 2)
    u = np.ones((len(time), 2)) * [0.0, 1.0]
    a, b, _ = plants.three_states()
    np.testing.assert_allclose(
        y[:, :, 1], plants.roll(plants.linear_step(a, b), np.zeros(3), u)[:-1, :2], atol=1e-10
    )
    omega, gain, phase = frequency_response(system, 50)
    assert gain.shape == phase.shape == (2, 2, 50)
    assert omega[-1] < np.pi / 0.2
    i = 20
    expected = np.eye(3)[:2] @ np.linalg.solve(np.exp(1j * omega[i] * 0.2) * np.eye(3) - a, b)
    np.testing.assert_allclose(gain[:, :, i], np.abs(expected), rtol=1e-9)
    np.testing.assert_allclose(np.exp(1j * phase[:, :, i]), expected / np.abs(expected), atol=1e-9)
