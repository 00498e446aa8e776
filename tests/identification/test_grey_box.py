"""Known parts with coefficients: joint least squares against dense solvers, recovery, exports, files."""

import casadi
import numpy as np
import pytest
from scipy import optimize

from koopctrl import RNNMPC, KoopmanRNN, Trajectories, discretise, load
from koopctrl.controllers.rollout import Rollout
from koopctrl.errors import DataError, OptionError
from koopctrl.identification.window_filter import standardised

DT = 0.05
TRUE = {"g": 9.81, "b": 0.3, "k": 2.0}
GUESS = {"g": 5.0, "b": 1.0, "k": 1.0}


def rhs(x, u, theta, xp=np):
    """A pendulum."""
    return [x[1], -theta["g"] * xp.sin(x[0]) - theta["b"] * x[1] + theta["k"] * u[0]]


def stuck(x, u, theta, xp=np):
    """The same with a force that nobody knows of."""
    q, p = rhs(x, u, theta, xp)
    return [q, p + 1.5 * xp.cos(x[0])]


KNOWN = discretise(rhs, DT)


def pendulum(plant=rhs, noise=0.0, seed=0, n_episodes=6, n_steps=120, size=1.0):
    step, rng = discretise(plant, DT), np.random.default_rng(seed)
    xs, us = [], []
    for _ in range(n_episodes):
        u, x = 3.0 * size * rng.normal(size=(n_steps, 1)), [size * rng.normal(size=2)]
        for k in range(n_steps):
            x.append(np.array(step(x[-1], u[k], TRUE)))
        xs.append(np.array(x) + noise * rng.normal(size=(n_steps + 1, 2)))
        us.append(u)
    return Trajectories.from_arrays(xs, us, dt=DT)


@pytest.fixture(scope="module")
def model():
    return KoopmanRNN(40, known=KNOWN, theta0=GUESS, random_state=0).fit(pendulum(stuck))


def test_coefficients_are_found_exactly_where_nothing_else_acts():
    data = pendulum()
    for ridge in ("auto", 1e-6):
        found = KoopmanRNN(20, known=KNOWN, theta0=GUESS, ridge=ridge, random_state=0).fit(data)
        assert found.theta_ == pytest.approx(TRUE, rel=1e-8)
        assert found.grey_box_.converged
    assert found.score(pendulum(seed=3)) > 1.0 - 1e-10
    assert "g  9.81 +-" in str(found.grey_box_)


def linear_plant(n=300):
    """y+ = a y + b u + h(y) with a and b unknown to `known`, one output."""
    rng = np.random.default_rng(0)
    u, y = rng.normal(size=(n, 1)), [np.array([0.5])]
    for k in range(n):
        y.append(0.7 * y[-1] + 0.4 * u[k] + 0.2 * np.tanh(3.0 * y[-1]) + 0.01 * rng.normal(size=1))
    return Trajectories.from_arrays([np.array(y)], [u], dt=1.0)


def linear(x, u, theta):
    return [theta["a"] * x[0] + theta["b"] * u[0]]


def test_linear_coefficients_are_the_joint_least_squares_solution():
    """Against one dense solve for coefficients and remainder, its penalty as extra rows."""
    data, ridge = linear_plant(), 1e-3
    model = KoopmanRNN(
        6, known=linear, theta0={"a": 1.0, "b": 1.0}, ridge=ridge, input_coupling="linear", random_state=0
    ).fit(data)
    net, x, u = model.network_, data[0].outputs[:-1], data[0].inputs
    phi = net.coupling.regressors(net.dictionary(*net.standardise(x, u)), net.standardise(x, u)[1])
    penalty = np.sqrt(ridge) * np.diag(np.linalg.norm(phi, axis=0))
    scale = net.scaling.y_scale[0]
    left = np.block([[np.hstack([x, u]) / scale, phi], [np.zeros((len(penalty), 2)), penalty]])
    right = np.concatenate([data[0].outputs[1:, 0] / scale, np.zeros(len(penalty))])
    both = np.linalg.lstsq(left, right, rcond=None)[0]
    np.testing.assert_allclose(list(model.theta_.values()), both[:2], rtol=1e-8)
    np.testing.assert_allclose(net.coef[:, 0], both[2:], rtol=1e-5, atol=1e-8)
    # The covariance is that of the same system, by the noise that is left.
    noise = np.sum((right - left @ both) ** 2) / len(x)
    np.testing.assert_allclose(
        model.grey_box_.covariance, noise * np.linalg.inv(left.T @ left)[:2, :2], rtol=1e-5
    )
    assert model.grey_box_.n_iterations <= 8


def test_nonlinear_coefficients_minimise_the_joint_cost():
    """Against scipy's optimiser on coefficients and weights together."""

    def known(x, u, theta, xp=np):
        return [theta["a"] * xp.tanh(theta["s"] * x[0]) + 0.4 * u[0]]

    rng, y = np.random.default_rng(1), [np.array([0.5])]
    u = rng.normal(size=(200, 1))
    for k in range(200):
        y.append(0.9 * np.tanh(1.7 * y[-1]) + 0.4 * u[k] + 0.02 * rng.normal(size=1))
    data = Trajectories.from_arrays([np.array(y)], [u], dt=1.0)
    ridge = 1e-2
    model = KoopmanRNN(
        4, known=known, theta0={"a": 1.0, "s": 1.0}, ridge=ridge, input_coupling="linear", random_state=0
    ).fit(data)
    net, x = model.network_, data[0].outputs[:-1]
    xs, us = net.standardise(x, u)
    phi, scale = net.coupling.regressors(net.dictionary(xs, us), us), net.scaling.y_scale[0]
    weights = np.sqrt(ridge) * np.linalg.norm(phi, axis=0)

    def residuals(v):
        f = v[0] * np.tanh(v[1] * x[:, 0]) + 0.4 * u[:, 0]
        return np.concatenate([(data[0].outputs[1:, 0] - f) / scale - phi @ v[2:], weights * v[2:]])

    start = np.concatenate([[1.0, 1.0], np.zeros(phi.shape[1])])
    best = optimize.least_squares(residuals, start, xtol=1e-15, ftol=1e-15, gtol=1e-14)
    mine = np.concatenate([list(model.theta_.values()), net.coef[:, 0]])
    assert np.sum(residuals(mine) ** 2) <= 2.0 * best.cost * (1.0 + 1e-8)
    np.testing.assert_allclose(list(model.theta_.values()), best.x[:2], rtol=1e-4)


@pytest.mark.slow
def test_standard_deviations_are_those_over_records():
    """Spread of the estimates over noise seeds beside what each record says of itself."""

    def known(x, u, theta):
        return [theta["a"] * x[0] + theta["b"] * u[0]]

    found, said = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        u, y = rng.normal(size=(200, 1)), [np.zeros(1)]
        for k in range(200):
            y.append(0.7 * y[-1] + 0.4 * u[k] + 0.05 * rng.normal(size=1))
        data = Trajectories.from_arrays([np.array(y)], [u], dt=1.0)
        model = KoopmanRNN(3, known=known, theta0={"a": 0.5, "b": 1.0}, random_state=0).fit(data)
        found.append(list(model.theta_.values()))
        said.append(model.grey_box_.std)
    ratio = np.std(found, axis=0) / np.median(said, axis=0)
    assert (ratio > 0.7).all()
    assert (ratio < 1.5).all()


def test_the_remainder_learns_what_is_not_known(model):
    e, alone = (
        pendulum(stuck, seed=4)[0],
        KoopmanRNN(0, known=KNOWN, theta0=GUESS, ridge=1e3).fit(pendulum(stuck)),
    )
    x, u, y = e.outputs[:-1], e.inputs, e.outputs[1:]
    off, known_alone = (np.sqrt(np.mean((m.network_.step(x, u) - y) ** 2)) for m in (model, alone))
    assert off < 0.05 * known_alone
    # An even function of the angle, and none of the coefficients' effects.
    assert model.theta_["g"] == pytest.approx(9.81, rel=0.05)
    assert model.theta_["k"] == pytest.approx(2.0, rel=0.02)


def test_beyond_the_data_it_is_better_than_a_black_box():
    small, far = pendulum(size=0.4), pendulum(size=1.2, seed=7)
    grey = KoopmanRNN(20, known=KNOWN, theta0=GUESS, random_state=0).fit(small)
    black = KoopmanRNN(20, random_state=0).fit(small)
    off = [
        np.sqrt(np.mean((m.network_.step(far[0].outputs[:-1], far[0].inputs) - far[0].outputs[1:]) ** 2))
        for m in (grey, black)
    ]
    assert off[0] < 1e-3 * off[1]


def test_beyond_the_data_the_remainder_keeps_its_value(model):
    """And its derivative is zero: the known part's own is what is left."""
    net, region = model.network_, model.network_.known.region
    edge, u, up = np.array([0.2, region[1][1]]), np.array([0.5]), np.array([0.0, 1.0])
    far = edge + 3.0 * up
    learned = [net.step(x, u) - net.known(x, u) for x in (edge, far)]
    np.testing.assert_allclose(learned[1], learned[0], atol=1e-12)
    np.testing.assert_allclose(model.to_casadi()(far, u).full()[:, 0], net.step(far, u), atol=1e-12)
    h = 1e-5
    slope = (net.known(far + h * up, u) - net.known(far - h * up, u)) / (2 * h)
    np.testing.assert_allclose(net.jacobian(far, u)[0][:, 1], slope, atol=1e-7)


def test_derivatives_rollouts_and_exports_agree(model, tmp_path):
    net, roll = model.network_, Rollout(model.network_)
    x, u, h = np.array([0.4, -0.3]), np.array([0.6]), 1e-6
    a, b = net.jacobian(x, u)
    for i, e in enumerate(h * np.eye(2)):
        np.testing.assert_allclose(a[:, i], (net.step(x + e, u) - net.step(x - e, u)) / (2 * h), atol=1e-8)
    np.testing.assert_allclose(b[:, 0], (net.step(x, u + h) - net.step(x, u - h)) / (2 * h), atol=1e-8)
    f = model.to_casadi()
    np.testing.assert_allclose(f(x, u).full()[:, 0], net.step(x, u), atol=1e-12)
    sx, su = casadi.MX.sym("x", 2), casadi.MX.sym("u", 1)
    exact = casadi.Function("J", [sx, su], [casadi.jacobian(f(sx, su), sx)])(x, u).full()
    np.testing.assert_allclose(a, exact, atol=1e-9)  # fourth-order differences beside automatic ones
    np.testing.assert_allclose(roll.step(x, u, np.zeros(2)), net.step(x, u), atol=1e-12)
    np.testing.assert_allclose(
        roll.run(x, np.tile(u, (3, 5, 1)), np.zeros(2))[2, 1], net.step(x, u), atol=1e-12
    )
    for mine, theirs in zip(roll.jacobians(x[None], u[None]), (a, b), strict=True):
        np.testing.assert_allclose(mine[0], theirs, atol=1e-10)
    np.testing.assert_allclose(model.to_nlsys().dynamics(0.0, x, u), net.step(x, u), atol=1e-13)
    with pytest.raises(OptionError, match="known part"):
        model.to_c(tmp_path)


def test_standardised_it_is_the_same(model):
    """Filters work on signals of mean zero and spread one."""
    net, shots = model.network_, model.snapshots_
    unit, pairs = standardised(net, shots)
    wanted = (net.next_output(shots.x, shots.u) - net.scaling.y_mean) / net.scaling.y_scale
    np.testing.assert_allclose(unit.next_output(pairs.x, pairs.u), wanted, atol=1e-10)


def test_files_hold_no_code(model, tmp_path):
    path = tmp_path / "grey.npz"
    model.save(path)
    with pytest.raises(DataError, match=r"load\(path, known=f\)"):
        load(path)
    again = load(path, known=KNOWN)
    x, u = np.array([0.1, 0.2]), np.array([0.3])
    np.testing.assert_array_equal(again.network_.step(x, u), model.network_.step(x, u))
    assert again.theta_ == model.theta_
    assert str(again.grey_box_) == str(model.grey_box_)
    assert again.get_params() == model.get_params()

    def other(x, u, theta, xp=np):
        return KNOWN(x, u, {**theta, "g": 1.01 * theta["g"]}, xp=xp)

    with pytest.raises(DataError, match="other next outputs"):
        load(path, known=other)
    with pytest.raises(DataError, match="known failed"):
        load(path, known=lambda x, u: x)
    plain = KoopmanRNN(0).fit(pendulum())
    plain.save(path)
    with pytest.raises(DataError, match="no known part"):
        load(path, known=KNOWN)


def test_controllers_on_grey_boxes(model, tmp_path):
    mpc = RNNMPC(model, 15, [1.0, 0.1], 0.01, u_min=-8.0, u_max=8.0)
    step, x = discretise(stuck, DT), np.array([0.6, 0.0])
    u_s = (9.81 * np.sin(0.3) - 1.5 * np.cos(0.3)) / 2.0
    for _ in range(80):
        x = np.array(step(x, mpc.control(x, [0.3, 0.0]), TRUE))
    assert x == pytest.approx([0.3, 0.0], abs=5e-3)
    assert mpc.control(x, [0.3, 0.0])[0] == pytest.approx(u_s, abs=0.05)
    mpc.save(tmp_path / "mpc.npz")
    again = load(tmp_path / "mpc.npz", known=KNOWN)
    np.testing.assert_array_equal(again.control(x), mpc.control(x))
    lifted = model.lift_at([0.0, 0.0], 0.0, method="jacobian")
    lifted.save(tmp_path / "lifted.npz")
    np.testing.assert_array_equal(load(tmp_path / "lifted.npz", known=KNOWN).A, lifted.A)


def test_units_change_nothing():
    factors, by_u = np.array([1e6, 1e-7]), 1e8

    def scaled_rhs(x, u, theta, xp=np):
        y = rhs(
            [x[0] / 1e6, x[1] / 1e-7],
            [u[0] / by_u],
            {"g": theta["g"] / 1e9, "b": theta["b"], "k": theta["k"]},
            xp,
        )
        return [1e6 * y[0], 1e-7 * y[1]]

    data = pendulum(stuck, noise=1e-3)
    other = Trajectories.from_arrays(
        [e.outputs * factors for e in data], [e.inputs * by_u for e in data], dt=DT
    )
    for ridge in ("auto", 1e-2):
        one = KoopmanRNN(12, known=KNOWN, theta0=GUESS, ridge=ridge, random_state=0).fit(data)
        two = KoopmanRNN(
            12, known=discretise(scaled_rhs, DT), theta0=GUESS | {"g": 5e9}, ridge=ridge, random_state=0
        ).fit(other)
        assert two.theta_["g"] / 1e9 == pytest.approx(one.theta_["g"], rel=1e-6)
        assert two.theta_["b"] == pytest.approx(one.theta_["b"], rel=1e-6)
        assert two.grey_box_.std[1] == pytest.approx(one.grey_box_.std[1], rel=1e-4)


def test_parameters_and_a_known_part_together():
    """Stiffness measured, damping identified."""

    def known(x, u, theta, xp=np):
        return [x[0] + DT * x[1], x[1] - DT * (u[1] * xp.sin(x[0]) + theta["b"] * x[1]) + DT * u[0]]

    rng, xs, us = np.random.default_rng(0), [], []
    for _ in range(4):
        p, u, x = rng.uniform(3, 9, 1) + np.zeros(100), rng.normal(size=100), [rng.normal(size=2)]
        for k in range(100):
            x.append(np.array(known(x[-1], [u[k], p[k]], {"b": 0.4})))
        xs.append(np.array(x))
        us.append(np.column_stack([u, p]))
    data = Trajectories.from_arrays(xs, us, dt=DT, input_names=["u", "p"])
    model = KoopmanRNN(8, known=known, theta0={"b": 1.0}, parameters="p", ridge=1e-3, random_state=0).fit(
        data
    )
    assert model.theta_["b"] == pytest.approx(0.4, rel=1e-8)
    frozen = model.frozen(5.0)
    x = np.array([0.3, 0.2])
    np.testing.assert_allclose(
        frozen.network_.step(x, np.array([0.7])), model.network_.step(x, np.array([0.7, 5.0])), atol=1e-12
    )


def test_what_is_refused():
    data = pendulum(n_episodes=1)
    for options, words in (
        ({"known": 3}, "known is a int"),
        ({"known": KNOWN, "theta0": {"g": 0.0}}, "other than zero"),
        ({"known": KNOWN, "theta0": [1.0]}, "mapping"),
        ({"theta0": {"g": 1.0}}, "known is not"),
        ({"known": KNOWN}, "known failed"),
        ({"known": lambda x, u: [x[0]]}, "returned 1 components; expected 2"),
        ({"known": KNOWN, "theta0": GUESS, "output_lags": 2}, "measured state"),
        ({"known": KNOWN, "theta0": GUESS, "n_states": 2}, "measured state"),
    ):
        with pytest.raises(OptionError, match=words):
            KoopmanRNN(5, **options).fit(data)
    with pytest.raises(DataError, match="finite"):
        KoopmanRNN(5, known=lambda x, u: [x[0] * np.inf, x[1]]).fit(data)
    with pytest.raises(OptionError, match="reads the data once"):
        KoopmanRNN(5, known=KNOWN, theta0=GUESS).partial_fit(data)
    with pytest.raises(OptionError, match="rhs is a float"):
        discretise(1.0, DT)


def test_a_coefficient_without_effect_is_said():
    def known(x, u, theta):
        return [x[0] + 0.0 * theta["z"], x[1]]

    with pytest.warns(UserWarning, match="cannot be told"):
        model = KoopmanRNN(5, known=known, theta0={"z": 1.0}, random_state=0).fit(pendulum(n_episodes=2))
    assert np.isinf(model.grey_box_.std[0])
