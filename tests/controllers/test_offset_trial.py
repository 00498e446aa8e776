"""The gain of offset-free controllers is chosen by what it does on the network."""

from dataclasses import replace

import numpy as np
import pytest

from koopctrl import KoopmanRNN, LinearMPC, Trajectories, load, run_closed_loop
from koopctrl.controllers import RNNMPC
from koopctrl.controllers.estimation.lifted_measurement import FEATURE_GAIN
from koopctrl.controllers.mpc.offset_trial import GAINS, NearestError
from koopctrl.errors import OptionError

SIZE = {"Q": 1.0, "R": 0.1, "u_min": -3.0, "u_max": 3.0}


class Slow:
    """Four lags in a row, each thirty samples long: what one step leaves says little of a steady state."""

    a = 1.0 / 30.0

    def __init__(self, load=0.0):
        self.dt, self.load, self.x = 1.0, load, np.zeros(4)

    def reset(self, *, seed=None, options=None):
        self.x = np.zeros(4) if options is None else np.asarray(options["x0"], dtype=float)
        return self.x[-1:].copy(), {"x": self.x}

    def step(self, u):
        felt = np.concatenate([np.tanh(np.asarray(u) + self.load), self.x[:-1]])
        self.x = self.x + self.a * (felt - self.x)
        return self.x[-1:].copy(), 0.0, False, False, {"x": self.x}


@pytest.fixture(scope="module")
def slow():
    """A network of the last level, seen through lags and a little noise."""
    rng, y, u = np.random.default_rng(0), [], []
    for _ in range(10):
        plant, inputs = Slow(), np.repeat(rng.uniform(-1, 1, 15), 20)[:, None]
        seen = [plant.reset()[0]] + [plant.step(v)[0] for v in inputs]
        y.append(np.array(seen) + 1e-3 * rng.normal(size=(len(seen), 1)))
        u.append(inputs)
    data = Trajectories.from_arrays(y, u, dt=1.0)
    return KoopmanRNN(40, output_lags=6, input_lags=2, random_state=0).fit(data)


def test_a_fast_gain_is_not_taken_where_residuals_are_mistaken_for_loads(slow):
    mpc = LinearMPC(slow.lift_at(0.0, 0.0), 40, **(SIZE | {"u_min": -1, "u_max": 1}), offset_free=True)
    trial = mpc.offset_trial
    assert trial.taken in (*GAINS, "input")
    assert trial.taken != 1.0
    assert mpc.settings["offset_free"] == trial.taken
    assert all(trial.unloaded[k] <= 1.1 for k in trial.loaded)
    judged = trial.loaded or trial.unloaded
    assert judged[trial.taken] == min(judged.values())


def test_what_is_chosen_harms_little_and_helps_under_loads(slow):
    size = SIZE | {"u_min": -1, "u_max": 1}
    lifted = slow.lift_at(0.0, 0.0)
    chosen, none = (LinearMPC(lifted, 40, **size, offset_free=o) for o in (True, False))
    cost = {
        (name, load): run_closed_loop(Slow(load), mpc, 400, [0.3], x0=np.zeros(4)).cost
        for name, mpc in (("chosen", chosen), ("none", none))
        for load in (0.0, 0.15)
    }
    assert cost["chosen", 0.0] < 1.1 * cost["none", 0.0]
    assert cost["chosen", 0.15] < 0.8 * cost["none", 0.15]


@pytest.mark.parametrize("kind", ["lifted", pytest.param("network", marks=pytest.mark.slow)])
def test_a_choice_is_kept_by_copies_and_files(network, tmp_path, kind):
    if kind == "lifted":
        mpc = LinearMPC(network.lift_at(0.0, 0.0), 15, **SIZE, offset_free=True)
    else:
        mpc = RNNMPC(network, 10, **SIZE, offset_free=True)
        assert mpc.offset_free == mpc.offset_trial.taken
    mpc.save(tmp_path / "mpc.npz")
    others = [mpc.with_(R=0.1), load(tmp_path / "mpc.npz")]
    x, rng = np.array([1.0, 0.5]), np.random.default_rng(0)
    for _ in range(20):
        u = mpc.control(x, [0.3, 0.0])
        for other in others:
            np.testing.assert_array_equal(other.control(x, [0.3, 0.0]), u)
        x = x + 0.1 * rng.normal(size=2)


class Arm:
    """A pendulum under torque, started hanging: a load bends it as a torque does, at every angle."""

    def __init__(self, load=0.0):
        self.dt, self.load, self.x = 0.1, load, np.zeros(2)

    def reset(self, *, seed=None, options=None):
        self.x = np.asarray(options["x0"], dtype=float)
        return self.x.copy(), {"x": self.x}

    def step(self, u):
        for _ in range(10):
            speed = self.x[1] + 0.01 * (-4.0 * np.sin(self.x[0]) - 0.2 * self.x[1] + u[0] + self.load)
            self.x = np.array([self.x[0] + 0.01 * speed, speed])
        return self.x.copy(), 0.0, False, False, {"x": self.x}


@pytest.fixture(scope="module")
def arm():
    rng, y, u = np.random.default_rng(0), [], []
    for _ in range(40):
        plant, inputs = Arm(), np.repeat(rng.uniform(-5, 5, 20), 2)[:, None]
        start = plant.reset(options={"x0": rng.uniform(-2, 2, 2)})[0]
        y.append(np.array([start] + [plant.step(v)[0] for v in inputs]))
        u.append(inputs)
    return KoopmanRNN(60, random_state=0).fit(Trajectories.from_arrays(y, u, dt=0.1))


def test_a_network_controller_tells_a_load_from_an_error_of_the_model(arm):
    """Chosen is what knows a load at one angle for all of them; its price is that of being told."""
    size = {"Q": [1.0, 0.01], "R": 0.01, "u_min": -5.0, "u_max": 5.0}
    chosen = RNNMPC(arm, 15, **size, offset_free=True)
    assert chosen.offset_trial.taken == chosen.offset_free == "mixed"
    assert chosen.observer.law.disturbance == "mixed"
    assert chosen.settings["offset_free"] is False
    costs = {}
    for name, mpc in (("chosen", chosen), ("slow", RNNMPC(arm, 15, **size, offset_free=0.05))):
        result = run_closed_loop(Arm(1.0), mpc, 100, [1.0, 0.0], x0=np.zeros(2))
        costs[name] = result.cost
        if name == "chosen":
            assert abs(result.outputs[-1, 0] - 1.0) < 1e-6
    assert costs["chosen"] < costs["slow"]


@pytest.mark.parametrize("word", ["state", "input", "mixed"])
def test_words_stand_for_filters(arm, word):
    mpc = RNNMPC(arm, 10, **SIZE, offset_free=word)
    assert mpc.offset_free == word
    assert mpc.observer.law.disturbance == word
    with pytest.raises(OptionError, match="offset_free is set and so is observer"):
        RNNMPC(arm, 10, **SIZE, offset_free=word, estimator=mpc.observer)


def test_unknown_words_are_refused(arm):
    with pytest.raises(OptionError, match="offset_free is 'load'"):
        RNNMPC(arm, 10, **SIZE, offset_free="load")


def test_the_error_at_the_nearest_sample_is_the_networks_own(arm):
    error, snapshots = NearestError(arm.network_, arm.snapshots_), arm.snapshots_
    k = 77
    missed = snapshots.y_next[k] - arm.network_.step(snapshots.x[k], snapshots.u[k])[:2]
    near = 1e-9 * arm.network_.x_scale
    np.testing.assert_allclose(error(snapshots.x[k] + near, snapshots.u[k]), missed, rtol=1e-5)
    np.testing.assert_array_equal(error(np.full(2, np.nan), snapshots.u[k]), 0.0)


def test_features_are_averaged_more_slowly_than_outputs(network):
    mpc = LinearMPC(network.lift_at(0.0, 0.0), 15, **SIZE, offset_free=0.5)
    gains = mpc.estimator.gains
    np.testing.assert_array_equal(gains[:2], 0.5)
    np.testing.assert_array_equal(gains[2:], FEATURE_GAIN)
    slower = LinearMPC(network.lift_at(0.0, 0.0), 15, **SIZE, offset_free=0.01)
    np.testing.assert_array_equal(slower.estimator.gains, 0.01)


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_the_choice_does_not_depend_on_units(slow, factor):
    found = []
    for scale in (1.0, factor):
        rng, y, u = np.random.default_rng(0), [], []
        for _ in range(4):
            plant, inputs = Slow(), np.repeat(rng.uniform(-1, 1, 15), 20)[:, None]
            y.append(scale * np.array([plant.reset()[0]] + [plant.step(v)[0] for v in inputs]))
            u.append(inputs / scale)
        data = Trajectories.from_arrays(y, u, dt=1.0)
        model = KoopmanRNN(0, output_lags=3, random_state=0).fit(data)
        mpc = LinearMPC(
            model.lift_at(0.0, 0.0), 20, Q=1.0 / scale**2, R=0.1 * scale**2, u_min=-1 / scale,
            u_max=1 / scale, offset_free=True,
        )  # fmt: skip
        found.append(mpc.offset_trial.taken)
    assert found[0] == found[1]


def test_few_starts_still_show_both_a_load_and_none(network):
    lifted = network.lift_at(0.0, 0.0)
    z, du, z_next = lifted.training
    tiny = replace(lifted, training=(z[:1], du[:1], z_next[:1]))
    trial = LinearMPC(tiny, 15, **SIZE, offset_free=True).offset_trial
    assert np.isfinite([*trial.loaded.values(), *trial.unloaded.values()]).all()
