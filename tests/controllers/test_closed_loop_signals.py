"""Measured disturbances and input references in the closed loop, and what a result says of itself."""

import numpy as np
import pytest

from koopctrl import LQR, LiftedModel, LinearMPC, run_closed_loop
from koopctrl.controllers.loop.result import ClosedLoopResult
from koopctrl.errors import DataError, OptionError, ShapeError


class TwoInputs:
    """`x+ = 0.5 x + u + v`; takes `[v, u]`, clips `u` to 1."""

    dt = 0.1

    def reset(self, *, seed=None, options=None):
        self.x, self.sent = np.zeros(1), []
        return self.x.copy(), {}

    def step(self, action):
        self.sent.append(np.array(action))
        v, u = action[0], np.clip(action[1], -1.0, 1.0)
        self.x = 0.5 * self.x + u + v
        return self.x.copy(), 0.0, False, False, {"u": np.array([v, u])}


class FeedForward:
    """Sends `2 - v`, and notes what it was shown and told."""

    horizon = 3
    lifted = LiftedModel.from_matrices([[0.5]], [[1.0, 1.0]], dt=0.1, input_names=["wind", "thrust"])

    def reset(self):
        self.shown, self.told = [], []

    def control(self, measurement, reference=None, *, input_reference=None, disturbance=None):
        self.shown.append((reference, input_reference, disturbance))
        v = 0.0 if disturbance is None else np.atleast_2d(disturbance)[0, 0]
        return np.array([2.0 - v])

    def join(self, u, v):
        return np.concatenate([v, u])

    def split_inputs(self, u):
        return u[1:], u[:1]

    def applied(self, u):
        self.told.append(u)


class NoJoin:
    dt = 0.1

    def reset(self):
        self.shown = []

    def control(self, measurement, reference=None, disturbance=None):
        self.shown.append(disturbance)
        return np.array([1.0])


WIND = np.array([[1.0], [1.5], [0.5]])


@pytest.mark.parametrize("wind", [WIND, lambda t: WIND[min(round(t / 0.1), 2)]], ids=["rows", "callable"])
def test_a_measured_disturbance_is_shown_joined_and_split_off_again(wind):
    plant, controller = TwoInputs(), FeedForward()
    result = run_closed_loop(plant, controller, 5, disturbance=wind, R=1.0)
    held = [1.0, 1.5, 0.5, 0.5, 0.5]
    np.testing.assert_array_equal([s[2] for s in controller.shown], np.array(held)[:, None])
    assert all(s[:2] == (None, None) for s in controller.shown)
    np.testing.assert_array_equal(plant.sent, [[v, 2.0 - v] for v in held])
    np.testing.assert_array_equal(result.disturbances[:, 0], held)
    np.testing.assert_array_equal(result.inputs[:, 0], [1.0, 0.5, 1.0, 1.0, 1.0])  # clipped by the plant
    np.testing.assert_array_equal(controller.told, [[1.0]] * 3)
    assert (result.input_names, result.disturbance_names) == (("thrust",), ("wind",))
    assert result.metrics()["input_energy"].shape == (1,)
    assert len(result.plot().axes) == 3


def test_a_preview_shows_the_next_samples_of_every_signal_beyond_the_end_too():
    controller = FeedForward()
    run_closed_loop(
        TwoInputs(), controller, 3, lambda t: [t], disturbance=WIND, input_reference=[0.25], preview=True
    )
    reference, input_reference, disturbance = controller.shown[1]
    np.testing.assert_allclose(reference[:, 0], [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_array_equal(disturbance[:, 0], [1.5, 0.5, 0.5, 0.5])
    np.testing.assert_array_equal(input_reference, np.full((4, 1), 0.25))
    np.testing.assert_allclose(controller.shown[2][0][:, 0], [0.2, 0.3, 0.4, 0.5])


def test_a_preview_reaches_beyond_the_dead_time(linear_plant):
    """Row `input_delay` is the first that an input sent now can act on."""
    model = LiftedModel.from_matrices([[0.9]], [[0.5]], dt=0.1)
    mpc = LinearMPC(model, 3, 1.0, 0.1, input_delay=5)
    shown, control = [], mpc.control
    mpc.control = lambda y, reference=None: (shown.append(reference), control(y, reference))[1]
    run_closed_loop(linear_plant([[0.9]], [[0.5]]), mpc, 2, np.arange(20.0)[:, None], preview=True)
    np.testing.assert_array_equal(shown[1][:, 0], 1.0 + np.arange(9.0))


def test_constants_are_shown_at_every_step():
    controller = FeedForward()
    run_closed_loop(TwoInputs(), controller, 2, disturbance=[0.5], input_reference=0.1)
    assert [(float(s[1][0]), float(s[2][0])) for s in controller.shown] == [(0.1, 0.5)] * 2


def test_without_join_the_plant_gets_the_input_alone(linear_plant):
    controller = NoJoin()
    result = run_closed_loop(linear_plant([[0.5]], [[1.0]]), controller, 3, disturbance=WIND)
    np.testing.assert_array_equal(result.inputs, np.ones((3, 1)))
    np.testing.assert_array_equal(result.disturbances, WIND)
    assert result.disturbance_names == ("v0",)


def test_without_a_disturbance_there_is_none(linear_plant):
    controller = NoJoin()
    assert run_closed_loop(linear_plant([[0.5]], [[1.0]]), controller, 3).disturbances is None
    assert controller.shown == [None] * 3


def test_signals_that_the_controller_does_not_take_are_refused_by_name(linear_plant, lifted):
    plant, lqr = linear_plant(lifted.A, lifted.B), LQR(lifted, 1.0, 1.0)
    if "disturbance" not in LQR.control.__annotations__:
        with pytest.raises(OptionError, match="takes no disturbance"):
            run_closed_loop(plant, lqr, 3, disturbance=[1.0])
    with pytest.raises(OptionError, match="takes no input_reference"):
        run_closed_loop(plant, NoJoin(), 3, input_reference=[1.0])
    with pytest.raises(OptionError, match="takes no reference"):
        run_closed_loop(plant, type("C", (), {"reset": lambda s: 0, "control": lambda s, y: 0})(), 3)


@pytest.mark.parametrize("name", ["disturbance", "input_reference"])
def test_bad_signals_are_refused_by_name(name):
    for value, error in ((np.empty((0, 1)), ShapeError), ([np.nan], DataError), ("wind", DataError)):
        with pytest.raises(error, match=name):
            run_closed_loop(TwoInputs(), FeedForward(), 3, **{name: value})


# --- what a result says ----------------------------------------------------------------------------------


def a_result(statuses, **kwargs):
    n = len(statuses)
    values = {
        "time": 0.1 * np.arange(n + 1), "states": np.zeros((n + 1, 2)), "outputs": np.zeros((n + 1, 2)),
        "inputs": np.ones((n, 1)), "references": np.zeros((n + 1, 2)), "solve_times": np.ones(n),
        "statuses": tuple(statuses), "rewards": np.zeros(n), "ended": "", "Q": np.eye(2), "R": np.eye(1),
    }  # fmt: skip
    return ClosedLoopResult(**{**values, **kwargs})


def test_every_status_is_counted_and_fallbacks_are_told_apart():
    statuses = [
        "optimal", "saturated", "softened", "inexact", "inexact", "not_converged", "fallback_plan",
        "fallback_lqr", "fallback_hold",
    ]  # fmt: skip
    metrics = a_result(statuses).metrics()
    assert metrics["statuses"] == {s: statuses.count(s) for s in statuses}
    assert metrics["n_fallbacks"] == 3


def test_a_printed_result_gives_dimensions_and_key_figures():
    said = str(a_result(["optimal"] * 3 + ["fallback_plan"]))
    for part in ("n_steps=4", "dt=0.1 s", "n_y=2", "n_u=1", "cost=4", "fallbacks=1", "ended=''"):
        assert part in said
    assert "n_v=2" in repr(a_result(["optimal"], disturbances=np.zeros((1, 2)), ended="terminated"))
    assert "array" not in said
