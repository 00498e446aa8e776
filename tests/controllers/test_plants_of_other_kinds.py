"""Closed loops and records on python-control systems and plain functions; steady states; the contract."""

import control
import numpy as np
import pytest
from scipy import integrate, linalg

from koopctrl import (
    LQR,
    KalmanFilter,
    KoopmanRNN,
    LiftedModel,
    LinearMPC,
    Trajectories,
    collect,
    run_closed_loop,
)
from koopctrl.controllers import RNNMPC, check_controller, find_steady_state
from koopctrl.errors import DataError, OptionError, ShapeError, SolverError, TimeBaseError

A, B, C = np.array([[0.0, 1.0], [-2.0, -0.5]]), np.array([[0.0], [1.0]]), np.array([[1.0, 0.0]])
AD = linalg.expm(0.1 * A)
BD = np.linalg.solve(A, (AD - np.eye(2)) @ B)


@pytest.fixture(scope="module")
def regulator():
    return LinearMPC(LiftedModel.from_matrices(AD, BD, dt=0.1), 10, 1.0, 0.1, u_min=-1.0, u_max=1.0)


def test_all_kinds_of_plants_are_the_same_plant(regulator, linear_plant):
    expected = run_closed_loop(linear_plant(AD, BD), regulator, 40, [0.3, 0.0], x0=[1.0, 0.0])
    names = {"inputs": ["u"], "outputs": ["p", "v"], "states": ["p", "v"]}
    plants = {
        "discrete": control.ss(AD, BD, np.eye(2), 0.0, 0.1, **names),
        "continuous": control.ss(A, B, np.eye(2), 0.0, **names),
        "nonlinear": control.nlsys(lambda t, x, u, p: AD @ x + BD @ u, None, dt=0.1, **names),
        "nonlinear in time": control.nlsys(lambda t, x, u, p: A @ x + B @ u, None, **names),
        "function": lambda x, u: AD @ x + BD @ u,
    }
    for name, plant in plants.items():
        found = run_closed_loop(plant, regulator, 40, [0.3, 0.0], x0=[1.0, 0.0])
        np.testing.assert_allclose(found.outputs, expected.outputs, atol=1e-7, err_msg=name)
        np.testing.assert_allclose(found.inputs, expected.inputs, atol=1e-6, err_msg=name)
        assert found.dt == pytest.approx(0.1)
    assert run_closed_loop(plants["continuous"], regulator, 3).output_names == ("y0", "y1")


def test_a_nonlinear_system_is_integrated_over_each_sample():
    pendulum = control.nlsys(
        lambda t, x, u, p: np.array([x[1], -9.81 * np.sin(x[0]) + u[0]]), lambda t, x, u, p: x[:1],
        inputs=["torque"], outputs=["angle"], states=2,
    )  # fmt: skip
    record = collect(pendulum, lambda y: np.array([0.5]), max_steps=20, dt=0.05)
    truth = integrate.solve_ivp(
        lambda t, x: [x[1], -9.81 * np.sin(x[0]) + 0.5], (0.0, 1.0), [0.0, 0.0], method="DOP853",
        rtol=1e-12, atol=1e-14, t_eval=np.linspace(0.0, 1.0, 21),
    )  # fmt: skip
    np.testing.assert_allclose(record[0].outputs[:, 0], truth.y[0], atol=1e-8)
    assert (record[0].output_names, record[0].input_names) == (("angle",), ("torque",))


def test_plants_that_cannot_be_run_are_refused(regulator):
    with pytest.raises(TimeBaseError, match=r"Pass dt="):
        collect(control.ss(A, B, C, 0.0), lambda y: [0.0], max_steps=3)
    with pytest.raises(TimeBaseError, match="expected the same"):
        run_closed_loop(control.ss(AD, BD, np.eye(2), 0.0, 0.1), regulator, 3, dt=0.2)
    with pytest.raises(TimeBaseError, match="sample times"):
        run_closed_loop(control.ss(AD, BD, np.eye(2), 0.0, 0.2), regulator, 3)
    with pytest.raises(OptionError, match="feedthrough"):
        run_closed_loop(control.ss(AD, BD, np.eye(2), [[1.0], [0.0]], 0.1), regulator, 3)
    with pytest.raises(OptionError, match=r"Pass x0="):
        run_closed_loop(lambda x, u: x, regulator, 3)
    with pytest.raises(OptionError, match=r"as f\(x, u\)"):
        run_closed_loop(lambda x: x, regulator, 3, x0=[0.0, 0.0])
    with pytest.raises(OptionError, match="env is a int"):
        run_closed_loop(3, regulator, 3)
    with pytest.raises(DataError, match="expected 2 finite numbers"):
        run_closed_loop(lambda x, u: x[:1], regulator, 3, x0=[0.0, 0.0])
    with pytest.raises(ShapeError, match="x0"):
        run_closed_loop(control.ss(AD, BD, np.eye(2), 0.0, 0.1), regulator, 3, x0=[1.0])


def test_steady_states_of_matrices():
    model = LiftedModel.from_matrices(AD, BD, C, dt=0.1)
    for y in (0.3, -2.0):
        found = find_steady_state(model, y=y)
        # p'' = -2 p - 0.5 p' + u rests where u = 2 p.
        np.testing.assert_allclose(found.x, [y, 0.0], atol=1e-10)
        np.testing.assert_allclose(found.u, [2.0 * y], atol=1e-10)
        assert found.reached
    held = find_steady_state(model, u=0.8)
    np.testing.assert_allclose([held.x[0], held.y[0], held.u[0]], [0.4, 0.4, 0.8], atol=1e-10)
    short = find_steady_state(model, y=3.0, u_max=1.0)
    assert not short.reached
    np.testing.assert_allclose(short.y, [0.5], atol=1e-8)
    with pytest.raises(SolverError, match="drifts"):
        find_steady_state(LiftedModel.from_matrices([[1.0]], [[1.0]], dt=0.1), u=1.0)
    with pytest.raises(OptionError, match="just one"):
        find_steady_state(model)
    with pytest.raises(OptionError, match="model is a ndarray"):
        find_steady_state(AD, y=1.0)


def test_steady_states_of_a_network(network):
    """Of the forced Van der Pol oscillator: x2 = 0 and x1 = u."""
    found = find_steady_state(network, y=[0.4, 0.0])
    assert found.reached
    np.testing.assert_allclose(found.x, [0.4, 0.0], atol=1e-3)
    np.testing.assert_allclose(found.u, [0.4], atol=1e-2)
    np.testing.assert_allclose(network.network_.step(found.x, found.u), found.x, atol=1e-6)
    held = find_steady_state(network, u=-0.5)
    np.testing.assert_array_equal(held.u, [-0.5])
    np.testing.assert_allclose(held.y, [-0.5, 0.0], atol=1e-2)
    assert not find_steady_state(network, y=[2.0, 0.0], u_min=-0.5, u_max=0.5).reached


def test_targets_say_whether_a_set_point_can_be_held(network):
    model = LiftedModel.from_matrices(AD, BD, C, dt=0.1)
    for controller in (
        LQR(model, 1.0, 0.1, u_min=-1.0, u_max=1.0),
        LinearMPC(model, 10, 1.0, 0.1, u_min=-1.0, u_max=1.0),
    ):
        controller.control([0.0, 0.0], [0.3])
        np.testing.assert_allclose(controller.info.target, [0.3], atol=1e-9)
        assert controller.info.reachable is True
        controller.control([0.0, 0.0], [2.0])
        np.testing.assert_allclose(controller.info.target, [0.5], atol=1e-6)  # u <= 1 holds no more
        assert controller.info.reachable is False
        controller.control([np.nan, 0.0], [0.3])
        assert controller.info.reachable is None
    mpc = RNNMPC(network, 8, 1.0, 0.1, u_min=-0.5, u_max=0.5)
    mpc.control([0.0, 0.0], [0.3, 0.0])
    assert mpc.info.reachable
    np.testing.assert_allclose(mpc.info.target, [0.3, 0.0], atol=1e-3)
    mpc.control([0.0, 0.0], [2.0, 0.0])
    assert not mpc.info.reachable
    np.testing.assert_allclose(mpc.info.target, [0.5, 0.0], atol=2e-2)


def test_the_packages_controllers_keep_to_the_contract(network, lag_model):
    model, one = (LiftedModel.from_matrices(AD, BD, c, dt=0.1) for c in (None, C))
    rng = np.random.default_rng(0)
    u, y = rng.normal(size=(2, 30, 2)), np.zeros((2, 31, 1))
    for k in range(30):
        y[:, k + 1, 0] = 0.8 * y[:, k, 0] + u[:, k].sum(axis=1)
    told = KoopmanRNN(0, input_coupling="linear", random_state=0).fit(Trajectories.from_arrays(y, u, dt=0.1))
    for controller in (
        LQR(model, 1.0, 0.1, u_min=-1.0, u_max=1.0, offset_free=True),
        LQR(one, 1.0, 0.1, observer=KalmanFilter(one, 1.0, 1.0)),
        LinearMPC(model, 5, 1.0, 0.1, u_min=-1.0, u_max=1.0, du_max=0.1, y_max=0.1),
        LinearMPC(one, 5, 1.0, 0.1, observer=KalmanFilter(one, 1.0, 1.0, disturbance="output", gate=3.0)),
        LinearMPC(lag_model[0].lift_at(x_op=0, u_op=0), 5, 1.0, 0.1, offset_free=0.5),
        RNNMPC(network, 5, 1.0, 0.1, u_min=-1.0, u_max=1.0),
        RNNMPC(told, 5, 1.0, 0.1, u_min=-1.0, u_max=1.0, measured_disturbances=[1]),
    ):
        check_controller(controller)


class Toy:
    """A controller that breaks one clause of the contract."""

    u_min, u_max, n_measured, set_point = np.array([-1.0]), np.array([1.0]), 1, np.zeros(1)

    def __init__(self, fault=None):
        self.fault, self.kept = fault, {"n": 0, "u": np.zeros(1)}

    def reset(self):
        if self.fault != "reset":
            self.kept["n"] = 0

    def control(self, measurement, reference=None):
        y = np.asarray(measurement, dtype=float)
        self.kept["n"] += 1
        u = np.clip(-0.1 * np.nan_to_num(y) + 0.001 * self.kept["n"], -1.0, 1.0)
        if self.fault == "writes":
            measurement[:] = 0.0
        if self.fault == "size":
            return np.zeros(1 + self.kept["n"] % 2)
        if self.fault == "nan":
            return u + y
        if self.fault == "bounds":
            return u + 5.0
        if self.fault == "shares":
            self.kept["u"] += u
            return self.kept["u"]
        return u

    def __deepcopy__(self, memo):
        other = Toy(self.fault)
        other.kept = self.kept if self.fault == "copy" else dict(self.kept)
        if self.fault == "copy":
            other.kept["n"] += 1
        return other


def test_each_broken_clause_is_found():
    check_controller(Toy())
    for fault, match in {
        "reset": "after reset", "writes": "wrote to its measurement", "size": "as before",
        "nan": "finite inputs", "bounds": "beyond u_min", "shares": "beyond u_min|after reset",
        "copy": "a copy of the controller",
    }.items():  # fmt: skip
        with pytest.raises((DataError, ShapeError), match=match):
            check_controller(Toy(fault))
    with pytest.raises(OptionError, match="the class Toy"):
        check_controller(Toy)
    with pytest.raises(OptionError, match=r"reset\(\) and control\(\)"):
        check_controller(3)


@pytest.mark.parametrize("unit", [1e-12, 1e-10, 1.0, 1e9])
def test_an_integrator_in_any_unit_drifts_and_comes_to_no_rest(unit):
    A, B = np.diag([1.0, 0.5]), np.array([[unit], [1.0]])
    with pytest.raises(SolverError, match="drifts"):
        find_steady_state(LiftedModel.from_matrices(A, B, dt=1.0), u=1.0)
    coupled = np.array([[0.9, 0.2 * unit], [0.01 / unit, 0.5]])
    held = find_steady_state(LiftedModel.from_matrices(coupled, B, dt=1.0), u=1.0)
    np.testing.assert_allclose(coupled @ held.x + B[:, 0], held.x, rtol=1e-10)


def test_records_of_a_function_from_given_starts():
    starts = np.array([[1.0, 0.0], [0.0, -2.0], [0.5, 0.5]])
    kept = starts.copy()
    records = collect(
        lambda x, u: AD @ x + BD @ u, lambda y: [0.3], 3, max_steps=15, dt=0.1, x0=starts, seed=0
    )
    for episode, x in zip(records, starts, strict=True):
        for row in episode.outputs:
            np.testing.assert_allclose(row, x, atol=1e-12)
            x = AD @ x + BD[:, 0] * 0.3
    np.testing.assert_array_equal(starts, kept)
    same = collect(control.ss(AD, BD, np.eye(2), 0.0, 0.1), lambda y: [0.3], 2, max_steps=15, x0=starts[1])
    np.testing.assert_allclose(same[1].outputs, records[1].outputs, atol=1e-9)
    with pytest.raises(ShapeError, match="x0 has shape"):
        collect(control.ss(AD, BD, np.eye(2), 0.0, 0.1), lambda y: [0.3], 2, max_steps=5, x0=starts)
