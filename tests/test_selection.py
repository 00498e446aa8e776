"""Ensembles and selection: what a user relies on when the package chooses."""

import time
from types import SimpleNamespace

import numpy as np
import plants
import pytest
from sklearn.base import clone

from koopctrl import KoopmanEnsemble, KoopmanRNN, Trajectories, datasets, load, select
from koopctrl.ensemble import combine
from koopctrl.errors import DataError, OptionError
from koopctrl.identification.folds import Fold, make_folds
from koopctrl.identification.free_run_score import nrmse
from koopctrl.selection import Trial, search
from koopctrl.selection.mixture import pick_members
from koopctrl.selection.trials import ordered

pytestmark = pytest.mark.filterwarnings("ignore:.*roll-outs:koopctrl.errors.RolloutWarning")


def wiener(n=240, n_episodes=3, noise=0.02, seed=0):
    """Linear dynamics, a curved output."""
    rng = np.random.default_rng(seed)
    a, b, _ = plants.oscillator()
    ys, us = [], []
    for _ in range(n_episodes):
        u = np.repeat(rng.uniform(-2, 2, (n // 8, 1)), 8, axis=0)
        x = plants.roll(plants.linear_step(a, b), rng.uniform(-1, 1, 2), u)[:-1]
        ys.append(x[:, :1] + 0.4 * x[:, :1] ** 2 + noise * rng.normal(size=(len(x), 1)))
        us.append(u)
    return Trajectories.from_arrays(ys, us, dt=0.1)


TRAIN, TEST = wiener(), wiener(n_episodes=4, seed=9)
BASE = KoopmanRNN(8, n_states=2, n_output_features=8, max_iter=8)


# --- folds and scores --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_episodes", [1, 2, 7])
def test_folds_hold_every_sample_out_once(n_episodes):
    data = wiener(n=240, n_episodes=n_episodes)
    folds = make_folds(data, 3)
    held_out = np.sort(np.concatenate([e.outputs[:, 0] for f in folds for e in f.test]))
    np.testing.assert_array_equal(held_out, np.sort(np.concatenate([e.outputs[:, 0] for e in data])))
    for fold in folds:
        seen = np.concatenate([e.outputs[:, 0] for e in fold.train])
        unseen = np.concatenate([e.outputs[:, 0] for e in fold.test])
        assert not np.intersect1d(seen, unseen).size
        if fold.data is not None:
            assert sum(rows.sum() for rows in fold.hidden_rows) == len(unseen) - fold.n_init * len(fold.test)


def test_short_records_have_more_folds_and_a_few_episodes_are_folds_themselves():
    from koopctrl.selection.search import _n_folds, _rungs, _spread

    assert [_n_folds(wiener(n=n, n_episodes=1)) for n in (120, 480, 4800, 12_000)] == [3, 7, 5, 3]
    assert _n_folds(wiener(n=240, n_episodes=5)) == 5
    assert [_rungs(n) for n in (3, 5, 8)] == [[1, 2, 3], [1, 2, 4, 5], [2, 4, 8]]
    folds = make_folds(wiener(n=960, n_episodes=1), 8)
    order = [folds.index(f) for f in _spread(folds)]
    assert sorted(order) == list(range(8))
    assert abs(order[0] - order[1]) > 1


def test_no_segment_starts_in_a_stretch_without_outputs():
    from koopctrl.identification.segments import cut

    y, u = np.zeros((1000, 1)), np.zeros((1000, 1))
    y[480:600] = np.nan
    data = cut([(y, u)], 500, False)
    assert data.where == ((0, 0, 600), (0, 600, 1000))
    assert data.count == 880
    assert data.inside.sum() == 1000


def test_records_too_short_to_hold_a_part_out_are_refused():
    with pytest.raises(DataError, match="too few"):
        make_folds(Trajectories.from_arrays(np.arange(10.0), np.arange(10.0), dt=1.0), 3)


def test_one_divergent_run_cannot_ruin_a_score():
    fold = Fold(TRAIN, TEST, 10)
    good = [e.outputs + 0.01 for e in TEST]
    wild = [*good[:-1], np.full_like(good[-1], np.inf)]
    assert nrmse(good, fold) < 0.1
    assert nrmse(good, fold) < nrmse(wild, fold) < 1.0
    assert np.isfinite(nrmse([np.full_like(g, np.nan) for g in good], fold))


def test_the_score_does_not_look_at_held_out_outputs():
    """Other numbers in the held-out block must not change what is predicted there, but for what
    initialises.
    """
    from koopctrl.ensemble import held_out_runs

    data = wiener(n=240, n_episodes=1)
    fold = make_folds(data, 3)[1]
    rows = fold.hidden_rows[0]
    y = data[0].outputs.copy()
    y[rows] += 5.0 * np.random.default_rng(0).normal(size=(rows.sum(), 1))
    other = make_folds(Trajectories.from_arrays(y, data[0].inputs, dt=0.1), 3)[1]
    model = KoopmanRNN(5, n_states=2, max_iter=5, random_state=0)
    for p, q in zip(held_out_runs(clone(model), fold)[1], held_out_runs(clone(model), other)[1], strict=True):
        np.testing.assert_allclose(p, q, atol=1e-9)


# --- ensembles ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ensemble():
    return KoopmanEnsemble(BASE, 6, n_folds=3, random_state=0).fit(TRAIN)


def rmse(runs, data, first=20):
    return np.sqrt(
        np.mean(np.concatenate([(r - e.outputs)[first:] for r, e in zip(runs, data, strict=True)]) ** 2)
    )


@pytest.mark.slow
def test_the_mean_is_better_than_most_members(ensemble):
    members = [rmse(m.predict(TEST, n_init=20), TEST) for m in ensemble.members_]
    assert rmse(ensemble.predict(TEST, n_init=20), TEST) <= 1.02 * np.median(members)
    assert ensemble.score(TEST, n_init=20) > 0.9
    assert len({m.random_state for m in ensemble.members_}) == 6


def test_a_failed_member_cannot_spoil_the_mean(ensemble):
    good = [m.predict(TEST, n_init=20)[0] for m in ensemble.members_]
    mean, spread = combine(np.stack(good), np.ones(6))
    for bad in (np.full_like(good[0], 1e6), np.full_like(good[0], np.nan), good[0] + 1e3):
        with_bad, its_spread = combine(np.stack([*good, bad]), np.ones(7))
        assert np.abs(with_bad - mean).max() <= 3.0 * spread.max() + 1e-9
        assert np.isfinite(its_spread).all()


def test_a_member_that_wanders_for_a_while_does_not_take_the_mean_along():
    rng = np.random.default_rng(0)
    runs = rng.normal(size=(8, 200, 1))
    wandering = runs.copy()
    wandering[3, 80:120] += 10.0  # too short to leave the others as a whole
    mean, _ = combine(wandering, np.ones(8))
    assert np.abs(mean - runs.mean(axis=0))[80:120].mean() < 0.5
    few, _ = combine(runs[:3], np.ones(3))
    np.testing.assert_allclose(few, runs[:3].mean(axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_bands_cover_what_they_say(coverage):
    """Many short episodes of one kind: those held out and those of the test are exchangeable."""
    train, test = (
        wiener(n=64, n_episodes=30, noise=0.1, seed=3),
        wiener(n=64, n_episodes=100, noise=0.1, seed=4),
    )
    model = KoopmanEnsemble(KoopmanRNN(0, n_states=2), 6, n_folds=3, random_state=0).fit(train)
    n_init = 20
    inside = [
        ((e.outputs >= low) & (e.outputs <= high))[n_init:]
        for (low, high), e in zip(model.predict_band(test, n_init, coverage), test, strict=True)
    ]
    assert np.mean(np.concatenate(inside)) == pytest.approx(coverage, abs=0.03)


def test_an_ensemble_is_saved_and_loaded(ensemble, tmp_path):
    ensemble.save(tmp_path / "e.npz")
    other = load(tmp_path / "e.npz")
    for p, q in zip(ensemble.predict(TEST, n_init=20), other.predict(TEST, n_init=20), strict=True):
        np.testing.assert_array_equal(p, q)
    for a, b in zip(ensemble.predict_band(TEST, 20)[0], other.predict_band(TEST, 20)[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert other.lift_at().n_z == ensemble.lift_at().n_z
    assert clone(other).n_members == 6


def test_bad_options_of_an_ensemble_are_named(ensemble):
    with pytest.raises(OptionError, match="n_members"):
        KoopmanEnsemble(BASE, 0).fit(TRAIN)
    with pytest.raises(OptionError, match="expected KoopmanRNN"):
        KoopmanEnsemble(["linear"]).fit(TRAIN)
    with pytest.raises(OptionError, match="coverage"):
        ensemble.predict_band(TEST, 20, coverage=1.5)
    with pytest.raises(OptionError, match="n_folds"):
        KoopmanEnsemble(KoopmanRNN(0, n_states=2), 2, n_folds=0).fit(TRAIN).predict_band(TEST)


# --- who shares an ensemble ---------------------------------------------------------------------------------


def trial_of(runs, folds, name):
    error = [nrmse(r, f) for r, f in zip(runs, folds, strict=True)]
    return Trial({"n_features": name}, error, [0.1] * len(folds), len(folds), runs={0: runs})


def test_members_are_picked_that_make_the_mean_better():
    """Two candidates whose errors cancel beat the best one with the next best of its kind."""
    folds = make_folds(TRAIN, 3)
    rng = np.random.default_rng(0)

    def shifted(by, noise=0.0):
        return [[e.outputs + by + noise * rng.normal(size=e.outputs.shape) for e in f.test] for f in folds]

    best, other, alike = (
        trial_of(shifted(by), folds, name) for name, by in ((1, 0.10), (2, -0.12), (3, 0.11))
    )
    wild = trial_of([[np.full_like(r, np.nan) for r in runs] for runs in shifted(0.0)], folds, 4)
    order = sorted([wild, alike, other, best], key=lambda t: t.rank)
    picked = pick_members(order, folds, 4)
    assert [t.settings["n_features"] for t in picked] in ([1, 2, 1, 2], [1, 2, 3, 2], [1, 2, 2, 1])
    assert wild not in picked
    lucky = trial_of(shifted(0.10, noise=0.01), folds, 5)
    lucky.runs[0][0] = [e.outputs - 0.11 for e in folds[0].test]  # helps on one fold alone
    assert pick_members([best, lucky], folds, 4) == [best] * 4
    alone = pick_members([best, wild], folds, 3)
    assert alone == [best] * 3  # others only where they help


def test_a_candidate_whose_samplings_scatter_about_the_truth_is_worth_its_mean_of_all_members():
    """Three seeds of error 0.3 that average out, beside one of a steady error that is smaller than their mean
    of three but larger than a mean of thirty.
    """
    folds = make_folds(TRAIN, 3)
    rng = np.random.default_rng(1)
    scale = np.concatenate([e.outputs for e in TRAIN]).std()

    def seeds(noise, by):
        def off(e):
            return e.outputs + scale * (by + noise * rng.normal(size=e.outputs.shape))

        return {s: [[off(e) for e in f.test] for f in folds] for s in range(3)}

    found = []
    for name, noise, by in ((1, 0.3, 0.0), (2, 0.0, 0.12)):
        runs = seeds(noise, by)
        errors = [nrmse(runs[s][i], f) for s in range(3) for i, f in enumerate(folds)]
        found.append(Trial({"n_features": name}, errors, [0.1] * 9, 3, runs=runs))
    scattered, steady = found
    assert scattered.error > steady.error
    assert pick_members([steady, scattered], folds, 30)[0] is scattered
    assert pick_members([steady, scattered], folds, 2)[0] is steady


def test_one_wild_sampling_does_not_make_a_candidate_look_good():
    """Its variance is large because of that one; what is put right for it must not be more than it did."""
    folds = make_folds(TRAIN, 3)
    scale = np.concatenate([e.outputs for e in TRAIN]).std()

    def runs(*shifts):
        return {s: [[e.outputs + by * scale for e in f.test] for f in folds] for s, by in enumerate(shifts)}

    found = []
    for name, shifts in ((1, (0.25, 0.25, 1.5)), (2, (0.15, 0.15, 0.15))):
        r = runs(*shifts)
        errors = [nrmse(r[s][i], f) for s in range(3) for i, f in enumerate(folds)]
        found.append(Trial({"n_features": name}, errors, [0.1] * 9, 3, runs=r))
    assert {t.settings["n_features"] for t in pick_members(found, folds, 8)} == {2}


def test_what_the_clock_left_with_some_folds_is_compared_on_these():
    """Neither does a poor one win for having seen all, nor a lucky one for having seen little."""

    def trial(settings, *errors):
        return Trial(settings, list(errors), [0.1] * len(errors), 4)

    linear = trial({"n_features": 0}, 0.30, 0.40, 0.50, 0.20)
    much_better = trial({"n_features": 5}, 0.03, 0.04)
    bit_better = trial({"n_features": 6}, 0.27)
    failed = trial({"n_features": 7}, np.inf)
    easy_fold = trial({"n_features": 8}, 0.30, 0.40)  # below the linear one's mean, but not below it there
    unknown = trial({"n_features": 11}, 0.001)  # may diverge on the others
    assert ordered([unknown, linear])[0] is linear
    found = ordered([linear, bit_better, failed, easy_fold, much_better])
    assert found[0] is much_better
    assert found[1] is linear
    assert found[-1] is failed
    assert ordered([bit_better, much_better])[0] is much_better
    seen = trial({"n_features": 9}, *[0.05] * 8)  # with two seeds
    lucky = trial({"n_features": 10}, *[0.04] * 4)
    assert ordered([lucky, linear, seen])[0] is seen


# --- selection ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_choice_is_the_same_for_the_same_seed_and_beats_the_linear_models():
    model = select(TRAIN, max_trials=9, random_state=3)
    one, two = (select(TRAIN, max_trials=3, random_state=3).predict(TEST, n_init=20)[0] for _ in range(2))
    np.testing.assert_array_equal(one, two)
    found = model.selection_
    assert found.best.seeds >= 2  # confirmed
    assert found.best.rank == min(t.rank for t in found.trials if t.seeds >= 2)
    linear = [t for t in found.trials if t.settings["n_features"] == 0]
    assert linear
    assert found.best.error < 0.7 * min(t.error for t in linear)
    assert list(found.table["error"][:1]) == [found.best.error]
    assert model.rollout_margin is not None
    best_linear = KoopmanRNN(0, n_states=2).fit(TRAIN)
    errors = [rmse(m.predict(TEST, n_init=20), TEST) for m in (model, best_linear)]
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.slow
def test_a_linear_plant_gets_a_model_as_good_as_the_true_one():
    a, b, dt = plants.oscillator()
    rng = np.random.default_rng(0)
    ys, us, clean = [], [], []
    for _ in range(4):
        u = rng.normal(size=(300, 1))
        x = plants.roll(plants.linear_step(a, b), np.zeros(2), u)[:-1, :1]
        clean.append(x)
        ys.append(x + 0.1 * x.std() * rng.normal(size=x.shape))
        us.append(u)
    train = Trajectories.from_arrays(ys[:3], us[:3], dt=dt)
    model = select(train, max_trials=4, random_state=0)
    run = model.predict(Trajectories.from_arrays(ys[3], us[3], dt=dt), n_init=50)[0]
    noise = np.std(ys[3] - clean[3])
    assert np.sqrt(np.mean((run - ys[3])[50:] ** 2)) <= 1.05 * noise


@pytest.mark.slow
def test_given_candidates_are_tried_beside_linear_models():
    wanted = [{"n_states": 2, "n_features": 7}, {"n_features": 9, "output_lags": 2, "input_lags": 2}]
    model = select(TRAIN, max_trials=100, candidates=wanted, random_state=0)
    tried = [t.settings for t in model.selection_.trials]
    assert all(w in tried for w in wanted)
    assert any(t.get("n_features") == 0 for t in tried)


def test_a_candidate_that_fails_is_named_and_does_not_stop_the_search():
    wrong = [{"n_states": 2, "sampler": "spline"}]
    model = select(TRAIN[:1], max_trials=100, candidates=wrong, random_state=0)
    assert any("sampler" in t.message for t in model.selection_.trials)


@pytest.mark.slow
def test_a_budget_of_time_is_honoured_and_an_ensemble_comes_back(monkeypatch):
    train = datasets.hair_dryer().split(0.5, by="time")[0]
    # Seconds of this process: what else the machine does is none of the search's time.
    monkeypatch.setattr(search, "time", SimpleNamespace(perf_counter=time.process_time))
    begun = time.process_time()
    model = select(train, 12.0, n_members=4, random_state=0)
    assert time.process_time() - begun < 1.2 * 12.0
    assert isinstance(model, KoopmanEnsemble)
    assert 1 <= len(model.members_) <= 4
    low, high = model.predict_band(train, n_init=50)[0]  # from the search's own held-out runs
    inside = np.mean(((train[0].outputs >= low) & (train[0].outputs <= high))[50:])
    assert inside > 0.7
    assert len(model.residuals_) > 0.5 * len(train[0])


def test_a_budget_too_small_for_anything_still_gives_a_model():
    lines = []
    model = select(TRAIN, 1e-3, random_state=0, progress=lines.append)
    assert np.isfinite(model.score(TEST, n_init=20))
    assert lines


def test_bad_options_of_a_selection_are_named():
    for options, match in (
        ({"budget_s": 0.0}, "budget_s"),
        ({"max_trials": 0}, "max_trials"),
        ({"n_members": 0}, "n_members"),
        ({"candidates": ["linear"]}, "candidates"),
        ({"candidates": [{"lags": 3}]}, "candidates"),
        ({"random_state": "seed"}, "random_state"),
    ):
        with pytest.raises(OptionError, match=match):
            select(TRAIN, **options)
    short = Trajectories.from_arrays(np.zeros((50, 1)), np.zeros((49, 1)), dt=1.0)
    with pytest.raises(OptionError, match="feedthrough"):
        select(short, max_trials=1, feedthrough=True)
    with pytest.raises(DataError):
        select(short, max_trials=3)
