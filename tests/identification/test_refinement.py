"""Refinement: sensitivities are derivatives, costs fall, and the end is a minimum."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone

from koopctrl import KoopmanRNN, Trajectories
from koopctrl.identification.hidden import fit_hidden
from koopctrl.identification.hidden_layers import HiddenSettings
from koopctrl.identification.initial_state import StatePrior, estimate_initial_states
from koopctrl.identification.refinement import RefineOptions, refine
from koopctrl.identification.segments import Segments, cut
from koopctrl.identification.sensitivities import Weights, free_run, linearise
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.hidden_state import HiddenNetwork
from koopctrl.network.recurrent import Scaling


def random_network(rng, n_x=2, n_u=1, n_y=2, q=4, q_out=3, feedthrough=True, activation="tanh", size=0.2):
    """A stable network with small neurons, in standardised units."""
    layer = Layer(rng.normal(size=(q, n_x + n_u)), rng.normal(size=q), activation)
    out_in = n_x + (n_u if feedthrough else 0)
    out_layer = Layer(rng.normal(size=(q_out, out_in)), rng.normal(size=q_out), activation)
    coef = np.concatenate(
        [
            0.1 * rng.normal(size=(1, n_x)),
            -0.4 * np.eye(n_x) + 0.2 * rng.normal(size=(n_x, n_x)),
            size * rng.normal(size=(q, n_x)),
            rng.normal(size=(n_u, n_x)),
        ]
    )
    out = rng.normal(size=(1 + n_x + q_out + (n_u if feedthrough else 0), n_y))
    scaling = Scaling(np.zeros(n_y), np.ones(n_y), np.zeros(n_u), np.ones(n_u))
    return HiddenNetwork.build(layer, coef, out_layer, out, scaling, feedthrough)


def random_segments(rng, net, n_time=25, batch=3, noise=0.05):
    """Outputs of the network itself from random states, with noise; some samples are missing."""
    v = rng.normal(size=(n_time, batch, net.window.n_u))
    x0 = rng.normal(size=(batch, net.window.n_x))
    n_y = net.readout.coef.shape[1]
    blank = Segments(v, np.zeros((n_time, batch, n_y)), np.ones((n_time, batch, n_y)))
    _, out = free_run(net, Weights(net.coef, net.readout.coef, x0), blank)
    mask = (rng.random(out.shape) < 0.9).astype(float)
    return Segments(v, (out + noise * rng.normal(size=out.shape)) * mask, mask), x0


@pytest.mark.parametrize("feedthrough", [False, True])
@pytest.mark.parametrize(("n_u", "activation"), [(1, "tanh"), (2, "relu"), (0, "tanh")])
def test_sensitivities_are_finite_differences(feedthrough, n_u, activation):
    feedthrough = feedthrough and n_u > 0
    rng = np.random.default_rng(0)
    net = random_network(rng, n_u=n_u, feedthrough=feedthrough, activation=activation)
    data, x0 = random_segments(rng, net)
    w = Weights(net.coef, net.readout.coef, x0)
    x, _ = free_run(net, w, data)
    lin = linearise(net, w, data, x)
    step = 1e-6

    def outputs(state, output, start):
        return free_run(net, Weights(state, output, start), data)[1]

    def difference(build):
        return (outputs(*build(step)) - outputs(*build(-step))) / (2 * step)

    for index in np.ndindex(w.state.shape):  # weights are laid out output by output
        e = np.zeros_like(w.state)
        e[index] = 1.0
        numeric = difference(lambda h, e=e: (w.state + h * e, w.output, x0))
        j = index[1] * w.state.shape[0] + index[0]
        np.testing.assert_allclose(lin.state[:, :, j], numeric, atol=1e-6, rtol=1e-6)
    for index in np.ndindex(w.output.shape):
        e = np.zeros_like(w.output)
        e[index] = 1.0
        numeric = difference(lambda h, e=e: (w.state, w.output + h * e, x0))
        j = index[1] * w.output.shape[0] + index[0]
        np.testing.assert_allclose(lin.output[:, :, j], numeric, atol=1e-6, rtol=1e-6)
    for i in range(x0.shape[1]):
        numeric = difference(lambda h, i=i: (w.state, w.output, x0 + h * np.eye(x0.shape[1])[i]))
        np.testing.assert_allclose(lin.x0[:, :, i], numeric, atol=1e-6, rtol=1e-6)


def test_the_free_run_of_segments_is_the_networks_own_rollout():
    rng = np.random.default_rng(1)
    net = random_network(rng)
    data, x0 = random_segments(rng, net, batch=4)
    _, out = free_run(net, Weights(net.coef, net.readout.coef, x0), data)
    for i in range(4):
        x = x0[i]
        for k in range(data.n_time):
            np.testing.assert_allclose(out[k, i], net.output(x, data.v[k, i]), atol=1e-12)
            x = net.step(x, data.v[k, i])


def test_jacobians_of_step_and_output_are_finite_differences():
    rng = np.random.default_rng(2)
    for feedthrough in (False, True):
        net = random_network(rng, n_u=2, feedthrough=feedthrough)
        x, u, h = rng.normal(size=2), rng.normal(size=2), 1e-6
        for function, jacobian in ((net.step, net.jacobian), (net.output, net.output_jacobian)):
            dx, du = jacobian(x, u)
            for i, e in enumerate(np.eye(2) * h):
                np.testing.assert_allclose(
                    dx[:, i], (function(x + e, u) - function(x - e, u)) / (2 * h), atol=1e-8
                )
                np.testing.assert_allclose(
                    du[:, i], (function(x, u + e) - function(x, u - e)) / (2 * h), atol=1e-8
                )


def perturbed(net, rng, size=0.05):
    return HiddenNetwork(
        replace(net.state, coef=net.coef + size * rng.normal(size=net.coef.shape)),
        replace(net.readout, coef=net.readout.coef + size * rng.normal(size=net.readout.coef.shape)),
    )


@pytest.mark.parametrize("seed", [2, 4, 5])  # stable plants without a flat valley at the end
def test_costs_fall_and_the_end_is_a_stationary_point(seed):
    rng = np.random.default_rng(seed)
    net = random_network(rng, n_y=1, feedthrough=bool(seed % 2), size=0.1)
    data, x0 = random_segments(rng, net, n_time=80)
    penalty = 1e-3
    options = RefineOptions(penalty=penalty, max_iter=300, tolerance=1e-13)
    found, states0, history = refine(perturbed(net, rng), data, x0 * 0.5, options)
    assert len(history.cost) > 3
    assert (np.diff(history.cost) <= 0).all()
    w = Weights(found.coef, found.readout.coef, states0)
    x, out = free_run(found, w, data)
    lin = linearise(found, w, data, x)
    error = (data.w - out) * data.mask
    # d/dW of the cost by the sensitivities (checked against finite differences above) and the penalty's own.
    n_x, q = found.window.n_x, found.layer.n_features
    neurons = np.zeros_like(w.state)
    neurons[1 + n_x : 1 + n_x + q] = w.state[1 + n_x : 1 + n_x + q]
    gradient = -np.einsum("tbjy,tby->j", lin.state, error) + penalty * data.count * neurons.T.ravel()
    size = np.sqrt(np.einsum("tbjy,tbjy->j", lin.state, lin.state)) * np.sqrt(np.sum(error**2))
    assert np.abs(gradient / size).max() < 1e-4
    assert found.layer is net.layer


def test_the_truth_is_found_again_from_noise_free_data():
    rng = np.random.default_rng(3)
    net = random_network(rng, n_y=1)
    data, x0 = random_segments(rng, net, n_time=150, noise=0.0)
    options = RefineOptions(penalty=0.0, max_iter=200, tolerance=1e-12)
    _, _, history = refine(perturbed(net, rng, 0.02), data, x0, options)
    assert history.cost[-1] < 1e-4 * history.cost[0]
    assert history.cost[-1] / data.count < 1e-6


def test_held_out_error_may_answer_do_not_refine():
    rng = np.random.default_rng(4)
    net = random_network(rng, n_y=1)
    data, x0 = random_segments(rng, net, n_time=30, noise=1.0)
    start = perturbed(net, rng, 0.01)
    found, states0, history = refine(
        start, data, x0, RefineOptions(), lambda candidate: 1.0 if candidate is start else 2.0
    )
    assert history.chosen == 0
    np.testing.assert_array_equal(found.coef, start.coef)
    np.testing.assert_array_equal(states0, x0)


def test_a_start_that_explodes_is_returned_as_it_came():
    rng = np.random.default_rng(5)
    net = random_network(rng, n_y=1)
    data, x0 = random_segments(rng, net, n_time=2000)
    coef = net.coef.copy()
    coef[1:3] = np.eye(2) * 3.0
    wild = HiddenNetwork(replace(net.state, coef=coef), net.readout)
    found, _, history = refine(wild, data, x0, RefineOptions())
    np.testing.assert_array_equal(found.coef, coef)
    assert "diverges" in history.message


def test_initial_states_are_the_least_squares_ones():
    rng = np.random.default_rng(6)
    net = random_network(rng, n_y=2)
    data, x0 = random_segments(rng, net, n_time=40, noise=0.0)
    prior = StatePrior(np.zeros(2), np.eye(2), 1e-12 * np.eye(2))
    np.testing.assert_allclose(estimate_initial_states(net, data, prior), x0, atol=1e-6)
    # Where nothing was measured the prior decides.
    nothing = Segments(data.v, data.w, np.zeros_like(data.mask))
    mean = np.array([0.3, -0.2])
    found = estimate_initial_states(net, nothing, StatePrior(mean, np.eye(2), np.eye(2)))
    np.testing.assert_allclose(found, np.tile(mean, (3, 1)), atol=1e-12)


def test_segments_hold_every_sample_once_and_mark_what_is_missing():
    rng = np.random.default_rng(7)
    records = [(rng.normal(size=(n, 2)), rng.normal(size=(n - (n == 7), 1))) for n in (10, 25, 7)]
    records[0][0][3, 1] = np.nan
    for feedthrough in (False, True):
        data = cut(records, 10, feedthrough)
        assert data.n_time <= 10
        missing = 1 + (
            2 if feedthrough else 0
        )  # with feedthrough the last output of the third record has no input
        assert data.count == 2 * (10 + 25 + 7) - missing
        assert np.isfinite(data.w).all()
        total = sum(np.nansum(y) for y, _ in records) - (records[2][0][-1].sum() if feedthrough else 0.0)
        assert (data.w * data.mask).sum() == pytest.approx(total)


def test_a_nonlinear_plant_is_fitted_far_better_than_its_best_linear_model():
    rng = np.random.default_rng(8)
    ys, us = [], []
    for n in (300, 200):
        x, u = np.zeros(2), np.repeat(rng.uniform(-1, 1, size=(n // 5, 1)), 5, axis=0)
        y = np.empty((n, 1))
        for k in range(n):  # a Wiener-like plant with a saturating state
            y[k] = x[0] + 0.3 * x[0] ** 2
            x = np.array([0.8 * x[0] + 0.4 * np.tanh(2 * x[1]), 0.7 * x[1] + u[k, 0]])
        ys.append(y + 0.003 * rng.normal(size=y.shape))
        us.append(u)
    from koopctrl import Trajectories

    data = Trajectories.from_arrays(ys, us, dt=1.0)
    linear = fit_hidden(data, HiddenSettings(2, 0), np.random.default_rng(0))
    options = RefineOptions(penalty=1e-6, max_iter=80)
    network = fit_hidden(data, HiddenSettings(2, 15, 10, options=options), np.random.default_rng(0))
    assert network.histories[-1].cost[-1] < 0.02 * linear.histories[-1].cost[-1]


def decaying_duffing(n=800, noise=0.01, seed=0):
    """A hardening spring let go: the frequency falls with the amplitude."""
    rng = np.random.default_rng(seed)
    x, step, y = np.array([3.0, 0.0]), 0.005, np.empty(n)
    for k in range(n):
        y[k] = x[0]
        for _ in range(10):
            x = x + step * np.array([x[1], -0.02 * x[1] - x[0] - x[0] ** 3])
    return Trajectories.from_arrays((y + noise * y.std() * rng.normal(size=n))[:, None], dt=0.05)


@pytest.mark.slow
def test_a_run_whose_phase_goes_round_is_fitted_from_its_beginning_on(monkeypatch):
    """Directly, refinement ends in a minimum that explains half of the record; with more and more of it, in
    one that leaves little but the noise.
    """
    data = decaying_duffing()
    model = KoopmanRNN(30, n_states=2, random_state=0)
    costs = model.fit(data).history_[-1].cost
    monkeypatch.setattr("koopctrl.identification.hidden.has_failed", lambda *_: False)
    direct = clone(model).fit(data).history_[-1].cost
    assert direct[-1] > 0.3 * len(data[0])
    assert costs[-1] < 0.5 * direct[-1]
    assert (np.diff(costs) <= 0).all()
