"""Neurons of a model where the caller does not say: a tenth of the pairs, 300 at most (hidden: 20)."""

import numpy as np
import plants
import pytest

from koopctrl import KoopmanRNN, Trajectories

A, B, DT = plants.oscillator()


def data(n_episodes, n_steps):
    return plants.record(plants.linear_step(A, B), 2, 1, DT, n_episodes=n_episodes, n_steps=n_steps)


@pytest.mark.parametrize(
    ("n_episodes", "n_steps", "lags", "width"),
    [(1, 9, 1, 0), (1, 10, 1, 1), (1, 500, 1, 50), (5, 100, 1, 50), (5, 100, 11, 45), (31, 100, 1, 300)],
)
def test_a_tenth_of_the_pairs_and_at_most_300(n_episodes, n_steps, lags, width):
    model = KoopmanRNN(output_lags=lags, random_state=0).fit(data(n_episodes, n_steps))
    assert model.network_.layer.n_features == width
    assert model.n_features is None
    assert model.solution_.n_rows >= 10 * width


@pytest.mark.parametrize(("n_steps", "width"), [(60, 6), (150, 15), (400, 20)])
def test_a_hidden_state_has_at_most_20(n_steps, width):
    model = KoopmanRNN(n_states=2, max_iter=1, random_state=0).fit(data(1, n_steps))
    assert model.network_.layer.n_features == width


def test_the_same_as_with_the_number_named():
    records = data(4, 50)
    named = KoopmanRNN(20, random_state=0).fit(records)
    np.testing.assert_array_equal(named.network_.coef, KoopmanRNN(random_state=0).fit(records).network_.coef)


def test_of_several_batches_the_first_counts():
    model = KoopmanRNN(random_state=0)
    model.partial_fit(data(2, 50)).partial_fit(Trajectories(data(6, 50)[2:]))
    assert model.network_.layer.n_features == 10
