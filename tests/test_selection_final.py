"""The clock of a selection, and its end: a fit that has failed on its own data is made again."""

from types import SimpleNamespace

import numpy as np
import pytest
from test_selection_first import record

from koopctrl import KoopmanRNN
from koopctrl.identification.folds import Fold, make_folds
from koopctrl.identification.free_run_score import nrmse
from koopctrl.selection import Trial, final_fit, search
from koopctrl.selection.search import Search

DATA = record(lambda u: np.tanh(1.5 * u), 600, 0)
FOLDS = make_folds(DATA, 3)
SETTINGS = {"n_states": 2, "n_features": 10, "feature_scale": 1.0, "max_iter": 4}


def own_error(model):
    return nrmse(model.predict(DATA, FOLDS[0].n_init), Fold(DATA, DATA, FOLDS[0].n_init))


@pytest.fixture
def fitted(monkeypatch):
    """Seeds of all fits that are made."""
    seeds = []
    fit = KoopmanRNN.fit

    def noted(self, *args, **kwargs):
        seeds.append(self.random_state)
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(KoopmanRNN, "fit", noted)
    return seeds


def trial(error):
    return Trial(SETTINGS, [error] * 3, [0.1] * 3, n_folds=3)


@pytest.mark.parametrize("n_members", [1, 2])
def test_what_fits_its_own_data_worse_than_its_settings_fitted_others_is_sampled_again(fitted, n_members):
    model = final_fit.fit_members([trial(1e-6)] * n_members, DATA, FOLDS, n_members, 5, lambda: False)
    assert len(fitted) == 3 * n_members == len(set(fitted))
    members = [model] if n_members == 1 else model.members_
    for one in members:
        first = one.random_state - max(k for k in range(3) if one.random_state - k in fitted)
        tried = [KoopmanRNN(**one.get_params() | {"random_state": first + k}).fit(DATA) for k in range(3)]
        assert own_error(one) == min(own_error(m) for m in tried)
    if n_members > 1:
        np.testing.assert_array_equal(model.weights_, 0.0)  # all have failed, and it is said


def test_a_good_fit_is_made_once_and_so_is_one_without_time(fitted):
    final_fit.fit_members([trial(1.0)], DATA, FOLDS, 1, 5, lambda: False)
    final_fit.fit_members([trial(1e-6)], DATA, FOLDS, 1, 5, lambda: True)
    assert fitted == [5, 5]


def test_one_fold_that_failed_does_not_hide_a_failure(fitted):
    """The median over folds is what is asked for."""
    final_fit.fit_members(
        [Trial(SETTINGS, [1e-6, 1.0, 1e-6], [0.1] * 3, n_folds=3)], DATA, FOLDS, 1, 5, lambda: False
    )
    assert len(fitted) == 3


def search_of(*trials, budget_s=100.0):
    """A search for an ensemble of eight; a fold of these trials is two thirds of the data."""
    search = Search(DATA, budget_s, None, 8, np.random.default_rng(0), None)
    search.trials = list(trials)
    return search


def scored(error, seconds):
    return Trial(SETTINGS | {"ridge": error}, [error], [seconds], n_folds=len(FOLDS))


def test_what_is_better_and_slow_goes_on_though_there_is_no_time_for_all_members():
    """Eight fits of it would take more of the budget than a final fit may, one would not."""
    quick, better = scored(0.2, 0.1), scored(0.1, 5.0)
    assert search_of(quick, better)._promising([quick, better], 1, 2.5) == [better, quick]


def test_what_cannot_be_fitted_to_all_data_in_time_is_no_bar_for_others():
    quick, endless = scored(0.2, 0.1), scored(0.01, 80.0)
    assert search_of(quick, endless)._promising([quick, endless], 1, 1.5) == [quick]
    assert search_of(endless)._promising([endless], 1, 1.5) == [endless]  # there is no other


def test_what_errs_far_more_than_the_best_is_no_leader():
    """Neither confirming it nor time for its final fit is worth anything."""

    def full(error, **settings):
        return Trial(SETTINGS | settings, [error] * len(FOLDS), [1.0] * len(FOLDS), n_folds=len(FOLDS))

    windows = [full(e, n_states=None, output_lags=2, ridge=e) for e in (0.10, 0.12)]
    far, linear = full(0.2), full(0.4, n_features=0)
    assert search_of(linear, far, *windows).leaders() == windows
    assert search_of(linear, far).leaders() == [far]


@pytest.mark.parametrize("seconds", [0.5, 2.0, 4.0])
def test_some_of_a_slow_batch_see_all_folds(seconds, monkeypatch):
    """Whatever a fold takes: first folds of all of them would take more time than there is."""
    now = [0.0]
    monkeypatch.setattr(search, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def score(settings, *_):
        now[0] += seconds
        return settings["ridge"], [], seconds, ""

    monkeypatch.setattr(search, "score_fold", score)
    slow = search_of(budget_s=200.0)
    slow.run([{"n_features": 0, "ridge": 1.0}], keep=6, linear=True)
    slow.run([SETTINGS | {"ridge": 0.1 + 1e-3 * i} for i in range(40)], keep=6)
    assert any(t.full and not t.linear for t in slow.trials)
    assert now[0] <= 180.0


def test_a_member_is_begun_if_there_is_time_to_end_it():
    one = scored(0.1, 5.0)
    search = search_of(one)
    cost = search.fit_cost(one)
    assert cost >= 5.0
    search.started -= 100.0 - 2.0 * cost
    assert not search._no_time([one])()
    search.started -= 1.5 * cost
    assert search._no_time([one])()
    assert not search_of(one, budget_s=None)._no_time([one])()
