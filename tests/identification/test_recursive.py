"""Recursive update of the outer weights, against weighted least squares over all pairs at once."""

import copy

import numpy as np
import plants
import pytest
from effort import many

from koopctrl import KoopmanRNN, Trajectories, load
from koopctrl.errors import OptionError

DT = 0.1
A, B, _ = plants.oscillator()


def record(n, gain=1.0, seed=0, noise=0.0):
    rng = np.random.default_rng(seed)
    u = rng.normal(size=(n, 1))
    x = plants.roll(plants.linear_step(A, gain * B), np.zeros(2), u)
    return x + noise * rng.normal(size=x.shape), u


def as_data(y, u):
    return Trajectories.from_arrays(y, u, dt=DT)


@pytest.mark.parametrize("forgetting", [0.97, 0.99, 1.0])
@pytest.mark.parametrize("coupling", ["linear", "bilinear"])
def test_weights_are_those_of_weighted_least_squares(forgetting, coupling):
    model = KoopmanRNN(6, feature_scale=2.0, random_state=0, ridge=0.0, input_coupling=coupling)
    model.fit(as_data(*record(150, noise=0.1)))
    before = copy.deepcopy(model)
    y, u = record(400, gain=1.4, seed=1, noise=0.05)
    for k in range(len(u)):
        model.partial_fit(as_data(y[k : k + 2], u[k : k + 1]), forgetting=forgetting)
    # All rows: the first fit's (its targets replaced by what it predicts; they count as 1 / (1 - forgetting)
    # pairs at most), and the new ones.
    net = before.network_
    old, scale = before.snapshots_, 1.0
    if forgetting < 1.0:
        scale = min(1.0, np.sqrt(1.0 / (1.0 - forgetting) / len(old.x)))

    def rows(x, v):
        xs, us = net.standardise(x, v)
        return net.coupling.regressors(net.dictionary(xs, us), us)

    phi_old, phi = rows(old.x, old.u), rows(y[:-1], u)
    target = (y[1:] - y[:-1]) / net.scaling.y_scale
    weight = forgetting ** (0.5 * np.arange(len(u) - 1, -1, -1))[:, None]
    first = scale * forgetting ** (0.5 * len(u))
    table = np.concatenate([first * phi_old, weight * phi])
    wanted = np.linalg.lstsq(
        table, np.concatenate([first * phi_old @ net.coef, weight * target]), rcond=None
    )[0]
    # Ties have a millionth of the data's weight: predictions agree to about as much.
    phi, target = phi[-60:], target[-60:]
    found = phi @ model.network_.coef
    np.testing.assert_allclose(found, phi @ wanted, atol=2e-3 * np.abs(target).max())
    assert np.abs(found - phi @ net.coef).max() > 0.05 * np.abs(target).max()  # it did move


def test_one_by_one_and_all_at_once_agree():
    start = KoopmanRNN(5, feature_scale=2.0, random_state=0, input_coupling="linear")
    start.fit(as_data(*record(200, noise=0.1)))
    one, many = copy.deepcopy(start), copy.deepcopy(start)
    y, u = record(60, gain=0.5, seed=2, noise=0.01)
    for k in range(60):
        one.partial_fit(as_data(y[k : k + 2], u[k : k + 1]), forgetting=0.98)
    many.partial_fit(as_data(y, u), forgetting=0.98)
    np.testing.assert_allclose(one.network_.coef, many.network_.coef, atol=5e-3)
    np.testing.assert_array_equal(one.snapshots_.y_next[-60:], y[1:])


def test_a_changed_gain_is_followed_and_lags_work():
    y, u = record(400)
    model = KoopmanRNN(0, output_lags=2, input_lags=2, input_coupling="linear", random_state=0)
    model.fit(as_data(y[:, :1], u))
    y, u = record(2000, gain=3.0, seed=3)
    model.partial_fit(as_data(y[:, :1], u), forgetting=0.99)
    test = as_data(record(100, gain=3.0, seed=4)[0][:, :1], record(100, gain=3.0, seed=4)[1])
    assert model.score(test) > 0.9999


def test_without_excitation_nothing_blows_up_and_nothing_is_lost():
    """The input rests for twenty memories: with forgetting alone weights would drift on noise."""
    model = KoopmanRNN(10, random_state=0).fit(as_data(*record(500, noise=0.01)))
    test = as_data(*record(200, seed=9))
    before = model.score(test)
    rng = np.random.default_rng(0)
    rest = 0.01 * rng.normal(size=(2001, 2))
    model.partial_fit(as_data(rest, np.zeros((2000, 1))), forgetting=0.99)
    assert np.isfinite(model.network_.coef).all()
    y, u = record(600, seed=5, noise=0.01)
    model.partial_fit(as_data(y, u), forgetting=0.99)
    assert model.score(test) > before - 0.02


@pytest.mark.slow
def test_very_many_updates_change_nothing_that_should_stay():
    model = KoopmanRNN(4, random_state=0, input_coupling="linear").fit(as_data(*record(500, noise=0.01)))
    n = many(100_000)
    y, u = record(n, seed=6, noise=0.01)
    for k in range(0, n, 50):
        model.partial_fit(as_data(y[k : k + 51], u[k : k + 50]), forgetting=0.999)
    assert model.score(as_data(*record(200, seed=9))) > 0.999


def test_it_goes_on_after_fit_load_and_copies(tmp_path):
    model = KoopmanRNN(5, random_state=0).fit(as_data(*record(200)))
    model.save(tmp_path / "m.npz")
    other = load(tmp_path / "m.npz")
    y, u = record(30, gain=2.0, seed=1)
    for one in (model, other):
        one.partial_fit(as_data(y, u), forgetting=0.95)
    np.testing.assert_allclose(other.network_.coef, model.network_.coef, atol=1e-9)
    twin = copy.deepcopy(model)
    for one in (model, twin):
        one.partial_fit(as_data(y, u), forgetting=0.95)
    np.testing.assert_array_equal(twin.network_.coef, model.network_.coef)
    held = model.snapshots_
    x = held.x.copy()
    model.partial_fit(as_data(*record(3000, seed=8)), forgetting=0.95)
    np.testing.assert_array_equal(held.x, x)  # what was handed out does not change


def test_units_change_nothing():
    y, u = record(200, noise=0.01)
    new_y, new_u = record(50, gain=2.0, seed=1)
    runs = []
    for s_y, s_u in ((1.0, 1.0), (1e9, 1e-9)):
        model = KoopmanRNN(5, random_state=0).fit(as_data(s_y * y, s_u * u))
        model.partial_fit(as_data(s_y * new_y, s_u * new_u), forgetting=0.95)
        runs.append(model.predict(as_data(s_y * new_y, s_u * new_u))[0] / s_y)
    np.testing.assert_allclose(runs[1], runs[0], rtol=1e-6, atol=1e-9)


def test_bad_options_are_named():
    data = as_data(*record(50))
    for value in (0.0, 1.5, "slow"):
        with pytest.raises(OptionError, match="forgetting"):
            KoopmanRNN(3).fit(data).partial_fit(data, forgetting=value)
    first = KoopmanRNN(3, random_state=0).partial_fit(data, forgetting=0.9)  # begins like any other
    assert first.n_x == 2
