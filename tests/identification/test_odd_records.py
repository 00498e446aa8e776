"""Records as they should not be: a model or an error that names the fault, never a raw one, never NaN."""

import warnings

import numpy as np
import pytest
from effort import many
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from koopctrl import (
    KoopmanRNN,
    Trajectories,
    Trajectory,
    excitation_advice,
    linear_uncertainty,
    select,
    subspace,
    suggest_delay,
    suggest_order,
)
from koopctrl.errors import KoopctrlError

KINDS = ("noise", "constant", "spike", "unstable", "integrator", "duplicated", "tiny_step")


def signal(kind, n, seed):
    rng = np.random.default_rng(seed)
    if kind == "constant":
        return np.full((n, 1), 3.7)
    if kind == "spike":
        out = np.zeros((n, 1))
        out[rng.integers(n)] = 1e6
        return out
    if kind == "unstable":
        return 1.2 ** np.arange(n)[:, None] * rng.normal()
    if kind == "integrator":
        return np.cumsum(rng.normal(size=(n, 1)), axis=0)
    if kind == "duplicated":
        return np.repeat(rng.normal(size=(-(-n // 4), 1)), 4, axis=0)[:n]
    if kind == "tiny_step":
        return 1e6 + 1e-6 * (np.arange(n)[:, None] > n // 2)
    return rng.normal(size=(n, 1))


@st.composite
def records(draw):
    lengths = draw(st.lists(st.sampled_from((1, 2, 3, 9, 40, 90)), min_size=1, max_size=3))
    kind_y, kind_u = draw(st.sampled_from(KINDS)), draw(st.sampled_from(KINDS))
    n_y, n_u = draw(st.integers(1, 2)), draw(st.integers(0, 2))
    scale = 10.0 ** draw(st.sampled_from((-9, 0, 9)))
    seed = draw(st.integers(0, 1000))
    same = draw(st.booleans())  # two channels that are one
    holes = draw(st.sampled_from((0.0, 0.0, 0.2, 0.9)))  # share of outputs that are missing
    episodes = []
    for i, n in enumerate(lengths):
        y = np.hstack([signal(kind_y, n, seed + 10 * i + (0 if same else j)) for j in range(n_y)]) * scale
        u = (
            [signal(kind_u, n - 1, seed + 10 * i + 5 + (0 if same else j)) for j in range(n_u)]
            if n > 1
            else []
        )
        y[np.random.default_rng(seed + i).random(y.shape) < holes] = np.nan
        episodes.append((y, np.hstack(u) / scale if u else np.empty((n - 1, n_u))))
    return episodes


def judged(fit, episodes):
    """What `fit` makes of the records: finite runs, or one of the package's own errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = Trajectories(Trajectory(y, u, 0.1, missing=True) for y, u in episodes)
            model = fit(data)
            longest = max(data, key=len)
            runs = model.predict([longest], n_init=min(5, len(longest)))
    except KoopctrlError as error:
        return str(error)
    missing = np.isnan(longest.outputs) & (np.arange(len(longest)) < 5)[:, None]  # measured rows, as they are
    assert all(np.isfinite(run[~missing]).all() for run in runs)
    return ""


MODELS = {
    "subspace": lambda data: subspace(data, 2, stable=True),
    "hidden": lambda data: KoopmanRNN(4, n_states=2, max_iter=4, random_state=0, rollout_margin=0.5).fit(
        data
    ),
    "window": lambda data: KoopmanRNN(6, output_lags=2, input_lags=2, random_state=0, rollout_margin=0.5).fit(
        data
    ),
}


@pytest.mark.parametrize("kind", MODELS)
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(episodes=records())
def test_odd_records_give_a_model_or_a_clear_error(kind, episodes):
    judged(MODELS[kind], episodes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
@settings(max_examples=many(330), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(episodes=records())
def test_many_odd_records(kind, episodes):
    judged(MODELS[kind], episodes)


LOOKS = {
    "spectrum": lambda data: data.spectrum().coherence,
    "detrend": lambda data: data.detrend(outputs="linear").operating_point[0],
    "delay": lambda data: suggest_delay(data).impulse,
    "order": lambda data: list(suggest_order(data, max_order=3).errors),
    "advice": excitation_advice,
    "uncertainty": lambda data: linear_uncertainty(KoopmanRNN(0, n_states=2, max_iter=4).fit(data), data).cov,
    "online": lambda data: (
        KoopmanRNN(4, random_state=0).fit(data).partial_fit(data, forgetting=0.9).network_.coef
    ),
}


@pytest.mark.parametrize("kind", LOOKS)
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(episodes=records())
def test_what_is_read_off_odd_records_is_a_number_or_a_clear_error(kind, episodes):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = LOOKS[kind](Trajectories(Trajectory(y, u, 0.1, missing=True) for y, u in episodes))
    except KoopctrlError:
        return
    if kind not in ("advice", "spectrum"):  # coherence of what has no power is NaN
        assert np.isfinite(found).all()


@pytest.mark.slow
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(episodes=records())
def test_a_selection_on_odd_records(episodes):
    judged(lambda data: select(data, max_trials=2, random_state=0), episodes)


@pytest.mark.slow
def test_the_order_of_ten_noisy_linear_plants_is_found_and_their_free_run_is_the_plants():
    """Orders 2 to 8, 10 % output noise."""
    found, excess = 0, []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        order = 2 + seed % 7
        plant = random_plant(order, rng)
        runs = [simulated(plant, 1500, rng) for _ in range(2)]
        (y, u, _), (y_test, u_test, clean) = runs
        model = subspace(Trajectories.from_arrays(y, u, dt=1.0), "validation", max_order=10)
        test = Trajectories.from_arrays(y_test, u_test, dt=1.0)
        error = np.sqrt(np.mean((model.predict(test, 50)[0] - y_test)[50:] ** 2))
        excess.append(error / np.sqrt(np.mean((clean - y_test)[50:] ** 2)))
        found += model.n_x == order
    assert found >= 8
    assert max(excess) <= 1.05


def random_plant(order, rng):
    """Well damped modes spread over the frequencies, all of them to be seen."""
    blocks, n = [], order
    while n:
        if n == 1:
            blocks.append(np.array([[rng.uniform(0.5, 0.9)]]))
            break
        radius, angle = rng.uniform(0.7, 0.95), rng.uniform(0.2, 2.5)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        blocks.append(radius * turn)
        n -= 2
    a = np.zeros((order, order))
    i = 0
    for block in blocks:
        a[i : i + len(block), i : i + len(block)] = block
        i += len(block)
    return (
        a,
        rng.choice([-1, 1], (order, 1)) * rng.uniform(0.5, 1.5, (order, 1)),
        rng.uniform(0.5, 1.5, (1, order)),
    )


def simulated(plant, n, rng):
    a, b, c = plant
    u, x, clean = rng.normal(size=(n, 1)), np.zeros(len(a)), np.empty((n, 1))
    for k in range(n):
        clean[k] = c @ x
        x = a @ x + b @ u[k]
    return clean + 0.1 * clean.std() * rng.normal(size=clean.shape), u, clean
