"""Supervised sampled networks: scikit-learn's own checks, exact cases, weights, streams, units, samplers."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from koopctrl.errors import DataError, NotFittedError, OptionError
from koopctrl.network.activations import TABLE
from koopctrl.sampled import SampledNetworkClassifier, SampledNetworkRegressor

ESTIMATORS = [
    SampledNetworkRegressor(random_state=0),
    SampledNetworkRegressor(
        20, depth=2, sampler="adaptive", activation="softplus", ridge=1e-6, random_state=0
    ),
    SampledNetworkClassifier(random_state=0),
    SampledNetworkClassifier(20, sampler="elm", activation="relu", solver="svd", random_state=0),
]


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_accepts_them(estimator, check):
    check(estimator)


def smooth(n=600, seed=0, n_in=2):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, n_in))
    return x, np.sin(2 * x[:, 0]) * np.cos(x[:, -1])


@pytest.mark.parametrize("name", TABLE)
def test_slopes_and_curvatures_are_those_of_the_values(name):
    a, z, h = TABLE[name], np.linspace(-3, 3, 40) + 0.01, 1e-4
    slope = (a.value(z + h) - a.value(z - h)) / (2 * h)
    np.testing.assert_allclose(a.slope(z), slope, atol=1e-7)
    curvature = (a.slope(z + h) - a.slope(z - h)) / (2 * h)
    np.testing.assert_allclose(a.curvature(z), curvature, atol=1e-7)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_without_neurons_it_is_linear_regression_in_any_units(scale):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(200, 3)) * scale, rng.normal(size=(200, 2)) / scale
    model = SampledNetworkRegressor(0, ridge=0.0).fit(x, y)
    np.testing.assert_allclose(model.predict(x), LinearRegression().fit(x, y).predict(x), rtol=1e-8)


def test_units_change_rounding_alone():
    x, y = smooth()
    c = np.array([1e-9, 1e9])
    one = SampledNetworkRegressor(50, random_state=0, rcond=1e-8).fit(x, y).predict(x)
    other = SampledNetworkRegressor(50, random_state=0, rcond=1e-8).fit(c * x, 1e-9 * y).predict(c * x)
    np.testing.assert_allclose(1e9 * other, one, atol=1e-6)


@pytest.mark.parametrize("sampler", ["swim", "uniform", "elm", "adaptive"])
@pytest.mark.parametrize("activation", TABLE)
def test_every_sampler_and_activation_learns_a_function(sampler, activation):
    x, y = smooth()
    x_test, y_test = smooth(seed=1)
    model = SampledNetworkRegressor(120, sampler=sampler, activation=activation, random_state=0).fit(x, y)
    assert model.score(x_test, y_test) > 0.995


def test_the_error_falls_with_the_width():
    x, y = smooth(2000)
    x_test, y_test = smooth(seed=1)
    widths = np.array([10, 20, 40, 80, 160])
    errors = []
    for width in widths:
        runs = [
            SampledNetworkRegressor(int(width), feature_scale=0.5, random_state=s).fit(x, y).predict(x_test)
            for s in range(5)
        ]
        errors.append(np.median([np.sqrt(np.mean((r - y_test) ** 2)) for r in runs]))
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert slope < -2.0  # a smooth function: faster than any power that random features guarantee
    assert (np.diff(errors) < 0).all()


def test_kinks_are_met_by_relu():
    x = np.random.default_rng(0).uniform(-1, 1, (1000, 1))
    y = np.abs(x[:, 0] - 0.3)
    error = {
        a: 1 - SampledNetworkRegressor(200, activation=a, random_state=0).fit(x, y).score(x, y)
        for a in ("relu", "tanh")
    }
    assert error["relu"] < 1e-3


def test_weights_count_samples():
    x, y = smooth(80)
    w = np.random.default_rng(2).integers(0, 4, 80)
    weighted = SampledNetworkRegressor(15, random_state=0).fit(x, y, w).predict(x)
    repeated = (
        SampledNetworkRegressor(15, random_state=0).fit(np.repeat(x, w, axis=0), np.repeat(y, w)).predict(x)
    )
    np.testing.assert_allclose(weighted, repeated, atol=1e-9)


def test_a_stream_gives_what_one_solve_gives():
    x, y = smooth(900)
    streamed = SampledNetworkRegressor(40, random_state=0)
    for part in np.split(np.arange(900), 3):
        streamed.partial_fit(x[part], y[part])
    # The same layer and scaling, all rows at once.
    at_once = SampledNetworkRegressor(40, random_state=0).partial_fit(x[:300], y[:300])
    at_once.partial_fit(x[300:], y[300:])
    np.testing.assert_allclose(streamed.predict(x), at_once.predict(x), atol=1e-7)
    assert streamed.solution_.n_rows == 900
    assert streamed.score(x, y) > 0.999


def test_streams_of_classes():
    x, y = load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order], y[order]
    model = SampledNetworkClassifier(30, random_state=0)
    for part in np.array_split(np.arange(len(y)), 3):
        model.partial_fit(x[part], y[part], classes=[0, 1, 2])
    assert model.score(x, y) > 0.97
    with pytest.raises(DataError, match="classes"):
        model.partial_fit(x[:3], [0, 1, 7])


def test_adaptive_sampling_is_not_steered_by_noise():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (3000, 1))
    y = np.tanh(40 * x[:, 0]) + rng.normal(size=3000)

    def near_the_step(sampler, seed):
        model = SampledNetworkRegressor(100, sampler=sampler, random_state=seed).fit(x, y)
        layer = model.layers_[0]
        centres = -layer.biases / layer.weights[:, 0] * model._scaling.scale[0] + model._scaling.mean[0]
        return np.mean(np.abs(centres) < 0.2)

    gain = np.mean([near_the_step("adaptive", s) - near_the_step("swim", s) for s in range(4)])
    assert gain > 0.1


def test_probabilities_are_worth_something():
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, random_state=0, test_size=0.5)
    model = SampledNetworkClassifier(random_state=0).fit(x, y)
    p = model.predict_proba(x_test)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(x_test)), p, rtol=1e-9)
    reference = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(x, y)
    assert log_loss(y_test, p) < 1.5 * log_loss(y_test, reference.predict_proba(x_test))
    assert model.score(x_test, y_test) > reference.score(x_test, y_test)


def test_pipelines_searches_and_pickles():
    x, y = smooth(200)
    pipe = make_pipeline(StandardScaler(), SampledNetworkRegressor(20, random_state=0))
    search = GridSearchCV(pipe, {"samplednetworkregressor__activation": ["tanh", "relu"]}, cv=3).fit(x, y)
    assert search.best_score_ > 0.99
    back = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(back.predict(x), search.predict(x))


def test_solvers_agree_where_there_is_noise():
    x, y = smooth(1500)
    y = y + 0.1 * np.random.default_rng(3).normal(size=1500)
    fits = [
        SampledNetworkRegressor(60, solver=s, random_state=0).fit(x, y).predict(x) for s in ("svd", "auto")
    ]
    np.testing.assert_allclose(fits[0], fits[1], atol=2e-3)


def test_constant_columns_targets_and_data():
    x, y = smooth(100)
    wide = np.column_stack([x, np.full(100, 3.7)])
    model = SampledNetworkRegressor(20, random_state=0).fit(wide, y)
    assert model.score(wide, y) > 0.99
    flat = SampledNetworkRegressor(random_state=0).fit(np.ones((10, 2)), np.arange(10.0))
    np.testing.assert_allclose(flat.predict(np.ones((1, 2))), [4.5])
    np.testing.assert_allclose(SampledNetworkRegressor(5).fit(x, np.full(100, 2.0)).predict(x), 2.0)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"n_features": -1}, "n_features"), ({"depth": 0}, "depth"), ({"sampler": "swin"}, "sampler"),
        ({"activation": "sin"}, "activation"), ({"feature_scale": 0}, "feature_scale"),
        ({"ridge": "best"}, "ridge"), ({"ridge": -1}, "ridge"), ({"rcond": 2}, "rcond"),
        ({"solver": "qr"}, "solver"), ({"rounds": 0}, "rounds"), ({"random_state": "x"}, "random_state"),
    ],
)  # fmt: skip
def test_bad_options_are_named(bad, named):
    x, y = smooth(30)
    for kind in (SampledNetworkRegressor, SampledNetworkClassifier):
        with pytest.raises(OptionError, match=named):
            kind(**bad).fit(x, y > 0)


def test_bad_data_are_named():
    x, y = smooth(30)
    with pytest.raises(NotFittedError, match="fit"):
        SampledNetworkRegressor().predict(x)
    with pytest.raises(ValueError, match="non-zero number"):
        SampledNetworkRegressor().fit(x, y, np.zeros(30))
    with pytest.raises(ValueError, match="NaN"):
        SampledNetworkRegressor().fit(np.where(x > 0.9, np.nan, x), y)
