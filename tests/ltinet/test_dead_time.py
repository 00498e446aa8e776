"""Dead times at inputs and outputs, exact under zero-order hold."""

from __future__ import annotations

from dataclasses import replace

import control
import numpy as np
import pytest

from koopctrl import LTINetwork
from koopctrl.errors import OptionError
from tests.ltinet import oracles
from tests.plants_lti import Matrices, chain, random_mimo


def on_a_fine_grid(
    model: Matrices, t: np.ndarray, u: np.ndarray, late_in: np.ndarray, late_out: np.ndarray, fine: int
) -> np.ndarray:
    """Outputs at `t` by stepping with a step that divides all dead times."""
    h = (t[1] - t[0]) / fine
    held = np.repeat(u, fine, axis=0)
    late = np.zeros_like(held)
    for j, delay in enumerate(late_in):
        k = round(delay / h)
        late[k:, j] = held[: len(held) - k, j]
    y = oracles.step_exactly(model, h * np.arange(len(held)), late, np.zeros(len(model[0])), "zoh")
    out = np.zeros_like(y)
    for i, delay in enumerate(late_out):
        k = round(delay / h)
        out[k:, i] = y[: len(y) - k, i]
    return out[::fine]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("model", [random_mimo(5, 2, 2, 3), chain(2)])
def test_any_dead_time_under_zero_order_hold(model: Matrices, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_u, n_y = model[1].shape[1], len(model[2])
    h = 0.2
    late_in, late_out = h / 8 * rng.integers(0, 30, n_u), h / 8 * rng.integers(0, 20, n_y)
    net = replace(LTINetwork.from_statespace(model), input_delays=late_in, output_delays=late_out)
    t, u = h * np.arange(40), rng.standard_normal((40, n_u))
    exact = on_a_fine_grid(model, t, u, late_in, late_out, 8)
    np.testing.assert_allclose(net.simulate(t, u).outputs, exact, atol=1e-12 * max(np.abs(exact).max(), 1.0))


def test_a_start_is_seen_late_too() -> None:
    model = chain(2)
    net = LTINetwork.from_statespace(model)
    late = replace(net, output_delays=np.array([0.25, 0.5]))
    t, x0 = 0.1 * np.arange(60), np.random.default_rng(0).standard_normal(4)
    fine = net.simulate(0.05 * np.arange(120), None, x0).outputs
    y = late.simulate(t, None, x0).outputs
    np.testing.assert_allclose(y[5:, 0], fine[5:, 0][: 2 * 55 : 2], atol=1e-12)
    np.testing.assert_allclose(y[5:, 1], fine[::2, 1][:55], atol=1e-12)
    assert not y[:3, 0].any()


def test_sampled_dead_times_are_chains_in_the_exported_matrices() -> None:
    net = replace(
        LTINetwork.from_statespace(random_mimo(4, 2, 2, 1)),
        input_delays=np.array([0.3, 0.0]), output_delays=np.array([0.1, 0.2]),
    )  # fmt: skip
    sampled = net.sample(0.1)
    sys = sampled.to_statespace()
    assert len(sys.A) == 4 + 3 + 1 + 2
    t, u = 0.1 * np.arange(50), np.random.default_rng(0).standard_normal((50, 2))
    y = sampled.simulate(t, u).outputs
    np.testing.assert_allclose(y, net.simulate(t, u).outputs, atol=1e-12)
    theirs = control.forced_response(sys, t, u.T, squeeze=False).outputs.T
    np.testing.assert_allclose(theirs, y, atol=1e-11)
    z = np.exp(1j * np.linspace(0.1, 3.0, 7))
    for s, G in zip(z, sampled.transfer_function(z), strict=True):
        np.testing.assert_allclose(G, sys(s, squeeze=False), rtol=1e-9, atol=1e-11)


def test_what_no_dead_time_allows() -> None:
    net = replace(LTINetwork.from_statespace(random_mimo(3, 1, 1, 0)), input_delays=np.array([0.25]))
    with pytest.raises(OptionError, match="sample"):
        net.to_statespace()
    with pytest.raises(OptionError, match="multiple"):
        net.sample(0.1).to_statespace()
    with pytest.raises(OptionError, match="foh"):
        net.simulate(0.1 * np.arange(5), np.ones(5), hold="foh")
    with pytest.raises(OptionError, match="dead times"):
        net.ode(0.0, np.zeros(3))
    with pytest.raises(OptionError, match="dead times"):
        net.simulate(0.1 * np.arange(5), np.ones(5), states=True)
