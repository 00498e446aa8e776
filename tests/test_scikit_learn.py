"""scikit-learn's own tools on the estimators: clone, parameters, searches, pipelines, workers."""

import copy
import pickle

import numpy as np
import plants
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    LeaveOneOut,
    LeavePOut,
    RandomizedSearchCV,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
    cross_val_score,
    cross_validate,
    train_test_split,
)
from sklearn.pipeline import Pipeline, make_pipeline

from koopctrl import KoopmanEnsemble, KoopmanRNN, Trajectories
from koopctrl.errors import DataError, KoopctrlError, NotFittedError

A, B, DT = plants.oscillator()
DATA = plants.record(plants.linear_step(A, B), 2, 1, DT, n_episodes=8, n_steps=30)
ESTIMATORS = {
    "one step": KoopmanRNN(6, random_state=0, ridge=1e-8),
    "lags": KoopmanRNN(4, output_lags=2, input_lags=2, random_state=0, ridge=1e-8),
    "hidden": KoopmanRNN(2, n_states=2, max_iter=3, random_state=0),
    "ensemble": KoopmanEnsemble(KoopmanRNN(4, ridge=1e-8), 2, n_folds=2, random_state=0),
}


class InVolts(TransformerMixin, BaseEstimator):
    """A transformer of records: outputs and inputs in other units."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        X = Trajectories.coerce(X)  # folds come as lists of episodes
        return Trajectories.from_arrays(
            [self.factor * e.outputs for e in X], [self.factor * e.inputs for e in X], dt=X.dt
        )


@pytest.fixture(params=list(ESTIMATORS))
def estimator(request):
    return ESTIMATORS[request.param]


def test_parameters_are_what_the_constructor_was_given(estimator):
    import inspect

    names = set(inspect.signature(type(estimator).__init__).parameters) - {"self"}
    assert set(estimator.get_params(deep=False)) == names
    fresh = type(estimator)()
    for name, value in fresh.get_params(deep=False).items():
        assert getattr(fresh, name) is value
    assert estimator.set_params(**estimator.get_params(deep=False)) is estimator
    with pytest.raises(ValueError, match="bogus"):
        estimator.set_params(bogus=1)


def test_the_constructor_checks_and_changes_nothing():
    wild = {name: object() for name in KoopmanRNN().get_params()}
    model = KoopmanRNN(**wild)
    assert all(getattr(model, name) is value for name, value in wild.items())
    with pytest.raises(KoopctrlError):
        model.fit(DATA)


def test_a_clone_is_unfitted_and_fits_the_same(estimator):
    fitted = clone(estimator).fit(DATA)
    again = clone(fitted)
    with pytest.raises(NotFittedError):
        again.predict(DATA)
    for a, b in zip(fitted.predict(DATA), again.fit(DATA).predict(DATA), strict=True):
        np.testing.assert_array_equal(a, b)


def test_fit_returns_itself_leaves_parameters_alone_and_can_be_repeated(estimator):
    model = clone(estimator)
    before = copy.deepcopy(model.get_params(deep=False))
    assert model.fit(DATA) is model
    assert str(model.get_params(deep=False)) == str(before)
    first = model.predict(DATA)[0]
    np.testing.assert_array_equal(model.fit(DATA, None).predict(DATA)[0], first)
    other = model.fit(DATA[:4]).predict(DATA)[0]
    np.testing.assert_array_equal(clone(estimator).fit(DATA[:4]).predict(DATA)[0], other)


def test_fitted_estimators_go_to_workers_and_come_back(estimator):
    fitted = clone(estimator).fit(DATA)
    back = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(back.predict(DATA)[0], fitted.predict(DATA)[0])
    np.testing.assert_array_equal(copy.deepcopy(fitted).predict(DATA)[0], fitted.predict(DATA)[0])


def test_cross_validation_is_by_episodes(estimator):
    folds = KFold(4)
    scores = cross_val_score(estimator, DATA, cv=folds)
    for score, (train, test) in zip(scores, folds.split(DATA), strict=True):
        assert score == pytest.approx(clone(estimator).fit(DATA[train]).score(DATA[test]), rel=1e-9)
    found = cross_validate(estimator, DATA, cv=2, return_train_score=True)
    assert found["train_score"].shape == (2,)


def test_cross_validation_in_worker_processes_gives_the_same():
    here = cross_val_score(ESTIMATORS["one step"], DATA, cv=2)
    np.testing.assert_array_equal(cross_val_score(ESTIMATORS["one step"], DATA, cv=2, n_jobs=2), here)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_searches_over_arrays_of_settings_end_in_a_model_that_can_be_saved(n_jobs, tmp_path):
    grid = {"output_lags": np.arange(1, 3), "feature_scale": np.array([0.2, 0.5])}
    search = GridSearchCV(ESTIMATORS["one step"], grid, cv=2, n_jobs=n_jobs).fit(DATA)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ == max(search.cv_results_["mean_test_score"])
    search.best_estimator_.save(tmp_path / "m.npz")
    assert search.score(DATA) == search.best_estimator_.score(DATA)


@pytest.mark.filterwarnings("ignore::koopctrl.errors.RolloutWarning")
def test_one_record_is_searched_over_its_blocks():
    record = Trajectories(DATA.episodes[:1])
    with pytest.raises(DataError, match=r"1 episode, .* expected at least 3 .* Pass data\.blocks\(3\)"):
        cross_val_score(ESTIMATORS["one step"], record, cv=3)
    with pytest.raises(DataError, match=r"Pass data\.blocks\(5\)"):
        GridSearchCV(ESTIMATORS["one step"], {"ridge": [1e-8, 1e-6]}).fit(record)
    assert len(cross_val_score(ESTIMATORS["one step"], record.blocks(3), cv=3)) == 3


@pytest.mark.parametrize(
    "splitter",
    [
        KFold(2),
        KFold(9),
        LeaveOneOut(),
        LeavePOut(1),
        ShuffleSplit(3, random_state=0),
        TimeSeriesSplit(2),
        RepeatedKFold(n_splits=9, random_state=0),
    ],
    ids=str,
)
@pytest.mark.parametrize("n", [1, 2, 8])
def test_splitters_refuse_what_scikit_learn_refuses_and_nothing_else(splitter, n):
    """As a list, of which scikit-learn knows nothing, and as records: the same splits, or both refused."""
    data = Trajectories(DATA.episodes[:n])
    try:
        expected = [[part.tolist() for part in pair] for pair in splitter.split([0] * n)]
    except ValueError:
        with pytest.raises(ValueError) as caught:
            list(splitter.split(data))
        if n == 1 or isinstance(splitter, KFold):
            assert "data.blocks(" in str(caught.value)
            assert isinstance(caught.value, DataError)
        return
    found = [[part.tolist() for part in pair] for pair in splitter.split(data)]
    assert found == expected


@pytest.mark.filterwarnings("ignore::koopctrl.errors.RolloutWarning")
def test_splits_that_are_given_and_other_uses_take_one_record():
    record = Trajectories(DATA.episodes[:1])
    assert len(cross_val_score(ESTIMATORS["one step"], record, cv=[([0], [0])])) == 1
    with pytest.raises(DataError, match=r"data\.split\(0\.3\)"):
        train_test_split(record)
    assert [len(part) for part in train_test_split(DATA, test_size=0.25)] == [6, 2]
    make_pipeline(InVolts(), clone(ESTIMATORS["one step"])).fit(record)


def test_random_searches_and_nested_parameters_of_ensembles():
    search = RandomizedSearchCV(
        KoopmanEnsemble(KoopmanRNN(4, ridge=1e-8), 2, n_folds=0, random_state=0),
        {"model__feature_scale": [0.1, 0.3, 0.5], "n_members": [1, 2]},
        n_iter=2, cv=2, random_state=0,
    ).fit(DATA)  # fmt: skip
    assert search.best_params_["model__feature_scale"] in (0.1, 0.3, 0.5)


def test_pipelines_pass_records_through():
    plain = clone(ESTIMATORS["one step"]).fit(DATA)
    pipe = make_pipeline(InVolts(1000.0), clone(ESTIMATORS["one step"])).fit(DATA)
    assert pipe.score(DATA) == pytest.approx(plain.score(DATA), rel=1e-9)
    np.testing.assert_allclose(
        pipe.predict(DATA)[0] / 1000.0, plain.predict(DATA)[0], atol=1e-9 * np.abs(DATA[0].outputs).max()
    )
    search = GridSearchCV(
        Pipeline([("units", InVolts()), ("model", clone(ESTIMATORS["one step"]))]),
        {"units__factor": [1.0, 1e-6], "model__n_features": [0, 6]}, cv=2,
    ).fit(DATA)  # fmt: skip
    assert search.best_estimator_.named_steps["model"].n_features in (0, 6)


def test_estimators_show_themselves():
    assert "KoopmanRNN" in repr(ESTIMATORS["one step"])
    assert "KoopmanRNN" in ESTIMATORS["one step"]._repr_html_()
    assert "KoopmanEnsemble" in repr(ESTIMATORS["ensemble"])
