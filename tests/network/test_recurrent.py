"""The recurrent face against its equation written out, for every coupling and window.

The reference below is coded from the equations, channel by channel and in any number type, so that a complex
step through it gives derivatives to rounding.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koopctrl.network.coupling import COUPLINGS, Coupling
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.lag_window import LagWindow
from koopctrl.network.recurrent import DIVERGED, RecurrentNetwork, Scaling


def random_network(kind, p=1, q=1, feedthrough=False, n_y=2, n_u=1, n=7, activation="tanh", seed=0):
    rng = np.random.default_rng(seed)
    window, coupling = LagWindow(p, q, feedthrough, n_y, n_u), Coupling(kind, n_u)
    n_in = window.n_x + (n_u if coupling.layer_sees_input else 0)
    layer = Layer(rng.normal(size=(n, n_in)), rng.normal(size=n), activation)
    coef = 0.3 * rng.normal(size=(coupling.n_columns(1 + window.n_x + n), n_y))
    scaling = Scaling(
        rng.normal(size=n_y), rng.uniform(0.5, 2, n_y), rng.normal(size=n_u), rng.uniform(0.5, 2, n_u)
    )
    return RecurrentNetwork(window, layer, coupling, coef, scaling)


def reference_step(net: RecurrentNetwork, x, u):
    """`x_{k+1}`, entry by entry."""
    w, s, kind = net.window, net.scaling, net.coupling.kind
    p, q, n_y, n_u = w.output_lags, w.input_lags, w.n_y, w.n_u
    xs = [(x[i] - s.y_mean[i % n_y]) / s.y_scale[i % n_y] for i in range(p * n_y)]
    if n_u:
        tail = range(p * n_y, p * n_y + (q - 1) * n_u)
        xs += [(x[i] - s.u_mean[(i - p * n_y) % n_u]) / s.u_scale[(i - p * n_y) % n_u] for i in tail]
    us = [(u[i] - s.u_mean[i]) / s.u_scale[i] for i in range(n_u)]
    point = xs + us if kind == "network" else xs
    pre = [
        sum(wi * v for wi, v in zip(row, point, strict=True)) + b
        for row, b in zip(net.layer.weights, net.layer.biases, strict=True)
    ]
    psi = [np.tanh(v) if net.layer.activation == "tanh" else (v if v.real > 0 else 0 * v) for v in pre]
    phi = [1.0, *xs, *psi]
    row = list(phi)
    if n_u and kind in ("linear", "network"):
        row += us
    if kind in ("bilinear", "quadratic"):
        row += [us[i] * f for i in range(n_u) for f in phi]
    if kind == "quadratic":
        row += [us[i] * us[j] * f for i in range(n_u) for j in range(i, n_u) for f in phi]
    assert len(row) == len(net.coef)
    y_next = [
        x[j] + s.y_scale[j] * sum(v * c for v, c in zip(row, net.coef[:, j], strict=True)) for j in range(n_y)
    ]
    past_y = [x[i] for i in range((p - 1) * n_y)]
    past_u = [x[p * n_y + i] for i in range((q - 2) * n_u)]
    newest_u = [u[i] for i in range(n_u)] if q > 1 else []
    return np.array([*y_next, *past_y, *newest_u, *past_u])


networks = st.builds(
    random_network,
    st.sampled_from(COUPLINGS),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
    st.integers(1, 3),
    st.integers(0, 2),
    st.sampled_from([0, 1, 7]),
    st.sampled_from(["tanh", "relu"]),
    st.integers(0, 99),
)


def random_point(net, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=net.window.n_x), rng.normal(size=net.window.n_u)


@settings(max_examples=150)
@given(networks)
def test_a_step_is_the_equation_written_out(net):
    x, u = random_point(net)
    np.testing.assert_allclose(net.step(x, u), reference_step(net, x, u), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(net.next_output(x, u), reference_step(net, x, u)[: net.window.n_y], atol=1e-12)


@settings(max_examples=150)
@given(networks)
def test_the_jacobian_is_the_complex_step(net):
    x, u = random_point(net)
    a, b = net.jacobian(x, u)
    assert a.shape == (net.window.n_x, net.window.n_x)
    assert b.shape == (net.window.n_x, net.window.n_u)
    h = 1e-30
    for j in range(len(x)):
        column = reference_step(net, x + 1j * h * np.eye(len(x))[j], u.astype(complex)).imag / h
        np.testing.assert_allclose(a[:, j], column, rtol=1e-11, atol=1e-11)
    for j in range(len(u)):
        column = reference_step(net, x.astype(complex), u + 1j * h * np.eye(len(u))[j]).imag / h
        np.testing.assert_allclose(b[:, j], column, rtol=1e-11, atol=1e-11)


@given(networks)
def test_batches_of_any_shape_are_single_steps(net):
    rng = np.random.default_rng(2)
    x, u = rng.normal(size=(2, 3, net.window.n_x)), rng.normal(size=(2, 3, net.window.n_u))
    batch = net.step(x, u)
    for i in np.ndindex(2, 3):
        np.testing.assert_allclose(batch[i], net.step(x[i], u[i]), rtol=1e-12, atol=1e-12)


def contracting(*args, **kwargs):
    """A network whose roll-outs stay bounded: weights small, and a pull towards the mean."""
    net = random_network(*args, **kwargs)
    net.coef[:] *= 0.05
    net.coef[1 : 1 + net.window.n_y] -= 0.5 * np.eye(net.window.n_y)
    return net


@pytest.mark.parametrize("kind", COUPLINGS)
@pytest.mark.parametrize(("p", "q", "feedthrough"), [(1, 1, False), (3, 2, False), (2, 3, True)])
def test_a_roll_out_is_a_loop_of_steps(kind, p, q, feedthrough):
    net = contracting(kind, p, q, feedthrough, n_u=2)
    rng = np.random.default_rng(3)
    x0, u = rng.normal(size=(4, net.window.n_x)), rng.normal(size=(4, 25, 2))
    y, diverged_at = net.rollout(x0, u)
    assert (diverged_at == 26).all()
    for i in range(4):
        x = x0[i]
        np.testing.assert_array_equal(y[i, 0], x[:2])
        for k in range(25):
            x = reference_step(net, x, u[i, k])
            np.testing.assert_allclose(y[i, k + 1], x[:2], rtol=1e-9, atol=1e-9)


def test_a_roll_out_of_no_steps_is_its_start():
    net = random_network("bilinear")
    y, diverged_at = net.rollout(np.ones((3, 2)), np.empty((3, 0, 1)))
    assert y.shape == (3, 1, 2)
    assert (diverged_at == 1).all()


def test_a_diverging_roll_out_is_held_finite_and_told_apart_from_the_others():
    # y+ = 3 y in standardised units: from 1, step k is 3^k, which passes 1e4 at k = 9.
    window = LagWindow(1, 1, False, 1, 0)
    scaling = Scaling(np.zeros(1), np.array([2.0]), np.empty(0), np.empty(0))
    net = RecurrentNetwork(
        window,
        Layer(np.empty((0, 1)), np.empty(0), "tanh"),
        Coupling("linear", 0),
        np.array([[0.0], [2.0]]),
        scaling,
    )
    y, diverged_at = net.rollout(np.array([[2.0], [0.0], [-2e-3]]), np.empty((3, 12, 0)))
    assert DIVERGED == 1e4
    np.testing.assert_array_equal(diverged_at, [9, 13, 13])
    np.testing.assert_allclose(y[0, :, 0], 2 * np.minimum(3.0 ** np.arange(13), 3.0**8))
    np.testing.assert_allclose(y[2, :, 0], -2e-3 * 3.0 ** np.arange(13))


@pytest.mark.parametrize("kind", COUPLINGS)
@pytest.mark.parametrize("size", [1e30, 1e150, 1e300])
def test_absurd_starts_and_inputs_stay_finite_and_are_reported(kind, size):
    net = random_network(kind, 2, 2)
    for x, u in ((size, 0.0), (0.0, size), (-size, size)):
        y, diverged_at = net.rollout(np.full((1, net.window.n_x), x), np.full((1, 3, 1), u))
        assert np.isfinite(y).all()
        assert diverged_at[0] <= 3


def test_nothing_passed_in_is_written_to():
    net = random_network("quadratic", 2, 2)
    x, u = random_point(net)
    x.flags.writeable = u.flags.writeable = False
    for array in vars(net.scaling).values():
        array.flags.writeable = False
    net.step(x, u)
    net.jacobian(x, u)
    net.rollout(x[None], u[None, None])


# --- scaling ---------------------------------------------------------------------------------------------


@given(st.floats(-150, 150), st.floats(-6, 6))
def test_scaling_follows_the_data_s_scale(power, log_offset):
    scale = 10.0**power
    values = np.random.default_rng(0).normal(size=(50, 2)) + 10.0**log_offset
    base, scaled = (Scaling.from_data(v, v[:, :1]) for v in (values, values * scale))
    np.testing.assert_allclose(scaled.y_scale, base.y_scale * scale, rtol=1e-6)
    np.testing.assert_allclose(scaled.u_mean, base.u_mean * scale, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-250, 1e-200, 1e200, 1e250])
def test_scaling_of_extreme_data(scale):
    values = np.random.default_rng(0).normal(size=(50, 2))
    np.testing.assert_allclose(
        Scaling.from_data(values * scale, values).y_scale, values.std(0) * scale, rtol=1e-9
    )


@pytest.mark.parametrize("value", [0.0, 1.0, -3e7, 1e-300, 0.1])
def test_a_constant_channel_has_scale_one(value):
    values = np.full((50, 2), value)
    values[:, 1] = np.arange(50)
    scaling = Scaling.from_data(values, values)
    assert scaling.y_scale[0] == scaling.u_scale[0] == 1.0
    assert scaling.y_scale[1] == pytest.approx(np.arange(50).std())


def test_no_inputs_at_all_have_no_scaling():
    assert Scaling.from_data(np.ones((3, 1)), np.empty((3, 0))).u_scale.shape == (0,)
    scaling = Scaling.from_data(np.ones((1, 1)), np.empty((0, 2)))
    np.testing.assert_array_equal(scaling.u_mean, [0.0, 0.0])
    np.testing.assert_array_equal(scaling.u_scale, [1.0, 1.0])
