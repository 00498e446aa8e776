"""Outer weights of one-step networks refined along free runs: derivatives, oracle, units, saying no."""

import numpy as np
import plants
import pytest

import koopctrl
from koopctrl import KoopmanRNN, Trajectories
from koopctrl.errors import OptionError
from koopctrl.identification import window_refinement as wr
from koopctrl.identification.held_out import Snapshots, cut, episodes
from koopctrl.identification.penalty import segment_errors

DUFFING = plants.record(
    plants.sampled(plants.duffing, 0.1), 2, 1, 0.1, n_episodes=12, n_steps=30, x_max=1.5, u_max=1.0
)


def linear_record(noise, seed=0, n_episodes=10, n_steps=200):
    """`y+ = 0.9 y + 0.5 u` measured with noise."""
    rng = np.random.default_rng(seed)
    outputs, inputs = [], []
    for _ in range(n_episodes):
        u = np.repeat(rng.uniform(-1, 1, (n_steps // 4, 1)), 4, axis=0)
        y = np.zeros((n_steps + 1, 1))
        for k in range(n_steps):
            y[k + 1] = 0.9 * y[k] + 0.5 * u[k]
        outputs.append(y + noise * y.std() * rng.standard_normal(y.shape))
        inputs.append(u)
    return Trajectories.from_arrays(outputs, inputs, dt=0.1)


def pole(model):
    at = {"x": np.zeros(1), "u": np.zeros(1)}
    return float(model.network_.jacobian(**at)[0][0, 0])


@pytest.mark.parametrize(
    "settings",
    [
        {"input_coupling": "bilinear"},
        {"input_coupling": "network", "activation": "relu"},
        {"input_coupling": "quadratic", "output_lags": 2, "input_lags": 3},
        {"input_coupling": "linear", "output_lags": 3, "feedthrough": True},
    ],
)
def test_rows_are_the_derivative_of_the_cost(settings):
    data = DUFFING
    if settings.get("feedthrough"):
        data = Trajectories.from_arrays(
            [e.outputs[:-1] for e in DUFFING], [e.inputs for e in DUFFING], dt=0.1
        )
    model = KoopmanRNN(12, random_state=0, refine=False, ridge=1e-3, smooth=False, **settings).fit(data)
    network, snapshots = model.network_, model.snapshots_
    segments = cut(snapshots, episodes(network.window, snapshots), 7, 20)
    space = wr.Directions(network, snapshots, 1e-12, model.solution_.ridge)
    rng = np.random.default_rng(1)
    z = 0.1 * rng.standard_normal(space.n)
    rows = wr._rows(space.moved(network, z), space, segments)
    gradient = -2.0 * rows[:, :-1].T @ rows[:, -1]
    for _ in range(3):
        way = rng.standard_normal(space.n)
        way /= np.linalg.norm(way)
        h = 1e-5
        up, down = (wr._cost(space.moved(network, z + s * h * way), segments) for s in (1, -1))
        assert (up - down) / (2 * h) == pytest.approx(
            gradient @ way, rel=1e-5, abs=1e-7 * np.abs(gradient).max()
        )


def test_moves_cost_one_step_alike():
    """`|z|^2` is what a move adds to the squared errors of one step, with no penalty."""
    model = KoopmanRNN(8, random_state=0, refine=False, ridge=0.0, smooth=False).fit(DUFFING)
    network, pairs = model.network_, model.snapshots_
    space = wr.Directions(network, pairs, 1e-12, model.solution_.ridge)
    z = np.random.default_rng(0).standard_normal(space.n)
    scale = network.scaling.y_scale

    def squares(net):
        return np.sum(((net.next_output(pairs.x, pairs.u) - pairs.y_next) / scale) ** 2)

    assert squares(space.moved(network, z)) - squares(network) == pytest.approx(z @ z, rel=1e-6)


def test_the_pole_that_noise_biases_comes_back():
    """One-step least squares with noise on the outputs shrinks the pole; free runs do not."""
    data = linear_record(noise=0.3)
    common = {"n_features": 0, "input_coupling": "linear", "smooth": False, "random_state": 0}
    plain, refined = KoopmanRNN(**common, refine=False).fit(data), KoopmanRNN(**common, refine=30).fit(data)
    assert abs(pole(plain) - 0.9) > 0.05
    assert abs(pole(refined) - 0.9) < 0.25 * abs(pole(plain) - 0.9)
    history = refined.refinement_
    assert history.chosen > 0
    assert history.held_out[history.chosen] < 0.98 * history.held_out[0]
    for horizon in set(history.horizons):
        costs = [c for c, n in zip(history.cost, history.horizons, strict=True) if n == horizon]
        assert (np.diff(costs) <= 0.0).all()


def test_units_do_not_matter():
    data = linear_record(noise=0.2, n_episodes=6, n_steps=100)
    common = {"n_features": 10, "smooth": False, "random_state": 0, "refine": 20}
    base = KoopmanRNN(**common).fit(data)
    scaled = Trajectories.from_arrays(
        [1e-9 * e.outputs for e in data], [1e9 * e.inputs for e in data], dt=0.1
    )
    other = KoopmanRNN(**common).fit(scaled)
    assert base.refinement_.chosen == other.refinement_.chosen > 0
    np.testing.assert_allclose(
        np.concatenate(other.predict(scaled)) * 1e9, np.concatenate(base.predict(data)), rtol=1e-5, atol=1e-7
    )


def test_without_noise_and_without_lost_runs_nothing_is_changed():
    before = [e.outputs.copy() for e in DUFFING]
    auto = KoopmanRNN(40, random_state=0).fit(DUFFING)
    plain = KoopmanRNN(40, random_state=0, refine=False).fit(DUFFING)
    assert not hasattr(auto, "refinement_")
    np.testing.assert_array_equal(auto.network_.coef, plain.network_.coef)
    for e, kept in zip(DUFFING, before, strict=True):
        np.testing.assert_array_equal(e.outputs, kept)


@pytest.fixture(scope="module")
def ignition():
    """Records of a reactor that ignites and goes out: few samples show the way between."""
    from koopctrl_envs import CSTR

    plant, rng = CSTR(), np.random.default_rng(1)
    outputs, inputs = [], []
    for _ in range(30):
        u = np.repeat(rng.uniform(plant.u_min, plant.u_max, (10, 1)), 6, axis=0)
        x = [plant.draw_start(rng)]
        for held in u:
            x.append(plant.step(x[-1], held))
        outputs.append(np.array(x))
        inputs.append(u)
    return Trajectories.from_arrays(outputs, inputs, dt=plant.dt)


def test_a_network_that_loses_runs_is_refined_by_itself(ignition, tmp_path):
    train, test = ignition[:20], ignition[20:]
    plain = KoopmanRNN(60, random_state=0, refine=False).fit(train)
    auto = KoopmanRNN(60, random_state=0).fit(train)
    pairs = Snapshots(*test.snapshots(1, 1, False))
    segments = cut(pairs, episodes(plain.network_.window, pairs), 20, 200)
    before, after = (segment_errors(m.network_, segments) for m in (plain, auto))
    assert np.mean(before >= 1.0) > 0.05
    assert hasattr(auto, "refinement_")
    assert np.mean(after >= 1.0) < 0.01
    assert after.mean() < 0.6 * before.mean()
    again = KoopmanRNN(60, random_state=0).fit(train)
    np.testing.assert_array_equal(auto.network_.coef, again.network_.coef)
    np.testing.assert_array_equal(auto.solution_.coef, auto.network_.coef)
    auto.save(tmp_path / "reactor.npz")
    loaded = koopctrl.load(tmp_path / "reactor.npz")
    np.testing.assert_array_equal(loaded.network_.coef, auto.network_.coef)
    np.testing.assert_array_equal(loaded.solution_.coef, auto.solution_.coef)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"refine": "free"}, "refine is 'free'"),
        ({"refine": 1}, "refine"),
        ({"refine": 20, "known": lambda x, u, xp=None: [x[0], x[1]]}, "known is given"),
        ({"max_iter": -1}, "max_iter"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, words):
    with pytest.raises(OptionError, match=words):
        KoopmanRNN(10, random_state=0, **settings).fit(DUFFING)


def test_short_records_are_fitted_as_they_were():
    short = DUFFING[:2]
    auto, plain = (KoopmanRNN(5, random_state=0, refine=r).fit(short) for r in ("auto", False))
    np.testing.assert_array_equal(auto.network_.coef, plain.network_.coef)
    assert np.isfinite(KoopmanRNN(5, random_state=0, refine=20).fit(short).predict(short)[0]).all()
