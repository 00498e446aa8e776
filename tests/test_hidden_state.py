"""Hidden-state KoopmanRNN: one estimator with the others, on plants of which only an output is measured."""

import copy
import pickle

import control
import numpy as np
import plants
import pytest
from sklearn.base import clone

from koopctrl import (
    RNNMPC,
    ExtendedKalmanFilter,
    KalmanFilter,
    KoopmanRNN,
    LinearMPC,
    MovingHorizonEstimator,
    Trajectories,
    Trajectory,
    UnscentedKalmanFilter,
    datasets,
    load,
    verify_design,
)
from koopctrl.controllers import find_steady_state
from koopctrl.errors import DataError, NotFittedError, OptionError, RolloutWarning, ShapeError

A, B, DT = plants.three_states()
C = np.array([[1.0, 0.3, -0.5]])


def linear_records(n_y=1, n_u=2, lengths=(150, 120), seed=0, dt=DT):
    rng = np.random.default_rng(seed)
    c = np.random.default_rng(99).normal(size=(n_y, 3)) if n_y > 1 else C
    ys, us = [], []
    for n in lengths:
        u = rng.uniform(-1, 1, size=(n, n_u))
        x = plants.roll(lambda x, u: A @ x + B[:, : len(u)] @ u, rng.uniform(-1, 1, 3), u)[:-1]
        ys.append(x @ c.T + 5.0)
        us.append(u + 2.0)
    return Trajectories.from_arrays(ys, us if n_u else None, dt=dt)


def saturating_records(seed=0, n=300, n_episodes=2):
    """Two states, one measured; the second saturates."""
    rng = np.random.default_rng(seed)
    ys, us = [], []
    for _ in range(n_episodes):
        x, u = rng.uniform(-1, 1, 2), np.repeat(rng.uniform(-1, 1, (n // 5, 1)), 5, axis=0)
        y = np.empty((n, 1))
        for k in range(n):
            y[k] = x[0]
            x = np.array([0.8 * x[0] + 0.4 * np.tanh(2 * x[1]), 0.7 * x[1] + u[k, 0]])
        ys.append(y)
        us.append(u)
    return Trajectories.from_arrays(ys, us, dt=0.5, state_names=["level"], input_names=["pump"])


TRAIN, TEST = saturating_records(), saturating_records(seed=5)
MODEL = KoopmanRNN(15, n_states=2, ridge=1e-6, random_state=0).fit(TRAIN)


@pytest.mark.parametrize(("n_y", "n_u"), [(1, 2), (4, 2), (2, 0), (1, 1)])
def test_a_linear_plant_is_recovered(n_y, n_u):
    train, test = linear_records(n_y, n_u), linear_records(n_y, n_u, seed=7)
    model = KoopmanRNN(0, n_states=3).fit(train)
    scale = np.concatenate([e.outputs for e in train]).std()
    for p, e in zip(model.predict(test, n_init=10), test, strict=True):
        np.testing.assert_allclose(p, e.outputs, atol=1e-5 * scale)
    lifted = model.lift_at()
    exact = plants.markov_parameters(A, B[:, :n_u], C, np.zeros((1, n_u)), 8)
    if n_y == 1:
        got = plants.markov_parameters(lifted.A, lifted.B, lifted.C, lifted.D, 8)
        np.testing.assert_allclose(got, exact, atol=1e-5)
    assert (model.n_x, model.n_y, model.n_u) == (3, n_y, n_u)
    assert model.state_names_ == ("x0", "x1", "x2")


def test_neurons_beat_the_linear_model_and_predict_unseen_records():
    linear = KoopmanRNN(0, n_states=2).fit(TRAIN)
    assert 1.0 - MODEL.score(TEST, n_init=20) < 0.02 * (1.0 - linear.score(TEST, n_init=20))
    for history in MODEL.history_:
        assert (np.diff(history.cost) <= 0).all()


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    again, other = (KoopmanRNN(15, n_states=2, ridge=1e-6, random_state=s).fit(TRAIN) for s in (0, 1))
    np.testing.assert_array_equal(again.network_.coef, MODEL.network_.coef)
    assert not np.array_equal(other.network_.coef, MODEL.network_.coef)


def test_copies_files_and_clones(tmp_path):
    MODEL.save(tmp_path / "m.npz")
    expected = MODEL.predict(TEST, n_init=20)
    for other in (load(tmp_path / "m.npz"), copy.deepcopy(MODEL), pickle.loads(pickle.dumps(MODEL))):
        for got, want in zip(other.predict(TEST, n_init=20), expected, strict=True):
            np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(other.noise_[0], MODEL.noise_[0])
        assert other.lift_at().n_z == MODEL.lift_at().n_z
    fresh = clone(MODEL)
    assert fresh.get_params() == MODEL.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(TEST)


def test_simulate_from_a_state_and_from_a_record():
    record, u = TEST[0], TEST[0].inputs
    x0 = np.array([0.4, -0.3])
    y = MODEL.simulate(x0, u[:20])
    x = x0
    for k in range(20):
        np.testing.assert_allclose(y[k], MODEL.network_.output(x, u[k]), atol=1e-12)
        x = MODEL.network_.step(x, u[k])
    ahead = MODEL.simulate(record.slice(0, 100), u[99:130])
    np.testing.assert_allclose(ahead[:-1], record.outputs[99:130], atol=0.05)
    with pytest.raises(ShapeError, match="x0"):
        MODEL.simulate(np.zeros(3), u)


def test_exports_agree_with_the_network():
    system, function = MODEL.to_nlsys(), MODEL.to_casadi()
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, u = rng.normal(size=2), rng.uniform(-1, 1, 1)
        x_next, y = MODEL.network_.step(x, u), MODEL.network_.output(x, u)
        np.testing.assert_allclose(system.dynamics(0, x, u), x_next, atol=1e-10)
        np.testing.assert_allclose(system.output(0, x, u), y, atol=1e-10)
        got = function(x, u)
        np.testing.assert_allclose(got[0].full().ravel(), x_next, atol=1e-10)
        np.testing.assert_allclose(got[1].full().ravel(), y, atol=1e-10)
    assert system.output_labels == ["level"]
    assert system.input_labels == ["pump"]
    assert system.dt == 0.5


@pytest.mark.parametrize(
    "settings",
    [
        *(pytest.param(some, marks=pytest.mark.slow) for some in ({}, {"n_output_features": 8})),
        {"n_output_features": 8, "feedthrough": True},
    ],
)
def test_the_lifted_face_reads_outputs_through_c_and_d(settings):
    model = KoopmanRNN(15, n_states=2, random_state=0, max_iter=20, **settings).fit(TRAIN)
    lifted = model.lift_at()
    assert lifted.C.shape == (1, lifted.n_z)
    assert lifted.output_names == ("level",)
    # At the operating point both faces agree, and near it too to first order.
    np.testing.assert_allclose(
        lifted.output(np.zeros(lifted.n_z), lifted.u_op),
        model.network_.output(lifted.x_op, lifted.u_op),
        atol=1e-9,
    )
    x = lifted.x_op + 1e-2 * np.array([1.0, -1.0]) * lifted.observables.x_scale
    got = lifted.output(lifted.lift(x), lifted.u_op)
    np.testing.assert_allclose(got, model.network_.output(x, lifted.u_op), atol=2e-2)
    q, r, s = lifted.noise
    assert (np.linalg.eigvalsh(q) > -1e-12).all()
    assert (np.linalg.eigvalsh(r) > 0).all()
    assert s.shape == (lifted.n_z, 1)
    assert isinstance(model.to_statespace(u_op=0.0), control.StateSpace)


def test_a_kalman_filter_with_the_identified_noise_predicts_better_than_the_free_run():
    """Process noise drives a linear plant; the filter's innovations must be near the best possible ones."""
    rng = np.random.default_rng(0)
    n, a, b, c = 3000, np.array([[0.9, 0.2], [-0.2, 0.9]]), np.array([[0.5], [1.0]]), np.array([[1.0, 0.0]])
    x, y, u = np.zeros(2), np.empty((n, 1)), rng.normal(size=(n, 1))
    q, r = 0.05, 0.02
    for k in range(n):
        y[k] = c @ x + np.sqrt(r) * rng.normal()
        x = a @ x + b @ u[k] + np.sqrt(q) * rng.normal(size=2)
    model = KoopmanRNN(0, n_states=2).fit(Trajectories.from_arrays(y, u, dt=1.0))
    p = control.dlqe(a, np.eye(2), c, q * np.eye(2), np.array([[r]]))[1]
    best = float((c @ p @ c.T)[0, 0] + r)  # variance of the true filter's innovations
    lifted = model.lift_at()
    q_found, r_found, _ = lifted.noise
    gain, p_found, _ = control.dlqe(lifted.A, np.eye(2), lifted.C, q_found, r_found)
    z, errors = np.zeros(2), np.empty(n)
    for k in range(n):
        e = y[k] - lifted.output(z, u[k])
        errors[k] = e[0]
        z = lifted.step(z + gain @ e, u[k])
    assert np.var(errors[50:]) <= 1.1 * best
    assert (lifted.C @ p_found @ lifted.C.T + r_found)[0, 0] == pytest.approx(best, rel=0.25)


def test_report_has_both_faces():
    report = MODEL.report(TEST, horizons=(1, 10))
    assert [h.horizon for h in report.horizons] == [1, 10]
    assert report.horizons[0].rnn_nrmse < 0.1
    assert report.sizes["n_x"] == 2
    assert "free-run" in str(report)


def test_a_refinement_is_stopped_by_held_out_data():
    train = datasets.hair_dryer().split(0.5, by="time")[0]
    model = KoopmanRNN(40, n_states=4, random_state=0, validation_fraction=0.3, max_iter=40).fit(train)
    history = model.history_[-1]
    assert history.held_out[history.chosen] == min(history.held_out)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_do_not_matter(scale):
    def scaled(data):
        return Trajectories.from_arrays(
            [e.outputs * scale for e in data], [e.inputs / scale for e in data], dt=data.dt
        )

    settings = {"n_states": 2, "random_state": 0, "max_iter": 5}
    plain, other = KoopmanRNN(8, **settings).fit(TRAIN), KoopmanRNN(8, **settings).fit(scaled(TRAIN))
    for p, q in zip(plain.predict(TEST, n_init=20), other.predict(scaled(TEST), n_init=20), strict=True):
        np.testing.assert_allclose(q / scale, p, atol=1e-5)


@pytest.mark.slow
def test_adapted_rounds_find_the_one_direction_that_matters():
    rng = np.random.default_rng(3)
    a = np.diag([0.9, 0.7, 0.5, 0.3])
    w = np.array([0.5, -0.5, 0.5, 0.5])
    x, u, y = np.zeros(4), rng.normal(size=(1500, 1)), np.empty((1500, 1))
    for k in range(1500):  # Wiener: linear dynamics, then one curved function of one combination of states
        y[k] = np.tanh(1.5 * (w @ x)) + 0.2 * (w @ x) ** 2
        x = a @ x + np.array([1.0, 0.5, -0.7, 1.0]) * u[k]
    data = Trajectories.from_arrays(y, u, dt=1.0)
    settings = {"n_states": 4, "n_output_features": 15, "random_state": 0, "ridge": 1e-6, "max_iter": 40}
    plain = KoopmanRNN(0, **settings).fit(data)
    adapted = KoopmanRNN(0, rounds=1, **settings).fit(data)
    assert min(h.cost[-1] for h in adapted.history_) <= plain.history_[-1].cost[-1]


def test_bad_options_are_named():
    for options, match in (
        ({"n_states": 0}, "n_states"),
        ({"n_states": 2, "output_lags": 3}, "output_lags"),
        ({"n_states": 2, "refine": "horizon"}, "refine"),
        ({"n_states": 2, "refine": 1}, "refine"),
        ({"n_states": 2, "max_iter": -1}, "max_iter"),
        ({"n_states": 2, "rounds": 1.5}, "rounds"),
        ({"n_states": 2, "n_output_features": -1}, "n_output_features"),
        ({"n_states": 2, "validation_fraction": 1.0}, "validation_fraction"),
    ):
        with pytest.raises(OptionError, match=match):
            KoopmanRNN(5, **options).fit(TRAIN)
    with pytest.raises(OptionError, match="partial_fit"):
        KoopmanRNN(5, n_states=2).partial_fit(TRAIN)
    with pytest.raises(DataError, match="n_init"):
        MODEL.predict(Trajectory(np.ones(5), np.ones(5), 0.5, ["level"], ["pump"]), n_init=10)


@pytest.mark.parametrize("settings", [{"n_states": 2}, {"output_lags": 3, "input_lags": 3}])
@pytest.mark.filterwarnings("ignore:.*roll-outs:koopctrl.errors.RolloutWarning")
def test_roll_outs_can_be_held_within_the_training_range(settings):
    far = np.full((200, 1), 40.0)
    model = KoopmanRNN(15, random_state=0, **settings).fit(TRAIN)
    free = model.simulate(TRAIN[0].slice(0, 30), far)
    model.set_params(rollout_margin=0.1)
    with pytest.warns(RolloutWarning, match="held within"):
        held = model.simulate(TRAIN[0].slice(0, 30), far)
    outputs = np.concatenate([e.outputs for e in TRAIN])
    width = np.ptp(outputs)
    assert np.abs(free - outputs.mean()).max() > np.abs(held - outputs.mean()).max()
    assert held.max() <= outputs.max() + 0.5 * width  # hidden states are bounded, outputs through them
    assert held.min() >= outputs.min() - 0.5 * width
    model.set_params(rollout_margin=0.5)
    inside = model.predict(TEST, n_init=20)
    model.set_params(rollout_margin=None)
    for p, q in zip(inside, model.predict(TEST, n_init=20), strict=True):
        np.testing.assert_allclose(p, q, atol=1e-9)


def test_a_hidden_state_goes_into_linear_mpc_with_its_identified_noise():
    """The plant is measured through one noisy output; nobody sees its state."""
    lifted = MODEL.lift_at(method="jacobian")
    assert lifted.network is None  # there is nothing to try a design on, and no design is refused for it
    observer = KalmanFilter(lifted, Rn=lifted.noise[1] + 1e-4 * np.eye(1), disturbance="output")
    mpc = LinearMPC(lifted, horizon=20, Q=1.0, R=1e-3, u_min=-1.0, u_max=1.0, estimator=observer)
    rng = np.random.default_rng(0)
    x, outputs = np.zeros(2), []
    for k in range(160):
        target = 0.6 if k < 80 else -0.4
        y = x[:1] + 0.01 * rng.normal(size=1)
        outputs.append(x[0])
        u = mpc.control(y, reference=target)
        x = np.array([0.8 * x[0] + 0.4 * np.tanh(2 * x[1]), 0.7 * x[1] + u[0]])
    assert np.mean(outputs[50:80]) == pytest.approx(0.6, abs=0.05)
    assert np.mean(outputs[130:]) == pytest.approx(-0.4, abs=0.05)


def test_what_reads_outputs_off_the_state_refuses_a_hidden_one_with_the_remedy():
    lifted = MODEL.lift_at(method="jacobian")
    mpc = LinearMPC(lifted, 5, 1.0, 1.0, estimator=KalmanFilter(lifted))
    for build in (
        lambda: RNNMPC(MODEL, 5, 1.0, 1.0),
        lambda: ExtendedKalmanFilter(MODEL, 1.0, 1.0),
        lambda: UnscentedKalmanFilter(MODEL, 1.0, 1.0),
        lambda: MovingHorizonEstimator(MODEL, 5, 1.0, 1.0),
    ):
        with pytest.raises(OptionError, match=r"hidden .*lift_at.*KalmanFilter\(lifted\)"):
            build()
    with pytest.raises(OptionError, match=r"hidden .*run_closed_loop"):
        verify_design(mpc, MODEL)
    with pytest.raises(OptionError, match=r"hidden .*lift_at"):
        find_steady_state(MODEL, y=0.1)
    assert find_steady_state(lifted, y=lifted.y_op).reached


def test_do_mpc_measures_the_outputs_and_not_the_states():
    pytest.importorskip("do_mpc")
    peer = MODEL.to_do_mpc()
    x, u = np.array([0.3, -0.2]), np.array([0.4])
    empty = [np.empty(0)] * 3
    seen = np.asarray(peer._meas_fun(x, u, *empty, np.zeros(peer.n_v))).ravel()
    np.testing.assert_allclose(seen, MODEL.network_.output(x, u), rtol=1e-12)
