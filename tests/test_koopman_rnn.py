"""The estimator: exact systems are recovered, scikit-learn takes it, and bad input is named."""

import copy
import warnings

import numpy as np
import plants
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score

from koopctrl import KoopmanRNN, Trajectories, Trajectory
from koopctrl.errors import (
    DataError,
    KoopctrlError,
    KoopctrlWarning,
    NotFittedError,
    NumericalWarning,
    OptionError,
    RolloutWarning,
    ShapeError,
    TimeBaseError,
)
from koopctrl.network.coupling import COUPLINGS
from koopctrl.network.samplers import SAMPLERS

A, B, DT = plants.oscillator()
LINEAR = plants.record(plants.linear_step(A, B), 2, 1, DT, n_episodes=8, n_steps=60)
DUFFING = plants.record(plants.sampled(plants.duffing, 0.1), 2, 1, 0.1, n_episodes=12, n_steps=40, x_max=1.5)


def quick(**kwargs) -> KoopmanRNN:
    return KoopmanRNN(**{"n_features": 20, "random_state": 0, **kwargs})


def all_bits(model: KoopmanRNN) -> list[np.ndarray]:
    net = model.network_
    return [net.layer.weights, net.layer.biases, net.coef, net.x_mean, net.x_scale]


# --- exact systems ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_features", [0, 50])
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_linear_data_give_back_the_matrix_exponential(coupling, n_features):
    model = KoopmanRNN(n_features, input_coupling=coupling, random_state=0).fit(LINEAR)
    rng = np.random.default_rng(1)
    for _ in range(5):
        a, b = model.network_.jacobian(rng.uniform(-1, 1, 2), rng.uniform(-1, 1, 1))
        np.testing.assert_allclose(a, A, atol=1e-8)
        np.testing.assert_allclose(b, B, atol=1e-8)
    u = rng.uniform(-1, 1, (30, 1))
    x = plants.roll(plants.linear_step(A, B), np.array([0.5, -0.5]), u)
    np.testing.assert_allclose(model.simulate(x[0], u), x, atol=1e-8)


@pytest.mark.parametrize("solver", ["svd", "gram"])
def test_three_states_and_two_inputs(solver):
    a, b, dt = plants.three_states()
    data = plants.record(plants.linear_step(a, b), 3, 2, dt)
    model = KoopmanRNN(0, solver=solver, input_coupling="linear").fit(data)
    got_a, got_b = model.network_.jacobian(np.zeros(3), np.zeros(2))
    np.testing.assert_allclose(got_a, a, atol=1e-8)
    np.testing.assert_allclose(got_b, b, atol=1e-8)
    assert (model.n_x, model.n_y, model.n_u) == (3, 3, 2)


@pytest.mark.parametrize(
    ("step", "exact"),
    [(plants.bilinear_step, {"bilinear", "quadratic"}), (plants.quadratic_step, {"quadratic"})],
)
def test_each_coupling_holds_what_it_says(step, exact):
    data = plants.record(step, 2, 1, 0.1)
    unseen = plants.record(step, 2, 1, 0.1, seed=7)
    for coupling in ("linear", "bilinear", "quadratic"):
        model = KoopmanRNN(0, input_coupling=coupling).fit(data)
        worst = max(np.abs(p - e.outputs).max() for p, e in zip(model.predict(unseen), unseen, strict=True))
        assert (worst < 1e-10) == (coupling in exact), (coupling, worst)


def test_an_autonomous_record_needs_no_input():
    step = plants.koopman_polynomial()
    data = plants.record(step, 2, 0, 0.1, n_episodes=80, n_steps=15)
    model = KoopmanRNN(60, random_state=0).fit(data)
    unseen = plants.record(step, 2, 0, 0.1, seed=5, n_steps=15, x_max=0.6)
    for p, e in zip(model.predict(unseen), unseen, strict=True):
        np.testing.assert_allclose(p, e.outputs, atol=1e-4)
    x0 = np.array([0.4, -0.2])
    by_count, by_array = model.simulate(x0, 10), model.simulate(x0, np.empty((10, 0)))
    np.testing.assert_array_equal(by_count, by_array)
    np.testing.assert_allclose(by_count, plants.roll(step, x0, np.empty((10, 0))), atol=1e-4)
    assert model.n_u == 0
    for bad in (-1, True, 2.5):
        with pytest.raises(KoopctrlError, match="u"):
            model.simulate(x0, bad)


def siso_records(feedthrough: bool, n_episodes=8, n=50, seed=0):
    """`y_k = 1.5 y_{k-1} - 0.7 y_{k-2} + b0 u_k + 0.5 u_{k-1} + 0.2 u_{k-2}`, computed by its recursion."""
    rng = np.random.default_rng(seed)
    b0 = 0.8 if feedthrough else 0.0
    ys, us = [], []
    for _ in range(n_episodes):
        u, y = rng.uniform(-1, 1, n), list(rng.uniform(-1, 1, 2))
        for k in range(2, n):
            y.append(1.5 * y[-1] - 0.7 * y[-2] + b0 * u[k] + 0.5 * u[k - 1] + 0.2 * u[k - 2])
        ys.append(np.array(y)[:, None])
        us.append(u[:, None])
    return Trajectories.from_arrays(ys, us, dt=0.5)


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("feedthrough", [False, True])
def test_a_difference_equation_is_recovered_through_lags(feedthrough, coupling):
    data, unseen = siso_records(feedthrough), siso_records(feedthrough, seed=9)
    lags = {"output_lags": 2, "input_lags": 3 if feedthrough else 2}
    model = KoopmanRNN(10, feedthrough=feedthrough, input_coupling=coupling, random_state=0, **lags).fit(data)
    for p, e in zip(model.predict(unseen), unseen, strict=True):
        np.testing.assert_allclose(p, e.outputs, atol=1e-7)
    a, b = model.network_.jacobian(np.zeros(model.n_x), np.zeros(1))
    # Without feedthrough the state is [y_k, y_{k-1}, u_{k-1}], with it [y_k, y_{k-1}, u_k, u_{k-1}].
    expected = [1.5, -0.7, 0.5, 0.2] if feedthrough else [1.5, -0.7, 0.2]
    np.testing.assert_allclose(a[0], expected, atol=1e-7)
    np.testing.assert_allclose(b[0], [0.8 if feedthrough else 0.5], atol=1e-7)
    assert model.state_names_[0] == "x0"
    assert len(model.state_names_) == model.n_x


def test_feedthrough_is_needed_where_it_is_there():
    data = siso_records(True)
    without = KoopmanRNN(0, output_lags=2, input_lags=3, input_coupling="linear").fit(data)
    assert without.score(data) < 0.9
    with_it = KoopmanRNN(0, output_lags=2, input_lags=3, feedthrough=True, input_coupling="linear").fit(data)
    assert with_it.score(data) == pytest.approx(1.0, abs=1e-9)


# --- roll-outs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize(("p", "q", "feedthrough"), [(1, 1, False), (2, 2, False), (2, 2, True)])
def test_predict_is_a_loop_of_one_step_calls_on_ragged_episodes(coupling, p, q, feedthrough):
    rng = np.random.default_rng(0)
    lengths = (5, 30, 3, 17)
    episodes = Trajectories(
        Trajectory(
            e.outputs[:n],
            np.concatenate([e.inputs, rng.normal(size=(1, 1))])[:n],
            e.dt,
            e.output_names,
            e.input_names,
        )
        for e, n in zip(DUFFING, lengths, strict=False)
    )
    model = quick(
        input_coupling=coupling, output_lags=p, input_lags=q, feedthrough=feedthrough, rcond=1e-4, ridge=1e-6
    ).fit(episodes if feedthrough else DUFFING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RolloutWarning)
        predictions = model.predict(episodes)
    window = model.network_.window
    for e, prediction in zip(episodes, predictions, strict=True):
        assert prediction.shape == e.outputs.shape
        n_init = window.n_samples
        np.testing.assert_array_equal(prediction[:n_init], e.outputs[:n_init])
        past_y, s = [list(row) for row in e.outputs[:n_init]], int(feedthrough)
        for k in range(n_init - 1, len(e) - 1):
            x = [v for i in range(p) for v in past_y[k - i]]
            x += [v for i in range(1, q) for v in e.inputs[k - i + s]]
            past_y.append(list(model.network_.next_output(np.array(x), e.inputs[k + s])))
        np.testing.assert_allclose(prediction, past_y, atol=1e-9)


def test_n_init_takes_more_measured_samples():
    model = quick(output_lags=2, rcond=1e-6).fit(DUFFING)
    short, long = model.predict(DUFFING), model.predict(DUFFING, n_init=10)
    for a, b, e in zip(short, long, DUFFING, strict=True):
        assert a.shape == b.shape
        np.testing.assert_array_equal(b[:10], e.outputs[:10])
        assert not np.array_equal(a[2:10], e.outputs[2:10])
    whole = model.predict(DUFFING, n_init=len(DUFFING[0]))
    np.testing.assert_array_equal(whole[0], DUFFING[0].outputs)
    for bad, kind in ((0, OptionError), (2.0, OptionError), (1000, DataError)):
        with pytest.raises(kind, match=r"n_init|samples"):
            model.predict(DUFFING, n_init=bad)


def test_simulate_takes_a_window_the_last_outputs_or_a_record():
    model = KoopmanRNN(0, output_lags=2, input_coupling="linear").fit(LINEAR)
    e, u = LINEAR[0], LINEAR[0].inputs[10:15]
    newest_first = np.concatenate([e.outputs[10], e.outputs[9]])
    reference = model.simulate(newest_first, u)
    np.testing.assert_array_equal(model.simulate(e.outputs[9:11], u), reference)
    np.testing.assert_array_equal(model.simulate(e.slice(0, 11), u), reference)
    np.testing.assert_array_equal(model.simulate(newest_first.tolist(), u.ravel().tolist()), reference)
    np.testing.assert_array_equal(model.simulate(newest_first, u[:0]), e.outputs[10:11])


@pytest.mark.parametrize("feedthrough", [False, True])
def test_simulate_from_a_record_goes_on_as_predict_does(feedthrough):
    data = siso_records(feedthrough)
    model = KoopmanRNN(0, output_lags=2, input_lags=3, feedthrough=feedthrough, input_coupling="linear").fit(
        data
    )
    e = data[0]
    s = int(feedthrough)
    run = model.simulate(e.slice(0, 20), e.inputs[19 + s : len(e) - 1 + s])
    np.testing.assert_allclose(run, e.outputs[19:], atol=1e-8)
    np.testing.assert_allclose(run, model.predict(data, n_init=20)[0][19:], atol=1e-12)


def test_simulate_refuses_what_does_not_fit():
    model = quick().fit(DUFFING)
    x0, u = np.zeros(2), np.zeros((5, 1))
    for bad in (np.zeros(3), 1.0, np.zeros((2, 2)), [[0.0, 0.0, 0.0]]):
        with pytest.raises(ShapeError, match="x0 has shape"):
            model.simulate(bad, u)
    for bad in (np.zeros((5, 2)), np.zeros((5, 1, 1)), 5):
        with pytest.raises(ShapeError, match="u has"):
            model.simulate(x0, bad)
    for bad in (np.nan, np.inf):
        with pytest.raises(DataError, match="x0"):
            model.simulate([0.0, bad], u)
        with pytest.raises(DataError, match="u has"):
            model.simulate(x0, np.full((5, 1), bad))
    short = quick(output_lags=3).fit(DUFFING)
    with pytest.raises(DataError, match="x0 has 2 samples; expected at least 3"):
        short.simulate(DUFFING[0].slice(0, 2), u)


def test_divergence_is_a_warning_that_points_at_the_call_and_never_nan():
    grow = plants.record(lambda x, u: 1.5 * x + u, 1, 1, 1.0, n_steps=8)
    model = KoopmanRNN(0, input_coupling="linear").fit(grow)
    with pytest.warns(RolloutWarning, match="1 of 1 roll-outs diverged, the first at step") as caught:
        y = model.simulate([1.0], np.ones((200, 1)))
    assert caught[0].filename == __file__
    assert np.isfinite(y).all()
    long = Trajectories.from_arrays(np.ones((200, 1)), np.ones((199, 1)), dt=1.0)
    with pytest.warns(RolloutWarning, match="diverged") as caught:
        (p,) = model.predict(long)
    assert caught[0].filename == __file__
    assert np.isfinite(p).all()
    with pytest.warns(RolloutWarning):
        assert np.isfinite(model.score(long))


def test_leaving_the_data_s_range_is_a_warning_before_divergence():
    model = KoopmanRNN(0, input_coupling="linear").fit(LINEAR)
    low, high = model.y_range_
    inside, outside = high + 0.3 * (high - low), high + 0.7 * (high - low)
    nothing = np.empty((0, 1))
    model.simulate(inside, nothing)
    with pytest.warns(RolloutWarning, match="left the training data's range") as caught:
        model.simulate(outside, nothing)
    assert caught[0].filename == __file__


def test_padding_of_ragged_episodes_does_not_warn_or_leak():
    grow = plants.record(lambda x, u: 1.5 * x + u, 1, 1, 1.0, n_steps=8, seed=3)
    model = KoopmanRNN(0, input_coupling="linear").fit(grow)
    short = grow[0].slice(0, 3)
    long = Trajectory(np.ones((300, 1)), np.ones((299, 1)), 1.0, grow.output_names, grow.input_names)
    alone = model.predict([short])[0]
    # Rolled on to 300 steps the short one would diverge too; only its own steps count.
    with pytest.warns(RolloutWarning, match="1 of 2 roll-outs diverged"):
        together = model.predict([short, long])
    np.testing.assert_allclose(together[0], alone, atol=1e-12)


# --- score -----------------------------------------------------------------------------------------------


def test_score_is_the_mean_r2_of_the_free_run():
    from sklearn.metrics import r2_score

    model = quick(n_features=5, rcond=1e-3).fit(DUFFING)
    for n_init in (None, 7):
        start = 1 if n_init is None else n_init
        truth = np.concatenate([e.outputs[start:] for e in DUFFING])
        predicted = np.concatenate([p[start:] for p in model.predict(DUFFING, n_init)])
        assert model.score(DUFFING, n_init=n_init) == pytest.approx(r2_score(truth, predicted), abs=1e-12)


def test_score_of_constant_truth_and_of_nothing():
    model = quick().fit(DUFFING)
    rest = Trajectories.from_arrays(np.zeros((5, 2)), np.zeros((4, 1)), dt=0.1)
    assert np.isfinite(model.score(rest))
    with pytest.raises(DataError, match="no sample after the first 1"):
        model.score(Trajectories.from_arrays(np.zeros((1, 2)), np.zeros((0, 1)), dt=0.1))


# --- scikit-learn ----------------------------------------------------------------------------------------


def test_params_round_trip_and_clone_is_unfitted():
    model = quick(input_coupling="quadratic", ridge=1e-6)
    params = model.get_params()
    assert set(params) == {
        "n_features", "sampler", "activation", "feature_scale", "input_coupling", "output_lags", "input_lags",
        "feedthrough", "rcond", "ridge", "solver", "random_state", "n_states", "n_output_features", "refine",
        "rounds", "max_iter", "validation_fraction", "rollout_margin", "smooth",
    }  # fmt: skip
    assert KoopmanRNN(**params).get_params() == params
    model.fit(DUFFING)
    twin = clone(model)
    assert twin.get_params() == params
    assert not hasattr(twin, "network_")
    assert model.set_params(n_features=3).fit(DUFFING).network_.layer.n_features == 3
    assert "n_features=3" in repr(model)


def test_fit_does_not_change_the_parameters():
    model = quick(random_state=np.random.default_rng(0))
    before = dict(model.get_params())
    model.fit(DUFFING)
    after = model.get_params()
    assert all(after[k] is before[k] for k in before)


def test_grid_search_and_cross_validation_take_episodes_as_samples():
    grid = {"n_features": [5, 30], "input_coupling": ["linear", "bilinear"]}
    search = GridSearchCV(quick(rcond=1e-6), grid, cv=3, error_score="raise").fit(DUFFING)
    assert set(search.best_params_) == set(grid)
    assert search.best_estimator_.network_.layer.n_features == search.best_params_["n_features"]
    assert search.score(DUFFING) > 0.5
    assert len(search.predict(DUFFING)) == len(DUFFING)
    scores = cross_val_score(quick(rcond=1e-6), DUFFING, cv=KFold(4), error_score="raise")
    by_hand = []
    for train, test in KFold(4).split(DUFFING):
        by_hand.append(quick(rcond=1e-6).fit(DUFFING[train]).score(DUFFING[test]))
    np.testing.assert_allclose(scores, by_hand)
    cross_val_score(
        quick(rcond=1e-6), DUFFING, groups=np.arange(12) // 3, cv=GroupKFold(4), error_score="raise"
    )


def test_a_fitted_model_survives_deepcopy():
    model = quick().fit(DUFFING)
    np.testing.assert_array_equal(copy.deepcopy(model).predict(DUFFING)[0], model.predict(DUFFING)[0])


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(sampler, activation):
    def fit(seed):
        return quick(sampler=sampler, activation=activation, random_state=seed).fit(DUFFING)

    for a, b in zip(all_bits(fit(3)), all_bits(fit(3)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(fit(3).network_.layer.weights, fit(4).network_.layer.weights)
    again = fit(3)
    first = [a.copy() for a in all_bits(again)]
    for a, b in zip(first, all_bits(again.fit(DUFFING)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_refitting_forgets_and_a_failed_fit_changes_nothing():
    model = quick().fit(DUFFING)
    before = model.predict(DUFFING)[0]
    constant = Trajectories.from_arrays(np.ones((9, 1)), np.ones((8, 1)), dt=0.7)
    with pytest.raises(DataError):
        model.fit(constant)
    np.testing.assert_array_equal(model.predict(DUFFING)[0], before)
    assert model.dt_ == 0.1
    model.fit(LINEAR)
    for a, b in zip(all_bits(model), all_bits(quick().fit(LINEAR)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_partial_fit_after_fit_starts_anew():
    model = quick().partial_fit(DUFFING[5:]).fit(DUFFING).partial_fit(DUFFING[:2])
    assert model.solution_.n_rows == DUFFING[:2].n_steps
    assert model.partial_fit(DUFFING[2:4]).solution_.n_rows == DUFFING[:4].n_steps


# --- the data are left alone, and must fit


def test_nothing_the_caller_passed_in_is_written_to():
    x, u = np.stack([e.outputs for e in DUFFING]), np.stack([e.inputs for e in DUFFING])
    x_before, u_before = x.copy(), u.copy()
    data = Trajectories.from_arrays(x, u, dt=0.1)
    for coupling in COUPLINGS:
        model = quick(input_coupling=coupling).fit(data)
        model.partial_fit(data)
        model.predict(data)
        model.score(data)
        x0, inputs = x[0, 0].copy(), u[0].copy()
        model.simulate(x0, inputs)
        np.testing.assert_array_equal(x0, x_before[0, 0])
        np.testing.assert_array_equal(inputs, u_before[0])
    np.testing.assert_array_equal(x, x_before)
    np.testing.assert_array_equal(u, u_before)


def test_data_that_do_not_fit_the_model_are_refused():
    model = quick().fit(DUFFING)
    x, u = np.zeros((5, 2)), np.zeros((4, 1))
    cases = [
        (Trajectories.from_arrays(x, u, dt=0.2), TimeBaseError, r"0.1 s and 0.2 s"),
        (Trajectories.from_arrays(x[:, :1], u, dt=0.1), ShapeError, "1 outputs; expected 2"),
        (Trajectories.from_arrays(x, dt=0.1), ShapeError, "0 inputs; expected 1"),
        (Trajectories.from_arrays(x, u, dt=0.1, state_names=["x1", "x0"]), OptionError, "output_names"),
        (Trajectories.from_arrays(x, u, dt=0.1, input_names=["force"]), OptionError, "input_names"),
        (np.zeros((5, 2)), DataError, "from_arrays"),
        ([], DataError, "empty"),
    ]
    partial = quick().partial_fit(DUFFING)
    for data, kind, words in cases:
        for call in (model.predict, model.score, partial.partial_fit):
            with pytest.raises(kind, match=words):
                call(data)
    np.testing.assert_array_equal(partial.network_.coef, model.network_.coef)


def test_an_unfitted_model_says_so():
    model = KoopmanRNN()
    for call in (
        lambda: model.predict(DUFFING), lambda: model.score(DUFFING), lambda: model.simulate([0.0], 3),
        lambda: model.n_x, lambda: model.lift_at(), lambda: model.state_names_,
    ):  # fmt: skip
        with pytest.raises(NotFittedError, match=r"KoopmanRNN is not fitted; call fit"):
            call()


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_features": -1}, {"n_features": 2.5}, {"n_features": "many"}, {"n_features": [3]},
        {"sampler": "swimm"}, {"activation": "sigmoid"}, {"input_coupling": None}, {"solver": "qr"},
        {"feature_scale": 0.0}, {"feature_scale": -1}, {"feature_scale": np.nan}, {"feature_scale": np.inf},
        {"rcond": -1e-9}, {"rcond": 2.0}, {"rcond": np.nan},
        {"ridge": -1.0}, {"ridge": np.inf}, {"ridge": "a"},
        {"output_lags": 0}, {"input_lags": 0}, {"output_lags": 1.5}, {"input_lags": True},
        {"random_state": "x"}, {"random_state": -1}, {"random_state": 0.5},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name_when_fitting(wrong):
    model = quick(**wrong)
    with pytest.raises(OptionError, match=next(iter(wrong))):
        model.fit(DUFFING)
    with pytest.raises(OptionError, match=next(iter(wrong))):
        model.partial_fit(DUFFING)


def test_input_lags_without_inputs_are_refused():
    data = plants.record(plants.koopman_polynomial(), 2, 0, 0.1)
    with pytest.raises(OptionError, match="input_lags is 2 but the data have no inputs"):
        quick(input_lags=2).fit(data)


def test_feedthrough_needs_the_last_inputs():
    with pytest.raises(ShapeError, match="feedthrough"):
        quick(feedthrough=True).fit(DUFFING)


def test_episodes_too_short_for_a_pair_do_not_hurt_beside_others():
    one = Trajectory(
        DUFFING[0].outputs[:1],
        None if DUFFING.n_u == 0 else DUFFING[0].inputs[:0],
        0.1,
        ("x0", "x1"),
        ("u0",),
    )
    a = quick().fit(DUFFING)
    with pytest.warns(KoopctrlWarning, match="skipped episode '' \\(1 samples\\)"):
        b = quick().fit(DUFFING + Trajectories([one]))
    assert b.solution_.n_rows == a.solution_.n_rows
    assert len(b.predict([one])[0]) == 1


@pytest.mark.parametrize("n_samples", [1, 2])
@pytest.mark.parametrize("n_u", [0, 1])
def test_one_or_two_samples(n_samples, n_u):
    x = np.arange(float(n_samples))[:, None]
    data = Trajectories.from_arrays(x, x[:-1] if n_u else None, dt=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        with pytest.raises(DataError, match=r"constant|coincide"):  # one pair: no two points for a neuron
            quick().fit(data)
        if n_samples == 2:
            model = quick(n_features=0).fit(data)
            np.testing.assert_allclose(model.predict(data)[0], data[0].outputs, atol=1e-12)


@pytest.mark.parametrize("solver", ["svd", "gram"])
def test_more_features_than_samples(solver):
    data = DUFFING[0].slice(0, 8)
    model = quick(n_features=200, solver=solver).fit([data])
    assert model.solution_.rank <= 7
    np.testing.assert_allclose(model.predict([data])[0], data.outputs, atol=1e-2)


def test_duplicated_episodes_change_nothing():
    model = quick(n_features=0, ridge=0.0)  # an automatic penalty would take the copies for more evidence
    once, twice = clone(model).fit(DUFFING), clone(model).fit(DUFFING + DUFFING)
    np.testing.assert_allclose(twice.network_.coef, once.network_.coef, atol=1e-9)
    assert twice.solution_.n_rows == 2 * once.solution_.n_rows


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("power", [-200, -100, -12, 12, 100, 200])
def test_units_do_not_matter(coupling, power):
    scale = 10.0**power
    scaled = Trajectories.from_arrays(
        [e.outputs * scale for e in DUFFING], [e.inputs / scale for e in DUFFING], dt=0.1
    )
    a, b = (
        quick(input_coupling=coupling, rcond=1e-6).fit(DUFFING),
        quick(input_coupling=coupling, rcond=1e-6).fit(scaled),
    )
    for p, q in zip(a.predict(DUFFING), b.predict(scaled), strict=True):
        np.testing.assert_allclose(q / scale, p, atol=1e-5)
    assert b.score(scaled) == pytest.approx(a.score(DUFFING), abs=1e-4)


@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_a_large_offset_costs_digits_only(offset):
    moved = Trajectories.from_arrays(
        [e.outputs + offset for e in DUFFING], [e.inputs for e in DUFFING], dt=0.1
    )
    a, b = quick(rcond=1e-5).fit(DUFFING), quick(rcond=1e-5).fit(moved)
    for p, q in zip(a.predict(DUFFING), b.predict(moved), strict=True):
        np.testing.assert_allclose(q - offset, p, atol=1e-3)


@settings(max_examples=60)
@given(st.data())
def test_any_small_record_is_fitted_or_refused_in_our_own_words(data):
    draw = data.draw
    n_y, n_u = draw(st.integers(1, 2)), draw(st.integers(0, 2))
    number = st.one_of(
        st.sampled_from([0.0, 1.0, -1.0, 1e-300, 1e-150, 1e150]), st.floats(-10, 10), st.floats(-1e12, 1e12)
    )
    xs, us = [], []
    for _ in range(draw(st.integers(1, 3))):
        n = draw(st.integers(1, 7))
        xs.append(np.reshape(draw(st.lists(number, min_size=n * n_y, max_size=n * n_y)), (n, n_y)))
        us.append(np.reshape(draw(st.lists(number, min_size=n * n_u, max_size=n * n_u)), (n, n_u)))
    model = KoopmanRNN(
        draw(st.integers(0, 12)),
        sampler=draw(st.sampled_from(sorted(SAMPLERS))),
        activation=draw(st.sampled_from(["tanh", "relu"])),
        input_coupling=draw(st.sampled_from(COUPLINGS)),
        output_lags=draw(st.integers(1, 3)),
        input_lags=draw(st.integers(1, 3)) if n_u else 1,
        feedthrough=draw(st.booleans()),
        ridge=draw(st.sampled_from([0.0, 1e-3])),
        solver=draw(st.sampled_from(["svd", "gram"])),
        random_state=0,
    )
    episodes = Trajectories.from_arrays(xs, us if n_u else None, dt=0.1)
    long_enough = [e for e in episodes if len(e) > 6]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KoopctrlWarning)
        try:
            model.fit(episodes)
        except DataError:
            return
        assert np.isfinite(model.network_.coef).all()
        if long_enough:
            for p in model.predict(long_enough):
                assert np.isfinite(p).all()
            assert np.isfinite(model.score(long_enough))


# --- accuracy, at the size of the issue


@pytest.mark.slow
@pytest.mark.parametrize(("coupling", "limit"), [("bilinear", 5e-4), ("network", 5e-5), ("quadratic", 2e-6)])
def test_forced_van_der_pol(coupling, limit):
    step = plants.sampled(plants.van_der_pol, 0.1)
    options = {"x_max": 3.0, "u_max": 3.0}
    train = plants.record(step, 2, 1, 0.1, n_episodes=50, n_steps=150, **options)
    test = plants.record(step, 2, 1, 0.1, n_episodes=20, n_steps=100, seed=1, **options)
    errors = []
    for seed in range(3):
        predicted = KoopmanRNN(input_coupling=coupling, random_state=seed).fit(train).predict(test)
        errors += [np.sqrt(np.mean((p - e.outputs) ** 2)) for e, p in zip(test, predicted, strict=True)]
    # Of the episodes: those that start in a corner, where no other one passes, are ten times worse.
    assert np.median(errors) <= limit


@pytest.mark.slow
@pytest.mark.parametrize(("n_features", "limit"), [(300, 18), (1000, 23)])
def test_lorenz_valid_prediction_time(n_features, limit):
    dt, lyapunov = 0.02, 0.9056
    step = plants.sampled(plants.lorenz, dt)
    none = np.empty((10_000, 0))
    x = plants.roll(step, plants.roll(step, np.ones(3), none[:500])[-1], none)
    unseen = plants.roll(step, x[-1], none[:3600])
    data = Trajectories.from_arrays(x, dt=dt)
    spread = np.sqrt(np.sum(x.var(axis=0)))
    times = []
    for seed in range(2):
        model = KoopmanRNN(n_features, rcond=1e-14, random_state=seed).fit(data)
        for start in range(0, 2000, 100):
            truth = unseen[start : start + 1600]
            error = np.linalg.norm(model.simulate(truth[0], 1599) - truth, axis=1) / spread
            times.append(np.argmax(np.append(error, 1.0) > 0.4) * dt * lyapunov)
    assert np.median(times) >= limit


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rcond": 1}, "cuts nearly all of the regressors"),
        ({"rcond": 0.5}, "expected 0 to 0.1"),
        ({"feature_scale": 1e12}, "steps from one sample to the next"),
        ({"feature_scale": 1e-12}, "straight lines to rounding"),
        ({"feature_scale": True}, "feature_scale is True; expected a number"),
        ({"feature_scale": "0.3"}, "feature_scale is '0.3'"),
        ({"feature_scale": [0.3]}, "feature_scale is"),
        ({"ridge": False}, "ridge is False"),
        ({"feedthrough": "no"}, "feedthrough is 'no'; expected True or False"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_with_the_reason(wrong, said):
    with pytest.raises(OptionError, match=said):
        quick(**wrong).fit(DUFFING)
    for extreme in ({"feature_scale": 1e-6}, {"feature_scale": 1e3}, {"rcond": 0.1}, {"rcond": 0}):
        quick(**extreme).fit(DUFFING)


def test_neurons_beyond_memory_are_refused_by_name():
    with pytest.raises(OptionError, match="n_features is 1000000000000"):
        quick(n_features=10**12).fit(DUFFING)


def test_an_iterator_of_something_else_is_refused():
    with pytest.raises(DataError, match="holds a str"):
        quick().fit(iter(["episode"]))
