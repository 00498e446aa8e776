"""Episodes that are too short for a model are named and skipped alike, by whatever looks at them."""

import numpy as np
import plants
import pytest

from koopctrl import KoopmanEnsemble, KoopmanRNN, Trajectories, compare, residual_analysis, subspace
from koopctrl.errors import DataError, KoopctrlWarning

A, B, DT = plants.oscillator()
LONG = plants.record(plants.linear_step(A, B), 2, 1, DT, n_episodes=4, n_steps=60)
TINY = LONG[0].slice(0, 3, "tiny")
BOTH = Trajectories([LONG[0], TINY, *LONG[1:]])

MODELS = {
    "lags": lambda data: KoopmanRNN(3, output_lags=5, input_lags=2, random_state=0, ridge=1e-8).fit(data),
    "hidden": lambda data: KoopmanRNN(0, n_states=2, max_iter=3, random_state=0).fit(data),
    "ensemble": lambda data: KoopmanEnsemble(
        KoopmanRNN(3, output_lags=5, ridge=1e-8), 2, n_folds=0, random_state=0
    ).fit(data),
}


@pytest.fixture(scope="module", params=list(MODELS))
def model(request):
    return MODELS[request.param](LONG)


def short(match="'tiny'"):
    return pytest.warns(KoopctrlWarning, match=match)


def test_predict_gives_the_measured_rows_and_no_others(model):
    with short():
        runs = model.predict(BOTH)
    assert [len(run) for run in runs] == [len(e) for e in BOTH]
    np.testing.assert_array_equal(runs[1], TINY.outputs)
    for run, other in zip([runs[0], *runs[2:]], model.predict(LONG), strict=True):
        np.testing.assert_allclose(run, other, atol=1e-9 * np.abs(other).max())


def test_scores_and_reports_are_those_of_the_others(model):
    with short():
        assert model.score(BOTH) == pytest.approx(model.score(LONG), rel=1e-9)
    with short():
        found = model.report(BOTH, horizons=(1, 5))
    expected = model.report(LONG, horizons=(1, 5))
    assert found.score == pytest.approx(expected.score, rel=1e-9)
    assert [h.n_starts for h in found.horizons] == [h.n_starts for h in expected.horizons]


def test_residuals_and_comparisons_too(model):
    with short():
        found = residual_analysis(model, BOTH, n_lags=5)
    assert found.n_samples == residual_analysis(model, LONG, n_lags=5).n_samples
    with short():
        table = compare({"it": model}, BOTH, n_init=8)
    np.testing.assert_allclose(table.rmse["it"], compare({"it": model}, LONG, n_init=8).rmse["it"], rtol=1e-6)


def test_each_names_it_once(model):
    for act in (lambda: model.predict(BOTH), lambda: model.score(BOTH), lambda: model.report(BOTH, (1,))):
        with short() as caught:
            act()
        assert sum("'tiny'" in str(w.message) for w in caught) == 1


def test_fits_skip_it_and_say_so():
    with short():
        both = MODELS["lags"](BOTH)
    np.testing.assert_allclose(both.network_.coef.shape, MODELS["lags"](LONG).network_.coef.shape)


def test_linear_models_do_as_networks():
    linear = subspace(LONG, order=2)
    with short():
        runs = linear.predict(BOTH, n_init=5)
    np.testing.assert_array_equal(runs[1], TINY.outputs)


def test_with_nothing_long_enough_it_is_an_error(model):
    for act in (model.predict, model.score):
        with pytest.raises(DataError, match="'tiny'"):
            act(Trajectories([TINY]), n_init=10)
