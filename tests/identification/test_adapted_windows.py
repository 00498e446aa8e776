"""Layers of lag windows sampled anew where the learned function is curved."""

import numpy as np
import pytest

from koopctrl import KoopmanRNN, Trajectories
from koopctrl.errors import OptionError
from koopctrl.plotting import plot_directions

LAGS = 15


def curved_in_one_direction(n=1500, seed=0):
    """`y[k]` is a tanh of one combination of the last fifteen inputs, and a little of `y[k-1]`."""
    rng = np.random.default_rng(seed)
    u = rng.normal(size=(n, 1))
    weights = np.exp(-np.arange(LAGS) / 4.0)
    inner = np.convolve(u[:, 0], weights)[: n - 1] / np.linalg.norm(weights)
    y = np.zeros(n)
    for k in range(1, n):
        y[k] = 0.3 * y[k - 1] + np.tanh(2.0 * inner[k - 1]) + 0.3 * inner[k - 1] ** 2
    return Trajectories.from_arrays(y[:, None], u, dt=0.1), weights / np.linalg.norm(weights)


TRAIN, WEIGHTS = curved_in_one_direction()
TEST, _ = curved_in_one_direction(seed=1)
BASE = {
    "n_features": 200, "output_lags": 1, "input_lags": LAGS, "input_coupling": "network", "random_state": 0,

}  # fmt: skip


@pytest.fixture(scope="module")
def models():
    return [KoopmanRNN(**BASE, rounds=r).fit(TRAIN) for r in (0, 4)]


def test_rounds_find_the_direction_and_the_error_falls(models):
    plain, adapted = models
    assert not hasattr(plain, "directions_")
    assert len(adapted.directions_) == 4
    lead = adapted.directions_[-1].basis[:, 0]
    # The window is [y, u[k-1], .., u[k-14]] and the input u[k]; signals have unit spread nearly.
    found = np.concatenate([lead[-1:], lead[1:-1]])
    assert abs(found @ WEIGHTS) / np.linalg.norm(lead) > 0.85
    assert adapted.directions_[-1].basis.shape[1] <= 3
    one, many = (1.0 - m.score(TEST, n_init=20) for m in (plain, adapted))
    assert many < 0.5 * one


def test_other_couplings_have_rounds_too():
    model = KoopmanRNN(20, output_lags=3, input_lags=3, rounds=1, random_state=0).fit(TRAIN)
    assert model.directions_[0].basis.shape[0] == model.n_x
    linear = KoopmanRNN(0, output_lags=3, input_lags=3, rounds=1).fit(TRAIN)
    assert not hasattr(linear, "directions_")


def test_where_data_are_read_once_rounds_are_refused():
    with pytest.raises(OptionError, match="rounds"):
        KoopmanRNN(5, rounds=1).partial_fit(TRAIN)
    with pytest.raises(OptionError, match="rounds"):
        KoopmanRNN(5, rounds=1).fit(iter(TRAIN))


def test_the_figure_names_lags(models):
    axes = plot_directions(models[1]).axes
    assert [t.get_text() for t in axes[0].get_xticklabels()][-1] == "u0"
    with pytest.raises(OptionError, match="rounds"):
        plot_directions(models[0])
