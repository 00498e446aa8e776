"""ridge="auto": evidence, raised where free runs on held-out episodes gain by it."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import plants
import pytest

from koopctrl import KoopmanRNN, Trajectories
from koopctrl.identification.held_out import Segments, cut, episodes, split
from koopctrl.identification.least_squares import SOLVERS, make_accumulator
from koopctrl.identification.penalty import free_run_error, penalty_by_free_run

DUFFING = plants.record(
    plants.sampled(plants.duffing, 0.1), 2, 1, 0.1, n_episodes=15, n_steps=40, x_max=1.5, u_max=1.0
)


def error_of(ridge, data, horizon=20, n_features=60):
    """Free-run error on held-out episodes of a model fitted to the others, by plain means."""
    train = Trajectories.coerce([e for i, e in enumerate(data) if i % 5 != 2 and i > 1])
    held = Trajectories.coerce([e for i, e in enumerate(data) if i % 5 == 2])
    model = KoopmanRNN(n_features, random_state=0, ridge=ridge).fit(train)
    other = KoopmanRNN(0, ridge=0.0).fit(held)
    segments = cut(other.snapshots_, episodes(other.network_.window, other.snapshots_), horizon, 100)
    return free_run_error(model.network_, segments)


def test_the_error_is_the_mean_of_root_mean_squares_each_one_spread_at_most():
    model = KoopmanRNN(0, input_coupling="linear").fit(DUFFING)
    net = model.network_
    rng = np.random.default_rng(0)
    x0, u = rng.uniform(-1, 1, (3, 2)), rng.uniform(-1, 1, (3, 4, 1))
    exact = net.rollout(x0, u)[0][:, 1:]
    off = exact + np.array([0.0, 0.1, 50.0])[:, None, None] * net.scaling.y_scale
    assert free_run_error(net, Segments(x0, u, off)) == pytest.approx((0.0 + 0.1 + 1.0) / 3)


def test_the_penalty_is_raised_where_free_runs_gain_by_it():
    # Few data, many neurons: the evidence of noise-free one-step errors goes down to rounding.
    rng = np.random.default_rng(3)
    few = plants.record(
        plants.sampled(plants.duffing, 0.1), 2, 1, 0.1, n_episodes=10, n_steps=30, x_max=1.5, u_max=1.0
    )
    noisy = Trajectories.from_arrays(
        [e.outputs + 0.02 * rng.standard_normal(e.outputs.shape) for e in few],
        [e.inputs for e in few], dt=0.1,
    )  # fmt: skip
    by_choice = error_of("auto", noisy)
    by_rounding = error_of(1e-14, noisy)
    assert by_choice < by_rounding


def test_where_the_evidence_is_right_nothing_changes():
    a, b, dt = plants.oscillator()
    data = plants.record(plants.linear_step(a, b), 2, 1, dt, n_episodes=10)
    model = KoopmanRNN(10, random_state=0).fit(data)
    assert model.solution_.ridge.max() < 1e-10
    np.testing.assert_allclose(model.network_.jacobian(np.zeros(2), np.zeros(1))[0], a, atol=1e-8)


def test_all_rows_count_in_the_end():
    model = KoopmanRNN(20, random_state=0).fit(DUFFING)
    fixed = KoopmanRNN(20, random_state=0, ridge=1e-6).fit(DUFFING)
    assert model.solution_.n_rows == fixed.solution_.n_rows == DUFFING.n_steps


@pytest.mark.parametrize("solver", SOLVERS)
def test_merged_accumulators_have_seen_the_rows_of_both(solver):
    rng = np.random.default_rng(0)
    phi, y = rng.standard_normal((60, 5)), rng.standard_normal((60, 2))
    parts = [make_accumulator(solver, 5, 2) for _ in range(2)]
    parts[0].update(phi[:25], y[:25])
    parts[1].update(phi[25:], y[25:])
    merged = parts[0].merge(parts[1]).solve(1e-12)
    np.testing.assert_allclose(merged.coef, np.linalg.lstsq(phi, y, rcond=None)[0], atol=1e-9)
    assert merged.n_rows == 60
    first = parts[0].solve(1e-12)
    parts[0].update(phi[25:], y[25:])
    assert not np.allclose(parts[0].solve(1e-12).coef, first.coef)


@pytest.mark.parametrize("lengths", [[300], [300, 50, 50], [40] * 12, [3], [120, 3, 200]])
def test_every_pair_is_either_fitted_or_held_out(lengths):
    edges = np.cumsum([0, *lengths])
    runs = [slice(int(a), int(b)) for a, b in pairwise(edges)]
    fit, judge = split(runs)
    seen = sorted(i for r in fit + judge for i in range(r.start, r.stop))
    assert seen == list(range(sum(lengths)))
    held = sum(r.stop - r.start for r in judge)
    assert held <= sum(lengths) / 2 or len(lengths) > 2


def room(n_episodes=20, n_steps=60, seed=0):
    """A linear plant that is driven by weather nobody measures as a whole: what neurons could only guess."""
    rng = np.random.default_rng(seed)
    turn = np.array([[np.cos(0.1), np.sin(0.1)], [-np.sin(0.1), np.cos(0.1)]])
    outputs, inputs = [], []
    for _ in range(n_episodes):
        x, w, u = rng.normal(), rng.normal(size=2), rng.uniform(-1, 1, (n_steps, 1))
        rows = []
        for k in range(n_steps):
            rows.append([x, w[0]])
            x = 0.9 * x + 0.2 * w[0] + 0.3 * u[k, 0]
            w = turn @ w + 0.05 * rng.normal(size=2)
        outputs.append(np.array(rows))
        inputs.append(u[:-1])
    return Trajectories.from_arrays(outputs, inputs, dt=1.0)


def unseen_error(model, horizon=20):
    other = KoopmanRNN(0, ridge=0.0, output_lags=2, input_lags=2).fit(room(seed=1))
    segments = cut(other.snapshots_, episodes(other.network_.window, other.snapshots_), horizon, 200)
    return free_run_error(model.network_, segments)


def test_neurons_that_explain_little_do_not_spoil_the_linear_part():
    data, lags = room(), {"output_lags": 2, "input_lags": 2}
    linear = KoopmanRNN(0, input_coupling="linear", **lags).fit(data)
    network = KoopmanRNN(200, random_state=0, smooth=False, **lags).fit(data)
    assert unseen_error(network) < 1.02 * unseen_error(linear)
    # One penalty for all, the best of them: what it was before.
    same = [
        KoopmanRNN(200, random_state=0, ridge=r, smooth=False, **lags).fit(data) for r in (1e-6, 1e-4, 1e-2)
    ]
    assert unseen_error(network) < 0.98 * min(unseen_error(m) for m in same)


@pytest.mark.parametrize("kind", ["linear", "bilinear", "quadratic", "network"])
def test_the_linear_models_regressors_are_told_apart(kind):
    model = KoopmanRNN(15, random_state=0, input_coupling=kind, smooth=False).fit(DUFFING)
    net = model.network_
    beyond = net.coupling.nonlinear(net.n_dictionary, 2)
    # Weights on what is left alone make the network linear in state and input.
    rng = np.random.default_rng(0)
    coef = np.where(beyond[:, None], 0.0, rng.normal(size=(len(beyond), 2)))
    step = replace(net, coef=coef).step
    (x1, x2), (u1, u2) = rng.normal(size=(2, 2)), rng.normal(size=(2, 1))
    zero = step(np.zeros(2), np.zeros(1))
    np.testing.assert_allclose(
        step(x1 + 2.0 * x2, u1 + 2.0 * u2) - zero,
        step(x1, u1) - zero + 2.0 * (step(x2, u2) - zero), atol=1e-12,
    )  # fmt: skip
    assert np.linalg.matrix_rank(coef) == 2
    assert np.count_nonzero(~beyond) == 4


def test_neurons_stay_where_noise_drives_the_plant():
    """Two wells that noise leads between: no free run follows it; the linear model's is as good as any."""
    rng = np.random.default_rng(0)
    x, u = np.empty((60, 41, 1)), rng.uniform(-1, 1, (60, 40, 1))
    x[:, 0] = rng.uniform(-2, 2, (60, 1))

    def drift(x):
        return 0.8 * x + 1.5 * np.sin(2.0 * x)

    for k in range(40):
        x[:, k + 1] = drift(x[:, k]) + 0.3 * u[:, k] + 0.2 * rng.normal(size=(60, 1))
    data = Trajectories.from_arrays(x, u, dt=0.1)
    model = KoopmanRNN(80, random_state=0, input_coupling="linear").fit(data)
    grid = np.linspace(-2.5, 2.5, 101)[:, None]
    error = model.network_.step(grid, np.zeros((101, 1))) - drift(grid)
    assert np.sqrt(np.mean(error**2)) < 0.2


@pytest.mark.parametrize(
    ("n_x", "size", "spread", "expected"),
    [
        (2, 0.06, 0.02, 1e-6),  # alike in free runs, which differ by more than their means do
        (2, 0.06, 0.0, 1e-10),  # every run is a little worse: they can be told apart
        (2, 0.3, 0.1, 1e-10),  # runs that do not follow the plant tell nothing
        (1, 0.06, 0.02, 1e-10),  # no window
    ],
)
def test_of_penalties_of_windows_whose_free_runs_are_alike_first_steps_decide(n_x, size, spread, expected):
    n, rng = 200, np.random.default_rng(0)
    own = size * (1.0 + 0.2 * rng.random(n))
    other = own * 1.01 + spread * rng.standard_normal(n)
    other = np.maximum(other + 1.01 * own.mean() - other.mean(), 0.01)
    runs = {1e-10: (own, 0.01), 1e-6: (other, 0.005)}
    worst = (np.full(n, 3.0 * size), 0.001)

    class Accumulator:
        def solve(self, rcond, ridge, weights=None):
            ridge = np.array([1e-10]) if isinstance(ridge, str) else ridge
            return SimpleNamespace(ridge=ridge, coef=ridge)

    def make(coef):
        errors, first = runs.get(float(f"{coef[0]:.0e}"), worst)

        def rollout(x0, u):
            """Root mean squares along two steps are `errors`; those of first steps are `first`."""
            second = np.sqrt(2.0 * errors**2 - first**2)
            return np.stack([0.0 * errors, np.full(n, first), second], axis=1)[..., None], None

        return SimpleNamespace(rollout=rollout, scaling=SimpleNamespace(y_scale=np.ones(1)))

    segments = Segments(np.zeros((n, n_x)), np.zeros((n, 2, 1)), np.zeros((n, 2, 1)))
    penalty, _ = penalty_by_free_run(Accumulator(), 1e-12, make, segments)
    assert penalty.ridge[0] == pytest.approx(expected)
