"""Discrete-time networks: recurrences of first and second order in the same layers, exact."""

from __future__ import annotations

from types import SimpleNamespace

import control
import numpy as np
import pytest

from koopctrl import LTINetwork
from koopctrl.errors import OptionError, TimeBaseError
from tests.ltinet import digits, oracles
from tests.plants_lti import chain, diffusion_2d, jordan, random_mimo


def identified(n: int, n_u: int, n_y: int, seed: int, radius: float = 0.95) -> tuple[np.ndarray, ...]:
    """What an identification returns: poles anywhere in a disc, on the negative axis too."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n))
    A *= radius / np.abs(np.linalg.eigvals(A)).max()
    return (
        A,
        rng.standard_normal((n, n_u)),
        rng.standard_normal((n_y, n)),
        rng.standard_normal((n_y, n_u)),
        0.1,
    )


def delays(n: int) -> tuple[np.ndarray, ...]:
    return np.eye(n, k=1), np.eye(n)[:, -1:], np.eye(n)[:1], np.zeros((1, 1)), 0.1


MODELS = {
    "negative and zero poles": (
        np.diag([-0.9, 0.0, 0.5]),
        np.ones((3, 1)),
        np.ones((1, 3)),
        np.zeros((1, 1)),
        0.1,
    ),
    "delays in series": delays(5),
    **{f"identified {seed}": identified(6, 2, 2, seed) for seed in range(6)},
    "unstable": identified(5, 1, 1, 11, radius=1.1),
    "integrator": (
        np.array([[1.0, 0.1], [0.0, 1.0]]),
        np.array([[0.0], [0.1]]),
        np.eye(2),
        np.zeros((2, 1)),
        0.1,
    ),
}


@pytest.mark.parametrize("method", ["auto", "schur"])
@pytest.mark.parametrize("name", MODELS)
def test_recurrences_are_exact_and_within_their_bound(name: str, method: str) -> None:
    *model, dt = MODELS[name]
    net = LTINetwork.from_statespace((*model, dt), time="discrete", method=method)
    assert net.discrete
    assert net.dt == dt
    rng = np.random.default_rng(0)
    u = rng.choice([-1.0, 1.0], (150, model[1].shape[1]))
    exact = digits.recurrence(tuple(model), u)
    y = net.simulate(dt * np.arange(150), u).outputs
    assert oracles.relative(y, exact) <= 1e-12 * max(net.cond, 1.0)
    horizon = None if net.stable else 150 * dt
    bound = net.error_bound(1.0, horizon=horizon).total
    assert (np.abs(y - exact).max(axis=0) <= bound).all()
    x, y_step = np.zeros(net.n_states), []
    for row in u:
        y_step.append(net.output(x, row))
        x = net.next_state(x, row)
    np.testing.assert_allclose(y_step, y, atol=1e-12 * np.abs(y).max() * net.cond)


def test_where_a_logarithm_is_missing_discrete_neurons_take_over() -> None:
    kinds = [LTINetwork.from_statespace(model).discrete for model in MODELS.values()]
    assert sum(kinds) >= 5
    assert not LTINetwork.from_statespace(MODELS["integrator"]).discrete


@pytest.mark.parametrize("model", [random_mimo(8, 2, 2, 3), jordan(4), chain(4), diffusion_2d(3)])
def test_sampling_a_network_is_sampling_its_model(model: tuple[np.ndarray, ...]) -> None:
    net, dt = LTINetwork.from_statespace(model), 0.05
    sampled = net.sample(dt)
    theirs = control.c2d(control.StateSpace(*model), dt)
    points = np.exp(1j * np.linspace(0.01, np.pi, 20))
    ours = sampled.transfer_function(points)
    for s, G in zip(points, ours, strict=True):
        np.testing.assert_allclose(G, theirs(s, squeeze=False), rtol=1e-9, atol=1e-10)
    assert [len(b) for b in sampled.blocks] == [len(b) for b in net.blocks]
    t, u = dt * np.arange(40), np.random.default_rng(0).standard_normal((40, model[1].shape[1]))
    np.testing.assert_allclose(sampled.simulate(t, u).outputs, net.simulate(t, u).outputs, atol=1e-11)
    back = sampled.to_statespace()
    assert back.dt == dt
    np.testing.assert_allclose(control.forced_response(back, t, u.T, squeeze=False).outputs.T,
                               sampled.simulate(t, u).outputs, atol=1e-10)  # fmt: skip
    assert (sampled.error_bound(1.0).total < 1e-9).all() or not net.stable


def test_names_of_a_discrete_neuron() -> None:
    net = LTINetwork.from_statespace(chain(2)).sample(0.3)
    truth = LTINetwork.from_statespace(chain(2))
    for mine, theirs in zip(net.layers, truth.layers, strict=True):
        (a,), (b,) = mine.neurons, theirs.neurons
        assert a.natural_frequency == pytest.approx(b.natural_frequency, rel=1e-9)
        assert a.damping == pytest.approx(b.damping, rel=1e-6)
    assert LTINetwork.from_statespace(([[0.5]], [[1]], [[1]], 0, 0.1), time="discrete").layers[0].neurons[
        0
    ].time_constant == pytest.approx(0.1 / np.log(2.0))
    assert net.plot() is not None


@pytest.mark.parametrize("radius", [0.5, 0.9, 0.999])
def test_truncation_of_discrete_networks_keeps_to_its_bound(radius: float) -> None:
    *model, dt = identified(12, 2, 2, 5, radius)
    net = LTINetwork.from_statespace((*model, dt), time="discrete")
    result = net.truncate(0.3)
    assert result.dropped
    u = np.random.default_rng(0).choice([-1.0, 1.0], (2000, 2)) / np.sqrt(2)
    t = dt * np.arange(2000)
    change = np.abs(net.simulate(t, u).outputs - result.network.simulate(t, u).outputs).max(axis=0)
    assert (change <= result.error_bound * (1 + 1e-12)).all()


def test_what_belongs_to_the_other_time_is_refused() -> None:
    continuous = LTINetwork.from_statespace(jordan(2))
    discrete = continuous.sample(0.1)
    with pytest.raises(OptionError, match="Use next_state"):
        discrete.ode(0.0, [0.0, 0.0])
    with pytest.raises(OptionError, match="sample"):
        continuous.next_state([0.0, 0.0])
    with pytest.raises(OptionError, match="Use simulate"):
        discrete.simulate_neurons([0.0, 0.1], 1.0)
    with pytest.raises(TimeBaseError, match="sample time of the discrete network"):
        discrete.simulate(np.linspace(0, 1, 6), 1.0)
    with pytest.raises(TimeBaseError, match="discrete with"):
        discrete.sample(0.2)
    with pytest.raises(OptionError, match="then net"):
        LTINetwork.from_statespace(jordan(2), time="discrete")
    with pytest.raises(OptionError, match="time"):
        LTINetwork.from_statespace(jordan(2), time="sampled")


TENTH = (np.diag([0.5, 0.2]), np.ones((2, 1)), np.ones((1, 2)), np.zeros((1, 1)), 0.1)
STATED = {
    "matrices": TENTH,
    "python-control": control.ss(*TENTH),
    "transfer function": control.tf([1.0], [1.0, -0.5], 0.1),
    "continuous": control.ss(*TENTH[:4]),
    "continuous, stated": (*TENTH[:4], 0),
    "an object": SimpleNamespace(A=TENTH[0], B=TENTH[1], C=TENTH[2], D=TENTH[3], dt=0.1),
}


@pytest.mark.parametrize("name", STATED)
@pytest.mark.parametrize("dt", [0.2, 1e-3, 0.101])
def test_a_sample_time_that_contradicts_the_systems_own_is_refused(name, dt) -> None:
    with pytest.raises(TimeBaseError, match=rf"dt is {dt:g} s, and sys .*; expected the sample time once"):
        LTINetwork.from_statespace(STATED[name], dt=dt)


@pytest.mark.parametrize("name", [name for name in STATED if "continuous" not in name])
def test_a_sample_time_that_says_the_same_is_taken(name) -> None:
    told, alone = LTINetwork.from_statespace(STATED[name], dt=0.1), LTINetwork.from_statespace(STATED[name])
    assert told.sample_time == alone.sample_time == 0.1
    points = np.exp(1j * np.array([0.1, 1.0, 3.0]))
    exact = [TENTH[2] @ np.linalg.solve(z * np.eye(2) - TENTH[0], TENTH[1]) for z in points]
    if name == "transfer function":
        exact = [np.array([[1.0 / (z - 0.5)]]) for z in points]
    for net in (told, alone):
        sampled = net if net.discrete else net.sample(0.1)
        np.testing.assert_allclose(sampled.transfer_function(points), exact, rtol=1e-9)


def test_a_sample_time_that_the_system_leaves_open_is_the_callers() -> None:
    assert LTINetwork.from_statespace(control.ss(*TENTH[:4], True), dt=0.3).sample_time == 0.3
