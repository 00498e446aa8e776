"""Extended Kalman filter: numbers and arguments that do not fit, models that cannot be observed."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kalman_plants import NAMES, A, B, fit_linear, observe_all

from koopctrl import ExtendedKalmanFilter, KoopmanRNN, Trajectories
from koopctrl.errors import (
    DataError,
    KoopctrlError,
    NotFittedError,
    OptionError,
    RolloutWarning,
    ShapeError,
    SolverError,
)


@pytest.fixture(scope="module")
def linear():
    """A network that is the linear plant to rounding."""
    return fit_linear(A, B, NAMES)


def test_a_prediction_that_runs_away_is_reported_and_forgotten(network):
    ekf = ExtendedKalmanFilter(network, 1e-4, 1e-3, measured=[0], disturbance="input")
    ekf.update([0.5])
    for u in (1e9, 1e300):
        with pytest.warns(RolloutWarning, match="prediction left the training data's range"):
            found = ekf.predict([u])
        assert ekf.estimate is None
        np.testing.assert_array_equal(found, np.append(network.network_.x_mean, 0.0))
        assert np.isfinite(ekf.update([np.nan])).all()
        # The next measurement starts it anew.
        np.testing.assert_allclose(ekf.update([0.7])[0], 0.7)


def test_uncertainty_that_grows_for_ever_is_reported_too():
    model = fit_linear(np.array([[1.2, 0.1], [0.0, 0.9]]), np.array([[0.0], [1.0]]))
    ekf = ExtendedKalmanFilter(model, 1e-2, 1e-2, P0=1.0)
    ekf.reset([0.0, 0.0])
    with pytest.warns(RolloutWarning, match="uncertainty"):
        observe_all(ekf, np.full((100, 2), np.nan), np.zeros((100, 1)))
    assert np.isfinite(ekf.covariance).all()


def test_a_measurement_that_overflows_is_rejected(network):
    for gate in (None, 4.0):
        ekf = ExtendedKalmanFilter(network, 1e-4, 1e-3, gate=gate)
        before = ekf.update([0.5, 0.1])
        ekf.estimate = [-1e308 if gate is None else 0.5, before[1]]
        before = ekf.estimate.copy()
        np.testing.assert_array_equal(ekf.update([1.7e308, 1.7e308]), before)
        assert ekf.rejected
        assert ekf.n_rejected == 1


@given(
    st.lists(
        st.tuples(
            st.floats(width=64, allow_infinity=False),
            st.floats(width=64, allow_infinity=False),
            st.floats(allow_nan=False, allow_infinity=False),
        ),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(["none", "state", "input"]),
    st.sampled_from([None, 3.0]),
)
@settings(deadline=None, max_examples=150)
def test_no_numbers_give_nan(network, samples, kind, gate):
    ekf = ExtendedKalmanFilter(network, 1e-4, 1e-3, disturbance=kind, gate=gate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RolloutWarning)
        for k, (y0, y1, u) in enumerate(samples):
            found = ekf.observe(np.array([y0, y1]), np.array([u]) if k else None)
            assert np.isfinite(found).all()
            assert np.isfinite(ekf.covariance).all()


def test_nothing_passed_in_is_written_to_and_nothing_handed_out_is_shared(linear):
    Qn, Rn, Qd, P0 = np.eye(3), np.eye(3), np.eye(2), np.eye(5)
    y, u, x0 = np.array([1.0, np.nan, 2.0]), np.array([0.3, 0.1]), np.array([1.0, 2.0, 3.0])
    given_in = [Qn, Rn, Qd, P0, y, u, x0]
    copies = [array.copy() for array in given_in]
    ekf = ExtendedKalmanFilter(linear, Qn, Rn, disturbance="input", Qd=Qd, P0=P0, gate=3.0)
    for start in (None, x0):
        ekf.reset(start)
        for k in range(4):
            handed_out = ekf.observe(y, u if k else None)
            kept = ekf.estimate.copy()
            for part in (handed_out, *ekf.split(handed_out)):
                part += 1.0
            np.testing.assert_array_equal(ekf.estimate, kept)
    ekf.covariance += 1.0
    ekf.reset()
    np.testing.assert_array_equal(ekf.covariance, P0)
    for array, copy in zip(given_in, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_the_first_covariance_may_be_given_for_the_window_alone(linear):
    ekf = ExtendedKalmanFilter(linear, 1.0, 1.0, disturbance="input", P0=[1.0, 2.0, 3.0])
    np.testing.assert_array_equal(np.diag(ekf.P0)[:3], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(np.diag(ekf.P0)[3:], linear.network_.scaling.u_scale**2)


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"Qn": -1.0}, OptionError, "Qn has smallest eigenvalue"),
        ({"Qn": np.eye(2)}, ShapeError, "Qn has shape"),
        ({"Qn": np.nan}, DataError, "Qn has"),
        ({"Rn": 0.0}, OptionError, "Rn has smallest eigenvalue 0; expected a positive definite"),
        ({"Rn": np.eye(2)}, ShapeError, "Rn has shape"),
        ({"Rn": np.eye(3), "measured": [0]}, ShapeError, "Rn has shape"),
        ({"P0": -np.eye(3)}, OptionError, "P0 has smallest eigenvalue"),
        ({"P0": np.eye(4)}, ShapeError, "P0 has shape"),
        ({"disturbance": "input", "Qd": -1.0}, OptionError, "Qd has smallest eigenvalue"),
        ({"disturbance": "input", "Qd": np.eye(3)}, ShapeError, "Qd has shape"),
        ({"disturbance": "load"}, OptionError, "disturbance is 'load'; expected one of"),
        ({"disturbance": "state", "measured": [0]}, OptionError, "3 disturbances in all, but measured has 1"),
        ({"disturbance": "input", "measured": [0]}, OptionError, "2 disturbances in all, but measured has 1"),
        ({"measured": ["q"]}, OptionError, r"measured has 'q'; expected names out of \['p', 'v', 'a'\]"),
        ({"measured": [3]}, OptionError, "measured has 3"),
        ({"measured": [-1]}, OptionError, "measured has -1"),
        ({"measured": [True]}, OptionError, "measured has True"),
        ({"measured": [0, "p"]}, OptionError, "each of them once"),
        ({"measured": []}, OptionError, "at least one"),
        ({"measured": 1.5}, OptionError, "measured is 1.5"),
        ({"gate": 0.0}, OptionError, "gate is 0"),
        ({"gate": np.nan}, OptionError, "gate is nan"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(linear, kwargs, error, match):
    with pytest.raises(error, match=match):
        ExtendedKalmanFilter(linear, **{"Qn": 1.0, "Rn": 1.0, **kwargs})


def test_models_that_cannot_be_observed_are_refused(linear):
    with pytest.raises(OptionError, match="model is a LiftedModel"):
        ExtendedKalmanFilter(linear.lift_at(x_op=0, u_op=0), 1.0, 1.0)
    with pytest.raises(NotFittedError):
        ExtendedKalmanFilter(KoopmanRNN(), 1.0, 1.0)
    rng = np.random.default_rng(0)
    x, u = rng.normal(size=(3, 40, 1)), rng.normal(size=(3, 40, 1))
    direct = KoopmanRNN(0, feedthrough=True).fit(Trajectories.from_arrays(x, u, dt=0.1))
    with pytest.raises(OptionError, match="feedthrough"):
        ExtendedKalmanFilter(direct, 1.0, 1.0)


def test_what_the_measured_signals_do_not_show_is_refused():
    # A double integrator: its velocity does not tell its position.
    a, b = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.005], [0.1]])
    model = fit_linear(a, b, ["position", "velocity"])
    with pytest.raises(SolverError, match=r"modes 1.*\['velocity'\]"):
        ExtendedKalmanFilter(model, 1.0, 1.0, measured=["velocity"])
    ExtendedKalmanFilter(model, 1.0, 1.0, measured=["position"], disturbance="input")
    # A constant input into a washed-out output leaves no trace of itself there.
    model = fit_linear(np.array([[0.5, 0.0], [0.1, 0.9]]), np.array([[0.5, 0.5], [0.0, 0.0]]))
    with pytest.raises(SolverError, match="cannot tell disturbances of kind 'input'"):
        ExtendedKalmanFilter(model, 1.0, 1.0, disturbance="input")
    ExtendedKalmanFilter(model, 1.0, 1.0, disturbance="state")


def test_a_nonlinear_model_is_observable_where_any_point_shows_it():
    """`y+ = 0.9 y + 0.1 u z` hides the integrator z at u = 0 and shows it elsewhere."""
    rng = np.random.default_rng(0)
    x, u = np.empty((20, 41, 2)), rng.uniform(-1, 1, (20, 40, 1))
    x[:, 0] = rng.uniform(-1, 1, (20, 2))
    for k in range(40):
        x[:, k + 1, 0] = 0.9 * x[:, k, 0] + 0.1 * u[:, k, 0] * x[:, k, 1]
        x[:, k + 1, 1] = x[:, k, 1]
    model = KoopmanRNN(0, random_state=0).fit(Trajectories.from_arrays(x, u, dt=0.1))
    ekf = ExtendedKalmanFilter(model, 1e-10, 1e-8, measured=[0])
    found = observe_all(ekf, x[0, :, :1], u[0])
    assert abs(found[-1, 1] - x[0, -1, 1]) < 1e-3


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda f: f.update([1.0, 2.0]), ShapeError, "y has shape"),
        (lambda f: f.update([1.0, 2.0, np.inf]), DataError, "y has infinite"),
        (lambda f: f.predict([1.0]), ShapeError, "u has shape"),
        (lambda f: f.predict([1.0, np.nan]), DataError, "u has 1 NaN"),
        (lambda f: f.observe([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), ShapeError, "u has shape"),
        (lambda f: f.reset([1.0]), ShapeError, "x0 has shape"),
        (lambda f: f.reset([1.0, np.nan, 0.0]), DataError, "x0 has 1 NaN"),
        (lambda f: f.split(np.zeros(2)), ShapeError, "estimate has shape"),
    ],
)
def test_calls_that_do_not_fit_are_refused_and_change_nothing(linear, call, error, match):
    ekf = ExtendedKalmanFilter(linear, 1.0, 1.0)
    before = ekf.update([1.0, 2.0, 3.0])
    with pytest.raises(error, match=match) as caught:
        call(ekf)
    assert isinstance(caught.value, KoopctrlError)
    np.testing.assert_array_equal(ekf.estimate, before)
