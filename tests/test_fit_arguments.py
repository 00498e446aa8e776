"""What a fit takes and refuses: records, settings, sizes, units."""

import warnings

import numpy as np
import plants
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rnn_records import DUFFING, quick
from sklearn.base import clone

from koopctrl import KoopmanRNN, Trajectories, Trajectory
from koopctrl.errors import (
    DataError,
    KoopctrlWarning,
    NotFittedError,
    NumericalWarning,
    OptionError,
    ShapeError,
    TimeBaseError,
)
from koopctrl.network.coupling import COUPLINGS
from koopctrl.network.samplers import SAMPLERS


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


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int64])
def test_integers_of_numpy_are_integers(kind):
    """As grid searches pass them; sums of the narrow ones would not fit into their own type."""
    plain = quick(output_lags=14, input_lags=13).fit(DUFFING)
    other = quick(output_lags=kind(14), input_lags=kind(13)).fit(DUFFING)
    np.testing.assert_array_equal(other.predict(DUFFING)[0], plain.predict(DUFFING)[0])
