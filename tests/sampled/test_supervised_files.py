"""Supervised networks in files: the same answers to the bit, and no code."""

import numpy as np
import pytest

from koopctrl import load
from koopctrl.errors import DataError, KoopctrlError, OptionError
from koopctrl.sampled import SampledNetworkClassifier, SampledNetworkRegressor


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, (200, 3))
    return X, np.stack([np.sin(3.0 * X[:, 0]), X[:, 1] * X[:, 2]], axis=1)


@pytest.mark.parametrize("options", [{}, {"depth": 2, "activation": "relu"}, {"n_features": 0}], ids=str)
@pytest.mark.parametrize("single", [True, False])
def test_regressors(table, options, single, tmp_path):
    X, y = table
    model = SampledNetworkRegressor(random_state=0, **options).fit(X, y[:, 0] if single else y)
    model.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.get_params() == model.get_params()
    assert again.n_features_in_ == 3
    with pytest.raises(OptionError, match="read from a file"):
        again.partial_fit(X, y[:, 0] if single else y)
    assert again.fit(X, y).predict(X).shape == (200, 2)


@pytest.mark.parametrize("labels", [["low", "high"], [3, 7], [1.0, 2.0], [False, True]], ids=str)
def test_classifiers(table, labels, tmp_path):
    X, y = table
    classes = np.array(labels)[(y[:, 0] > 0.0).astype(int)]
    model = SampledNetworkClassifier(random_state=0).fit(X, classes)
    model.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert again.classes_.dtype == model.classes_.dtype


def test_names_of_features_and_labels_as_objects(table, tmp_path):
    pandas = pytest.importorskip("pandas")
    X, y = table
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    labels = np.where(y[:, 0] > 0.0, "up", "down").astype(object)
    model = SampledNetworkClassifier(random_state=0).fit(frame, labels)
    model.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
    assert again.feature_names_in_.tolist() == ["a", "b", "c"]


def test_what_is_refused(table, tmp_path):
    with pytest.raises(KoopctrlError, match="not fitted"):
        SampledNetworkRegressor().save(tmp_path / "model.npz")
    X, y = table
    SampledNetworkRegressor(random_state=0).fit(X, y).save(tmp_path / "model.npz")
    with pytest.raises(DataError, match="no known part"):
        load(tmp_path / "model.npz", known=lambda x, u: x)
