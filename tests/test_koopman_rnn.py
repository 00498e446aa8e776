"""The estimator: exact systems are recovered through every coupling, scores are what they say."""

import numpy as np
import plants
import pytest
from rnn_records import DUFFING, LINEAR, A, B, quick, siso_records

from koopctrl import KoopmanRNN, Trajectories
from koopctrl.errors import DataError, KoopctrlError
from koopctrl.network.coupling import COUPLINGS


@pytest.mark.parametrize("n_features", [0, 50])
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_linear_data_give_back_the_matrix_exponential(coupling, n_features):
    model = KoopmanRNN(n_features, input_coupling=coupling, random_state=0).fit(LINEAR)
    rng = np.random.default_rng(1)
    for _ in range(5):
        a, b = model.network_.jacobian(rng.uniform(-1, 1, 2), rng.uniform(-1, 1, 1))
        np.testing.assert_allclose(a, A, atol=1e-8)
        np.testing.assert_allclose(b, B, atol=1e-8)
    u = rng.uniform(-1, 1, (30, 1))
    x = plants.roll(plants.linear_step(A, B), np.array([0.5, -0.5]), u)
    np.testing.assert_allclose(model.simulate(x[0], u), x, atol=1e-8)


@pytest.mark.parametrize("solver", ["svd", "gram"])
def test_three_states_and_two_inputs(solver):
    a, b, dt = plants.three_states()
    data = plants.record(plants.linear_step(a, b), 3, 2, dt)
    model = KoopmanRNN(0, solver=solver, input_coupling="linear").fit(data)
    got_a, got_b = model.network_.jacobian(np.zeros(3), np.zeros(2))
    np.testing.assert_allclose(got_a, a, atol=1e-8)
    np.testing.assert_allclose(got_b, b, atol=1e-8)
    assert (model.n_x, model.n_y, model.n_u) == (3, 3, 2)


@pytest.mark.parametrize(
    ("step", "exact"),
    [(plants.bilinear_step, {"bilinear", "quadratic"}), (plants.quadratic_step, {"quadratic"})],
)
def test_each_coupling_holds_what_it_says(step, exact):
    data = plants.record(step, 2, 1, 0.1)
    unseen = plants.record(step, 2, 1, 0.1, seed=7)
    for coupling in ("linear", "bilinear", "quadratic"):
        model = KoopmanRNN(0, input_coupling=coupling).fit(data)
        worst = max(np.abs(p - e.outputs).max() for p, e in zip(model.predict(unseen), unseen, strict=True))
        assert (worst < 1e-10) == (coupling in exact), (coupling, worst)


def test_an_autonomous_record_needs_no_input():
    step = plants.koopman_polynomial()
    data = plants.record(step, 2, 0, 0.1, n_episodes=80, n_steps=15)
    model = KoopmanRNN(60, random_state=0).fit(data)
    unseen = plants.record(step, 2, 0, 0.1, seed=5, n_steps=15, x_max=0.6)
    for p, e in zip(model.predict(unseen), unseen, strict=True):
        np.testing.assert_allclose(p, e.outputs, atol=1e-4)
    x0 = np.array([0.4, -0.2])
    by_count, by_array = model.simulate(x0, 10), model.simulate(x0, np.empty((10, 0)))
    np.testing.assert_array_equal(by_count, by_array)
    np.testing.assert_allclose(by_count, plants.roll(step, x0, np.empty((10, 0))), atol=1e-4)
    assert model.n_u == 0
    for bad in (-1, True, 2.5):
        with pytest.raises(KoopctrlError, match="u"):
            model.simulate(x0, bad)


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("feedthrough", [False, True])
def test_a_difference_equation_is_recovered_through_lags(feedthrough, coupling):
    data, unseen = siso_records(feedthrough), siso_records(feedthrough, seed=9)
    lags = {"output_lags": 2, "input_lags": 3 if feedthrough else 2}
    model = KoopmanRNN(10, feedthrough=feedthrough, input_coupling=coupling, random_state=0, **lags).fit(data)
    for p, e in zip(model.predict(unseen), unseen, strict=True):
        np.testing.assert_allclose(p, e.outputs, atol=1e-7)
    a, b = model.network_.jacobian(np.zeros(model.n_x), np.zeros(1))
    # Without feedthrough the state is [y_k, y_{k-1}, u_{k-1}], with it [y_k, y_{k-1}, u_k, u_{k-1}].
    expected = [1.5, -0.7, 0.5, 0.2] if feedthrough else [1.5, -0.7, 0.2]
    np.testing.assert_allclose(a[0], expected, atol=1e-7)
    np.testing.assert_allclose(b[0], [0.8 if feedthrough else 0.5], atol=1e-7)
    assert model.state_names_[0] == "x0"
    assert len(model.state_names_) == model.n_x


def test_feedthrough_is_needed_where_it_is_there():
    data = siso_records(True)
    without = KoopmanRNN(0, output_lags=2, input_lags=3, input_coupling="linear").fit(data)
    assert without.score(data) < 0.9
    with_it = KoopmanRNN(0, output_lags=2, input_lags=3, feedthrough=True, input_coupling="linear").fit(data)
    assert with_it.score(data) == pytest.approx(1.0, abs=1e-9)


# --- score -----------------------------------------------------------------------------------------------


def test_score_is_the_mean_r2_of_the_free_run():
    from sklearn.metrics import r2_score

    model = quick(n_features=5, rcond=1e-3).fit(DUFFING)
    for n_init in (None, 7):
        start = 1 if n_init is None else n_init
        truth = np.concatenate([e.outputs[start:] for e in DUFFING])
        predicted = np.concatenate([p[start:] for p in model.predict(DUFFING, n_init)])
        assert model.score(DUFFING, n_init=n_init) == pytest.approx(r2_score(truth, predicted), abs=1e-12)


def test_score_of_constant_truth_and_of_nothing():
    model = quick().fit(DUFFING)
    rest = Trajectories.from_arrays(np.zeros((5, 2)), np.zeros((4, 1)), dt=0.1)
    assert np.isfinite(model.score(rest))
    with pytest.raises(DataError, match="no sample after the first 1"):
        model.score(Trajectories.from_arrays(np.zeros((1, 2)), np.zeros((0, 1)), dt=0.1))


# --- accuracy, at the size of the issue


@pytest.mark.slow
@pytest.mark.parametrize(("coupling", "limit"), [("bilinear", 5e-4), ("network", 5e-5), ("quadratic", 2e-6)])
def test_forced_van_der_pol(coupling, limit):
    step = plants.sampled(plants.van_der_pol, 0.1)
    options = {"x_max": 3.0, "u_max": 3.0}
    train = plants.record(step, 2, 1, 0.1, n_episodes=50, n_steps=150, **options)
    test = plants.record(step, 2, 1, 0.1, n_episodes=20, n_steps=100, seed=1, **options)
    errors = []
    for seed in range(3):
        predicted = KoopmanRNN(input_coupling=coupling, random_state=seed).fit(train).predict(test)
        errors += [np.sqrt(np.mean((p - e.outputs) ** 2)) for e, p in zip(test, predicted, strict=True)]
    # Of the episodes: those that start in a corner, where no other one passes, are ten times worse.
    assert np.median(errors) <= limit


@pytest.mark.slow
@pytest.mark.parametrize(("n_features", "limit"), [(300, 18), (1000, 23)])
def test_lorenz_valid_prediction_time(n_features, limit):
    dt, lyapunov = 0.02, 0.9056
    step = plants.sampled(plants.lorenz, dt)
    none = np.empty((10_000, 0))
    x = plants.roll(step, plants.roll(step, np.ones(3), none[:500])[-1], none)
    unseen = plants.roll(step, x[-1], none[:3600])
    data = Trajectories.from_arrays(x, dt=dt)
    spread = np.sqrt(np.sum(x.var(axis=0)))
    times = []
    for seed in range(2):
        model = KoopmanRNN(n_features, rcond=1e-14, random_state=seed).fit(data)
        for start in range(0, 2000, 100):
            truth = unseen[start : start + 1600]
            error = np.linalg.norm(model.simulate(truth[0], 1599) - truth, axis=1) / spread
            times.append(np.argmax(np.append(error, 1.0) > 0.4) * dt * lyapunov)
    assert np.median(times) >= limit
