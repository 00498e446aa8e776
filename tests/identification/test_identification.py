"""Identification: streaming equals in-memory, memory is bounded, the reservoir is a fair sample."""

import numpy as np
import plants
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koopctrl import KoopmanRNN, Trajectories
from koopctrl.errors import DataError, NumericalWarning
from koopctrl.identification import one_step as identification
from koopctrl.identification.least_squares import SOLVERS
from koopctrl.network.coupling import COUPLINGS


def duffing_data(n_episodes=12, n_steps=30, seed=0, x_max=1.0):
    return plants.record(
        plants.sampled(plants.duffing, 0.1),
        2,
        1,
        0.1,
        n_episodes=n_episodes,
        n_steps=n_steps,
        seed=seed,
        x_max=x_max,
    )


# The first episodes stay closer to the origin than the rest.
DATA = duffing_data(6, seed=1, x_max=0.5) + duffing_data(6)


def same_model(a: KoopmanRNN, b: KoopmanRNN, tolerance: float) -> None:
    np.testing.assert_array_equal(a.network_.layer.weights, b.network_.layer.weights)
    np.testing.assert_array_equal(a.network_.scaling.y_scale, b.network_.scaling.y_scale)
    x, u, _ = DATA.snapshots()
    np.testing.assert_allclose(a.network_.step(x, u), b.network_.step(x, u), atol=tolerance)
    np.testing.assert_allclose(a.y_range_, b.y_range_)
    assert a.solution_.n_rows == b.solution_.n_rows


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_partial_fit_with_the_rest_is_fit_with_all(coupling, solver):
    # The first batch fixes scaling and layer, so the model to compare with starts from the same batch.
    settings = {"input_coupling": coupling, "solver": solver, "rcond": 1e-6, "random_state": 0}
    first, rest = DATA[:6], DATA[6:]
    in_parts = KoopmanRNN(20, **settings).partial_fit(first)
    for episode in rest:
        in_parts.partial_fit(episode)
    at_once = KoopmanRNN(20, **settings).partial_fit(first).partial_fit(rest)
    same_model(in_parts, at_once, 1e-9 if solver == "svd" else 1e-6)
    assert in_parts.solution_.n_rows == DATA.n_steps
    low, high = (np.concatenate([f(e.outputs, axis=0)[None] for e in DATA]) for f in (np.min, np.max))
    np.testing.assert_array_equal(in_parts.y_range_, (low.min(0), high.max(0)))


def test_an_iterator_within_its_first_steps_is_fit_on_all_of_it():
    a = KoopmanRNN(20, random_state=0).fit(DATA)
    b = KoopmanRNN(20, random_state=0).fit(iter(DATA))
    c = KoopmanRNN(20, random_state=0).fit(list(DATA))
    np.testing.assert_array_equal(a.network_.coef, b.network_.coef)
    np.testing.assert_array_equal(a.network_.coef, c.network_.coef)


def test_an_iterator_is_read_lazily_and_never_held(monkeypatch):
    monkeypatch.setattr("koopctrl.koopman_rnn._FIRST_STEPS", 200)
    monkeypatch.setattr(identification, "MAX_SNAPSHOTS", 500)
    alive, most = set(), 0

    def stream():
        nonlocal most
        import weakref

        for seed in range(60):
            episode = duffing_data(1, 50, seed)[0]
            alive.add(seed)
            weakref.finalize(episode, alive.discard, seed)
            most = max(most, len(alive))
            yield episode
            del episode

    model = KoopmanRNN(20, input_coupling="linear", random_state=0).fit(stream())
    assert model.solution_.n_rows == 60 * 50
    assert len(model.snapshots_.x) == 500
    assert most <= 8  # the first 200 steps are 4 episodes; then one by one


def test_streaming_equals_in_memory_when_both_start_from_the_same_steps(monkeypatch):
    monkeypatch.setattr("koopctrl.koopman_rnn._FIRST_STEPS", 100)
    streamed = KoopmanRNN(20, rcond=1e-8, random_state=0).fit(iter(DATA))
    batched = KoopmanRNN(20, rcond=1e-8, random_state=0).partial_fit(DATA[:4]).partial_fit(DATA[4:])
    same_model(streamed, batched, 1e-8)


def test_many_blocks_are_one_problem(monkeypatch):
    whole = KoopmanRNN(20, rcond=1e-8, random_state=0).fit(DATA)
    monkeypatch.setattr(identification, "block_rows", lambda n: 17)
    blocks = KoopmanRNN(20, rcond=1e-8, random_state=0).fit(DATA)
    same_model(whole, blocks, 1e-8)


def test_a_stream_that_breaks_leaves_nothing_behind(monkeypatch):
    monkeypatch.setattr("koopctrl.koopman_rnn._FIRST_STEPS", 10)

    def broken():
        yield from DATA
        raise OSError("disk gone")

    model = KoopmanRNN(10, random_state=0)
    with pytest.raises(OSError, match="disk gone"):
        model.fit(broken())
    model.partial_fit(DATA[:3])
    assert model.solution_.n_rows == DATA[:3].n_steps


# --- the reservoir ---------------------------------------------------------------------------------------


def test_all_snapshots_are_kept_in_time_order_while_they_fit():
    model = KoopmanRNN(5, random_state=0).fit(DATA)
    x, u, y_next = DATA.snapshots()
    np.testing.assert_array_equal(model.snapshots_.x, x)
    np.testing.assert_array_equal(model.snapshots_.u, u)
    np.testing.assert_array_equal(model.snapshots_.y_next, y_next)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 60), st.integers(0, 5))
def test_the_reservoir_holds_rows_that_belong_together_none_twice(sizes, capacity, seed):
    n = sum(sizes) + 1
    record = np.arange(float(n))
    data = Trajectories.from_arrays(record, -record[:-1], dt=1.0)
    x, u, y_next = data.snapshots()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identification, "MAX_SNAPSHOTS", capacity)
        kept = _reservoir(data, x, u, y_next, np.cumsum(sizes)[:-1], seed)
    assert len(kept.x) == min(capacity, n - 1)
    assert len(np.unique(kept.x)) == len(kept.x)
    np.testing.assert_array_equal(kept.u, -kept.x)
    np.testing.assert_array_equal(kept.y_next, kept.x + 1)


def _reservoir(data, x, u, y_next, cuts, seed):
    """The snapshots kept when pairs come in batches."""
    from koopctrl.identification.one_step import Identification, Settings
    from koopctrl.network.coupling import Coupling
    from koopctrl.network.lag_window import LagWindow

    options = Settings(0, "swim", "tanh", 1.0, 1e-12, 0.0, "gram")
    window = LagWindow(1, 1, False, data.n_y, data.n_u)
    rng = np.random.default_rng(seed)
    moving = Trajectories.from_arrays([0.0, 1.0, 2.0], [0.0, 1.0], dt=1.0)
    first = Identification(moving, window, Coupling("linear", data.n_u), options, rng)
    first._keys, first._reservoir = np.empty(0), [a[:0] for a in (x, u, y_next)]
    for parts in zip(*(np.split(a, cuts) for a in (x, u, y_next)), strict=True):
        first._keep(*parts)
    return first.snapshots


@pytest.mark.parametrize("cuts", [[], [10], [15, 30, 45], list(range(1, 60))])
def test_every_row_is_kept_with_the_same_probability(cuts, monkeypatch):
    monkeypatch.setattr(identification, "MAX_SNAPSHOTS", 15)
    monkeypatch.setattr(identification, "RUN", 1)
    record = np.arange(61.0)
    data = Trajectories.from_arrays(record, -record[:-1], dt=1.0)
    x, u, y_next = data.snapshots()
    repeats = 400
    counts = np.zeros(60)
    for seed in range(repeats):
        counts[_reservoir(data, x, u, y_next, cuts, seed).x[:, 0].astype(int)] += 1
    assert counts.sum() == 15 * repeats
    # Binomial with p = 1/4: a standard deviation of 8.7; 5 of them over 60 rows is one in 30,000.
    assert np.abs(counts - repeats / 4).max() < 5 * np.sqrt(repeats * 0.25 * 0.75)
    halves = counts[:30].sum() / counts.sum()
    assert abs(halves - 0.5) < 0.02


# --- excitation ------------------------------------------------------------------------------------------


def test_constant_outputs_are_refused_by_name():
    data = Trajectories.from_arrays(np.ones((20, 2)), np.random.default_rng(0).normal(size=(19, 1)), dt=0.1)
    with pytest.raises(DataError, match=r"\['x0', 'x1'\] are constant"):
        KoopmanRNN(5).fit(data)


def test_single_constant_signals_are_a_warning_that_points_at_the_call():
    rng = np.random.default_rng(0)
    x, u = rng.normal(size=(60, 2)), rng.normal(size=(59, 2))
    x[:, 1], u[:, 0] = 3.0, 0.0
    with pytest.warns(NumericalWarning, match=r"\['x1', 'u0'\] are constant") as caught:
        model = KoopmanRNN(5, random_state=0).fit(Trajectories.from_arrays(x, u, dt=0.1))
    assert caught[0].filename == __file__
    assert np.isfinite(model.network_.coef).all()
    with pytest.warns(NumericalWarning) as caught:
        KoopmanRNN(5, random_state=0).partial_fit(Trajectories.from_arrays(x, u, dt=0.1))
    assert caught[0].filename == __file__


@pytest.mark.parametrize("n", [1, 2, 3])
def test_records_shorter_than_a_window_say_what_is_needed(n):
    y = np.arange(float(n))[:, None]
    data = Trajectories.from_arrays([y, y + 5], [y[:-1], y[:-1] + 1], dt=1.0)
    with pytest.raises(
        DataError, match="expected at least 4 to make one pair with 3 output and 2 input lags"
    ):
        KoopmanRNN(5, output_lags=3, input_lags=2).fit(data)
