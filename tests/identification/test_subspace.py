"""Subspace identification: exact on exact data, units do not matter, and as good as its peers on records."""

import numpy as np
import plants
import pytest

from koopctrl import Trajectories, datasets
from koopctrl.errors import DataError, OptionError
from koopctrl.identification.subspace import METHODS, subspace

A, B, DT = plants.three_states()
RNG = np.random.default_rng(0)
C, D = RNG.normal(size=(2, 3)), RNG.normal(size=(2, 2))


def linear_records(
    a,
    b,
    c,
    d,
    lengths=(90, 60, 120),
    seed=1,
    noise=0.0,
    y0=0.0,
    u0=0.0,
    n_inputs=None,
    dt=0.2,
    last_input=True,
):
    """Episodes of any lengths from random initial states under random inputs, computed by the recursion."""
    rng = np.random.default_rng(seed)
    ys, us = [], []
    for n in lengths:
        u = rng.normal(size=(n, b.shape[1]))
        x = plants.roll(plants.linear_step(a, b), rng.normal(size=len(a)), u)[:-1]
        ys.append(x @ c.T + u @ d.T + y0 + noise * rng.normal(size=(n, len(c))))
        us.append((u + u0)[: n if last_input else n - 1])
    return Trajectories.from_arrays(ys, us if b.shape[1] else None, dt=dt)


@pytest.mark.parametrize("method", [*METHODS, "best"])
@pytest.mark.parametrize("feedthrough", [False, True])
def test_noise_free_data_give_back_the_markov_parameters(method, feedthrough):
    d = D if feedthrough else np.zeros_like(D)
    data = linear_records(A, B, C, d, y0=np.array([3.0, -50.0]), u0=7.0, last_input=feedthrough)
    model = subspace(data, 3, method=method, feedthrough=feedthrough)
    exact = plants.markov_parameters(A, B, C, d, 25)
    np.testing.assert_allclose(model.markov_parameters(25), exact, atol=1e-10)
    for p, e in zip(model.predict(data, n_init=6), data, strict=True):
        np.testing.assert_allclose(p, e.outputs, atol=1e-7)


def test_the_order_of_noise_free_and_of_noisy_data_is_found():
    assert subspace(linear_records(A, B, C, D), "gap", feedthrough=True).n_x == 3
    noisy = linear_records(A, B, C, D, lengths=(400, 300, 500), noise=0.1)
    assert subspace(noisy, feedthrough=True).n_x == 3


@pytest.mark.parametrize("method", METHODS)
def test_an_integrator_and_an_unstable_plant_are_identified_too(method):
    for a in (np.array([[1.0, 0.1], [0.0, 0.7]]), np.array([[1.05, 0.1], [0.0, 0.6]])):
        b, c, d = np.array([[0.1], [1.0]]), np.array([[1.0, 0.0]]), np.zeros((1, 1))
        data = linear_records(a, b, c, d, lengths=(60, 40))
        model = subspace(data, 2, method=method)
        np.testing.assert_allclose(
            model.markov_parameters(10), plants.markov_parameters(a, b, c, d, 10), atol=1e-7
        )
        assert subspace(data, 2, method=method, stable=True).spectral_radius < 1.0


def test_a_record_without_inputs():
    a, c = plants.oscillator()[0], np.array([[1.0, 0.5]])
    data = linear_records(a, np.zeros((2, 0)), c, np.zeros((1, 0)))
    model = subspace(data, 2)
    np.testing.assert_allclose(
        np.sort_complex(np.linalg.eigvals(model.A)), np.sort_complex(np.linalg.eigvals(a)), atol=1e-8
    )
    assert model.n_u == 0


def innovation_record(n=20_000, seed=0):
    """`x+ = A x + B u + K e`, `y = C x + e`, by the recursion; with the true `K` and covariance of `e`."""
    rng = np.random.default_rng(seed)
    a, b = plants.oscillator()[:2]
    c, k, r = np.array([[1.0, 0.3]]), np.array([[0.3], [0.2]]), 0.04
    u, e = rng.normal(size=(n, 1)), np.sqrt(r) * rng.normal(size=(n, 1))
    x, y = np.zeros(2), np.empty((n, 1))
    for i in range(n):
        y[i] = c @ x + e[i]
        x = a @ x + b @ u[i] + k @ e[i]
    return a, c, k, r, Trajectories.from_arrays(y, u, dt=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_gain_and_innovations_are_those_of_the_kalman_filter(method):
    a, c, k, r, data = innovation_record()
    model = subspace(data, 2, method=method, horizon=40)
    # The gain depends on coordinates; its Markov parameters `C A^i K` do not.
    got = [model.C @ np.linalg.matrix_power(model.A, i) @ model.K for i in range(6)]
    want = [c @ np.linalg.matrix_power(a, i) @ k for i in range(6)]
    np.testing.assert_allclose(np.squeeze(got), np.squeeze(want), atol=0.03)
    assert model.innovation_cov[0, 0] == pytest.approx(r, rel=0.03)
    errors = model.innovations(data, n_init=20)[0][20:, 0]
    assert np.var(errors) == pytest.approx(r, rel=0.03)
    lags = [np.mean(errors[i:] * errors[: len(errors) - i]) / np.var(errors) for i in range(1, 6)]
    assert np.abs(lags).max() < 0.03  # white
    q, rr, s = model.noise_covariances
    np.testing.assert_allclose(np.linalg.solve(rr.T, s.T).T, model.K, rtol=1e-9)
    np.testing.assert_allclose(q, model.K @ rr @ model.K.T, rtol=1e-9)


@pytest.mark.parametrize(("name", "order", "bound"), [("hair_dryer", 4, 0.1174), ("robot_arm", 8, 0.0100)])
def test_measured_records(name, order, bound):
    train, test = getattr(datasets, name)().split(0.5, by="time")
    model = subspace(train, order, feedthrough=name == "robot_arm")
    error = model.predict(test, n_init=20)[0][20:] - test[0].outputs[20:]
    assert np.sqrt(np.mean(error**2)) <= bound


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_do_not_matter(scale):
    train, test = datasets.hair_dryer().split(0.5, by="time")

    def scaled(data):
        return Trajectories.from_arrays(
            [e.outputs * scale for e in data], [e.inputs / scale for e in data], dt=data.dt
        )

    plain, other = subspace(train, 3), subspace(scaled(train), 3)
    got = other.predict(scaled(test), n_init=20)[0] / scale
    np.testing.assert_allclose(got, plain.predict(test, n_init=20)[0], rtol=1e-6)


def test_the_model_goes_to_python_control_and_to_a_lifted_model():
    data = linear_records(A, B, C, D, y0=2.0, u0=1.0)
    model = subspace(data, 3, feedthrough=True)
    system = model.to_statespace()
    markov = plants.markov_parameters(system.A, system.B, system.C, system.D, 10)
    np.testing.assert_allclose(markov, plants.markov_parameters(A, B, C, D, 10), atol=1e-10)
    lifted = model.to_lifted()
    u = RNG.normal(size=(30, 2))
    np.testing.assert_allclose(
        lifted.simulate(np.array([1.0, -1.0, 0.5]), u)[:-1], model.simulate([1.0, -1.0, 0.5], u), atol=1e-9
    )
    assert lifted.noise is not None


def test_bad_input_is_named():
    data = linear_records(A, B, C, D)
    with pytest.raises(OptionError, match="method"):
        subspace(data, 2, method="pca")
    with pytest.raises(OptionError, match="order"):
        subspace(data, 0)
    with pytest.raises(OptionError, match="order"):
        subspace(data, "aic")
    with pytest.raises(DataError, match="lower order"):
        subspace(Trajectories.from_arrays(np.arange(6.0), np.arange(6.0), dt=1.0), 5)
    with pytest.raises(DataError, match="constant"):
        subspace(Trajectories.from_arrays(np.ones(50), np.arange(50.0), dt=1.0), 1)
