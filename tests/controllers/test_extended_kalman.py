"""Extended Kalman filter: the linear recursion, hidden states, disturbances, outliers, lags."""

import control
import numpy as np
import pytest
from kalman_plants import NAMES, A, B, fit_linear, observe_all
from scipy import linalg, stats

from koopctrl import ExtendedKalmanFilter, KoopmanRNN, Trajectories
from koopctrl.errors import (
    OptionError,
)
from koopctrl_envs import VanDerPol


@pytest.fixture(scope="module")
def linear():
    """A network that is the linear plant to rounding."""
    return fit_linear(A, B, NAMES)


def run_van_der_pol(seed, n=300, load=0.0):
    plant, rng = VanDerPol(), np.random.default_rng(seed)
    x, u = np.empty((n, 2)), rng.uniform(-2, 2, (n, 1))
    x[0] = rng.uniform(-2, 2, 2)
    for k in range(n - 1):
        x[k + 1] = plant.step(x[k], u[k] + load)
    return x, u


def augmented(kind):
    n_d = {"none": 0, "state": 3, "input": 2}[kind]
    e = {"none": np.zeros((3, 0)), "state": np.eye(3), "input": B}[kind]
    return np.block([[A, e], [np.zeros((n_d, 3)), np.eye(n_d)]]), np.vstack([B, np.zeros((n_d, 2))]), n_d


@pytest.mark.parametrize("kind", ["none", "state", "input"])
def test_on_a_linear_network_it_is_the_textbook_recursion(linear, kind):
    f, g, n_d = augmented(kind)
    rows = np.array([0, 1, 2]) if kind == "state" else np.array([2, 0])
    C = np.eye(3, 3 + n_d)[rows]
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    Qn, Rn, Qd, P = root @ root.T, np.diag(0.1 + rng.random(len(rows))), 0.01, 4.0 * np.eye(3 + n_d)
    ekf = ExtendedKalmanFilter(linear, Qn, Rn, measured=rows, disturbance=kind, Qd=Qd, P0=4.0)
    s = np.append([0.3, -0.2, 0.1], np.zeros(n_d))
    ekf.reset(s[:3])
    Q = linalg.block_diag(Qn, Qd * np.eye(n_d))[: 3 + n_d, : 3 + n_d]
    for k in range(30):
        y, seen = rng.normal(size=len(rows)), np.arange(len(rows))
        if k % 4 == 3:
            y[0], seen = np.nan, seen[1:]
        if k % 10 == 5:
            y[:], seen = np.nan, seen[:0]
        H, R = C[seen], Rn[np.ix_(seen, seen)]
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
        s, P = s + K @ (y[seen] - H @ s), (np.eye(3 + n_d) - K @ H) @ P
        np.testing.assert_allclose(ekf.update(y), s, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(ekf.covariance, P, rtol=1e-8, atol=1e-8)
        np.testing.assert_array_equal(ekf.covariance, ekf.covariance.T)
        u = rng.normal(size=2)
        s, P = f @ s + g @ u, f @ P @ f.T + Q
        np.testing.assert_allclose(ekf.predict(u), s, rtol=1e-8, atol=1e-8)


def test_its_covariance_settles_at_the_riccati_equations_solution(linear):
    Qn, Rn = np.diag([0.1, 0.2, 0.3]), [[0.5]]
    _, P, _ = control.dlqe(A, np.eye(3), np.eye(1, 3), Qn, np.array(Rn))
    ekf = ExtendedKalmanFilter(linear, Qn, Rn, measured=["p"])
    for _ in range(200):
        ekf.update([0.0])
        ekf.predict([0.0, 0.0])
    np.testing.assert_allclose(ekf.covariance, P, rtol=1e-7)
    np.testing.assert_allclose(P, linalg.solve_discrete_are(A.T, np.eye(3, 1), Qn, Rn), rtol=1e-8)


@pytest.mark.parametrize("kind", ["none", "input"])
def test_innovations_are_as_large_as_the_filter_says(linear, kind):
    """The normalised innovation squared is chi-square: its mean over 400 samples lies in its 99.9 % band."""
    rng = np.random.default_rng(3)
    f, g, n_d = augmented(kind)
    n, rows = 3 + n_d, [0, 2]
    Qn, Rn, Qd = 0.01 * np.diag([1.0, 2.0, 0.5]), np.diag([0.02, 0.05]), 1e-3
    ekf = ExtendedKalmanFilter(linear, Qn, Rn, measured=rows, disturbance=kind, Qd=Qd, P0=0.5)
    s = np.sqrt(0.5) * rng.normal(size=n)
    ekf.reset(np.zeros(3))
    nis, nees, u = [], [], None
    for _ in range(400):
        if u is not None:
            noise = np.append(np.sqrt(np.diag(Qn)), np.full(n_d, np.sqrt(Qd))) * rng.normal(size=n)
            s = f @ s + g @ u + noise
            ekf.predict(u)
        y = s[rows] + np.sqrt(np.diag(Rn)) * rng.normal(size=2)
        error, S = y - ekf.estimate[rows], ekf.covariance[np.ix_(rows, rows)] + Rn
        nis.append(error @ np.linalg.solve(S, error))
        miss = ekf.update(y) - s
        nees.append(miss @ np.linalg.solve(ekf.covariance, miss))
        u = rng.uniform(-1, 1, 2)
    low, high = stats.chi2.ppf([5e-4, 1 - 5e-4], 2 * 400) / 400
    assert low < np.mean(nis) < high
    # Estimation errors are correlated in time, so the band is wider by hand.
    assert 0.7 * n < np.mean(nees) < 1.4 * n


@pytest.mark.parametrize("seed", range(4))
def test_the_velocity_that_is_not_measured_is_found(network, seed):
    x, u = run_van_der_pol(seed)
    y = x[:, :1] + 0.05 * np.random.default_rng(seed).normal(size=(len(x), 1))
    ekf = ExtendedKalmanFilter(network, 1e-6, 0.05**2, measured=[0])
    estimates = observe_all(ekf, y, u)
    differences = np.diff(y[:, 0]) / 0.1
    error = np.sqrt(np.mean((estimates[20:, 1] - x[20:, 1]) ** 2))
    naive = np.sqrt(np.mean((differences[19:] - x[20:, 1]) ** 2))
    assert error < naive / 30  # measured: 62 to 144 times smaller over ten seeds
    assert np.sqrt(np.mean((estimates[20:, 0] - x[20:, 0]) ** 2)) < 0.05 / 3
    # Without noise the estimate goes to the state, as near as the model is good.
    ekf = ExtendedKalmanFilter(network, 1e-10, 1e-6, measured=["x0"])
    assert np.abs(observe_all(ekf, x[:, :1], u) - x)[100:].max() < 2e-4


@pytest.mark.parametrize(("kind", "measured"), [("input", [0, 1]), ("input", None), ("state", None)])
def test_constant_disturbances_are_recovered(linear, kind, measured):
    w, d, rng = np.array([0.4, -0.7]), np.array([0.1, -0.05, 0.2]), np.random.default_rng(0)
    ekf = ExtendedKalmanFilter(linear, 1e-6, 1e-6, measured=measured, disturbance=kind)
    x, u = np.array([1.0, -0.5, 0.3]), None
    for _ in range(150):
        if u is not None:
            x = A @ x + (B @ (u + w) if kind == "input" else B @ u + d)
        found = ekf.observe(x[ekf.measured], u)
        u = rng.uniform(-1, 1, 2)
    window, found_d, found_w = ekf.split(found)
    np.testing.assert_allclose(window, x, atol=1e-6)
    np.testing.assert_allclose(found_w, w if kind == "input" else 0.0, atol=1e-6)
    np.testing.assert_allclose(found_d, d if kind == "state" else 0.0, atol=1e-6)
    assert ekf.n_d == len(found) - 3 == (2 if kind == "input" else 3)


def test_a_load_on_the_nonlinear_plant_is_seen_through_its_position(network):
    x, u = run_van_der_pol(0, n=200, load=0.5)
    ekf = ExtendedKalmanFilter(network, 1e-8, 1e-8, measured=[0], disturbance="input")
    w = observe_all(ekf, x[:, :1], u)[:, 2]
    assert np.abs(w[20:] - 0.5).max() < 5e-3


def test_missing_samples_are_bridged_and_missing_signals_left_out(network):
    x, u = run_van_der_pol(1)
    ekf = ExtendedKalmanFilter(network, 1e-8, 1e-6)
    y = x.copy()
    y[50:60] = np.nan
    y[100:, 1] = np.nan
    estimates = observe_all(ekf, y, u)
    assert np.abs(estimates - x)[50:].max() < 2e-3
    before, covariance = ekf.estimate, ekf.covariance
    np.testing.assert_array_equal(ekf.update([np.nan, np.nan]), before)
    np.testing.assert_array_equal(ekf.covariance, covariance)


def test_the_first_measurement_starts_it_with_the_rest_at_the_mean(linear):
    ekf = ExtendedKalmanFilter(linear, 1e-3, 1e-4, measured=["a", "p"])
    mean = linear.network_.scaling.y_mean
    np.testing.assert_array_equal(ekf.update([np.nan, np.nan]), mean)
    np.testing.assert_array_equal(ekf.predict([1.0, 1.0]), mean)
    assert ekf.estimate is None
    np.testing.assert_array_equal(ekf.update([3.0, -2.0]), [-2.0, mean[1], 3.0])
    variance = linear.network_.scaling.y_scale**2
    expected = [1 / (1 / variance[0] + 1e4), variance[1], 1 / (1 / variance[2] + 1e4)]
    np.testing.assert_allclose(np.diag(ekf.covariance), expected, rtol=1e-9)
    ekf.reset([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(ekf.estimate, [1.0, 2.0, 3.0])
    ekf.reset()
    np.testing.assert_array_equal(ekf.update([np.nan, -2.0]), [-2.0, mean[1], mean[2]])


@pytest.mark.parametrize("kind", ["state", "input", "mixed"])
def test_units_do_not_matter_to_the_defaults(kind):
    rng = np.random.default_rng(0)
    x, u = np.empty((20, 41, 3)), rng.uniform(-1, 1, (20, 40, 2))
    x[:, 0] = rng.uniform(-1, 1, (20, 3))
    for k in range(40):
        x[:, k + 1] = x[:, k] @ A.T + u[:, k] @ B.T
    found = []
    for scale, u_scale in ((np.ones(3), np.ones(2)), (np.array([1e3, 1e-2, 7.0]), np.array([1e-4, 50.0]))):
        data = Trajectories.from_arrays(x * scale, u * u_scale, dt=0.1)
        model = KoopmanRNN(0, input_coupling="linear", ridge=0.0, random_state=0).fit(data)
        ekf = ExtendedKalmanFilter(model, 1e-3 * scale**2, 1e-2 * scale**2, disturbance=kind)
        units = np.append(scale, scale if kind == "state" else u_scale)
        if kind == "mixed":  # that beside the inputs has no unit, and the sign of a singular vector
            units = np.append(units, np.sign(ekf.law.rollout.beside[0, 0]))
        found.append(observe_all(ekf, (x[0] + 0.1) * scale, u[0] * u_scale) / units)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-7, atol=1e-9)


def test_mixed_disturbances_are_on_inputs_and_on_what_inputs_do_not_move(linear):
    """As many as measured signals; an error of any kind is explained, a load by the inputs alone."""
    Qn, w, d = 1e-6 * np.eye(3), np.array([0.4, -0.7]), np.array([0.1, -0.05, 0.2])
    ekf = ExtendedKalmanFilter(linear, Qn, 1e-6, disturbance="mixed")
    beside = ekf.law.rollout.beside
    assert (ekf.n_d, beside.shape) == (3, (3, 1))
    scale = linear.network_.scaling.y_scale
    np.testing.assert_allclose((B / scale[:, None]).T @ (beside[:, 0] / scale), 0.0, atol=1e-8)
    for load, added in ((w, 0.0), (0.0, d)):
        ekf.reset()
        x, u, rng = np.array([1.0, -0.5, 0.3]), None, np.random.default_rng(0)
        for _ in range(400):
            if u is not None:
                x = A @ x + B @ (u + load) + added
            found = ekf.observe(x, u)
            u = rng.uniform(-1, 1, 2)
        window, found_d, found_w = ekf.split(found)
        np.testing.assert_allclose(window, x, atol=1e-6)
        np.testing.assert_allclose(B @ found_w + found_d, B @ (load + np.zeros(2)) + added, atol=1e-6)
    one = ExtendedKalmanFilter(linear, Qn, 1e-6, measured=[0, 1], disturbance="mixed")
    assert (one.n_d, one.law.rollout.beside.shape) == (2, (3, 0))


def test_outliers_are_rejected_and_reported_but_not_for_ever(network):
    x, u = run_van_der_pol(2, n=60)
    ekf = ExtendedKalmanFilter(network, 1e-6, 1e-4, measured=[0], gate=5.0)
    for k in range(40):
        y = x[k, :1] + (3.0 if k == 30 else 0.0)
        before = ekf.estimate
        ekf.observe(y, u[k - 1] if k else None)
        assert ekf.rejected == (k == 30), before
    assert ekf.n_rejected == 1
    assert np.abs(ekf.estimate - x[39]).max() < 0.02
    for _ in range(5):
        ekf.update([9.0])
        assert ekf.rejected
    # The sixth is believed: it is the estimate that is wrong.
    assert ekf.update([9.0])[0] != before[0]
    assert not ekf.rejected
    assert ekf.n_rejected == 6
    ekf.reset()
    assert ekf.n_rejected == 0


def test_the_rest_of_a_lag_window_is_an_exact_shift(van_der_pol_data):
    model = KoopmanRNN(30, input_coupling="network", output_lags=3, input_lags=3, random_state=0).fit(
        van_der_pol_data
    )
    for kind, u, w in (("none", 0.7, 0.0), ("input", 0.7, 0.2)):
        ekf = ExtendedKalmanFilter(model, 1e-4, 1e-3, measured=[0], disturbance=kind)
        rng = np.random.default_rng(0)
        for k in range(5):
            ekf.observe(rng.normal(0.0, 0.1, 1), None if k == 0 else [0.1])
        if kind == "input":
            ekf.estimate = np.append(ekf.estimate[:-1], w)
        x, P = ekf.estimate[:8].copy(), ekf.covariance.copy()
        after = ekf.predict([u])
        np.testing.assert_array_equal(after[2:6], x[:4])
        # Past inputs are those that acted.
        np.testing.assert_array_equal(after[6:8], [u + w, x[6]])
        np.testing.assert_allclose(ekf.covariance[2:6, 2:6], P[:4, :4], rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(after[:2], model.network_.next_output(x, np.array([u + w])), atol=1e-9)


def test_past_outputs_of_a_window_are_smoothed(lag_model):
    """Two samples later the filter knows an output better than when it was measured."""
    model, plant = lag_model
    rng = np.random.default_rng(0)
    ekf = ExtendedKalmanFilter(model, 0.05**2, 0.1**2)
    y, _ = plant.reset(options={"x0": [1.0, -1.0]})
    truth, found, u = [], [], None
    for _ in range(2000):
        truth.append(y[0])
        found.append(ekf.observe(y + 0.1 * rng.normal(size=1), u)[:3])
        u = rng.uniform(-1, 1, 1)
        plant.step(u)
        plant.x[0] += 0.05 * rng.normal()
        y = plant.x[:1]
    truth, found = np.array(truth), np.array(found)
    first = np.sqrt(np.mean((found[20:-2, 0] - truth[20:-2]) ** 2))
    later = np.sqrt(np.mean((found[22:, 2] - truth[20:-2]) ** 2))
    assert first < 0.1
    assert later < 0.9 * first


def test_models_without_inputs_are_observed_too():
    rng, a = np.random.default_rng(0), np.array([[0.99, 0.1], [-0.1, 0.99]])
    x = np.empty((20, 41, 2))
    x[:, 0] = rng.uniform(-1, 1, (20, 2))
    for k in range(40):
        x[:, k + 1] = x[:, k] @ a.T
    model = KoopmanRNN(20, random_state=0).fit(Trajectories.from_arrays(x, dt=0.1))
    ekf = ExtendedKalmanFilter(model, 1e-8, 1e-6, measured=[1], disturbance="none")
    for k in range(41):
        found = ekf.observe(x[0, k, 1:], None if k == 0 else ())
    np.testing.assert_allclose(found, x[0, 40], atol=1e-3)
    np.testing.assert_allclose(ekf.predict(), a @ found, atol=1e-4)
    assert [len(part) for part in ekf.split(found)] == [2, 2, 0]
    with pytest.raises(OptionError, match="no inputs"):
        ExtendedKalmanFilter(model, 1.0, 1.0, disturbance="input")
