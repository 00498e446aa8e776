"""Sampled layers: where neurons stand, which pairs are drawn, and data that leave no pairs to draw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koopctrl.errors import DataError
from koopctrl.network.samplers import ACTIVATIONS, SAMPLERS, Layer
from koopctrl.network.samplers.pairs import MIN_DISTANCE, candidate_pairs

each_sampler = pytest.mark.parametrize("name", sorted(SAMPLERS))
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def sample(name, points, targets=None, n=20, activation="tanh", scale=1.0, seed=0, joint=None) -> Layer:
    points = np.asarray(points, dtype=float)
    targets = points if targets is None else targets
    joint = points if joint is None else joint
    return SAMPLERS[name](points, joint, targets, n, activation, scale, np.random.default_rng(seed))


def cloud(n=200, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_three_samplers_two_activations():
    assert set(SAMPLERS) == {"swim", "uniform", "elm"}
    assert set(ACTIVATIONS) == {"tanh", "relu"}


# --- layers ----------------------------------------------------------------------------------------------


def test_a_tanh_neuron_is_minus_and_plus_a_half_at_its_pair():
    first, second = cloud(seed=1), cloud(seed=2)
    layer = Layer.from_pairs(first, second, "tanh", 1.0)
    np.testing.assert_allclose(np.diag(layer(first)), -0.5, atol=1e-12)
    np.testing.assert_allclose(np.diag(layer(second)), 0.5, atol=1e-12)


def test_a_relu_neuron_is_0_and_1_at_its_pair():
    first, second = cloud(seed=1), cloud(seed=2)
    layer = Layer.from_pairs(first, second, "relu", 1.0)
    np.testing.assert_allclose(np.diag(layer(first)), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.diag(layer(second)), 1.0, atol=1e-12)


@given(st.floats(0.01, 10))
def test_the_scale_multiplies_both_constants(scale):
    first, second = cloud(seed=1), cloud(seed=2)
    layer = Layer.from_pairs(first, second, "tanh", scale)
    np.testing.assert_allclose(np.arctanh(np.diag(layer(second))), scale * np.log(3) / 2, rtol=1e-6)
    np.testing.assert_allclose(layer((first + second) / 2).diagonal(), 0.0, atol=1e-9 * scale)


@each_activation
def test_a_layer_is_its_formula_for_any_batch(activation):
    layer = sample("swim", cloud(), activation=activation)
    points = cloud(24, seed=3).reshape(2, 3, 4, 3)
    expected = np.einsum("...i,ji->...j", points, layer.weights) + layer.biases
    expected = np.tanh(expected) if activation == "tanh" else np.where(expected > 0, expected, 0)
    np.testing.assert_allclose(layer(points), expected, atol=1e-14)
    assert layer(points).shape == (2, 3, 4, layer.n_features)
    assert layer(points[0, 0, 0]).shape == (layer.n_features,)


@each_activation
def test_the_derivative_is_a_difference_quotient(activation):
    layer = sample("uniform", cloud(), activation=activation)
    h = 1e-6
    for p in cloud(5, seed=4):
        for j in range(3):
            step = h * np.eye(3)[j]
            quotient = (layer(p + step) - layer(p - step)) / (2 * h)
            np.testing.assert_allclose(layer.derivative(p) * layer.weights[:, j], quotient, atol=1e-8)


@each_activation
def test_far_points_saturate_without_a_warning(activation):
    layer = sample("swim", cloud(), activation=activation)
    for far in (1e6, 1e150):
        assert np.isfinite(layer(np.full(3, far))).all()
        assert np.isfinite(layer.derivative(np.full(3, far))).all()


def test_a_fixed_tail_and_a_split_are_the_same_layer():
    layer = sample("swim", cloud(d=5))
    p = cloud(7, d=5, seed=9)
    held = p.copy()
    held[:, 3:] = [0.4, -1.2]
    np.testing.assert_allclose(
        layer.at_fixed_tail(3, np.array([0.4, -1.2]))(p[:, :3]), layer(held), atol=1e-14
    )
    head, tail = layer.split(3)
    assert (head.shape, tail.shape) == ((20, 3), (20, 2))


def test_a_layer_does_not_write_to_its_points():
    points = cloud()
    before = points.copy()
    sample("swim", points)(points)
    np.testing.assert_array_equal(points, before)


# --- samplers --------------------------------------------------------------------------------------------


@each_sampler
@each_activation
def test_sizes_and_the_same_seed_the_same_bits(name, activation):
    for n in (1, 20, 500):
        layers = [sample(name, cloud(), n=n, activation=activation, seed=s) for s in (3, 3, 4)]
        assert layers[0].n_features == n
        assert layers[0].weights.shape == (n, 3)
        assert layers[0].activation == activation
        np.testing.assert_array_equal(layers[0].weights, layers[1].weights)
        np.testing.assert_array_equal(layers[0].biases, layers[1].biases)
        assert not np.array_equal(layers[0].weights, layers[2].weights)


@each_sampler
def test_samplers_do_not_write_to_the_data(name):
    points, targets = cloud(), cloud(seed=5)
    points.flags.writeable = targets.flags.writeable = False
    sample(name, points, targets)


@pytest.mark.parametrize("name", ["swim", "uniform"])
def test_every_neuron_stands_on_two_data_points(name):
    points = cloud(12)
    layer = sample(name, points, n=30)
    values = layer(points)
    assert (
        np.isclose(values, -0.5, atol=1e-9).any(axis=0) & np.isclose(values, 0.5, atol=1e-9).any(axis=0)
    ).all()


def test_elm_neurons_are_centred_on_data_and_scaled():
    points = cloud(50)
    layer = sample("elm", points, n=4000, scale=0.7)
    assert np.isclose(layer(points), 0.0, atol=1e-12).any(axis=0).all()
    np.testing.assert_allclose(layer.weights.std(axis=0), 0.7 / np.sqrt(3), rtol=0.05)


def test_swim_draws_where_the_target_is_steep():
    # A step at 0.7: of the pairs that swim draws, far more straddle it than of those drawn uniformly.
    x = np.linspace(0, 1, 400)[:, None]
    y = np.tanh(200 * (x - 0.7))
    centres = {
        name: -layer.biases / layer.weights[:, 0]
        for name in ("swim", "uniform")
        if (layer := sample(name, x, y, n=300))
    }
    near = {name: np.mean(np.abs(c - 0.7) < 0.1) for name, c in centres.items()}
    assert near["swim"] > 0.5
    assert near["swim"] > 2 * near["uniform"]


def test_swim_falls_back_to_uniform_where_the_target_is_flat():
    assert np.isfinite(sample("swim", cloud(), np.zeros((200, 1))).weights).all()


def test_equal_states_with_different_inputs_do_not_dominate():
    # Half of the records sit on a tight cluster of states from which the input drives them far apart; on the
    # states alone the cluster's quotients are a hundred times steeper than any other.
    rng = np.random.default_rng(0)
    n = 400
    x = np.concatenate([0.05 * rng.normal(size=(n, 2)), 3 * rng.normal(size=(n, 2))])
    u = np.concatenate([3 * rng.normal(size=(n, 1)), 0.1 * rng.normal(size=(n, 1))])
    targets = x + u
    joint = np.hstack([x, u])

    def share_of_steep_neurons(joint):
        return np.mean(np.linalg.norm(sample("swim", x, targets, n=200, joint=joint).weights, axis=1) > 4)

    # A quarter of all pairs lie in the cluster.
    assert share_of_steep_neurons(x) > 0.6
    assert share_of_steep_neurons(joint) < 0.35


@pytest.mark.parametrize("name", ["swim", "uniform"])
def test_duplicates_and_near_duplicates_make_no_steep_neuron(name):
    rng = np.random.default_rng(0)
    few = rng.normal(size=(20, 2))
    points = np.concatenate([few, few + 1e-9 * rng.normal(size=few.shape), few])
    targets = rng.normal(size=points.shape)  # unlike at duplicates: an infinite quotient
    layer = sample(name, points, targets, n=200)
    spread = np.sqrt(2 * np.mean(np.var(points, axis=0) * 2))
    assert np.linalg.norm(layer.weights, axis=1).max() < np.log(3) / (0.5 * MIN_DISTANCE * spread)


@each_sampler
@pytest.mark.parametrize("n_points", [2, 3])
def test_more_features_than_pairs(name, n_points):
    layer = sample(name, cloud(n_points), n=100)
    assert layer.n_features == 100
    assert np.isfinite(layer.weights).all()


@pytest.mark.parametrize("name", ["swim", "uniform"])
@pytest.mark.parametrize("n_points", [1, 2, 50])
def test_points_that_all_coincide_are_refused(name, n_points):
    with pytest.raises(DataError, match=f"all {n_points} data points coincide"):
        sample(name, np.full((n_points, 2), 0.3))


@pytest.mark.parametrize("name", ["swim", "uniform"])
@pytest.mark.parametrize("n_rest", [1_000, 100_000])
def test_a_short_pulse_in_a_long_rest_leaves_pairs(name, n_rest):
    points = np.zeros((n_rest + 3, 2))
    points[-3:] = [[1.0, 0.0], [2.0, 1.0], [0.5, 1.0]]
    layer = sample(name, points, n=5)
    assert layer.n_features == 5
    assert np.isfinite(layer.weights).all()


@given(st.integers(2, 30), st.integers(1, 4), st.integers(1, 60), st.integers(0, 10))
def test_candidate_pairs_differ_and_are_counted(n, d, n_pairs, seed):
    points = np.random.default_rng(seed).normal(size=(n, d))
    first, second = candidate_pairs(points, n_pairs, np.random.default_rng(seed))
    assert first.shape == second.shape == (n_pairs,)
    assert (first != second).all()


@pytest.mark.parametrize("scale", [1e-100, 1.0, 1e100])
def test_candidate_pairs_do_not_depend_on_the_scale(scale):
    points = cloud(50)
    pairs = candidate_pairs(points, 30, np.random.default_rng(0))
    scaled = candidate_pairs(points * scale, 30, np.random.default_rng(0))
    np.testing.assert_array_equal(pairs, scaled)
