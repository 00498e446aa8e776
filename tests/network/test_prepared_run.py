"""Free runs with everything prepared are loops of steps, up to the step at which one leaves its bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_recurrent import contracting, networks

from koopctrl.network import prepared_run, recurrent
from koopctrl.network.coupling import COUPLINGS, Coupling
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.lag_window import LagWindow
from koopctrl.network.recurrent import RecurrentNetwork, Scaling


def by_steps(net, x0, u):
    """Outputs of a loop of `net.step`."""
    x, y = x0, [x0[:, : net.window.n_y]]
    for k in range(u.shape[1]):
        x = net.step(x, u[:, k])
        y.append(x[:, : net.window.n_y])
    return np.stack(y, axis=1)


@pytest.fixture
def short_stretches(monkeypatch):
    """Many stretches of steps that are prepared together in a short run."""
    monkeypatch.setattr(prepared_run, "_STEPS", 5)


@settings(max_examples=100)
@given(networks, st.integers(1, 3), st.integers(4, 23))
def test_any_network_any_batch(net, batch, n_steps):
    net.coef[:] *= 0.05
    rng = np.random.default_rng(4)
    x0, u = rng.normal(size=(batch, net.window.n_x)), rng.normal(size=(batch, n_steps, net.window.n_u))
    before = x0.copy(), u.copy()
    y, left_at = net.rollout(x0, u)
    expected = by_steps(net, x0, u)
    if np.abs(expected).max() < 1e3:
        assert (left_at == n_steps + 1).all()
        np.testing.assert_allclose(y, expected, rtol=1e-8, atol=1e-8)
    np.testing.assert_array_equal(x0, before[0])
    np.testing.assert_array_equal(u, before[1])


@pytest.mark.usefixtures("short_stretches")
@pytest.mark.parametrize("kind", COUPLINGS)
def test_stretches_join(kind):
    net = contracting(kind, 3, 4, True, n_u=2)
    rng = np.random.default_rng(5)
    x0, u = rng.normal(size=(2, net.window.n_x)), rng.normal(size=(2, 33, 2))
    np.testing.assert_allclose(net.rollout(x0, u)[0], by_steps(net, x0, u), rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("short_stretches")
def test_measured_parameters_are_inputs_like_others():
    rng = np.random.default_rng(6)
    window, coupling = LagWindow(2, 3, False, 1, 2), Coupling("bilinear", 2, (1,), "affine")
    layer = Layer(rng.normal(size=(5, window.n_x)), rng.normal(size=5), "tanh")
    coef = 0.02 * rng.normal(size=(coupling.n_columns(1 + window.n_x + 5), 1))
    scaling = Scaling(rng.normal(size=1), np.array([2.0]), rng.normal(size=2), np.array([0.5, 3.0]))
    net = RecurrentNetwork(window, layer, coupling, coef, scaling)
    x0, u = rng.normal(size=(1, window.n_x)), rng.normal(size=(1, 20, 2))
    np.testing.assert_allclose(net.rollout(x0, u)[0], by_steps(net, x0, u), rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("short_stretches")
@pytest.mark.parametrize("kind", COUPLINGS)
@pytest.mark.parametrize("bounded", [False, True])
def test_what_leaves_its_bounds_is_held_as_step_by_step(kind, bounded, monkeypatch):
    """One of three runs grows, and leaves in the middle of a stretch."""
    net = contracting(kind, 2, 3, n_y=1, n_u=1)
    net.coef[1] += 0.7
    rng = np.random.default_rng(7)
    x0, u = rng.normal(size=(3, net.window.n_x)), 0.1 * rng.normal(size=(3, 60, 1))
    s = net.scaling
    bounds = (s.y_mean - 20.0 * s.y_scale, s.y_mean + 20.0 * s.y_scale)

    def run():
        return net.bounded_rollout(x0, u, *bounds) if bounded else net.rollout(x0, u)

    y, left_at = run()
    monkeypatch.setattr(recurrent, "_PREPARED", 1000)
    slow, slow_left_at = run()
    assert left_at.min() < 61
    np.testing.assert_array_equal(left_at, slow_left_at)
    np.testing.assert_allclose(y, slow, rtol=1e-7, atol=1e-7)
