"""Orders that a search begins with."""

import numpy as np
import pytest
from scipy.linalg import block_diag

from koopctrl import Trajectories
from koopctrl.identification.order_scan import scan_orders
from koopctrl.selection.first_candidates import linear_candidates

ORDERS = range(1, 9)


def turn(r, angle):
    return r * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def plant(order, seed, n=1500, noise=0.1, direct=0.0, n_episodes=1):
    """Noisy records of lightly damped modes, all of them seen."""
    rng = np.random.default_rng(seed)
    blocks = [turn(rng.uniform(0.8, 0.95), 0.3 + 0.7 * i) for i in range(order // 2)]
    a = block_diag(*blocks, *([np.array([[0.9]])] if order % 2 else []))
    b, c = rng.uniform(0.5, 1.0, (2, order)) * rng.choice([-1, 1], (2, order))
    ys, us = [], []
    for _ in range(n_episodes):
        x, u, y = np.zeros(order), rng.normal(size=n // n_episodes), np.empty(n // n_episodes)
        for k, now in enumerate(u):
            y[k] = c @ x + direct * now
            x = a @ x + b * now
        ys.append((y + noise * y.std() * rng.normal(size=len(y)))[:, None])
        us.append(u[:, None])
    return Trajectories.from_arrays(ys, us, dt=0.1)


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_a_noisy_linear_plant_comes_first(order):
    found = scan_orders(plant(order, order), ORDERS, [False, True])
    assert found.orders[0] == order
    assert sorted(found.orders) == list(ORDERS)
    assert not found.feedthrough


def test_a_search_begins_with_it_and_with_few_states():
    """What is curved looks like more states: two are tried whatever the scan says."""
    hidden = [c["n_states"] for c in linear_candidates(plant(7, 0), [False]) if c.get("n_states")]
    assert hidden[:2] == [7, 2]


def test_a_feedthrough_that_is_there_is_found():
    data = plant(3, 0, direct=2.0)
    assert scan_orders(data, ORDERS, [False, True]).feedthrough
    first = linear_candidates(data, [False, True])[0]
    assert first["n_states"] == 3
    assert first["feedthrough"]


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_units_do_not_matter(factor):
    data = plant(5, 1)
    other = Trajectories.from_arrays(
        [factor * e.outputs + 3.0 * factor for e in data], [e.inputs / factor for e in data], dt=0.1
    )
    before = [e.outputs.copy() for e in other]
    assert scan_orders(other, ORDERS, [False]).orders[0] == 5
    for e, y in zip(other, before, strict=True):
        np.testing.assert_array_equal(e.outputs, y)


def test_missing_samples_and_several_records():
    data = plant(4, 2, n=3000, n_episodes=5)
    rng = np.random.default_rng(0)
    holes = [np.where(rng.random(e.outputs.shape) < 0.002, np.nan, e.outputs) for e in data]
    missing = Trajectories.from_arrays(holes, [e.inputs for e in data], dt=0.1, missing=True)
    assert scan_orders(data, ORDERS, [False]).orders[0] == 4
    assert scan_orders(missing, ORDERS, [False]).orders[0] in (3, 4, 5)


@pytest.mark.parametrize("n", [8, 20, 45])
def test_orders_that_records_are_too_short_for_come_last(n):
    found = scan_orders(plant(2, 3, n=n), ORDERS, [False])
    assert sorted(found.orders) == list(ORDERS)


def test_outputs_that_rest_say_nothing_of_orders():
    rng = np.random.default_rng(0)
    y = np.concatenate([np.zeros(300), rng.normal(size=100)])
    data = Trajectories.from_arrays(y, rng.normal(size=400), dt=0.1)
    assert scan_orders(data, [3, 1, 2], [False]).orders == [3, 1, 2]
