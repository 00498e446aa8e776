"""Smoothed records: the smoother against a dense least squares, and what it does for one-step fits."""

import numpy as np
import plants
import pytest

from koopctrl import KoopmanRNN, Trajectories, load
from koopctrl.errors import OptionError
from koopctrl.identification.one_step_noise import network_noise
from koopctrl.identification.smoothing import _PIECE, smoothed

A, B, DT = plants.oscillator()
Q = np.array([[2e-3, 5e-4], [5e-4, 1e-3]])
R = np.array([[2e-2, -4e-3], [-4e-3, 1e-2]])


def noisy(n_episodes=8, n_steps=60, noise=0.05, seed=0, step=None, n_x=2):
    data = plants.record(
        plants.linear_step(A, B) if step is None else step, n_x, 1, DT, n_episodes=n_episodes, n_steps=n_steps
    )
    rng = np.random.default_rng(seed)
    size = np.std(np.concatenate([e.outputs for e in data]), axis=0)
    seen = [e.outputs + noise * size * rng.standard_normal(e.outputs.shape) for e in data]
    return Trajectories.from_arrays(seen, [e.inputs for e in data], dt=DT), data


def linear(data, **options):
    return KoopmanRNN(0, input_coupling="linear", ridge=0.0, **options).fit(data)


def slope(model):
    """`A` of a linear model."""
    x, u = np.vstack([np.zeros(2), np.eye(2)]), np.zeros((3, 1))
    step = model.network_.step(x, u)
    return (step[1:] - step[0]).T


def in_units(model, *covariances):
    """Covariances in the outputs' units."""
    size = model.network_.scaling.y_scale
    return [c * size * size[:, None] for c in covariances]


def dense_smoother(model, episode, Q, R):
    """Outputs of least `sum |q|^2_Q + |v|^2_R`, by one dense least squares over all of them."""
    window, n_y, n = model.network_.window, model.n_y, len(episode)
    first = window.n_samples
    free = np.zeros((n, n_y))
    blocks, right = [], []
    root_q, root_r = np.linalg.inv(np.linalg.cholesky(Q)), np.linalg.inv(np.linalg.cholesky(R))

    def predictions(y):
        x, u, _ = window.pairs(y, episode.inputs)
        return model.network_.next_output(x, u)

    base = predictions(free)
    columns = []
    for j in range(n * n_y):
        moved = free.copy()
        moved.flat[j] = 1.0
        columns.append((predictions(moved) - base).ravel())
    moves = np.array(columns).T
    unit = np.eye(n * n_y)
    blocks.append(np.kron(np.eye(n - first), root_q) @ (unit[first * n_y :] - moves))
    right.append(np.kron(np.eye(n - first), root_q) @ base.ravel())
    # What was measured before the window's oldest output says nothing about it.
    used = slice(first - window.output_lags, n)
    blocks.append(np.kron(np.eye(n - used.start), root_r) @ unit[used.start * n_y :])
    right.append(np.kron(np.eye(n - used.start), root_r) @ episode.outputs[used].ravel())
    return np.linalg.lstsq(np.vstack(blocks), np.concatenate(right), rcond=None)[0].reshape(n, n_y)


@pytest.mark.parametrize(("p", "q"), [(1, 1), (2, 1), (2, 3)])
def test_the_smoother_is_the_least_squares_over_all_samples(p, q):
    data, _ = noisy(n_episodes=3, n_steps=25)
    data = data + Trajectories.from_arrays([data[0].outputs[:9]], [data[0].inputs[:8]], dt=DT)
    model = linear(data, output_lags=p, input_lags=q, smooth=False)
    found = smoothed(model.network_, data, Q, R)
    first = model.network_.window.n_samples - p
    for own, episode in zip(found, data, strict=True):
        wanted = dense_smoother(model, episode, *in_units(model, Q, R))
        np.testing.assert_allclose(own.outputs[first:], wanted[first:], atol=1e-7)
        np.testing.assert_array_equal(own.inputs, episode.inputs)


def steep_curve(seed):
    """First-order lag, then a curve that is sixteen times as steep in the middle."""
    rng = np.random.default_rng(seed)
    outputs, inputs = [], []
    for _ in range(20):
        u = np.repeat(rng.uniform(-1, 1, 20), 5)
        x = np.empty(101)
        x[0] = rng.uniform(-1, 1)
        for k in range(100):
            x[k + 1] = 0.9 * x[k] + 0.1 * u[k]
        outputs.append((np.tanh(16.0 * x) + 0.1 * x)[:, None])
        inputs.append(u[:, None])
    return Trajectories.from_arrays(outputs, inputs, dt=DT)


def test_long_records_are_smoothed_in_pieces_that_fit_together():
    """A piece's middle is as well known as that of a record that begins and ends far from it."""
    data, _ = noisy(n_episodes=1, n_steps=2 * _PIECE + 37)
    model = linear(data, smooth=False)
    whole = smoothed(model.network_, data, Q, R)[0].outputs
    for first, last in ((300, 800), (780, 2 * _PIECE + 38)):
        part = Trajectories.from_arrays(
            [data[0].outputs[first:last]], [data[0].inputs[first : last - 1]], dt=DT
        )
        alone = smoothed(model.network_, part, Q, R)[0].outputs
        inner = slice(60, -60 if last < len(whole) else None)
        np.testing.assert_allclose(alone[inner], whole[first:last][inner], atol=1e-6)


def test_weights_are_less_biased_and_lifts_and_filters_follow():
    better = 0
    for seed in range(4):
        data, _ = noisy(n_episodes=20, noise=0.1, seed=seed)
        raw, fitted = linear(data, smooth=False), linear(data)
        errors = [np.linalg.norm(slope(m) - A, ord=2) for m in (raw, fitted)]
        better += errors[1] < 0.5 * errors[0]
        # Held-out errors fall from round to round.
        assert np.all(np.diff(fitted.smoothing_.errors) < 0)
        # The records' noise is still known.
        sd = np.sqrt(np.diag(network_noise(fitted)[1]))
        true = 0.1 * np.std(np.concatenate([e.outputs for e in data]), axis=0)
        np.testing.assert_allclose(sd, true, rtol=0.3)
    assert better >= 3


def test_a_nonlinear_network_runs_freely_with_less_error():
    step = plants.sampled(plants.van_der_pol, DT)
    data, true = noisy(n_episodes=20, n_steps=80, noise=0.05, step=step)
    options = {"n_features": 60, "random_state": 0}
    raw, fitted = KoopmanRNN(smooth=False, **options).fit(data), KoopmanRNN(**options).fit(data)
    assert len(fitted.smoothing_.errors) > 1

    def error(model):
        runs = model.predict(true, n_init=1)
        return np.sqrt(np.mean([(r - e.outputs) ** 2 for r, e in zip(runs, true, strict=True)]))

    assert error(fitted) < 0.8 * error(raw)


def test_noise_free_records_keep_their_bits():
    data = plants.record(plants.linear_step(A, B), 2, 1, DT, n_episodes=8, n_steps=60)
    one, other = (KoopmanRNN(20, random_state=0, smooth=s).fit(data) for s in ("auto", False))
    np.testing.assert_array_equal(one.network_.coef, other.network_.coef)
    assert not hasattr(one, "smoothing_")


@pytest.mark.parametrize("unit", [1e-9, 1e6])
def test_units_do_not_matter(unit):
    data, _ = noisy(n_episodes=10, noise=0.1)
    scale = np.array([unit, 1.0])
    other = Trajectories.from_arrays(
        [e.outputs * scale for e in data], [e.inputs / unit for e in data], dt=DT
    )
    one, two = KoopmanRNN(20, random_state=0).fit(data), KoopmanRNN(20, random_state=0).fit(other)
    np.testing.assert_allclose(two.smoothing_.errors, one.smoothing_.errors, rtol=1e-6)
    np.testing.assert_allclose(two.snapshots_.x / scale, one.snapshots_.x, rtol=1e-6, atol=1e-9)


def test_records_are_left_as_they_are_and_another_fit_forgets():
    data, true = noisy(n_episodes=10, noise=0.1)
    before = [e.outputs.copy() for e in data]
    model = linear(data)
    assert model.smoothing_.measured.x.shape == model.snapshots_.x.shape
    for e, old in zip(data, before, strict=True):
        np.testing.assert_array_equal(e.outputs, old)
    assert not hasattr(model.fit(true), "smoothing_")


def test_a_file_keeps_what_was_measured(tmp_path):
    data, _ = noisy(n_episodes=10, noise=0.1)
    model = linear(data)
    model.save(tmp_path / "model.npz")
    back = load(tmp_path / "model.npz")
    assert back.smoothing_.errors == model.smoothing_.errors
    for found, kept in zip(network_noise(back), network_noise(model), strict=True):
        np.testing.assert_array_equal(found, kept)


def test_a_networks_own_error_is_not_taken_for_noise():
    """Records without noise, of a steep curve through three lags, that smoothing would make smoother."""
    for seed in (0, 3):
        data = steep_curve(seed)
        options = {"n_features": 30, "output_lags": 3, "input_lags": 3, "random_state": seed}
        model = KoopmanRNN(**options).fit(data)
        raw = KoopmanRNN(smooth=False, **options).fit(data)
        np.testing.assert_array_equal(model.network_.coef, raw.network_.coef)


def test_few_records_are_not_smoothed():
    """Without held-out episodes nothing says whether it helps."""
    data, _ = noisy(n_episodes=2, n_steps=30, noise=0.1)
    assert not hasattr(linear(data), "smoothing_")


def test_a_filter_that_is_lost_leaves_records_as_measured():
    data, _ = noisy(n_episodes=10, noise=0.1)
    model = linear(data, smooth=False)
    bad = model.network_.__class__(
        model.network_.window, model.network_.layer, model.network_.coupling,
        np.full_like(model.network_.coef, 1e300), model.network_.scaling,
    )  # fmt: skip
    assert smoothed(bad, data, Q, R) is None


@pytest.mark.parametrize("value", [True, "yes", 3, None])
def test_other_values_are_refused(value):
    with pytest.raises(OptionError, match="smooth is"):
        KoopmanRNN(smooth=value).fit(noisy()[0])


def test_a_filter_that_runs_away_is_no_error():
    """Where a network explodes along the records its innovation's covariance is one direction to rounding."""
    from koopctrl.identification.window_filter import filter_steps
    from koopctrl.network.lag_window import LagWindow

    class Runaway:
        n_x = n_y = 2
        window = LagWindow(1, 1, False, 2, 1)

        def run(self, x, u, d):
            return np.stack([x, x], axis=1)

        def jacobians(self, x, u):
            way = 1e80 * np.array([[1.0, 1.0], [1.0, 1.0]])
            return np.repeat(way[None], len(x), axis=0), np.zeros((len(x), 2, 1))

    y = np.zeros((1, 3, 2))
    steps = list(filter_steps(Runaway(), np.zeros((1, 2)), np.zeros((1, 3, 1)), y, np.eye(2), np.eye(2)))
    assert len(steps) == 3
    assert np.isfinite(steps[0].error_cov).all()
