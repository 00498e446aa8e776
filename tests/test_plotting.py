"""Figures: what is drawn is what was passed in, with labels and units."""

import io
import subprocess
import sys

import control
import matplotlib.pyplot as plt
import numpy as np
import pytest

from koopctrl import KoopmanRNN, Trajectory, datasets
from koopctrl.controllers import ClosedLoopResult
from koopctrl.errors import OptionError, ShapeError, TimeBaseError
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
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
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


RECORD = Trajectory(np.arange(10.0), np.ones(9), 0.5, ["level"], ["pump"])
RUN = np.arange(10.0)[:, None] + 0.25
SYSTEM = control.ss([[0.5]], [[1.0]], [[1.0]], [[0.0]], 0.1, inputs=["u"], outputs=["y"])


@pytest.fixture(scope="module")
def drawings(model_and_test):
    """Each figure's function and the number of axes that it draws on."""
    model, test = model_and_test
    lifted = model.lift_at(method="edmd")
    return {
        "free run": (lambda **a: plot_free_run(RECORD, {"model": RUN}, **a), 3),
        "closed loop": (lambda **a: result().plot(**a), 3),
        "closed loops": (lambda **a: plot_closed_loops({"a": result(), "b": result()}, **a), 3),
        "step and Bode": (lambda **a: plot_step_and_bode(SYSTEM, **a), 3),
        "residuals": (lambda **a: model.residual_analysis(test).plot(**a), 2),
        "horizons": (lambda **a: plot_horizon_errors(model.report(test, horizons=(1, 10)), **a), 1),
        "spectrum": (lambda **a: plot_spectrum(lifted.spectrum(), **a), 1),
    }


KINDS = ["free run", "closed loop", "closed loops", "step and Bode", "residuals", "horizons", "spectrum"]


@pytest.mark.parametrize("kind", KINDS)
def test_figures_are_pyplots_with_one_title_that_says_what_came_out(drawings, kind):
    draw, _ = drawings[kind]
    figure = draw()
    assert plt.fignum_exists(figure.number)
    assert len(figure.get_suptitle()) > 10
    assert draw(title="mine").get_suptitle() == "mine"
    assert draw(title="").get_suptitle() == ""
    assert not figure.legends  # they stand inside the axes
    assert png(figure)


@pytest.mark.parametrize("kind", KINDS)
def test_figures_are_drawn_on_the_axes_that_are_passed(drawings, kind):
    draw, n = drawings[kind]
    sheet = plt.figure(layout="constrained")
    left, right = sheet.subfigures(1, 2)
    axes = left.subplots(n, 1, squeeze=False)
    other = right.subplots()
    before = plt.get_fignums()
    given = {"ax": axes[0, 0]} if n == 1 else {"axes": axes}
    assert draw(**given) is sheet
    assert plt.get_fignums() == before
    assert all(axis.has_data() for axis in axes.flat)
    assert not other.has_data()
    assert sheet.get_suptitle() == ""
    assert png(sheet)
    name = next(iter(given))
    for wrong in (3, "axes", [axes[0, 0]] * (n + 1), []):
        with pytest.raises(OptionError, match="ax"):
            draw(**{name: wrong})


def test_titles_say_the_truth():
    assert plot_free_run(RECORD, {"model": RUN}).get_suptitle() == (
        f"model: error 0.25 RMS, fit {100 * (1 - 0.25 / np.arange(10).std()):.1f} %"
    )
    assert plot_step_and_bode(SYSTEM).get_suptitle().startswith("gain 2, within 2 % after 0.6 s")
    assert result().plot().get_suptitle() == f"cost {result().cost:.4g}; last error: speed 5, angle 6"


@pytest.mark.parametrize("wrong", [None, 3.5, "abc", [1], {}, {"a": 1}, object, KoopmanRNN])
def test_what_cannot_be_drawn_is_named(wrong):
    for draw in (plot_closed_loop, plot_closed_loops, plot_horizon_errors, plot_spectrum, plot_step_and_bode):
        with pytest.raises(OptionError, match="expected"):
            draw(wrong)
    with pytest.raises(OptionError, match="record is"):
        plot_free_run(wrong, {})
    if wrong == {}:
        return
    with pytest.raises((OptionError, ShapeError), match="runs"):
        plot_free_run(RECORD, wrong)


def test_runs_and_systems_that_do_not_fit_are_named():
    with pytest.raises(ShapeError, match=r"runs\['a'\] has 4 rows; expected 10"):
        plot_free_run(RECORD, {"a": np.zeros(4)})
    with pytest.raises(TimeBaseError, match="c2d"):
        plot_step_and_bode(control.ss([[-1.0]], [[1.0]], [[1.0]], [[0.0]]))


def test_show_works_in_a_script(tmp_path):
    code = (
        "import numpy as np; from koopctrl import Trajectory; from koopctrl.plotting import plot_free_run; "
        "r = Trajectory(np.arange(9.0), np.ones(9), 0.5); "
        "plot_free_run(r, {'m': np.arange(9.0)}).show()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
