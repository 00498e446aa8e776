"""Records with missing outputs: skipped by hidden states, cut by one-step fits, refused elsewhere."""

import numpy as np
import plants
import pytest

from koopctrl import KoopmanRNN, Trajectories, select, subspace
from koopctrl.data.missing import interpolated
from koopctrl.errors import DataError

DT = 0.1


def two_outputs(n=600, seed=0, noise=0.01):
    """A driven oscillator, position and velocity measured."""
    rng = np.random.default_rng(seed)
    a, b, _ = plants.oscillator()
    u = np.repeat(rng.uniform(-2, 2, (n // 5, 1)), 5, axis=0)
    x = plants.roll(plants.linear_step(a, b), np.zeros(2), u)[:-1]
    return x + noise * rng.normal(size=x.shape), u


Y, U = two_outputs()
TEST = Trajectories.from_arrays(*two_outputs(seed=5, noise=0.0), dt=DT)


def rmse(model):
    return np.sqrt(np.mean((model.predict(TEST, n_init=30)[0] - TEST[0].outputs)[30:] ** 2, axis=0))


def lost(fraction, seed=1):
    y = Y.copy()
    y[np.random.default_rng(seed).random(Y.shape) < fraction] = np.nan
    return Trajectories.from_arrays(y, U, dt=DT, missing=True)


def multi_rate(every=7):
    y = Y.copy()
    y[np.arange(len(y)) % every != 0, 1] = np.nan
    return Trajectories.from_arrays(y, U, dt=DT, missing=True)


def test_nan_is_refused_unless_it_is_meant():
    y = Y.copy()
    y[3, 0] = np.nan
    with pytest.raises(DataError, match="NaN"):
        Trajectories.from_arrays(y, U, dt=DT)
    data = Trajectories.from_arrays(y, U, dt=DT, missing=True)
    assert data.missing
    assert data[0].slice(0, 3).missing is False
    assert data[0].slice(0, 9).missing
    assert not Trajectories.from_arrays(Y, U, dt=DT, missing=True).missing
    with pytest.raises(DataError, match="inf"):
        Trajectories.from_arrays(np.where(np.isnan(y), np.inf, y), U, dt=DT, missing=True)
    with pytest.raises(DataError, match="columns \\[0\\]"):
        Trajectories.from_arrays(np.full((9, 1), np.nan), np.zeros((9, 1)), dt=DT, missing=True)
    u = U.copy()
    u[2] = np.nan
    with pytest.raises(DataError, match="inputs"):
        Trajectories.from_arrays(y, u, dt=DT, missing=True)


@pytest.mark.parametrize("data", [lost(0.3), multi_rate()], ids=["lost", "multi-rate"])
def test_a_hidden_state_is_fitted_to_what_was_measured(data):
    """Three samples of ten lost, or a slow second output: as good a model to within the samples' number."""
    whole = rmse(KoopmanRNN(0, n_states=2).fit(Trajectories.from_arrays(Y, U, dt=DT)))
    model = KoopmanRNN(0, n_states=2).fit(data)
    assert (rmse(model) < 3.0 * whole + 1e-3).all()
    assert np.isfinite(model.score(data, n_init=30))
    run = model.predict(data, n_init=30)[0]
    assert np.isfinite(run).all()
    seen = np.isfinite(data[0].outputs[:30])
    np.testing.assert_array_equal(run[:30][seen], data[0].outputs[:30][seen])


def test_what_stands_in_a_missing_cell_cannot_matter():
    """The cost sees the mask alone: a hidden state of a long stretch without samples is rolled through it."""
    y = Y.copy()
    y[200:260] = np.nan
    model = KoopmanRNN(5, n_states=2, max_iter=5, random_state=0).fit(
        Trajectories.from_arrays(y, U, dt=DT, missing=True)
    )
    assert all(b <= a for h in model.history_ for a, b in zip(h.cost[:-1], h.cost[1:], strict=True))
    assert (rmse(model) < 0.2 * Y.std(axis=0)).all()


def test_one_step_fits_use_the_stretches_between():
    """The same as fitting to those stretches as episodes."""
    y = Y.copy()
    y[[100, 101, 333]] = np.nan
    data = Trajectories.from_arrays(y, U, dt=DT, missing=True)
    parts = [slice(0, 100), slice(102, 333), slice(334, 600)]
    cut = Trajectories.from_arrays([Y[p] for p in parts], [U[p] for p in parts], dt=DT)
    options = {"n_features": 10, "random_state": 0, "ridge": 1e-8, "smooth": False}
    a, b = KoopmanRNN(**options).fit(data), KoopmanRNN(**options).fit(cut)
    np.testing.assert_array_equal(a.network_.coef, b.network_.coef)
    streamed = KoopmanRNN(**options).partial_fit(data)
    np.testing.assert_array_equal(streamed.network_.coef, b.network_.coef)
    with pytest.raises(DataError, match="different rates"):
        KoopmanRNN(10).fit(multi_rate())
    with pytest.raises(DataError, match="NaN"):
        a.predict(Trajectories.from_arrays(y[100:], U[100:], dt=DT, missing=True))


def test_whatever_needs_whole_records_says_so():
    with pytest.raises(DataError, match="whole_stretches"):
        subspace(lost(0.1), 2)
    with pytest.raises(DataError, match="whole_stretches"):
        KoopmanRNN(0, n_states=2).fit(lost(0.1)).report(lost(0.1))


@pytest.mark.slow
def test_a_choice_counts_what_was_measured():
    model = select([lost(0.1)[0].slice(0, 250)], max_trials=1, random_state=0)
    assert (rmse(model) < 0.1 * Y.std(axis=0)).all()


def test_records_with_missing_samples_are_saved_and_cut(tmp_path):
    data = lost(0.2)
    data.save(tmp_path / "r.npz")
    other = Trajectories.load(tmp_path / "r.npz")
    np.testing.assert_array_equal(other[0].outputs, data[0].outputs)
    assert other.missing
    stretches = data.whole_stretches(3)
    assert all(len(e) >= 3 and np.isfinite(e.outputs).all() for e in stretches)
    rows = sum(len(e) for e in data.whole_stretches(1))
    assert rows == np.isfinite(data[0].outputs).all(axis=1).sum()


def test_interpolation_is_straight_between_and_constant_outside():
    y = np.array([[np.nan], [1.0], [np.nan], [3.0], [np.nan]])
    np.testing.assert_allclose(interpolated(y)[:, 0], [1.0, 1.0, 2.0, 3.0, 3.0])
