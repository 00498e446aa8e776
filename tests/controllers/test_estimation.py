"""Estimators behind one door: starts, shared filters, parts of the signals, disturbances, no reference."""

import time

import control
import numpy as np
import pytest

from koopctrl import LQR, ExtendedKalmanFilter, KalmanFilter, LiftedModel, LinearMPC, run_closed_loop
from koopctrl._threads import _blas_libraries, one_blas_thread
from koopctrl.controllers import RNNMPC, Estimator, LagWindow, LiftedMeasurement, LinearEstimator
from koopctrl.controllers.loop.metrics import closed_loop_metrics
from koopctrl.controllers.loop.result import ClosedLoopResult
from koopctrl.errors import OptionError

A, B = np.array([[0.98, 0.1], [0.0, 0.95]]), np.array([[0.0], [0.1]])


def partial_samples(n, rng, never):
    """Which of `n` signals are missing at some samples; one of them always is, if so asked."""
    missing = [rng.random(n) < 0.7 for _ in range(4)]
    for mask in missing:
        mask[never] = True
    return [np.where(m, np.nan, 1.0) for m in missing]


@pytest.mark.parametrize("steady", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_a_filter_starts_whenever_its_signals_come(steady, seed):
    """From exact measurements of a whole state a start is exact once all are seen, however slow the gain."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 4))
    a, b = np.diag(rng.uniform(0.8, 1.0, n)) + 0.05 * rng.normal(size=(n, n)), rng.normal(size=(n, 1))
    lifted = LiftedModel.from_matrices(a, b, dt=0.1)
    kf = KalmanFilter(lifted, 1e-6, 1.0, steady=steady)
    x, seen, last = 100.0 * rng.normal(size=n), np.zeros(n, dtype=bool), None
    for mask in [*partial_samples(n, rng, [0]), np.ones(n), *partial_samples(n, rng, [])]:
        u = rng.normal(size=1)
        before = kf.estimate
        found = kf.observe(x * mask, last)
        if seen.any():
            assert before is not None
        seen |= ~np.isnan(mask)
        assert (kf.estimate is None) == (not seen.any())
        if seen.all():
            np.testing.assert_allclose(found, x, atol=1e-6 * np.abs(x).max())
        x, last = a @ x + b @ u, u


def test_the_table_row_of_a_late_first_sample():
    lifted = LiftedModel.from_matrices(A, B, dt=0.1)
    mpc = LinearMPC(lifted, 10, 1.0, 0.1, u_min=-300, u_max=300, observer=KalmanFilter(lifted, 1e-6, 1.0))
    x = np.array([100.0, -50.0])
    for k in range(60):
        u = mpc.control(np.full(2, np.nan) if k == 0 else x, [1.0, 0.2])
        if k > 0:
            np.testing.assert_allclose(mpc.observer.estimate, x, atol=1e-6)
        x = A @ x + B @ u
    fresh = LinearMPC(lifted, 10, 1.0, 0.1, u_min=-300, u_max=300)
    x_known = np.array([100.0, -50.0])
    for k in range(60):
        x_known = A @ x_known + B @ (np.zeros(1) if k == 0 else fresh.control(x_known, [1.0, 0.2]))
    np.testing.assert_allclose(x, x_known, atol=1e-4)


def test_a_steady_filter_uses_the_rest_of_a_partly_missing_measurement():
    """The gain of a part is the one that the steady covariance gives it: the textbook formula."""
    lifted = LiftedModel.from_matrices(A, B, [[1.0, 0.0], [1.0, 1.0]], dt=0.1)
    kf = KalmanFilter(lifted, 0.1, [0.2, 0.3])
    kf.reset([0.3, -0.2])
    c = lifted.C[1:]
    gain = kf.P @ c.T / (c @ kf.P @ c.T + 0.3)
    expected = np.array([0.3, -0.2]) + gain[:, 0] * (0.7 - 0.1)
    np.testing.assert_allclose(kf.update([np.nan, 0.7]), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["lqr", "mpc", "rnn"])
def test_one_filter_given_to_two_controllers_does_not_mix(kind, network):
    lifted = LiftedModel.from_matrices(A, B, [[1.0, 0.0]], dt=0.1)
    kf = KalmanFilter(lifted, 1e-2, 1e-2, steady=False, gate=3.0)
    ekf = ExtendedKalmanFilter(network, 1e-4, 1e-4, disturbance="input", gate=3.0)

    def make(shared):
        fresh = KalmanFilter(lifted, 1e-2, 1e-2, steady=False, gate=3.0)
        fresh_ekf = ExtendedKalmanFilter(network, 1e-4, 1e-4, disturbance="input", gate=3.0)
        if kind == "lqr":
            return LQR(lifted, 1.0, 0.1, estimator=kf if shared else fresh)
        if kind == "mpc":
            return LinearMPC(lifted, 6, 1.0, 0.1, u_min=-2, u_max=2, estimator=kf if shared else fresh)
        return RNNMPC(network, 6, 1.0, 0.1, u_min=-2, u_max=2, estimator=ekf if shared else fresh_ekf)

    pair, alone = [make(True), make(True)], [make(False), make(False)]
    rng = np.random.default_rng(0)
    for _ in range(30):
        for i in range(2):
            y = 0.3 * rng.normal(size=pair[0].n_measured) * (1 + 2 * i)
            np.testing.assert_array_equal(pair[i].control(y), alone[i].control(y))
    assert kf.estimate is None
    assert ekf.estimate is None
    assert np.abs(pair[0].observer.estimate - pair[1].observer.estimate).max() > 1e-3


@pytest.mark.parametrize("disturbance", ["output", "input", "state"])
def test_each_word_for_a_disturbance_leaves_no_error(disturbance, linear_plant, network):
    """The same words for both filters; the load is of none of the kinds for sure, and no error is left."""
    c = np.array([[1.0, 0.0]])
    a, b = np.array([[0.8, 0.1], [0.0, 0.7]]), np.array([[0.0], [1.0]])
    lifted = LiftedModel.from_matrices(a, b, c, dt=0.1)
    kf = KalmanFilter(lifted, 1e-2, 1e-2, disturbance=disturbance, Qd=1e-2)
    plant = linear_plant(a - 0.02 * np.eye(2), 0.9 * b, c, load=0.3)
    for controller in (LQR(lifted, 1.0, 0.1, estimator=kf), LinearMPC(lifted, 10, 1.0, 0.1, estimator=kf)):
        result = run_closed_loop(plant, controller, 500, [0.7], x0=np.zeros(2))
        assert abs(result.outputs[-1, 0] - 0.7) < 1e-6
    ekf = ExtendedKalmanFilter(network, 1e-6, 1e-4, measured=[0], disturbance=disturbance) if (
        disturbance != "state"
    ) else ExtendedKalmanFilter(network, 1e-6, 1e-4, disturbance=disturbance)  # fmt: skip
    assert f"disturbance={disturbance!r}" in repr(ekf)
    mpc = RNNMPC(network, 15, [1.0, 0.0], 0.1, u_min=-3, u_max=3, estimator=ekf)
    x, beside = np.zeros(2), 0.2
    for _ in range(200):
        seen = x + np.array([beside, 0.0]) if disturbance == "output" else x
        u = mpc.control(seen[: mpc.n_measured], [0.5, 0.0])
        load = 0.0 if disturbance == "output" else 0.2
        x = network.network_.step(x, u + load)
    reached = x[0] + (beside if disturbance == "output" else 0.0)
    assert abs(reached - 0.5) < 1e-4
    assert mpc.info.status == "optimal"
    np.testing.assert_allclose(mpc.info.outputs[0, 0], reached, atol=1e-3)


def test_words_that_an_estimator_cannot_tell_from_the_state_are_refused(lag_model):
    lifted = LiftedModel.from_matrices(A, B, dt=0.1)
    with pytest.raises(OptionError, match="from which it cannot be told"):
        LiftedMeasurement(lifted, "output")
    with pytest.raises(OptionError, match="disturbance is 'load'"):
        LiftedMeasurement(lifted, "load")
    with pytest.raises(OptionError, match="use LagWindow"):
        LiftedMeasurement(lag_model[0].lift_at(x_op=0, u_op=0))
    for controller in (LQR, LinearMPC):
        arguments = (lifted, 1.0, 0.1) if controller is LQR else (lifted, 5, 1.0, 0.1)
        with pytest.raises(OptionError, match="estimator is set and so is observer"):
            controller(
                *arguments, estimator=KalmanFilter(lifted, 1.0, 1.0), observer=KalmanFilter(lifted, 1.0, 1.0)
            )


def test_offset_free_is_short_for_an_estimator(lag_model):
    lifted, window = LiftedModel.from_matrices(A, B, dt=0.1), lag_model[0].lift_at(x_op=0, u_op=0)
    for model, estimator, short in (
        (lifted, LiftedMeasurement(lifted, "state", 0.4), 0.4),
        (lifted, LiftedMeasurement(lifted, "state"), True),
        (window, LagWindow(window, "state", 0.2), 0.2),
    ):
        named = LinearMPC(model, 6, 1.0, 0.1, u_min=-1, u_max=1, estimator=estimator)
        sugar = LinearMPC(model, 6, 1.0, 0.1, u_min=-1, u_max=1, offset_free=short)
        rng = np.random.default_rng(0)
        for _ in range(20):
            y = rng.normal(size=named.n_measured)
            np.testing.assert_array_equal(named.control(y), sugar.control(y))


class Averaging(LinearEstimator):
    """A user's own estimator: an exponential average of a measured state."""

    def __init__(self, lifted):
        inner = LiftedMeasurement(lifted)
        self.model, self.basis, self.offset = inner.model, inner.basis, inner.offset
        self.measured_names, self.disturbance = lifted.output_names, "none"

    def initial(self):
        return LiftedMeasurement(self.model.lifted).initial()

    def step(self, state, y, u_last):
        p = y if not state.known else 0.5 * (state.p + y)
        return type(state)(p, True, state.z)

    def estimate(self, state):
        return state.p if state.known else None


def test_further_estimators_need_no_controller_touched():
    lifted = LiftedModel.from_matrices(A, B, dt=0.1)
    own = Averaging(lifted)
    assert isinstance(own, Estimator)
    for controller in (LQR(lifted, 1.0, 0.1, estimator=own), LinearMPC(lifted, 6, 1.0, 0.1, estimator=own)):
        plain = type(controller)(**{**controller.settings, "estimator": None})
        np.testing.assert_allclose(controller.control([1.0, 0.0]), plain.control([1.0, 0.0]), atol=1e-12)
        np.testing.assert_allclose(controller.control([0.0, 0.0]), plain.control([0.5, 0.0]), atol=1e-12)
        block = controller.to_nlsys()
        assert block.nstates > 2


def test_an_output_without_a_reference_is_not_tracked(network, linear_plant):
    """NaN in the reference is the same as no weight on that output, and said so."""
    a, b = np.array([[0.9, 0.1], [0.0, 0.8]]), np.array([[0.1, 0.0], [0.0, 0.4]])
    lifted = LiftedModel.from_matrices(a, b, dt=0.1, output_names=["level", "flow"])
    for make in (
        lambda Q: LQR(lifted, Q, 0.1, u_min=-1, u_max=1),
        lambda Q: LinearMPC(lifted, 8, Q, 0.1, u_min=-1, u_max=1),
        lambda Q: LinearMPC(lifted, 8, Q, 0.1, u_min=-1, u_max=1, terminal="none"),
        lambda Q: RNNMPC(network, 8, Q, 0.1, u_min=-1, u_max=1, terminal="none"),
    ):
        whole, level = make([1.0, 1.0]), make([1.0, 0.0])
        for _ in range(5):
            y = [0.2, -0.4]
            np.testing.assert_allclose(
                whole.control(y, [0.3, np.nan]), level.control(y, [0.3, 0.0]), atol=1e-9
            )
            assert whole.info.untracked == (whole.output_names[1],)
            assert level.info.untracked == ()
        whole.control([0.2, -0.4], [0.3, 0.1])
        assert whole.info.untracked == ()
    mpc = LinearMPC(lifted, 8, 1.0, 0.1, u_min=-1, u_max=1)
    result = run_closed_loop(linear_plant(a, b), mpc, 60, [0.3, np.nan], x0=np.zeros(2))
    assert abs(result.outputs[-1, 0] - 0.3) < 1e-3
    assert np.isfinite(result.cost)
    preview = np.array([[0.0, np.nan], [0.5, 0.2], [np.nan, 0.2]])
    assert np.isfinite(mpc.control([0.0, 0.0], preview)).all()
    assert mpc.info.untracked == ("level", "flow")


def test_missing_measurements_do_not_hide_violations():
    outputs = np.array([[0.0], [1.5], [np.nan], [2.0], [0.5], [1.2]])
    result = ClosedLoopResult(
        time=0.1 * np.arange(6), states=outputs, outputs=outputs, inputs=np.zeros((5, 1)),
        references=np.ones((6, 1)), solve_times=np.ones(5), statuses=("optimal",) * 5, rewards=np.zeros(5),
        ended="", Q=None, R=None, bounds={"y_max": np.array([1.0])},
    )  # fmt: skip
    metrics = closed_loop_metrics(result)
    assert metrics["violations"]["y_max"] == {"count": 3, "largest": 1.0}
    np.testing.assert_allclose(metrics["overshoot"], [1.0])
    missing = ClosedLoopResult(**{**vars(result), "outputs": np.full((6, 1), np.nan)})
    assert closed_loop_metrics(missing)["violations"]["y_max"] == {"count": 0, "largest": 0.0}


def test_the_time_limit_covers_the_search_for_targets(network, monkeypatch):
    """A search that would take for ever is cut, and the answer says that there was no time."""
    mpc = RNNMPC(network, 8, 1.0, 0.1, u_min=-3, u_max=3, max_solve_time=0.05)
    step = type(mpc.law.rollout).jacobians

    def slow(self, x, u, features=None):
        time.sleep(0.02)
        return step(self, x, u, features)

    monkeypatch.setattr(type(mpc.law.rollout), "jacobians", slow)
    calls = []
    monkeypatch.setattr("koopctrl.controllers.steady_state.newton._step", _counting(calls))
    u = mpc.control([0.5, 0.1], [30.0, 0.0])
    assert np.isfinite(u).all()
    assert mpc.info.status == "fallback_hold"
    assert "max_solve_time" in mpc.info.reason
    assert 1 <= len(calls) <= 4  # without the limit some hundred
    monkeypatch.undo()
    mpc = mpc.with_(max_solve_time=None)
    mpc.control([0.5, 0.1], [0.3, 0.0])
    assert mpc.info.status == "optimal"


def _counting(calls):
    from koopctrl.controllers.steady_state import newton

    step = newton._step

    def counted(*arguments):
        calls.append(1)
        return step(*arguments)

    return counted


def test_retuning_keeps_the_memory_and_is_the_new_controller(network, monkeypatch):
    lifted = LiftedModel.from_matrices(A, B, dt=0.1)
    solved = []
    monkeypatch.setattr("koopctrl.controllers.mpc.linear_law.solve_riccati", _recording(solved))
    mpc = LinearMPC(lifted, 8, 1.0, 0.1, u_min=-1, u_max=1, du_max=0.2, offset_free=0.5)
    rng = np.random.default_rng(0)
    for _ in range(5):
        mpc.control(rng.normal(size=2), [0.2, 0.0])
    before, count = mpc.state, len(solved)
    tight = mpc.with_(u_max=0.1, y_max=0.3, soft_weights=(1.0, 1.0))
    assert len(solved) == count  # the terminal weight is that of the same model and weights
    assert mpc.state is before
    heavy = tight.with_(Q=[5.0, 0.0], R=0.01)
    assert len(solved) == count + 1
    fresh = LinearMPC(lifted, 8, [5.0, 0.0], 0.01, u_min=-1, u_max=0.1, du_max=0.2, y_max=0.3,
                      soft_weights=(1.0, 1.0), offset_free=0.5)  # fmt: skip
    fresh.state = before
    for _ in range(5):
        y = rng.normal(size=2)
        np.testing.assert_array_equal(heavy.control(y, [0.2, 0.0]), fresh.control(y, [0.2, 0.0]))
    longer = mpc.with_(horizon=12)
    assert longer.state.history.age == 0
    assert np.isfinite(longer.control([0.1, 0.0])).all()
    for other in (
        RNNMPC(network, 6, 1.0, 0.1, u_min=-3, u_max=3), LQR(lifted, 1.0, 0.1, offset_free=True)
    ):  # fmt: skip
        other.control([0.4, 0.1], [0.2, 0.0])
        changed = other.with_(R=1.0)
        assert type(changed) is type(other)
        assert np.abs(changed.control([0.3, 0.1]) - other.control([0.3, 0.1])).max() > 1e-6
        with pytest.raises(OptionError, match="with_ was given weight"):
            other.with_(weight=1.0)


def _recording(calls):
    from koopctrl.controllers.riccati import solve_riccati

    def recorded(*arguments, **options):
        calls.append(1)
        return solve_riccati(*arguments, **options)

    return recorded


def test_two_lines_connect_a_block_to_its_plant():
    names = {"states": 2, "inputs": ["valve"], "outputs": ["level", "flow"]}
    plant = control.ss(A, B, np.eye(2), 0.0, 0.1, **names, name="plant")
    lifted = LiftedModel.from_matrices(A, B, dt=0.1, output_names=["level", "flow"], input_names=["valve"])
    mpc = LinearMPC(lifted, 10, 1.0, 0.1, u_min=-3.0, u_max=3.0)
    loop = control.interconnect(
        [plant, mpc.to_nlsys()], inputs=["r_level", "r_flow"], outputs=["level", "flow", "valve"]
    )
    steps = 0.1 * np.arange(40)
    reference = np.tile([[0.5], [0.1]], (1, 40))
    found = control.input_output_response(loop, steps, reference, squeeze=False)
    x = np.zeros(2)
    for k in range(40):
        np.testing.assert_allclose(found.outputs[:2, k], x, atol=1e-6)
        x = A @ x + B @ mpc.control(x, [0.5, 0.1])


def test_steps_run_blas_on_one_thread_and_leave_it_as_it_was(monkeypatch):
    libraries = _blas_libraries()
    assert libraries
    before = [lib.get_num_threads() for lib in libraries]
    lifted, counts = LiftedModel.from_matrices(A, B, dt=0.1), []
    mpc = LinearMPC(lifted, 5, 1.0, 0.1, u_min=-1, u_max=1)
    solve = mpc.law.solver.solve

    def watched(*arguments):
        counts.append([lib.get_num_threads() for lib in libraries])
        return solve(*arguments)

    monkeypatch.setattr(mpc.law.solver, "solve", watched)
    try:
        for lib in libraries:
            lib.set_num_threads(2)
        mpc.control([1.0, 1.0])
        assert counts == [[1] * len(libraries)]
        assert all(lib.get_num_threads() == 2 for lib in libraries)
        with pytest.raises(OptionError), one_blas_thread():
            raise OptionError("an error on the way")
        assert all(lib.get_num_threads() == 2 for lib in libraries)
    finally:
        for lib, count in zip(libraries, before, strict=True):
            lib.set_num_threads(count)
