"""The linear face of models with lags, with and without feedthrough."""

import numpy as np
import plants
import pytest

from koopctrl import KoopmanRNN, LiftedModel, Trajectories


def markov(lifted: LiftedModel, n: int = 15):
    return plants.markov_parameters(lifted.A, lifted.B, lifted.C, lifted.D, n)


def siso_records(b0: float, n_episodes=10, n=60):
    rng = np.random.default_rng(0)
    ys, us = [], []
    for _ in range(n_episodes):
        u, y = rng.uniform(-1, 1, n), list(rng.uniform(-1, 1, 2))
        for k in range(2, n):
            y.append(1.2 * y[-1] - 0.5 * y[-2] + b0 * u[k] + 0.5 * u[k - 1] + 0.2 * u[k - 2])
        ys.append(np.array(y)[:, None])
        us.append(u[:, None])
    return Trajectories.from_arrays(ys, us, dt=0.5)


def impulse_response(b0: float, n: int):
    u = np.zeros(n + 2)
    u[2] = 1.0
    y = [0.0, 0.0]
    for k in range(2, n + 2):
        y.append(1.2 * y[-1] - 0.5 * y[-2] + b0 * u[k] + 0.5 * u[k - 1] + 0.2 * u[k - 2])
    return np.array(y[2:])


@pytest.mark.parametrize("n_features", [0, 15])
@pytest.mark.parametrize("b0", [0.0, 0.8])
def test_lag_models_keep_the_impulse_response_with_and_without_feedthrough(b0, n_features):
    feedthrough = b0 != 0
    model = KoopmanRNN(
        n_features, output_lags=2, input_lags=3 if feedthrough else 2, feedthrough=feedthrough, random_state=0
    ).fit(siso_records(b0))
    for x_op, u_op in ((0.0, 0.0), (None, None)):
        lifted = model.lift_at(x_op=x_op, u_op=u_op)
        np.testing.assert_allclose(markov(lifted, 20)[:, 0, 0], impulse_response(b0, 20), atol=1e-7)
        assert lifted.D[0, 0] == pytest.approx(b0, abs=1e-8)


@pytest.mark.parametrize("b0", [0.0, 0.8])
def test_a_scalar_operating_point_is_a_steady_window(b0):
    feedthrough = b0 != 0
    model = KoopmanRNN(
        0, output_lags=2, input_lags=3 if feedthrough else 2, feedthrough=feedthrough, input_coupling="linear"
    ).fit(siso_records(b0))
    gain = (b0 + 0.7) / 0.3
    lifted = model.lift_at(x_op=gain * 0.2, u_op=0.2)
    expected = [gain * 0.2] * 2 + [0.2] * (2 if feedthrough else 1)
    np.testing.assert_allclose(lifted.x_op, expected)
    np.testing.assert_array_equal(lifted.c, np.zeros(lifted.n_z))
    np.testing.assert_allclose(lifted.y_op, [gain * 0.2], atol=1e-9)
    np.testing.assert_allclose(model.lift_at(x_op=[gain * 0.2], u_op=[0.2]).x_op, expected)
    # By default the equilibrium under u_op.
    np.testing.assert_allclose(model.lift_at(u_op=0.2).x_op, expected, atol=1e-7)


@pytest.mark.parametrize("bilinear", [False, True])
def test_with_feedthrough_the_output_is_read_off_the_next_state(bilinear):
    rng = np.random.default_rng(0)
    u, y = rng.uniform(-1, 1, 500), [0.1]
    for k in range(1, 500):
        y.append(0.6 * y[-1] + 0.8 * u[k] + 0.5 * u[k] * y[-1])
    model = KoopmanRNN(0, feedthrough=True).fit(Trajectories.from_arrays(y, u, dt=0.5))
    lifted = model.lift_at(x_op=0, u_op=0, bilinear=bilinear)
    z, v = rng.normal(size=(4, lifted.n_z)), rng.normal(size=(4, 1))
    np.testing.assert_allclose(lifted.output(z, v), lifted.unlift(lifted.step(z, v))[:, :1], atol=1e-9)
    if bilinear:
        np.testing.assert_allclose(lifted.simulate([y[9]], u[10:40])[:-1, 0], y[10:40], atol=1e-9)


@pytest.mark.parametrize("b0", [0.0, 0.8])
def test_lag_models_are_exact_away_from_an_equilibrium_too(b0):
    feedthrough = b0 != 0
    data = siso_records(b0)
    model = KoopmanRNN(
        0, output_lags=2, input_lags=3 if feedthrough else 2, feedthrough=feedthrough, input_coupling="linear"
    ).fit(data)
    lifted = model.lift_at(x_op=0.5, u_op=-0.3)
    assert np.abs(lifted.c).max() > 0.1
    e, s = data[0], int(feedthrough)
    inputs = e.inputs[10 + s :]
    run = lifted.simulate(model.network_.window.initial(e.outputs, e.inputs, 11), inputs)
    # With feedthrough the first output belongs to the first input, else to the window itself.
    n = len(inputs) - 1
    np.testing.assert_allclose(run[:n], e.outputs[10 + s : 10 + s + n], atol=1e-9)
