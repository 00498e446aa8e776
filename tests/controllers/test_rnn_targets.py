"""Steady targets of the network: local optima, the edge of what can be reached, and none at all."""

import numpy as np
import pytest

from koopctrl import KoopmanRNN, Trajectories
from koopctrl.controllers import RNNMPC
from koopctrl_envs import Pendulum

NO_LOAD = np.zeros(1)


def steady_output(u):
    """Of the plant below: it rises, falls and rises again."""
    return 0.3 * u + 0.5 * np.sin(4.0 * u)


@pytest.fixture(scope="module")
def folded():
    """`y+ = 0.6 y + 0.4 s(u)` with the steady output `s` above, |u| <= 1."""
    rng = np.random.default_rng(0)
    y, u = np.empty((20, 101, 1)), rng.uniform(-1, 1, (20, 100, 1))
    y[:, 0] = rng.uniform(-1, 1, (20, 1))
    for k in range(100):
        y[:, k + 1] = 0.6 * y[:, k] + 0.4 * steady_output(u[:, k])
    return KoopmanRNN(80, input_coupling="network", random_state=0).fit(
        Trajectories.from_arrays(y, u, dt=0.1)
    )


class Targets:
    """A target solver and its state, which moves on."""

    def __init__(self, mpc):
        self.law = mpc.law.targets
        self.reset()

    def reset(self):
        self.state = self.law.initial()

    def find(self, r, d):
        found, self.state = self.law.find(self.state, self.law.question(r, d))
        return found

    def inputs(self, rows, d):
        end = self.law.question(rows[-1], d)
        found, self.state = self.law.find(self.state, end)
        tracked = np.ones(rows.shape, dtype=bool)
        u, self.state = self.law.rows(self.state, rows, tracked, end, found)
        return u


def targets(model, horizon=5, **bounds):
    return Targets(RNNMPC(model, horizon, 1.0, 0.1, **bounds))


@pytest.mark.parametrize("r", [-2.0, -0.7, -0.2, 0.0, 0.4, 0.7, 2.0])
@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (-1.0, 0.2), (0.3, 1.0)])
def test_the_nearest_steady_output_is_found(folded, r, bounds):
    grid = np.linspace(*bounds, 20_001)
    best = steady_output(grid)[np.argmin(np.abs(steady_output(grid) - r))]
    solver = targets(folded, u_min=bounds[0], u_max=bounds[1])
    found = solver.find(np.array([r]), NO_LOAD)
    assert found.converged
    assert bounds[0] <= found.u[0] <= bounds[1]
    assert abs(found.y[0] - best) < 1e-3
    assert abs(found.y[0] - steady_output(found.u[0])) < 1e-3


def test_the_way_to_it_does_not_matter(folded):
    """Set-points beyond the edge, approached in steps small enough to be refined from one another."""
    fresh = targets(folded, u_min=-1.0, u_max=1.0).find(np.array([0.8]), NO_LOAD)
    solver = targets(folded, u_min=-1.0, u_max=1.0)
    for r in np.linspace(-0.8, 0.8, 33):
        found = solver.find(np.array([r]), NO_LOAD)
    assert abs(found.y[0] - fresh.y[0]) < 1e-4
    back = solver.find(np.array([0.1]), NO_LOAD)
    assert abs(back.y[0] - 0.1) < 1e-6


def test_a_pendulum_is_held_upright_not_leaning():
    """Beside upright without torque there is a local optimum: leaning, held by all the torque there is."""
    plant, rng = Pendulum(), np.random.default_rng(1000)
    x = np.empty((40, 101, 2))
    x[:, 0] = rng.uniform(plant.x0_low, plant.x0_high, (40, 2))
    u = rng.uniform(-5, 5, (40, 100, 1))
    for k in range(100):
        x[:, k + 1] = plant.step(x[:, k], u[:, k])
    data = Trajectories.from_arrays(plant.output(x), u, dt=plant.dt)
    for seed in range(5):
        model = KoopmanRNN(150, input_coupling="quadratic", random_state=seed).fit(data)
        mpc = RNNMPC(model, 5, [10.0, 10.0, 0.1], 0.01, u_min=-5, u_max=5, terminal="none")
        found = Targets(mpc).find(np.array([1.0, 0.0, 0.0]), np.zeros(3))
        np.testing.assert_allclose(found.y, [1.0, 0.0, 0.0], atol=1e-3)
        assert abs(found.u[0]) < 0.05


def test_without_any_steady_state_the_last_one_is_kept():
    """An integrator under a load that its input cannot outweigh."""
    rng = np.random.default_rng(0)
    u = rng.uniform(-1, 1, (10, 50, 1))
    y = np.concatenate([np.zeros((10, 1, 1)), np.cumsum(0.1 * u, axis=1)], axis=1)
    model = KoopmanRNN(0, input_coupling="linear", random_state=0).fit(Trajectories.from_arrays(y, u, dt=0.1))
    solver = targets(model, u_min=-1.0, u_max=1.0)
    good = solver.find(np.array([0.5]), np.array([0.05]))
    assert good.converged
    np.testing.assert_allclose([good.y[0], good.u[0]], [0.5, -0.5], atol=1e-6)
    lost = solver.find(np.array([0.5]), np.array([10.0]))
    assert not lost.converged
    np.testing.assert_array_equal(lost.u, good.u)
    np.testing.assert_array_equal(lost.x, good.x)


def test_a_doubtful_riccati_weight_is_taken_without_a_warning(monkeypatch, recwarn):
    """It is but a weight, and there is no `rank_tol` that the caller could change."""
    monkeypatch.setattr("koopctrl.controllers.riccati._DOUBTFUL", -1.0)
    rng = np.random.default_rng(0)
    u = rng.uniform(-1, 1, (10, 50, 1))
    y = np.concatenate([np.zeros((10, 1, 1)), np.cumsum(0.1 * u, axis=1)], axis=1)
    model = KoopmanRNN(0, input_coupling="linear", random_state=0).fit(Trajectories.from_arrays(y, u, dt=0.1))
    solver = targets(model, u_min=-1.0, u_max=1.0)
    found = solver.find(np.array([0.5]), np.zeros(1))
    assert solver.law.weight(found, solver.law.question(np.array([0.5]), np.zeros(1))) is not None
    assert not recwarn.list


def test_measured_disturbances_stand_in_the_window_where_searches_start():
    rng = np.random.default_rng(0)
    u = rng.uniform(-1, 1, (10, 50, 2))
    y = np.zeros((10, 51, 1))
    for k in range(50):
        past = u[:, k - 1].sum(axis=1) if k else 0.0
        y[:, k + 1, 0] = 0.5 * y[:, k, 0] + 0.1 * np.tanh(u[:, k].sum(axis=1)) + 0.1 * past
    data = Trajectories.from_arrays(y, u, dt=0.1)
    model = KoopmanRNN(20, input_lags=3, output_lags=2, random_state=0).fit(data)
    mpc = RNNMPC(model, 5, 1.0, 0.1, u_min=-0.1, u_max=0.1, measured_disturbances=[0])
    assert np.isfinite(mpc.control(0.0, 1.0, disturbance=0.2)).all()
    assert mpc.info.status == "optimal"


def test_moving_rows_are_followed_as_if_each_were_searched_for(folded):
    """A preview passes by while the disturbance drifts; its middle lies beyond what can be reached."""
    time = 0.2 * np.arange(40)
    solver = targets(folded, 20, u_min=-1.0, u_max=1.0)
    for amplitude in (0.3, 2.0):
        solver.reset()
        for k in range(12):
            rows, load = amplitude * np.sin(time[k : k + 20])[:, None], np.array([2e-3 * k])
            u = solver.inputs(rows, load)
            assert (np.abs(u) <= 1.0).all()
            if amplitude == 0.3:
                fresh = targets(folded, u_min=-1.0, u_max=1.0)
                expected = np.array([fresh.find(r, load).u for r in rows])
                np.testing.assert_allclose(u, expected, atol=1e-4)
