"""Free runs of a fitted model: predict and simulate are loops of steps, and say where they leave the data."""

import warnings

import numpy as np
import plants
import pytest
from rnn_records import DUFFING, LINEAR, quick, siso_records

from koopctrl import KoopmanRNN, Trajectories, Trajectory
from koopctrl.errors import DataError, OptionError, RolloutWarning, ShapeError
from koopctrl.network.coupling import COUPLINGS


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
