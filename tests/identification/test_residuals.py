"""Residual analysis and comparison, against direct formulas and models whose faults are known."""

import numpy as np
import pytest
from scipy import signal

from koopctrl import KoopmanRNN, Trajectories, compare, residual_analysis, subspace
from koopctrl.errors import DataError, OptionError

N = 1500


def arx(seed, n=N, episodes=2):
    """`y_k = 1.5 y_{k-1} - 0.7 y_{k-2} + u_{k-1} + 0.5 u_{k-2} + e_k`: white one-step residuals."""
    rng = np.random.default_rng(seed)
    us = [signal.lfilter([1.0], [1.0, -0.5], rng.normal(size=n)) for _ in range(episodes)]
    es = [0.3 * rng.normal(size=n) for _ in range(episodes)]
    ys = [
        signal.lfilter([0.0, 1.0, 0.5], [1.0, -1.5, 0.7], u) + signal.lfilter([1.0], [1.0, -1.5, 0.7], e)
        for u, e in zip(us, es, strict=True)
    ]
    return Trajectories.from_arrays(
        [y[:, None] for y in ys], [u[:, None] for u in us], dt=0.1, state_names=["y"], input_names=["u"]
    )


TRAIN, TEST = arx(0), arx(1)


def window(output_lags, input_lags):
    return KoopmanRNN(0, output_lags=output_lags, input_lags=input_lags, input_coupling="linear").fit(TRAIN)


RIGHT, FEW_OUTPUTS, FEW_INPUTS = window(2, 2), window(1, 2), window(2, 1)


def test_a_right_model_passes_and_wrong_ones_are_told_apart():
    right = RIGHT.residual_analysis(TEST)
    assert right.kind == "one step"
    assert right.ok
    assert right.rms[0] == pytest.approx(0.3, rel=0.05)
    assert "white" in str(right)
    assert not FEW_OUTPUTS.residual_analysis(TEST).white
    few = residual_analysis(FEW_INPUTS, TEST)
    assert not few.independent
    assert np.argmax(np.abs(few.cross_correlation[:, 0, 0])) == few.n_lags + 2  # the lag that is missing
    assert "explain more" in str(few)


def test_correlations_are_the_sums_of_their_definition():
    found = RIGHT.residual_analysis(TEST[:1], n_lags=6)
    y, u = TEST[0].outputs[:, 0], TEST[0].inputs[:, 0]
    step = RIGHT.network_.step
    e = np.array(
        [y[k + 1] - step(np.array([y[k], y[k - 1], u[k - 1]]), u[k : k + 1])[0] for k in range(1, N - 1)]
    )
    u = u[2:N]
    e, u = (e - e.mean()) / e.std(), (u - u.mean()) / u.std()
    for lag in range(7):
        pairs = e[lag:] @ e[: len(e) - lag] / len(e), e[lag:] @ u[: len(e) - lag] / len(e)
        assert found.autocorrelation[lag, 0] == pytest.approx(pairs[0], abs=1e-9)
        assert found.cross_correlation[6 + lag, 0, 0] == pytest.approx(pairs[1], abs=1e-9)
        before = u[lag:] @ e[: len(e) - lag] / len(e)
        assert found.cross_correlation[6 - lag, 0, 0] == pytest.approx(before, abs=1e-9)


def test_bounds_hold_for_coloured_residuals():
    """Free-run errors of the true plant are coloured, as its input is; 1 % of lags may be outside."""

    class Plant:
        n_x = 2

        def innovations(self, data, n_init):
            return [
                e.outputs - signal.lfilter([0.0, 1.0, 0.5], [1.0, -1.5, 0.7], e.inputs[:, 0])[:, None]
                for e in data
            ]

    outside = [residual_analysis(Plant(), arx(seed), n_lags=20).outside_inputs[0, 0] for seed in range(40)]
    assert np.mean(outside) <= 0.02
    assert not residual_analysis(Plant(), TEST).white


def test_linear_models_and_hidden_states_are_judged_too():
    # On a record much shorter than those of training their own errors are below its bounds.
    short = Trajectories([TEST[0].slice(0, 500)])
    linear = residual_analysis(subspace(TRAIN, 2), short)
    assert linear.kind == "one step"
    assert linear.ok
    hidden = residual_analysis(KoopmanRNN(0, n_states=2).fit(TRAIN), short)
    assert hidden.kind == "free run"
    assert hidden.ok
    assert not hidden.white
    assert len(hidden.plot().axes) == 2


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_do_not_matter(scale):
    other = Trajectories.from_arrays(
        [e.outputs * scale for e in TEST], [e.inputs / scale for e in TEST], dt=0.1
    )
    model = KoopmanRNN(0, output_lags=2, input_lags=2, input_coupling="linear").fit(other)
    same = KoopmanRNN(0, output_lags=2, input_lags=2, input_coupling="linear").fit(TEST)
    a, b = residual_analysis(model, other), residual_analysis(same, TEST)
    np.testing.assert_allclose(a.cross_correlation, b.cross_correlation, atol=1e-6)
    np.testing.assert_allclose(a.cross_bound, b.cross_bound, rtol=1e-6)


def test_comparison_is_by_free_run_on_the_same_samples():
    linear = subspace(TRAIN, 2)
    found = compare({"short": FEW_OUTPUTS, "subspace": linear, "right": RIGHT}, TEST, n_init=30)
    assert list(found.runs)[-1] == "short"
    y = np.concatenate([e.outputs[30:] for e in TEST])
    run = np.concatenate([r[30:] for r in RIGHT.predict(TEST, 30)])
    expected = 100 * (1 - np.linalg.norm(y - run) / np.linalg.norm(y - y.mean()))
    assert found.fit["right"][0] == pytest.approx(expected)
    assert found.table.loc["right", "RMSE of y"] == pytest.approx(np.sqrt(np.mean((y - run) ** 2)))
    assert str(found).count("\n") == 3
    assert len(found.plot().axes) == 3
    assert list(compare([RIGHT], TEST).runs) == ["model 0"]


def test_bad_input_is_named():
    with pytest.raises(DataError, match="n_lags"):
        RIGHT.residual_analysis(TEST[:1], n_lags=700)
    with pytest.raises(OptionError, match="confidence"):
        RIGHT.residual_analysis(TEST, confidence=1.5)
    with pytest.raises(OptionError, match="models"):
        compare({}, TEST)
    with pytest.raises(DataError, match="n_init"):
        compare([RIGHT], TEST, n_init=N)
