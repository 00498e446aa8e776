"""lift_at chooses: never worse than plain least squares on the network, said so, repeatable, in any units."""

import numpy as np
import plants
import pytest

from koopctrl import KoopmanRNN, Trajectories
from koopctrl.errors import OptionError
from koopctrl.lifted.choice import admitted, judged, simplest_alike
from koopctrl.lifted.edmd import edmd_at
from koopctrl.lifted.equilibrium import equilibria_near
from koopctrl.lifted.regulator_trial import RegulatorTrial, relative_costs

DUFFING = plants.record(
    plants.sampled(plants.duffing, 0.1), 2, 1, 0.1, n_episodes=20, n_steps=40, x_max=1.5, u_max=1.0
)


@pytest.fixture(scope="module")
def model():
    return KoopmanRNN(60, random_state=0).fit(DUFFING)


@pytest.fixture(scope="module")
def lifted(model):
    return model.lift_at([1.0, 0.0], 0.0, horizon=10)


def test_the_choice_is_the_simplest_of_the_best_and_is_said(lifted):
    choice = lifted.choice
    allowed = [t for t in choice.tried if t.worst <= 10.0]
    costs = np.array([t.cost for t in allowed])
    assert (np.diff(costs) >= 0).all()
    assert choice.chosen in allowed
    assert choice.chosen.cost <= 1.02 * costs[0]
    assert choice.chosen.n_z == min(t.n_z for t in allowed if t.cost <= 1.02 * costs[0])
    assert choice.chosen.cost <= 1.02 * choice.linear.cost
    assert choice.chosen.n_z == lifted.n_z
    assert choice.linear.name == "linear"
    text = str(choice)
    assert choice.chosen.name in text
    assert "linear" in text


def test_with_weights_of_the_users_held_out_data_decide_between_loops_alike(model):
    choice = model.lift_at([1.0, 0.0], [0.0], Q=1.0, R=1.0).choice
    allowed = [t for t in choice.tried if t.worst <= 10.0]
    costs = np.array([t.cost for t in allowed])
    alike = [t for t in allowed if t.cost <= 1.05 * costs[0]]
    least = min(t.error for t in alike)
    assert choice.linear.cost > 1.02 * costs[0]
    most = max(1.1 * least, least + (choice.linear.error - least) / 3.0)
    assert choice.chosen.n_z == min(t.n_z for t in alike if t.error <= most)
    assert choice.chosen.cost <= 1.05 * choice.linear.cost


def test_the_operating_point_stays_exact(model, lifted):
    np.testing.assert_allclose(lifted.lift([1.0, 0.0]), 0.0, atol=1e-12)
    if lifted.choice.chosen.name != "linear":
        ahead = model.network_.step(np.array([1.0, 0.0]), np.zeros(1))
        np.testing.assert_allclose(lifted.unlift(lifted.step(np.zeros(lifted.n_z), [0.0])), ahead, atol=1e-9)


def test_the_same_model_is_lifted_to_the_same_bits_and_left_alone(model, lifted):
    before = model.network_.coef.copy()
    again = model.lift_at([1.0, 0.0], 0.0, horizon=10)
    np.testing.assert_array_equal(again.A, lifted.A)
    np.testing.assert_array_equal(model.network_.coef, before)


def test_methods_are_what_they_say(model):
    point = {"x_op": [1.0, 0.0], "u_op": 0.0}
    a, b = model.network_.jacobian(np.array([1.0, 0.0]), np.zeros(1))
    jacobian = model.lift_at(**point, method="jacobian")
    scale = model.network_.x_scale
    np.testing.assert_allclose(jacobian.A * scale[:, None] / scale, a, atol=1e-12)
    np.testing.assert_allclose(jacobian.B * scale[:, None], b, atol=1e-12)
    x, u, y_next = DUFFING.snapshots()
    w = np.linalg.lstsq(np.hstack([x, u, np.ones((len(x), 1))]), y_next, rcond=None)[0].T
    linear = model.lift_at(**point, method="linear")
    run = linear.simulate(x[0], u[:5])
    expected = plants.roll(lambda s, v: w @ np.concatenate([s, v, [1.0]]), x[0], u[:5])
    np.testing.assert_allclose(run, expected, atol=1e-9)
    by_tolerance = model.lift_at(**point, rank_tol=1e-3)
    made = edmd_at(model.network_, model.snapshots_, np.array([1.0, 0.0]), np.zeros(1), 1e-3, False)
    np.testing.assert_array_equal(by_tolerance.A, made[1])
    assert by_tolerance.choice is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "best"}, "method"),
        ({"method": "linear", "rank_tol": 1e-3}, "neither rank_tol nor bilinear"),
        ({"method": "jacobian", "bilinear": True}, "neither rank_tol nor bilinear"),
        ({"Q": 1.0}, "Q and R belong together"),
        ({"horizon": 0}, "horizon"),
        ({"Q": np.eye(3), "R": 1.0}, "Q"),
    ],
)
def test_options_that_do_not_fit_are_refused_by_name(model, options, message):
    with pytest.raises((OptionError, ValueError), match=message):
        model.lift_at(**options)


def test_a_linear_network_is_its_own_lift():
    a, b, dt = plants.oscillator()
    data = plants.record(plants.linear_step(a, b), 2, 1, dt)
    lifted = KoopmanRNN(0, input_coupling="linear").fit(data).lift_at()
    assert lifted.choice is None
    expected = plants.markov_parameters(a, b, np.eye(2), np.zeros((2, 1)), 10)
    found = plants.markov_parameters(lifted.A, lifted.B, lifted.C, lifted.D, 10)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_without_inputs_the_free_run_decides():
    data = plants.record(
        lambda x, u: np.array([0.9 * x[0], 0.5 * x[1] + 0.3 * x[0] ** 2]), 2, 0, 1.0, n_episodes=15
    )
    choice = KoopmanRNN(20, random_state=0).fit(data).lift_at(horizon=5).choice
    assert np.isnan(choice.chosen.cost)
    assert choice.chosen.error <= 1.02 * choice.linear.error


@pytest.mark.parametrize("power", [-9, 9])
def test_units_of_signals_change_nothing(model, lifted, power):
    scale = 10.0**power
    data = Trajectories.from_arrays(
        [e.outputs * [1.0, scale] for e in DUFFING], [e.inputs / scale for e in DUFFING], dt=0.1
    )
    other = KoopmanRNN(60, random_state=0).fit(data).lift_at([1.0, 0.0], 0.0, horizon=10)
    assert other.choice.chosen.name == lifted.choice.chosen.name
    assert other.n_z == lifted.n_z
    assert other.choice.chosen.cost == pytest.approx(lifted.choice.chosen.cost, rel=1e-3)
    u = np.random.default_rng(0).uniform(-1, 1, (10, 1))
    np.testing.assert_allclose(
        other.simulate([0.8, 0.1 * scale], u / scale) / [1.0, scale],
        lifted.simulate([0.8, 0.1], u),
        atol=1e-4,
    )


def test_equilibria_are_equilibria_and_known_to_the_data(model):
    found = equilibria_near(model.network_, model.snapshots_, 8, np.random.default_rng(0))
    assert found
    low, high = model.snapshots_.x.min(axis=0), model.snapshots_.x.max(axis=0)
    for x, u in found:
        np.testing.assert_allclose(model.network_.step(x, u), x, atol=1e-7)
        assert ((x >= low) & (x <= high)).all()
        # The plant's own: at rest, and x - x^3 + u = 0 up to the model's error.
        assert abs(x[1]) < 0.05


def test_the_trial_prefers_the_model_that_is_the_plant():
    a, b, dt = plants.oscillator()
    data = plants.record(plants.linear_step(a, b), 2, 1, dt, n_episodes=10)
    model = KoopmanRNN(0, input_coupling="linear").fit(data)
    net, x_op, u_op = model.network_, np.zeros(2), np.zeros(1)
    right = model.lift_at(x_op=0.0, u_op=0.0)
    trial = RegulatorTrial(net, model.snapshots_, x_op, u_op, 15, None, None)
    rng = np.random.default_rng(0)
    costs = [trial.costs(right.observables, right.A, right.B, right.c)]
    for size in (0.05, 0.2):
        costs.append(
            trial.costs(right.observables, right.A + size * rng.standard_normal((2, 2)), right.B, right.c)
        )
    score, worst = relative_costs(costs)
    assert worst[0] == 1.0
    assert np.argmin(score) == 0
    assert score[1] < score[2]


def test_a_model_that_sends_the_network_away_costs_a_lot_and_nothing_overflows(model):
    trial = RegulatorTrial(
        model.network_, model.snapshots_, np.array([1.0, 0.0]), np.zeros(1), 10, None, None
    )
    lifted = model.lift_at([1.0, 0.0], 0.0, method="jacobian")
    bad = trial.costs(lifted.observables, 1e200 * lifted.A, lifted.B, lifted.c)
    good = trial.costs(lifted.observables, lifted.A, lifted.B, lifted.c)
    assert np.isfinite(bad).all()
    mean, worst = relative_costs([good, bad])
    assert mean[1] > 10.0
    assert worst[1] > 100.0


def test_a_lift_that_loses_an_episode_has_to_predict_as_well_as_least_squares():
    worst = np.array([1.0, 1.4, 2.5, 2.5, 12.0, 2.5])
    errors = np.array([0.2, 0.5, 0.21, 0.3, 0.1, np.nan])
    np.testing.assert_array_equal(admitted(worst, errors), [True, True, True, False, False, True])
    # In any unit of the error.
    np.testing.assert_array_equal(admitted(worst, 1e-9 * errors), admitted(worst, errors))
    # Least squares itself is always admitted.
    assert admitted(np.ones(1), np.full(1, np.nan)).all()


def test_held_out_data_decide_between_models_that_are_alike_in_the_loop():
    costs = np.array([2.0, 1.0, 1.04, 1.03, 1.02, 1.2])
    n_z = np.array([2, 90, 8, 8, 20, 4])
    errors = np.array([0.1, 0.1, 0.3, 0.105, 0.1, 0.05])
    # Of those within 5 % the smallest whose free run is right.
    assert simplest_alike(costs, errors, n_z) == 3
    assert simplest_alike(costs, 1e-9 * errors, n_z) == 3
    # Without held-out data the cheapest of the smallest.
    assert simplest_alike(costs, np.full(6, np.nan), n_z) == 3
    assert simplest_alike(costs, np.where(n_z == 90, 0.1, np.nan), n_z) == 3
    # A model that is not admitted (infinite) is not taken, however well it predicts; nor do its errors count.
    costs[3] = np.inf
    assert simplest_alike(costs, errors, n_z) == 4
    # A third of what is gained over least squares may be given away for simplicity.
    errors[:] = [0.4, 0.1, 0.19, 0.1, 0.1, 0.05]
    assert simplest_alike(costs, errors, n_z) == 2
    errors[2] = 0.21
    assert simplest_alike(costs, errors, n_z) == 4
    # Plain least squares, the first, is taken where it costs as little, whatever its free run says.
    costs[0], errors[0] = 1.01, 1.0
    assert simplest_alike(costs, errors, n_z) == 0


class Stronger:
    """A network whose inputs act otherwise than it thinks, within their range."""

    def __init__(self, network, gain, low, high):
        self.network, self.gain, self.low, self.high = network, gain, low, high

    def __getattr__(self, name):
        return getattr(self.network, name)

    def step(self, x, u):
        middle = 0.5 * (self.low + self.high)
        return self.network.step(x, np.clip(middle + self.gain * (u - middle), self.low, self.high))


def test_with_gains_the_trial_is_that_on_plants_whose_inputs_act_otherwise(model, lifted):
    net, shots = model.network_, model.snapshots_
    rest = (shots, np.array([1.0, 0.0]), np.zeros(1), 10, None, None)
    parts = (lifted.observables, lifted.A, lifted.B, lifted.c)
    low, high = shots.u.min(axis=0), shots.u.max(axis=0)
    gains = (1.0, 0.8, 1.2)
    found = RegulatorTrial(net, *rest, gains).costs(*parts).reshape(3, -1)
    np.testing.assert_allclose(found[0], RegulatorTrial(net, *rest).costs(*parts), rtol=1e-9)
    for row, gain in zip(found, gains, strict=True):
        trial = RegulatorTrial(net, *rest)
        trial._network = Stronger(net, gain, low, high)
        np.testing.assert_allclose(row, trial.costs(*parts), rtol=1e-6)
    assert np.abs(found[1] / found[0] - 1.0).max() > 0.01


def test_each_gain_is_judged_beside_its_own_best():
    first, second = np.array([1.0, 4.0, 100.0, 100.0]), np.array([2.0, 2.0, 100.0, 400.0])
    mean, worst = judged([first, second], 2)
    # Nominal: (1, 2) and (2, 1) over the best; the other gain: (1, 1) and (1, 4).
    np.testing.assert_allclose(mean, [2.0 ** (1 / 4), 2.0 ** (1 / 4 + 2 / 4)], rtol=1e-2)
    np.testing.assert_allclose(worst, [1.0, 2.0], rtol=1e-2)
