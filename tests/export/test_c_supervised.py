"""C of supervised networks beside Python: every activation, depth, classes, floats."""

import ctypes

import numpy as np
import pytest
from c_tools import FLAGS, gcc, run

from koopctrl.errors import KoopctrlError, OptionError
from koopctrl.sampled import SampledNetworkClassifier, SampledNetworkRegressor


@pytest.fixture(scope="module", autouse=True)
def compiler():
    return gcc()


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, (300, 3)) * [1.0, 1e3, 1e-3] + [0.0, 5e3, 0.0]
    return X, np.stack([np.sin(3.0 * X[:, 0]), 100.0 + X[:, 1] * X[:, 2]], axis=1)


def loaded(part):
    library = part.folder / "part.so"
    run("gcc", *FLAGS, "-shared", "-fPIC", part.folder / f"{part.name}.c", "-o", library, "-lm")
    return ctypes.CDLL(str(library))


def called(function, X, n_out, kind=np.float64):
    out, first = np.empty((len(X), n_out), dtype=kind), []
    X = np.ascontiguousarray(X, dtype=kind)
    for row, answer in zip(X, out, strict=True):
        first.append(function(ctypes.c_void_p(row.ctypes.data), ctypes.c_void_p(answer.ctypes.data)))
    return out, first


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation": "relu", "depth": 2, "n_features": 20},
        {"activation": "softplus", "depth": 3, "n_features": 9},
        {"n_features": 0},
    ],
    ids=str,
)
def test_regressors(table, options, tmp_path):
    X, y = table
    model = SampledNetworkRegressor(random_state=0, **options).fit(X, y)
    found, _ = called(loaded(model.to_c(tmp_path, "net")).net_predict, X, 2)
    np.testing.assert_allclose(found, model.predict(X), rtol=1e-10, atol=1e-10)


def test_classifiers(table, tmp_path):
    X, y = table
    labels = np.array(["low", "mid", "high"])[np.digitize(y[:, 0], [-0.4, 0.4])]
    model = SampledNetworkClassifier(n_features=40, random_state=0).fit(X, labels)
    part = model.to_c(tmp_path, "judge")
    found, first = called(loaded(part).judge_classify, X, 3)
    np.testing.assert_allclose(found, model.predict_proba(X), atol=1e-12)
    assert (model.classes_[first] == model.predict(X)).all()
    assert "high, low, mid" in (tmp_path / "judge.h").read_text()


def test_floats_within_their_bound(table, tmp_path):
    X, y = table
    X = X - [0.0, 5e3, 0.0]
    model = SampledNetworkRegressor(n_features=30, ridge=1e-6, random_state=0).fit(X, y)
    part = model.to_c(tmp_path, "net", scalar="float")
    rows = X.astype(np.float32)
    found, _ = called(loaded(part).net_predict, rows, 2, np.float32)
    # Of a target far from zero its own rounding is beside it.
    beside = 2.0**-23 * np.abs(y).max(axis=0) / y.std(axis=0)
    worst = np.max(np.abs(found - model.predict(rows.astype(float))) / y.std(axis=0) - beside)
    assert 0.0 < worst <= part.rounding < 1e-3


def test_what_is_refused(table, tmp_path):
    X, y = table
    with pytest.raises(KoopctrlError, match="not fitted"):
        SampledNetworkRegressor().to_c(tmp_path)
    model = SampledNetworkRegressor(n_features=5, random_state=0).fit(X, y)
    with pytest.raises(OptionError, match="C identifier"):
        model.to_c(tmp_path, "1st")
    far = SampledNetworkRegressor(n_features=5, random_state=0).fit(X + 1e9, y)
    with pytest.raises(OptionError, match="rounding alone"):
        far.to_c(tmp_path, scalar="float")
