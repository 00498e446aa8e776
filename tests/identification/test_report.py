"""Reports: each figure against its definition."""

import dataclasses
import json
import math

import numpy as np
import plants
import pytest

from koopctrl import KoopmanRNN, Trajectories, datasets
from koopctrl.errors import DataError, OptionError, RolloutWarning, ShapeError
from koopctrl.identification.report import make_report

pytestmark = pytest.mark.filterwarnings("ignore::koopctrl.errors.RolloutWarning")

DATA = plants.record(
    plants.sampled(plants.duffing, 0.1), 2, 1, 0.1, n_episodes=8, n_steps=30, last_input=True
)


@pytest.mark.parametrize("options", [{}, {"output_lags": 2, "input_lags": 2, "feedthrough": True}])
def test_the_figures_are_their_definitions(options):
    model = KoopmanRNN(15, rcond=1e-6, random_state=0, **options).fit(DATA)
    report = model.report(DATA, horizons=(1, 5))
    lifted, window = model.lift_at(), model.network_.window
    assert report.sizes == {
        "n_x": model.n_x, "n_u": 1, "n_y": 2, "n_features": 15, "n_z": lifted.n_z,
        "n_regressors": len(model.network_.coef), "n_pairs": model.solution_.n_rows,
    }  # fmt: skip
    assert report.rank == model.solution_.rank
    assert report.condition == model.solution_.condition
    assert report.spectral_radius == pytest.approx(np.abs(np.linalg.eigvals(lifted.A)).max())
    assert report.score == model.score(DATA)
    assert report.worst_mode_residual == pytest.approx(np.nanmax(lifted.spectrum().residuals))
    spread = np.concatenate([e.outputs for e in DATA]).std(axis=0)
    s = window.shift
    for row in report.horizons:
        rnn, linear = [], []
        for e in DATA:
            for k in range(window.n_samples - 1, len(e) - row.horizon):
                x = window.initial(e.outputs, e.inputs, k + 1)
                z = lifted.lift(x)
                for u in e.inputs[k + s : k + s + row.horizon]:
                    x, z = model.network_.step(x, u), lifted.step(z, u)
                truth = e.outputs[k + row.horizon]
                rnn.append(x[:2] - truth)
                linear.append(lifted.unlift(z)[:2] - truth)
        assert row.n_starts == len(rnn)
        np.testing.assert_allclose(row.rnn_rmse, np.sqrt(np.mean(np.square(rnn), axis=0)), rtol=1e-9)
        np.testing.assert_allclose(row.lifted_rmse, np.sqrt(np.mean(np.square(linear), axis=0)), rtol=1e-6)
        assert row.rnn_nrmse == pytest.approx(np.mean(row.rnn_rmse / spread))
        assert row.lifted_nrmse == pytest.approx(np.mean(row.lifted_rmse / spread))


def test_a_linear_plant_has_no_error_on_either_face():
    a, b, dt = plants.oscillator()
    data = plants.record(plants.linear_step(a, b), 2, 1, dt, n_steps=120)
    report = KoopmanRNN(10, random_state=0).fit(data).report(data)
    assert [h.horizon for h in report.horizons] == [1, 10, 100]
    assert max(max(h.rnn_nrmse, h.lifted_nrmse) for h in report.horizons) < 1e-7


def test_horizons_longer_than_the_records_are_left_out():
    model = KoopmanRNN(5, random_state=0).fit(DATA)
    assert [h.horizon for h in model.report(DATA).horizons] == [1, 10]
    with pytest.raises(DataError, match="shorter"):
        model.report(DATA, horizons=(100,))
    for bad in ((0,), (1.5,), (-1,)):
        with pytest.raises(OptionError, match="horizons"):
            model.report(DATA, horizons=bad)
    with pytest.raises(ShapeError):
        model.report(Trajectories.from_arrays(np.zeros((9, 1)), np.zeros((8, 1)), dt=0.1))


def test_a_report_can_be_read_by_people_and_machines():
    report = KoopmanRNN(5, random_state=0).fit(DATA).report(DATA)
    for word in ("spectral radius", "rank", "NRMSE", "10"):
        assert word in str(report)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["rank"] == report.rank
    broken = dataclasses.replace(report, condition=math.inf, residual_rms=[math.nan, 1.0])
    assert broken.to_dict()["condition"] is None
    assert broken.to_dict()["residual_rms"] == [None, 1.0]


def test_a_linear_face_that_explodes_is_reported_and_not_a_numpy_warning():
    model = KoopmanRNN(0, random_state=0).fit(DATA)
    lifted = model.lift_at()
    wild = dataclasses.replace(lifted, A=1e30 * lifted.A)
    report = make_report(model, DATA, (1, 20), wild)
    json.dumps(report.to_dict(), allow_nan=False)
    assert report.horizons[1].lifted_nrmse == math.inf
    assert report.horizons[1].rnn_nrmse < 100
    with pytest.warns(RolloutWarning, match="step"):
        y = wild.simulate(np.ones(2), np.ones((50, 1)))
    assert np.isfinite(y).all()


@pytest.mark.parametrize("horizons", [5, None, "a"])
def test_horizons_that_are_no_sequence_are_refused(horizons):
    model = KoopmanRNN(5, random_state=0).fit(DATA)
    with pytest.raises(OptionError, match="horizons is"):
        model.report(DATA, horizons)


def test_a_poor_free_run_is_told_what_to_try_and_that_helps():
    """A measured record: lags are worse than the hidden state that the hint names."""
    train, test = datasets.hair_dryer().split(0.5, by="time")
    lagged = {1: "not the full state", 2: "one step ahead is good, so with 2 output and 1 input lags"}
    for lags, words in lagged.items():
        report = KoopmanRNN(20, output_lags=lags, random_state=0).fit(train).report(test)
        assert report.score < 0.9
        assert words in report.hint
        assert "n_states=4" in report.hint
        assert str(report).endswith(f"The free run is poor: {report.hint}")
        assert report.to_dict()["hint"] == report.hint
    better = KoopmanRNN(0, n_states=4, random_state=0).fit(train).report(test)
    assert better.score > 0.95
    assert better.hint is None
    assert "poor" not in str(better)


def test_a_hidden_state_that_does_not_suffice_and_inputs_that_say_nothing_are_told_apart():
    train, test = datasets.hair_dryer().split(0.5, by="time")
    small = KoopmanRNN(0, n_states=1, random_state=0).fit(train).report(test)
    assert small.hint.startswith("1 states do not suffice. Try a larger n_states")
    rng = np.random.default_rng(0)
    noise = Trajectories.from_arrays(rng.normal(size=(200, 1)), rng.normal(size=(200, 1)), dt=1.0)
    nothing = KoopmanRNN(0, output_lags=3, input_lags=3).fit(noise).report(noise)
    assert "3 output and 3 input lags do not explain the next sample either" in nothing.hint
