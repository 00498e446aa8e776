"""Figures: what is drawn is what was passed in, with labels and units."""

import io

import control
import numpy as np
import pytest

from koopctrl import KoopmanRNN, Trajectory, datasets
from koopctrl.controllers import ClosedLoopResult
from koopctrl.plotting import (
    plot_closed_loop,
    plot_closed_loops,
    plot_free_run,
    plot_horizon_errors,
    plot_spectrum,
    plot_step_and_bode,
)


@pytest.fixture(scope="module")
def model_and_test():
    train, test = datasets.hair_dryer().split(0.5, by="time")
    model = KoopmanRNN(20, input_coupling="network", output_lags=3, input_lags=4, ridge=1e-4, random_state=0)
    return model.fit(train), test


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return buffer.getvalue()


def result(**changes):
    values = {
        "time": 0.1 * np.arange(4),
        "states": np.zeros((4, 2)),
        "outputs": np.arange(8.0).reshape(4, 2),
        "inputs": np.array([[1.0], [-1.0], [0.5]]),
        "references": np.ones((4, 2)),
        "solve_times": np.full(3, 1e-3),
        "statuses": ("optimal",) * 3,
        "rewards": np.zeros(3),
        "ended": "",
        "Q": np.eye(2),
        "R": np.eye(1),
        "bounds": {"u_min": np.array([-2.0]), "u_max": np.array([np.inf])},
        "output_names": ("speed", "angle"),
        "input_names": ("torque",),
    }
    return ClosedLoopResult(**{**values, **changes})


def test_free_run_draws_record_runs_errors_and_inputs():
    record = Trajectory(np.arange(10.0), np.ones(9), 0.5, ["level"], ["pump"])
    run = np.arange(10.0)[:, None] + 0.25
    figure = plot_free_run(record, {"model": run}, n_init=3, title="tank")
    value, error, inputs = figure.axes
    np.testing.assert_array_equal(value.lines[0].get_ydata(), np.arange(10.0))
    np.testing.assert_array_equal(value.lines[1].get_ydata(), run[:, 0])
    np.testing.assert_array_equal(error.lines[0].get_ydata(), np.full(10, 0.25))
    assert [a.get_ylabel() for a in figure.axes] == ["level", "error of level", "pump"]
    assert inputs.get_xlabel() == "time [s]"
    assert png(figure)


def test_step_and_bode_show_gain_and_corner():
    dt = 0.1
    system = control.ss([[0.5]], [[1.0]], [[1.0]], [[0.0]], dt, inputs=["u"], outputs=["y"])
    figure = plot_step_and_bode(system)
    step, gain, phase = figure.axes
    assert step.lines[0].get_ydata()[-1] == pytest.approx(2.0, rel=1e-2)  # DC gain 1 / (1 - 0.5)
    assert gain.lines[0].get_ydata()[0] == pytest.approx(20 * np.log10(2.0), abs=1e-3)
    assert gain.lines[0].get_xdata()[-1] < np.pi / dt
    assert phase.get_xlabel() == "frequency [rad/s]"
    assert png(figure)


def test_horizon_errors_and_spectrum_draw_the_report(model_and_test):
    model, test = model_and_test
    report = model.report(test, horizons=(1, 10))
    axis = plot_horizon_errors(report).axes[0]
    np.testing.assert_allclose(axis.lines[0].get_ydata(), [h.rnn_nrmse for h in report.horizons])
    np.testing.assert_allclose(axis.lines[1].get_ydata(), [h.lifted_nrmse for h in report.horizons])
    spectrum = model.lift_at().spectrum()
    points = plot_spectrum(spectrum).axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(points[:, 0] + 1j * points[:, 1], spectrum.eigenvalues)


def test_closed_loop_shows_names_references_and_finite_bounds_only():
    figure = plot_closed_loop(result())
    speed, angle, torque = figure.axes
    assert [a.get_ylabel() for a in figure.axes] == ["speed", "angle", "torque"]
    np.testing.assert_array_equal(speed.lines[1].get_ydata(), [0.0, 2.0, 4.0, 6.0])
    np.testing.assert_array_equal(speed.lines[0].get_ydata(), np.ones(4))
    assert len(angle.lines) == 2
    assert [line.get_ydata()[0] for line in torque.lines[1:]] == [-2.0]
    assert png(figure)


def test_several_runs_share_one_legend():
    figure = plot_closed_loops({"mpc": result(), "lqr": result()})
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["reference", "mpc", "lqr"]


def test_no_free_run_hides_the_first():
    record = Trajectory(np.arange(10.0), np.ones(9), 0.5, ["level"], ["pump"])
    run = np.arange(10.0)[:, None] + 0.25
    figure = plot_free_run(record, {"model": run, "baseline": run}, n_init=3)
    for lines in (figure.axes[0].lines[1:], figure.axes[1].lines):
        model, baseline = lines
        assert model.get_zorder() > baseline.get_zorder()
        assert model.get_linewidth() < baseline.get_linewidth()


@pytest.mark.parametrize(("pole", "longest"), [(0.5, 20), (0.9, 100)])
def test_a_step_response_is_shown_until_it_has_settled(pole, longest):
    system = control.ss([[pole, 0.0], [0.0, 0.999]], [[1.0], [1e-6]], [[1.0, 1.0]], [[0.0]], 0.1)
    y = plot_step_and_bode(system).axes[0].lines[0].get_ydata()
    assert 20 <= len(y) <= longest
    assert y[-1] == pytest.approx(1.0 / (1.0 - pole), rel=0.01)


def test_a_step_response_that_does_not_settle_is_shown_whole():
    integrator = control.ss([[1.0]], [[1.0]], [[1.0]], [[0.0]], 0.1)
    from koopctrl.export.pycontrol import step_response

    shown = plot_step_and_bode(integrator).axes[0].lines[0].get_xdata()
    np.testing.assert_array_equal(shown, step_response(integrator)[0])
