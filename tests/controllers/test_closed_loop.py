"""The closed loop: conventions, metrics worked out by hand, early ends, NMPC, exports, bad input."""

import gymnasium
import numpy as np
import pytest

import koopctrl_envs  # noqa: F401
from koopctrl import LQR, LiftedModel, LinearMPC, run_closed_loop
from koopctrl.controllers import NMPC, Controller, KalmanFilter
from koopctrl.errors import DataError, KoopctrlWarning, OptionError, ShapeError, TimeBaseError


class Scripted:
    """Plays a list of inputs and notes what it was shown."""

    dt, horizon = 0.1, 3

    def __init__(self, inputs):
        self.script = np.asarray(inputs, dtype=float)

    def reset(self):
        self.seen, self.shown, self.told = [], [], []

    def control(self, measurement, reference=None):
        self.seen.append(np.array(measurement))
        self.shown.append(reference)
        return self.script[len(self.seen) - 1]

    def applied(self, u):
        self.told.append(np.array(u))


def test_arrays_are_time_first_and_the_input_acts_between_two_measurements(linear_plant):
    plant, script = linear_plant([[0.5]], [[1.0]]), Scripted([[1.0], [2.0], [3.0]])
    result = run_closed_loop(plant, script, 3, x0=[4.0], reference=[1.0], Q=1.0, R=0.5)
    np.testing.assert_allclose(result.outputs[:, 0], [4.0, 3.0, 3.5, 4.75])
    np.testing.assert_allclose(np.array(script.seen)[:, 0], [4.0, 3.0, 3.5])
    np.testing.assert_allclose(result.time, [0.0, 0.1, 0.2, 0.3])
    assert result.states.shape == (4, 1)
    assert result.inputs.shape == (3, 1)
    assert result.solve_times.shape == (3,)
    assert result.cost == pytest.approx(4.0 + 6.25 + 14.0625 + 0.5 * 14.0)
    metrics = result.metrics()
    np.testing.assert_allclose(metrics["iae"], 0.1 * (2.0 + 2.5 + 3.75))
    np.testing.assert_allclose(metrics["itae"], 0.1 * (0.2 + 0.5 + 1.125))
    np.testing.assert_allclose(metrics["input_energy"], 1.4)
    np.testing.assert_allclose(metrics["input_variation"], 2.0)


def test_what_the_plant_applied_is_recorded_and_told(linear_plant):
    script = Scripted([[1.0], [0.2]])
    result = run_closed_loop(linear_plant([[0.5]], [[1.0]], u_limit=0.5), script, 2)
    np.testing.assert_allclose(result.inputs[:, 0], [0.5, 0.2])
    np.testing.assert_allclose(script.told, [[0.5]])


def test_references_may_be_constant_rows_or_a_function_of_time(linear_plant):
    plant = linear_plant([[0.5]], [[1.0]])
    rows = np.array([[0.0], [1.0], [2.0]])
    for reference in (rows, lambda t: [min(round(t / 0.1), 2)]):
        script = Scripted(np.zeros((5, 1)))
        result = run_closed_loop(plant, script, 5, reference)
        np.testing.assert_allclose(result.references[:, 0], [0, 1, 2, 2, 2, 2])
        np.testing.assert_allclose(script.shown, [[0], [1], [2], [2], [2]])
    script = Scripted(np.zeros((5, 1)))
    run_closed_loop(plant, script, 5, rows, preview=True)
    np.testing.assert_allclose(script.shown[0][:, 0], [0, 1, 2, 2])


def test_overshoot_settling_and_violations_are_those_worked_out_by_hand(linear_plant):
    class Played(linear_plant):
        def step(self, u):
            self.k = getattr(self, "k", 0) + 1
            return np.array([[0.0, 0.6, 1.2, 0.99, 1.01, 1.0][self.k]]), 0.0, False, False, {}

    script = Scripted(np.full((5, 1), 2.0))
    script.u_max, script.y_max = np.array([1.5]), np.array([1.1])
    result = run_closed_loop(Played([[1.0]], [[1.0]]), script, 5, [1.0], x0=[0.0])
    metrics = result.metrics()
    np.testing.assert_allclose(metrics["overshoot"], [0.2])
    np.testing.assert_allclose(metrics["settling_time"], [0.3])
    assert metrics["violations"]["u_max"] == {"count": 5, "largest": 0.5}
    assert metrics["violations"]["y_max"]["count"] == 1
    assert np.isnan(metrics["cost"])
    assert result.plot() is not None


def test_an_early_end_is_said(network):
    env = gymnasium.make("koopctrl/VanDerPol-v0", max_episode_steps=10)
    lqr = LQR(network.lift_at(x_op=0, u_op=0), 1.0, 0.1, u_min=-3, u_max=3)
    with pytest.warns(KoopctrlWarning, match="after 10 of 30 steps"):
        result = run_closed_loop(env, lqr, 30)
    assert result.n_steps == 10
    assert result.ended == "truncated"
    assert run_closed_loop(env, lqr, 10).ended == "truncated"
    assert run_closed_loop(env, lqr, 9).ended == ""


def test_same_seed_same_episode(van_der_pol):
    env = gymnasium.make("koopctrl/VanDerPol-v0", measurement_noise=0.05)
    mpc = LinearMPC(van_der_pol, 10, 1.0, 0.1, u_min=-3, u_max=3)
    first, second, other = (run_closed_loop(env, mpc, 40, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.outputs, second.outputs)
    np.testing.assert_array_equal(first.inputs, second.inputs)
    assert not np.array_equal(first.outputs, other.outputs)
    assert not np.array_equal(first.states, first.outputs)


def test_time_response_holds_the_same_numbers(van_der_pol):
    env = gymnasium.make("koopctrl/VanDerPol-v0")
    result = run_closed_loop(env, LQR(van_der_pol, 1.0, 0.1, u_min=-3, u_max=3), 30)
    response = result.to_timeresponse()
    np.testing.assert_array_equal(response.outputs, result.outputs.T)
    np.testing.assert_array_equal(response.states, result.states.T)
    np.testing.assert_array_equal(response.inputs[:, :-1], result.inputs.T)
    assert list(response.input_labels) == list(result.input_names)


@pytest.mark.parametrize("solver", ["ipopt", "sqpmethod"])
def test_nmpc_is_the_lqr_near_the_equilibrium_and_obeys_bounds(solver):
    env = gymnasium.make("koopctrl/VanDerPol-v0")
    plant = env.unwrapped.plant
    a, b = plant.jacobians([0.0, 0.0], [0.0], dt=plant.dt)
    lqr = LQR(LiftedModel.from_matrices(a, b, dt=plant.dt), 1.0, 0.1)
    nmpc = NMPC(
        plant.step_components, 2, 1, 15, 1.0, 0.1, dt=plant.dt, P=lqr.P, u_min=-1.5, u_max=1.5, solver=solver
    )
    x = np.array([2e-3, -1e-3])
    np.testing.assert_allclose(nmpc.control(x), lqr.control(x), atol=2e-6)
    result = run_closed_loop(env, nmpc, 40, x0=[2.0, 0.0], reference=[0.5, 0.0])
    assert np.abs(result.inputs).max() <= 1.5
    assert set(result.statuses) == {"optimal"}
    nmpc.control([np.nan, 0.0])
    assert nmpc.info.status == "fallback_hold"


def test_every_controller_is_a_controller(lifted):
    for controller in (LQR(lifted, 1.0, 1.0), LinearMPC(lifted, 5, 1.0, 1.0), Scripted([])):
        assert isinstance(controller, Controller)
    assert not isinstance(KalmanFilter(lifted, 1.0, 1.0), Controller)


def test_what_cannot_run_is_refused(linear_plant, lifted):
    lqr = LQR(lifted, 1.0, 1.0)
    plant = linear_plant(lifted.A, lifted.B)
    with pytest.raises(OptionError, match="without reset"):
        run_closed_loop(object(), lqr, 5)
    with pytest.raises(OptionError, match="n_steps"):
        run_closed_loop(plant, lqr, 0)
    with pytest.raises(TimeBaseError, match="sample times"):
        run_closed_loop(linear_plant(lifted.A, lifted.B, dt=0.2), lqr, 5)
    with pytest.raises(ShapeError, match="reference"):
        run_closed_loop(plant, lqr, 5, reference=np.ones((5, 2)))
    with pytest.raises(DataError, match="reference"):
        run_closed_loop(plant, lqr, 5, reference=[np.inf, 0.0, 0.0])
    with pytest.raises(DataError, match="controller returned"):
        run_closed_loop(linear_plant([[0.5]], [[1.0]]), Scripted([[np.nan]]), 1)


def test_arguments_of_another_kind_are_refused_by_name(linear_plant, lifted):
    lqr, plant = LQR(lifted, 1.0, 1.0), linear_plant(lifted.A, lifted.B)
    with pytest.raises(DataError, match="x0 has dtype"):
        run_closed_loop(plant, lqr, 2, x0="abc")
    with pytest.raises(DataError, match="reference has dtype"):
        run_closed_loop(plant, lqr, 2, reference=[1j, 0.0, 0.0])
    with pytest.raises(ShapeError, match="reference is ragged"):
        run_closed_loop(plant, lqr, 2, reference=[[1.0], [1.0, 2.0]])
    with pytest.raises(OptionError, match="controller is a NoneType"):
        run_closed_loop(plant, None, 2)


def test_steps_of_another_size_are_refused():
    with pytest.raises(ShapeError, match="step returned 1 components"):
        NMPC(lambda x, u, xp: (x[0] + u[0],), 2, 1, 3, 1.0, 1.0, dt=0.1)
    with pytest.raises(OptionError, match="step returned a NoneType"):
        NMPC(lambda x, u, xp: None, 2, 1, 3, 1.0, 1.0, dt=0.1)


@pytest.mark.parametrize(
    "step",
    [
        lambda x, u: (0.5 * x[0] + u[0],),
        lambda x, u, xp: (0.5 * x[0] + u[0],),
        lambda x, u, **kwargs: [0.5 * x[0] + u[0]],
        lambda x, u: np.array([0.5 * x[0] + u[0]]),
        lambda x, u, xp: xp.vertcat(0.5 * x[0] + u[0]),
    ],
)
def test_a_step_may_do_without_xp(step):
    nmpc = NMPC(step, 1, 1, 8, 1.0, 1.0, dt=0.1, P=LQR(HALF, 1.0, 1.0).P)
    np.testing.assert_allclose(nmpc.control([0.3]), LQR(HALF, 1.0, 1.0).control([0.3]), atol=1e-6)


HALF = LiftedModel.from_matrices([[0.5]], [[1.0]], dt=0.1)


def test_callables_that_casadi_cannot_follow_are_refused_with_the_remedy():
    import math

    def loops(x, u):
        return (x[0] + u[0] if x[0] > 0 else x[0] - "1",)

    with pytest.raises(OptionError, match=r"step failed on casadi symbols \(.*Take functions from xp"):
        NMPC(loops, 1, 1, 3, 1.0, 1.0, dt=0.1)
    with pytest.raises(OptionError, match="step lost its symbols: they became NaN"):
        NMPC(lambda x, u: (math.sin(x[0]) + u[0],), 1, 1, 3, 1.0, 1.0, dt=0.1)
    with pytest.raises(OptionError, match=r"step cannot be called as step\(x, u\)"):
        NMPC(lambda x: x, 1, 1, 3, 1.0, 1.0, dt=0.1)
    step, same = (lambda x, u: (x[0] + u[0],)), (lambda y: y)
    one = NMPC(step, 1, 1, 3, 1.0, 1.0, dt=0.1, output=lambda x: (2 * x[0],), to_state=lambda y: y / 2)
    assert one.control([0.5]).shape == (1,)
    with pytest.raises(OptionError, match="output returned a NoneType"):
        NMPC(step, 1, 1, 3, 1.0, 1.0, dt=0.1, output=lambda x, xp: None, to_state=same)
    with pytest.raises(OptionError, match="output is a str"):
        NMPC(step, 1, 1, 3, 1.0, 1.0, dt=0.1, output="y", to_state=same)
    with pytest.raises(OptionError, match="to_state is a str"):
        NMPC(step, 1, 1, 3, 1.0, 1.0, dt=0.1, output=same, to_state="x")
