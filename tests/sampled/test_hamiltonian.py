"""Hamiltonian networks: finite differences, closed forms, energy laws, orders, units, bad input."""

import pickle

import casadi
import control
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from sklearn.base import clone

from koopctrl import LQR, Trajectories
from koopctrl.errors import DataError, NotFittedError, NumericalWarning, OptionError, ShapeError, SolverError
from koopctrl.sampled import HamiltonianNetwork

LOW, HIGH = np.array([-3.0, -1.5]), np.array([3.0, 1.5])
DAMPING, GAIN = 0.3, 1.2


def energy(x):
    return 0.5 * x[..., 1] ** 2 + 1.0 - np.cos(x[..., 0])


def rhs(x, u=0.0, damping=0.0):
    return np.stack([x[..., 1], -np.sin(x[..., 0]) - damping * x[..., 1] + u], axis=-1)


def flow(x, h, u=None, damping=0.0, n=50):
    """Runge-Kutta steps far below the errors that are judged."""
    force = 0.0 if u is None else GAIN * u[:, 0]
    for _ in range(n):
        g = h / n
        a = rhs(x, force, damping)
        b = rhs(x + g / 2 * a, force, damping)
        c = rhs(x + g / 2 * b, force, damping)
        x = x + g / 6 * (a + 2 * b + 2 * c + rhs(x + g * c, force, damping))
    return x


def points(n=800, seed=0):
    return np.random.default_rng(seed).uniform(LOW, HIGH, (n, 2))


@pytest.fixture(scope="module")
def ported():
    """Damped driven pendulum from noise-free derivatives."""
    x, u = points(), np.random.default_rng(1).uniform(-1, 1, (800, 1))
    net = HamiltonianNetwork(200, damping="varying", input_gain="varying", random_state=0)
    return net.fit_derivatives(x, rhs(x, GAIN * u[:, 0], DAMPING), u, gauge=([0, 0], 0.0))


def steps_data(h, n=600, damping=0.0, driven=False):
    rng = np.random.default_rng(2)
    x = rng.uniform(LOW, HIGH, (n, 2))
    u = rng.uniform(-1, 1, (n, 1)) if driven else np.zeros((n, 0))
    y = flow(x, h, u if driven else None, damping)
    return Trajectories.from_arrays(np.stack([x, y], axis=1), u[:, None], dt=h)


@pytest.mark.parametrize("sampler", ["uniform", "adaptive", "elm", "swim"])
def test_derivatives_give_the_energy(sampler):
    x, test = points(), points(seed=5)
    net = HamiltonianNetwork(200, sampler=sampler, random_state=0)
    net.fit_derivatives(x, rhs(x), gauge=([0, 0], 0.0))
    assert np.abs(net.energy(test) - energy(test)).max() < 1e-5
    np.testing.assert_allclose(
        net.energy_gradient(test), np.stack([np.sin(test[:, 0]), test[:, 1]], -1), atol=1e-4
    )


@pytest.mark.parametrize(
    ("structure", "angles", "n"),
    [("quadratic", (0,), 0), ("quadratic", (), 60), ("mobility", (0,), 10), ("mass_matrix", (0,), 10)],
)
def test_what_is_known_makes_it_exact(structure, angles, n):
    x, test = points(300), points(seed=5)
    net = HamiltonianNetwork(n, structure=structure, angles=angles, random_state=0)
    net.fit_derivatives(x, rhs(x), gauge=([0, 0], 0.0))
    assert np.abs(net.energy(test) - energy(test)).max() < 1e-8


def models(ported):
    x = points(400)
    two = np.random.default_rng(3).uniform(-1, 1, (400, 4))
    slope = np.concatenate([two[:, 2:], -(two[:, :2] ** 3)], axis=1)
    yield ported
    yield HamiltonianNetwork(40, structure="mobility", angles=[0], random_state=0).fit_derivatives(x, rhs(x))
    yield HamiltonianNetwork(30, structure="mass_matrix", angles=[1], random_state=0).fit_derivatives(
        two, slope
    )
    yield HamiltonianNetwork(30, activation="softplus", random_state=0).fit_derivatives(two, slope)


def test_gradients_hessians_and_linear_models_agree_with_finite_differences(ported):
    for net in models(ported):
        x = np.random.default_rng(4).uniform(-1, 1, (3, 2 * net.n_dof))
        u = np.full((3, net.n_u), 0.4)
        h, eye = 1e-4, np.eye(2 * net.n_dof)
        gradient = np.stack([(net.energy(x + h * e) - net.energy(x - h * e)) / (2 * h) for e in eye], -1)
        np.testing.assert_allclose(net.energy_gradient(x), gradient, atol=3e-6)
        for k in range(3):
            a, b = net.linearize(x[k], u[k])
            slope = np.stack(
                [(net.rhs(x[k] + h * e, u[k]) - net.rhs(x[k] - h * e, u[k])) / (2 * h) for e in eye], -1
            )
            np.testing.assert_allclose(a, slope, atol=3e-6)
            np.testing.assert_allclose(
                net.rhs(x[k], u[k] + 1.0) - net.rhs(x[k], u[k]), b.sum(axis=1), atol=1e-9
            )


def test_products_of_angles_are_within_reach():
    """A double pendulum's mass matrix, which neurons through the centre of the torus cannot make."""
    x = np.random.default_rng(0).uniform([-np.pi, -np.pi, -1, -1], [np.pi, np.pi, 1, 1], (600, 4))

    def slopes(x):
        q1, q2, p1, p2 = x.T
        c, s = np.cos(q1 - q2), np.sin(q1 - q2)
        under = 1.0 + s**2
        turn = p1 * p2 * s / under - (p1**2 + 2 * p2**2 - 2 * p1 * p2 * c) * s * c / under**2
        return np.stack(
            [(p1 - p2 * c) / under, (2 * p2 - p1 * c) / under, -turn - 2 * np.sin(q1), turn - np.sin(q2)], 1
        )

    net = HamiltonianNetwork(100, structure="mass_matrix", angles=[0, 1], random_state=0)
    net.fit_derivatives(x, slopes(x))
    test = x[:50] * [1.0, 1.0, 0.9, 0.9] + [0.1, -0.2, 0.0, 0.0]
    np.testing.assert_allclose(net.rhs(test), slopes(test), atol=1e-3)


def test_damping_and_gain_are_found_and_the_damping_is_never_negative(ported):
    q = np.linspace(-2.8, 2.8, 30)[:, None]
    np.testing.assert_allclose(ported.damping_at(q), DAMPING, atol=1e-4)
    np.testing.assert_allclose(ported.input_gain_at(q)[:, 0, 0], GAIN, atol=1e-4)
    x, u = points(300), np.zeros((300, 1))
    gaining = HamiltonianNetwork(80, damping="varying", random_state=0).fit_derivatives(
        x, rhs(x, damping=-0.2), u
    )
    assert (gaining.parts_.damping.coef >= 0).all()
    assert (gaining.damping_at(np.linspace(-9, 9, 50)[:, None]) >= 0).all()


def test_the_constrained_solution_is_the_best_that_is_not_negative():
    x = points(200)
    net = HamiltonianNetwork(5, damping="constant", ridge=1e-6, random_state=0)
    net.fit_derivatives(x, rhs(x, damping=-0.5))
    free = HamiltonianNetwork(5, ridge=1e-6, random_state=0).fit_derivatives(x, rhs(x, damping=-0.5))
    assert net.damping_at([0.0]) == 0.0
    np.testing.assert_allclose(net.parts_.energy.coef, free.parts_.energy.coef, rtol=1e-6)


@pytest.mark.parametrize(("method", "stages", "order"), [("mixed", 1, 2), ("gauss", 1, 2), ("gauss", 2, 4)])
def test_trajectories_give_the_energy_to_the_order_of_the_method(method, stages, order):
    steps, test = np.array([0.1, 0.2, 0.4]), 0.9 * points(seed=5)
    errors = []
    for h in steps:
        net = HamiltonianNetwork(150, method=method, n_stages=stages, random_state=0)
        net.fit(steps_data(h), gauge=([0, 0], 0.0))
        errors.append(np.sqrt(np.mean((net.energy(test) - energy(test)) ** 2)))
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(slope - order) < 0.7


def test_trajectories_with_ports_at_a_long_sample_time():
    net = HamiltonianNetwork(200, damping="constant", random_state=0)
    net.fit(steps_data(0.4, damping=DAMPING, driven=True), gauge=([0, 0], 0.0))
    test = 0.9 * points(seed=5)
    assert np.abs(net.energy(test) - energy(test)).max() < 1e-3
    np.testing.assert_allclose(net.damping_at([0.5]), DAMPING, atol=1e-4)
    np.testing.assert_allclose(net.input_gain_at([0.5]), GAIN, atol=1e-4)
    assert net.changes_[-1] < 1e-5


def test_fits_that_do_not_settle_say_so():
    with pytest.warns(NumericalWarning, match="settle"):
        HamiltonianNetwork(100, random_state=0).fit(steps_data(4.0, 100))


@pytest.fixture(scope="module")
def conservative():
    x = points()
    return HamiltonianNetwork(150, random_state=0).fit_derivatives(x, rhs(x))


def rounding(net, x):
    """What rounding of the energy's terms, which may be large and cancel, leaves of it."""
    terms = np.abs(net.parts_.energy.basis.values(x) * net.parts_.energy.coef).sum(axis=1).max()
    return float(np.finfo(float).eps * terms)


def test_the_discrete_gradient_keeps_the_energy_to_rounding(conservative):
    start = np.array([[1.5, 0.0], [0.3, 0.2], [-1.0, 0.5]])
    for n in (50, 1000):  # it does not add up
        run = conservative.simulate(start, n, 0.1)
        assert np.abs(conservative.energy(run) - conservative.energy(run[0])).max() < 2 * rounding(
            conservative, start
        )
    alone = conservative.simulate(start[0], 50, 0.1)
    np.testing.assert_allclose(conservative.simulate(start, 50, 0.1)[:, 0], alone, atol=1e-6)


def test_an_energy_of_few_terms_is_kept_to_thirteen_digits():
    x = points()
    net = HamiltonianNetwork(0, structure="quadratic", angles=[0]).fit_derivatives(x, rhs(x))
    run = net.simulate([1.5, 0.0], 500, 0.1)
    assert np.abs(net.energy(run) - net.energy(run[0])).max() < 1e-13


def test_gauss_is_symplectic(conservative):
    x, h, eye = np.array([1.0, 0.3]), 1e-3, np.eye(2)
    ends = [conservative.simulate(x + s * h * e, 3, 0.3, method="gauss")[-1] for e in eye for s in (1, -1)]
    m = np.stack([(ends[0] - ends[1]) / (2 * h), (ends[2] - ends[3]) / (2 * h)], axis=1)
    j = np.array([[0, 1], [-1, 0]])
    np.testing.assert_allclose(m.T @ j @ m, j, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "stages", "order"), [("discrete_gradient", 1, 2), ("gauss", 1, 2), ("gauss", 2, 4)]
)
def test_simulation_converges_with_its_order(ported, method, stages, order):
    u = np.full((4, 1), 0.3)
    exact = solve_ivp(lambda t, x: ported.rhs(x, u[0]), (0, 2), [1.0, 0.2], rtol=1e-11, atol=1e-12).y[:, -1]
    errors = [
        np.abs(
            ported.simulate([1.0, 0.2], u, 0.5, method=method, substeps=n, n_stages=stages)[-1] - exact
        ).max()
        for n in (2, 4)
    ]
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.5


def test_runs_side_by_side_may_have_inputs_of_their_own(ported):
    starts = np.array([[1.0, 0.2], [-0.5, 0.1]])
    u = np.random.default_rng(0).uniform(-1, 1, (6, 2, 1))
    together = ported.simulate(starts, u, 0.1, method="gauss")
    for i in range(2):
        alone = ported.simulate(starts[i], u[:, i], 0.1, method="gauss")
        np.testing.assert_allclose(together[:, i], alone, atol=1e-7)
    with pytest.raises(ShapeError, match="u has"):
        ported.simulate(starts, u[:, :1].repeat(3, axis=1), 0.1)


def test_energy_never_rises_without_inputs_and_obeys_the_balance_with_them(ported):
    run = ported.simulate([2.0, 0.5], 200, 0.2)
    limit = 4 * rounding(ported, run)
    assert (np.diff(ported.energy(run)) <= limit).all()
    u = np.random.default_rng(6).uniform(-1, 1, (50, 1))
    h = 0.05
    run = ported.simulate([0.5, 0.0], u, h)
    # What is stored is at most what the input put in, at the velocity of the discrete gradient.
    velocity = np.diff(run[:, 0]) / h
    supplied = h * velocity * ported.input_gain_at(0.5 * (run[1:, :1] + run[:-1, :1]))[:, 0, 0] * u[:, 0]
    lost = h * ported.damping_at(0.5 * (run[1:, :1] + run[:-1, :1]))[:, 0] * velocity**2
    np.testing.assert_allclose(np.diff(ported.energy(run)), supplied - lost, atol=limit)
    assert (np.diff(ported.energy(run)) <= supplied + limit).all()


def test_exports_agree(ported):
    for net in models(ported):
        x = np.random.default_rng(7).uniform(-1, 1, 2 * net.n_dof)
        u = np.full(net.n_u, 0.3)
        f = net.to_casadi()
        np.testing.assert_allclose(np.array(f(x, u)).ravel(), net.rhs(x, u), atol=1e-10)
        step = net.to_casadi(dt=0.01)
        exact = solve_ivp(lambda t, z, net=net, u=u: net.rhs(z, u), (0, 0.01), x, rtol=1e-11, atol=1e-12).y[
            :, -1
        ]
        np.testing.assert_allclose(np.array(step(x, u)).ravel(), exact, atol=1e-9)
        system = net.to_nlsys()
        np.testing.assert_allclose(system.dynamics(0.0, x, u), net.rhs(x, u), rtol=1e-13)
        assert system.dt == 0
        linear, discrete = net.to_statespace(x, u), net.to_statespace(x, u, dt=0.1)
        np.testing.assert_array_equal(linear.A, net.linearize(x, u)[0])
        np.testing.assert_allclose(discrete.A, expm(0.1 * linear.A), rtol=1e-9, atol=1e-12)
    reference = control.sample_system(ported.to_statespace([0.1, 0.2]), 0.1)
    np.testing.assert_allclose(ported.to_statespace([0.1, 0.2], dt=0.1).B, reference.B, rtol=1e-9)


def test_the_packages_controllers_take_it(ported):
    from koopctrl.controllers import NMPC

    top = np.array([0.0, 0.0])
    lqr = LQR(ported.to_lifted(top, dt=0.1), np.eye(2), 0.1)
    nmpc = NMPC(ported.to_casadi(dt=0.1, substeps=1), 2, 1, 8, np.eye(2), 0.1, dt=0.1, P=lqr.P)
    for controller in (lqr, nmpc):
        x = np.array([0.4, -0.2])
        for _ in range(60):
            x = flow(x[None], 0.1, controller.control(x)[None], DAMPING)[0]
        assert np.abs(x).max() < 5e-3


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_change_rounding_alone(scale):
    x, u = points(300), np.random.default_rng(1).uniform(-1, 1, (300, 1))
    xdot = rhs(x, GAIN * u[:, 0], DAMPING)
    settings = dict(damping="varying", random_state=0, rcond=1e-9, ridge=0.0)
    one = HamiltonianNetwork(60, **settings).fit_derivatives(x, xdot, u)
    # q in other units, p in others again, u in others: the energy is an action over a time.
    c = np.array([scale, 1e3])
    other = HamiltonianNetwork(60, **settings).fit_derivatives(c * x, c * xdot, u / scale)
    test = points(20, 8)
    np.testing.assert_allclose(other.energy(c * test) / c.prod(), one.energy(test), atol=1e-6)
    np.testing.assert_allclose(other.rhs(c * test, [0.5 / scale]) / c, one.rhs(test, [0.5]), atol=1e-6)
    runs = [one.simulate(test[0], 5, 0.2), other.simulate(c * test[0], 5, 0.2) / c]
    np.testing.assert_allclose(runs[0], runs[1], atol=1e-6)


def test_the_gauge_is_kept(conservative):
    x = points()
    net = HamiltonianNetwork(50, random_state=0).fit_derivatives(x, rhs(x), gauge=([1.0, 0.5], 7.0))
    assert net.energy([1.0, 0.5]) == pytest.approx(7.0)
    assert conservative.energy(x.mean(axis=0)) == pytest.approx(0.0, abs=1e-12)


def test_it_is_an_estimator(conservative):
    x = points()
    again = clone(conservative).fit_derivatives(x, rhs(x))
    np.testing.assert_array_equal(again.energy(x), conservative.energy(x))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).energy(x), again.energy(x))


def test_nothing_given_is_written_to():
    x, u = points(100), np.ones((100, 1))
    u[::2] = 0.5
    xdot = rhs(x)
    kept = [a.copy() for a in (x, xdot, u)]
    HamiltonianNetwork(20, random_state=0).fit_derivatives(x, xdot, u)
    for a, b in zip((x, xdot, u), kept, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"n_features": -1}, "n_features"), ({"sampler": "x"}, "sampler"), ({"activation": "relu"}, "activ"),
        ({"feature_scale": -1}, "feature_scale"), ({"structure": "x"}, "structure"), ({"angles": [1]},
        "angles"), ({"angles": 3}, "angles"), ({"damping": "x"}, "damping"), ({"input_gain": "x"}, "input_"),
        ({"method": "x"}, "method"), ({"n_stages": 0}, "n_stages"), ({"max_iter": 0}, "max_iter"), ({"ridge":
        "x"}, "ridge"), ({"rcond": -1}, "rcond"), ({"method": "mixed", "damping": "constant"}, "method"),
    ],
)  # fmt: skip
def test_bad_options_are_named(bad, named):
    with pytest.raises(OptionError, match=named):
        HamiltonianNetwork(**{"n_features": 5, "random_state": 0, **bad}).fit(steps_data(0.1, 20))


def test_bad_data_are_named(conservative):
    x = points(30)
    fresh = HamiltonianNetwork(5)
    with pytest.raises(NotFittedError):
        fresh.energy(x)
    with pytest.raises(ShapeError, match="even"):
        fresh.fit_derivatives(np.ones((5, 3)), np.ones((5, 3)))
    with pytest.raises(ShapeError, match="xdot"):
        fresh.fit_derivatives(x, rhs(x)[:10])
    with pytest.raises(ShapeError, match="u has"):
        fresh.fit_derivatives(x, rhs(x), np.ones((7, 1)))
    with pytest.raises(DataError, match="NaN"):
        fresh.fit_derivatives(np.where(x > 2, np.nan, x), rhs(x))
    with pytest.raises(DataError, match="never changes"):
        fresh.fit_derivatives(x * [1, 0], rhs(x))
    with pytest.raises(DataError, match="neighbouring"):
        fresh.fit(Trajectories.from_arrays(x[:1], dt=0.1))
    with pytest.raises(ShapeError, match="momenta"):
        conservative.energy([1.0, 2.0, 3.0])
    with pytest.raises(ShapeError, match="u has"):
        conservative.simulate([1.0, 0.0], np.zeros((5, 2)), 0.1)
    with pytest.raises(SolverError, match="substeps"):
        conservative.simulate([1.5, 0.0], 3, 500.0)


def test_casadi_is_only_needed_for_its_export(ported):
    assert isinstance(ported.to_casadi(), casadi.Function)
