"""scikit-learn's habits: parameters, seeds, refits, cross-validation."""

import copy

import numpy as np
import pytest
from rnn_records import DUFFING, LINEAR, all_bits, quick
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score

from koopctrl import KoopmanRNN, Trajectories
from koopctrl.errors import DataError
from koopctrl.network.samplers import SAMPLERS


def test_params_round_trip_and_clone_is_unfitted():
    model = quick(input_coupling="quadratic", ridge=1e-6)
    params = model.get_params()
    assert set(params) == {
        "n_features", "sampler", "activation", "feature_scale", "input_coupling", "output_lags", "input_lags",
        "feedthrough", "rcond", "ridge", "solver", "random_state", "n_states", "n_output_features", "refine",
        "rounds", "max_iter", "validation_fraction", "rollout_margin", "smooth", "symmetry",
        "parameters", "parameter_coupling", "known", "theta0",
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
