"""Smoothed starts: the smoother solves the problem it states, a start costs less than what was reached, and
hidden states leave the plateau that they were stuck on.
"""

from dataclasses import replace

import numpy as np
import plants
import pytest

from koopctrl import KoopmanRNN, Trajectories
from koopctrl.identification.refinement import Problem, RefineOptions
from koopctrl.identification.segments import Segments
from koopctrl.identification.sensitivities import Weights, free_run
from koopctrl.identification.smoothed_start import smoothed_start, smoothed_states
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.hidden_state import HiddenNetwork
from koopctrl.network.recurrent import Scaling


def problem(rng, n_x=3, n_u=2, n_y=2, n_time=40, batch=2, feedthrough=True):
    """A linear model with idle neurons, and outputs of another one; some samples are missing."""
    layer = Layer(rng.normal(size=(5, n_x + n_u)), rng.normal(size=5), "tanh")
    none = Layer(np.empty((0, n_x + (n_u if feedthrough else 0))), np.empty(0), "tanh")
    a = -0.4 * np.eye(n_x) + 0.2 * rng.normal(size=(n_x, n_x))
    parts = [0.1 * rng.normal(size=(1, n_x)), a, np.zeros((5, n_x)), rng.normal(size=(n_u, n_x))]
    out = rng.normal(size=(1 + n_x + (n_u if feedthrough else 0), n_y))
    scaling = Scaling(np.zeros(n_y), np.ones(n_y), np.zeros(n_u), np.ones(n_u))
    net = HiddenNetwork.build(layer, np.concatenate(parts), none, out, scaling, feedthrough)
    mask = (rng.random((n_time, batch, n_y)) < 0.8).astype(float)
    v, w = rng.normal(size=(n_time, batch, n_u)), rng.normal(size=(n_time, batch, n_y)) * mask
    where = tuple((i, 0, n_time) for i in range(batch))
    return net, Segments(v, w, mask, where), rng.normal(size=(batch, n_x))


@pytest.mark.parametrize(("feedthrough", "pull"), [(False, 1e-3), (True, 0.3)])
def test_smoothed_states_are_the_least_squares_solution(feedthrough, pull):
    """Against all rows of the stated problem in one dense system, solved by an SVD."""
    net, data, x0 = problem(np.random.default_rng(0), feedthrough=feedthrough)
    found = smoothed_states(net, data, x0, pull)
    n, n_time = 3, data.n_time
    a, b, c = np.eye(n) + net.coef[1:4], net.coef[9:], net.readout.coef[1:4]
    d = net.readout.coef[4:] if feedthrough else np.zeros((2, 2))
    for j in range(data.batch):
        rows = [1e-3 * np.eye(n_time * n)[i] for i in range(n)]  # the first state's prior
        right = list(1e-3 * x0[j])
        for k in range(n_time):
            for i in np.flatnonzero(data.mask[k, j]):
                row = np.zeros((n_time, n))
                row[k] = c[:, i]
                rows.append(row.ravel())
                right.append(data.w[k, j, i] - net.readout.coef[0, i] - data.v[k, j] @ d[:, i])
            for i in range(n if k + 1 < n_time else 0):
                row = np.zeros((n_time, n))
                row[k + 1, i], row[k] = 1.0, -a[:, i]
                rows.append(row.ravel() / np.sqrt(pull))
                right.append((net.coef[0, i] + data.v[k, j] @ b[:, i]) / np.sqrt(pull))
        want = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0].reshape(n_time, n)
        np.testing.assert_allclose(found[:, j], want, atol=1e-7 * np.abs(want).max())


def cost(net, data, x0, options):
    return Problem(net, data, options.penalty, options.radius).evaluate(
        Weights(net.coef, net.readout.coef, x0)
    )[1]


@pytest.mark.parametrize("seed", range(5))
def test_a_start_costs_less_than_what_was_reached_or_there_is_none(seed):
    """Here the outputs are noise, of which neurons explain little."""
    net, data, x0 = problem(np.random.default_rng(seed))
    before = net.coef.copy(), x0.copy()
    options = RefineOptions(penalty=1e-3)
    reached = cost(net, data, x0, options)
    found = smoothed_start(net, data, x0, options, reached)
    assert found is None or cost(found[0], data, found[1], options) < reached
    assert smoothed_start(net, data, x0, options, 0.0) is None
    np.testing.assert_array_equal(net.coef, before[0])
    np.testing.assert_array_equal(x0, before[1])


def test_there_is_no_start_from_a_linear_model_that_explodes():
    net, data, x0 = problem(np.random.default_rng(1), n_time=400)
    coef = net.coef.copy()
    coef[1:4] = 10.0 * np.eye(3)
    net = HiddenNetwork(replace(net.state, coef=coef), net.readout)
    assert not np.isfinite(free_run(net, Weights(coef, net.readout.coef, x0), data)[1]).all()
    assert smoothed_start(net, data, x0, RefineOptions(), np.inf) is None


def saturating_middle(n=2000, seed=0):
    """A curve between two oscillators (Wiener and Hammerstein's), held steps, no noise."""
    rng = np.random.default_rng(seed)
    a, b, _ = plants.oscillator()
    u = np.concatenate([np.full(rng.integers(1, 20), rng.uniform(-1.0, 1.0)) for _ in range(n)])[:n, None]
    inner = plants.roll(plants.linear_step(a, b), np.zeros(2), u)[:-1, :1]
    y = plants.roll(plants.linear_step(0.9 * a, b), np.zeros(2), np.tanh(2.0 * inner / inner.std()))[:-1, :1]
    return Trajectories.from_arrays(y, u, dt=0.1)


def share(model, data):
    y = data[0].outputs
    return float(np.std(model.predict(data, 50)[0] - y) / np.std(y))


def test_neurons_are_fitted_before_any_refinement():
    """Outer weights were zero with `refine=False`."""
    data = saturating_middle(1500)
    settings = {"n_states": 4, "feature_scale": 0.5, "refine": False}
    linear = share(KoopmanRNN(n_features=0, **settings).fit(data), data)
    errors = [share(KoopmanRNN(20, random_state=s, **settings).fit(data), data) for s in range(4)]
    assert max(errors) < linear
    assert np.median(errors) < 0.95 * linear


@pytest.mark.slow
def test_hidden_states_leave_the_plateau_at_the_linear_model():
    """Most of these samplings ended within 1 % of the linear model's error."""
    data = saturating_middle(3000)
    linear = share(KoopmanRNN(n_states=4, n_features=0).fit(data), data)
    errors = [
        share(KoopmanRNN(n_states=4, n_features=20, feature_scale=0.3, random_state=s).fit(data), data)
        for s in range(6)
    ]
    assert np.median(errors) < 0.8 * linear
    assert max(errors) < 0.97 * linear
