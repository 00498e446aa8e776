"""The linear face of fitted models: exact where the plant is linear, for every coupling and window."""

import numpy as np
import plants
import pytest
from scipy import linalg

from koopctrl import KoopmanRNN, LiftedModel, Trajectories
from koopctrl.errors import DataError, NumericalWarning, OptionError, ShapeError
from koopctrl.lifted.equilibrium import find_equilibrium
from koopctrl.network.coupling import COUPLINGS
from koopctrl.network.samplers import SAMPLERS

A, B, DT = plants.oscillator()
LINEAR = plants.record(plants.linear_step(A, B), 2, 1, DT, n_episodes=10, n_steps=80)
DUFFING = plants.record(
    plants.sampled(plants.duffing, 0.1), 2, 1, 0.1, n_episodes=30, n_steps=50, x_max=1.5, u_max=1.0
)
each_coupling = pytest.mark.parametrize("coupling", COUPLINGS)


@pytest.fixture(scope="module")
def duffing_model():
    return KoopmanRNN(100, random_state=0).fit(DUFFING)


def markov(lifted: LiftedModel, n: int = 15):
    return plants.markov_parameters(lifted.A, lifted.B, lifted.C, lifted.D, n)


# --- a linear plant --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_features", [0, 40])
@each_coupling
def test_a_linear_plant_keeps_its_markov_parameters(coupling, n_features):
    model = KoopmanRNN(n_features, input_coupling=coupling, random_state=0).fit(LINEAR)
    expected = plants.markov_parameters(A, B, np.eye(2), np.zeros((2, 1)), 15)
    for x_op, u_op in ((0.0, 0.0), ([0.3, -0.2], 0.1), (None, None)):
        np.testing.assert_allclose(markov(model.lift_at(x_op=x_op, u_op=u_op)), expected, atol=1e-8)
        lifted = model.lift_at(x_op=x_op, u_op=u_op, method="edmd")
        np.testing.assert_allclose(markov(lifted), expected, atol=1e-8)
        assert lifted.n_z == 2 if n_features == 0 else lifted.n_z > 2


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_every_sampler_and_activation_can_be_lifted(sampler, activation):
    model = KoopmanRNN(30, sampler=sampler, activation=activation, random_state=0).fit(LINEAR)
    lifted = model.lift_at(x_op=0, u_op=0)
    np.testing.assert_allclose(
        markov(lifted), plants.markov_parameters(A, B, np.eye(2), np.zeros((2, 1)), 15), atol=1e-8
    )


@pytest.mark.parametrize("x_op", [0.0, [0.5, -0.3]])
@each_coupling
def test_simulation_of_a_linear_plant_is_exact_from_any_operating_point(coupling, x_op):
    model = KoopmanRNN(30, input_coupling=coupling, random_state=0).fit(LINEAR)
    lifted = model.lift_at(x_op=x_op, u_op=0.2, method="edmd")
    rng = np.random.default_rng(1)
    u = rng.uniform(-1, 1, (40, 1))
    x = plants.roll(plants.linear_step(A, B), np.array([0.4, 0.1]), u)
    np.testing.assert_allclose(lifted.simulate(x[0], u), x, atol=1e-7)


def test_the_riccati_cost_of_a_linear_plant_is_the_true_one():
    lifted = KoopmanRNN(60, random_state=0).fit(LINEAR).lift_at(x_op=0, u_op=0, method="edmd")
    q, r = np.diag([2.0, 1.0]), np.array([[0.5]])
    p = linalg.solve_discrete_are(A, B, q, r)
    p_lifted = linalg.solve_discrete_are(lifted.A, lifted.B, lifted.C.T @ q @ lifted.C, r)
    for x in np.random.default_rng(0).uniform(-1, 1, (10, 2)):
        z = lifted.lift(x)
        assert z @ p_lifted @ z == pytest.approx(x @ p @ x, rel=1e-2)


# --- the lift --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coupling", ["bilinear", "network"])
@pytest.mark.parametrize("lags", [(1, 1), (3, 2)])
def test_the_operating_point_is_zero_and_the_lift_can_be_undone(coupling, lags):
    model = KoopmanRNN(
        50, input_coupling=coupling, output_lags=lags[0], input_lags=lags[1], rcond=1e-8, random_state=0
    ).fit(DUFFING)
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.5, 1.5, (20, model.n_x))
    for x_op in (0.0, x[3]):
        lifted = model.lift_at(x_op=x_op, u_op=0.1, method="edmd")
        np.testing.assert_array_equal(lifted.lift(lifted.x_op), np.zeros(lifted.n_z))
        np.testing.assert_allclose(lifted.unlift(lifted.lift(x)), x, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(lifted.unlift(lifted.lift(x[0])), x[0], rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(lifted.lift(x)[4], lifted.lift(x[4]), atol=1e-12)


def test_an_equilibrium_is_a_fixed_point_at_z_0(duffing_model):
    lifted = duffing_model.lift_at()
    np.testing.assert_array_equal(lifted.c, np.zeros(lifted.n_z))
    np.testing.assert_array_equal(lifted.step(np.zeros(lifted.n_z), lifted.u_op), np.zeros(lifted.n_z))
    network = duffing_model.network_
    np.testing.assert_allclose(network.step(lifted.x_op, lifted.u_op), lifted.x_op, atol=1e-8)
    np.testing.assert_allclose(lifted.y_op, lifted.x_op, atol=1e-12)


def test_away_from_an_equilibrium_the_drift_is_that_of_the_network(duffing_model):
    lifted = duffing_model.lift_at(x_op=[0.5, 0.2], u_op=-0.1)
    following = duffing_model.network_.step(np.array([0.5, 0.2]), np.array([-0.1]))
    np.testing.assert_allclose(
        lifted.step(np.zeros(lifted.n_z), lifted.u_op), lifted.lift(following), atol=1e-12
    )
    np.testing.assert_allclose(lifted.simulate([0.5, 0.2], [[-0.1]])[1], following, atol=1e-12)


def test_the_equilibria_of_the_double_well_are_found(duffing_model):
    for guess, expected in (([0.9, 0.1], [1.0, 0.0]), ([-1.1, 0.0], [-1.0, 0.0]), ([0.05, 0.0], [0.0, 0.0])):
        found = find_equilibrium(duffing_model, np.zeros(1), np.array(guess))
        assert found is not None
        np.testing.assert_allclose(found, expected, atol=1e-2)
        np.testing.assert_allclose(duffing_model.network_.step(found, np.zeros(1)), found, atol=1e-9)
    assert find_equilibrium(duffing_model, np.array([30.0]), np.zeros(2)) is None


def test_coordinates_are_near_orthonormal_and_reduced(duffing_model):
    lifted = duffing_model.lift_at(x_op=0, u_op=0, method="edmd")
    z = lifted.lift(duffing_model.snapshots_.x)
    features = z[:, 2:]
    gram = features.T @ features / len(z)
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-6)
    assert np.abs(features.T @ z[:, :2] / len(z)).max() < 1e-6
    sizes = [duffing_model.lift_at(x_op=0, u_op=0, rank_tol=t).n_z for t in (1e-2, 1e-4, 1e-6)]
    assert 2 < sizes[0] < sizes[1] < sizes[2] < 102


def test_lifting_is_a_better_predictor_than_the_state_alone(duffing_model):
    start, u = np.array([0.3, 0.0]), np.zeros((10, 1))
    truth = plants.roll(plants.sampled(plants.duffing, 0.1), start, u)
    errors = []
    for model in (duffing_model, KoopmanRNN(0).fit(DUFFING)):
        lifted = model.lift_at(x_op=0, u_op=0, method="edmd")
        errors.append(np.abs(lifted.simulate(start, u) - truth).max())
    assert errors[0] < 0.5 * errors[1]


def test_lifting_leaves_the_model_alone(duffing_model):
    before = [a.copy() for a in (duffing_model.network_.coef, *vars(duffing_model.snapshots_).values())]
    x_op, u_op = np.array([0.1, 0.2]), np.array([0.3])
    duffing_model.lift_at(x_op, u_op)
    np.testing.assert_array_equal(x_op, [0.1, 0.2])
    np.testing.assert_array_equal(u_op, [0.3])
    after = [duffing_model.network_.coef, *vars(duffing_model.snapshots_).values()]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_names_and_dt_travel():
    named = Trajectories.from_arrays(
        [e.outputs for e in LINEAR],
        [e.inputs for e in LINEAR],
        dt=DT,
        state_names=["pos", "vel"],
        input_names=["f"],
    )
    lifted = KoopmanRNN(5, random_state=0).fit(named).lift_at()
    assert (lifted.output_names, lifted.input_names, lifted.dt) == (("pos", "vel"), ("f",), DT)


# --- input terms -----------------------------------------------------------------------------------------


def test_bilinear_terms_of_a_bilinear_plant_are_exact():
    data = plants.record(plants.bilinear_step, 2, 1, 0.1, n_episodes=10)
    model = KoopmanRNN(0).fit(data)
    u = np.random.default_rng(3).uniform(-1, 1, (30, 1))
    x = plants.roll(plants.bilinear_step, np.array([0.5, -0.5]), u)
    for x_op, u_op in ((0.0, 0.0), (0.0, 0.4)):
        lifted = model.lift_at(x_op=x_op, u_op=u_op, bilinear=True)
        assert lifted.N is not None
        np.testing.assert_allclose(lifted.simulate(x[0], u), x, atol=1e-9)
    linear = model.lift_at(x_op=0, u_op=0)
    assert linear.N is None
    assert np.abs(linear.simulate(x[0], u) - x).max() > 1e-3


@each_coupling
def test_the_features_are_the_network_s_own_with_its_input_held(coupling):
    moved = Trajectories.from_arrays(
        [3 * e.outputs + 5 for e in DUFFING], [e.inputs - 2 for e in DUFFING], dt=0.1
    )
    model = KoopmanRNN(20, input_coupling=coupling, random_state=0).fit(moved)
    net, x, u_op = model.network_, moved[0].outputs[:7], np.array([-1.8])
    xs, us = net.standardise(x, np.tile(u_op, (7, 1)))
    layer = model.lift_at(x_op=x[0], u_op=u_op).observables.layer
    np.testing.assert_allclose(layer(x), net.dictionary(xs, us)[:, 3:], atol=1e-12)


# --- autonomous ------------------------------------------------------------------------------------------


def test_an_autonomous_polynomial_system_has_its_koopman_eigenvalues():
    l, m = 0.9, 0.5
    data = plants.record(plants.koopman_polynomial(l, m), 2, 0, 0.1, n_episodes=60, n_steps=20)
    lifted = KoopmanRNN(80, random_state=0).fit(data).lift_at(x_op=0)
    assert lifted.B.shape == (lifted.n_z, 0)
    spectrum = lifted.spectrum()
    for eigenvalue in (l, m, l**2):
        nearest = np.argmin(np.abs(spectrum.eigenvalues - eigenvalue))
        assert abs(spectrum.eigenvalues[nearest] - eigenvalue) < 1e-3
        assert spectrum.residuals[nearest] < 1e-2
    x = plants.roll(plants.koopman_polynomial(l, m), np.array([0.8, -0.6]), np.empty((20, 0)))
    np.testing.assert_allclose(lifted.simulate(x[0], np.empty((20, 0))), x, atol=5e-3)


# --- bad input -------------------------------------------------------------------------------------------


def test_operating_points_that_do_not_fit_are_refused(duffing_model):
    for bad in (np.zeros(3), np.zeros((2, 2)), [[0.0, 0.0]]):
        with pytest.raises((OptionError, ShapeError), match="x_op has shape"):
            duffing_model.lift_at(x_op=bad)
    for bad in (np.zeros(2), np.zeros((1, 1))):
        with pytest.raises(ShapeError, match="u_op has shape"):
            duffing_model.lift_at(u_op=bad)
    for bad in (np.nan, [0.0, np.inf], "a", [1j, 0.0]):
        with pytest.raises(DataError, match="x_op"):
            duffing_model.lift_at(x_op=bad)
    for bad in (np.nan, [np.inf], "a", [1j]):
        with pytest.raises(DataError, match="u_op"):
            duffing_model.lift_at(u_op=bad)
    for bad in (-1e-6, 2.0, np.nan, "tight"):
        with pytest.raises(OptionError, match="rank_tol"):
            duffing_model.lift_at(rank_tol=bad)


def test_few_snapshots_are_a_warning_that_points_at_the_call():
    model = KoopmanRNN(100, random_state=0).fit(DUFFING[:1])
    with pytest.warns(NumericalWarning, match="50 snapshots for 100 features") as caught:
        lifted = model.lift_at()
    assert caught[0].filename == __file__
    assert np.isfinite(lifted.A).all()
    with pytest.warns(NumericalWarning):
        model.lift_at(bilinear=True)


@pytest.mark.parametrize("power", [-100, -6, 6, 100])
def test_units_do_not_matter(power):
    scale = 10.0**power
    scaled = Trajectories.from_arrays([e.outputs * scale for e in LINEAR], [e.inputs for e in LINEAR], dt=DT)
    lifted = KoopmanRNN(20, random_state=0).fit(scaled).lift_at(u_op=0)
    expected = plants.markov_parameters(A, B, np.eye(2), np.zeros((2, 1)), 15)
    np.testing.assert_allclose(markov(lifted) / scale, expected, atol=1e-7)
    np.testing.assert_allclose(lifted.x_op / scale, 0.0, atol=1e-7)


# --- control of the double well --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("n_features", [100, 200, 400])
def test_lqr_in_lifted_coordinates_stabilises_the_double_well_and_beats_the_plant_s_own(n_features):
    step = plants.sampled(plants.duffing, 0.1, n_substeps=4)
    data = plants.record(step, 2, 1, 0.1, n_episodes=60, n_steps=60, x_max=2.0, u_max=3.0)
    q, r = np.eye(2), np.array([[0.1]])
    starts = np.random.default_rng(5).uniform(-2, 2, (2, 60))

    def closed_loop(law):
        """Mean cost, and the distances to the origin at the end."""
        x, cost = starts, 0.0
        for _ in range(150):
            u = law(x)
            cost += np.sum(x**2) + 0.1 * np.sum(u**2)
            x = step(x, u)
        return cost / starts.shape[1], np.linalg.norm(x, axis=0)

    def lqr(a, b, weight):
        p = linalg.solve_discrete_are(a, b, weight, r)
        return np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)

    local = lqr(*plants.discretise(np.array([[0.0, 1.0], [1.0, -0.3]]), np.array([[0.0], [1.0]]), 0.1), q)
    reference, _ = closed_loop(lambda x: -local @ x)
    costs = []
    for seed in range(3):
        lifted = KoopmanRNN(n_features, random_state=seed).fit(data).lift_at(x_op=0, u_op=0)
        gain = lqr(lifted.A, lifted.B, lifted.C.T @ q @ lifted.C)
        cost, distances = closed_loop(lambda x, lifted=lifted, gain=gain: -gain @ lifted.lift(x.T).T)
        assert distances.max() < 1e-2
        costs.append(cost)
    assert np.mean(costs) <= reference


# --- what is asked of it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["yes", 1, None, np.array([True])])
def test_flags_are_true_or_false(duffing_model, value):
    with pytest.raises(OptionError, match="bilinear is"):
        duffing_model.lift_at(bilinear=value)


def test_an_operating_point_far_outside_the_data_is_warned_of(duffing_model):
    with pytest.warns(NumericalWarning, match=r"x_op is far outside .* x0 = 9 \(\d+\.\d standard deviations"):
        duffing_model.lift_at(x_op=[9.0, 0.0], u_op=0.0)
    with pytest.warns(NumericalWarning, match=r"u_op is far outside .* u0 = -50 .* sampled range -0\.\d+ to"):
        duffing_model.to_statespace(x_op=0.0, u_op=-50.0)
    lagged = KoopmanRNN(5, output_lags=6, rcond=1e-6, random_state=0).fit(DUFFING)
    with pytest.warns(NumericalWarning, match="and 9 more"):
        lagged.lift_at(x_op=50.0, u_op=0.0)


def test_an_operating_point_at_the_edge_of_the_data_is_not(duffing_model):
    edge = duffing_model.snapshots_.x.max(axis=0)
    duffing_model.lift_at(x_op=1.1 * edge, u_op=1.1)


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e8])
def test_the_equilibrium_is_found_where_offsets_dwarf_the_spread(offset):
    moved = Trajectories.from_arrays(
        [e.outputs + offset for e in LINEAR], [e.inputs + offset for e in LINEAR], dt=DT
    )
    model = KoopmanRNN(0, input_coupling="linear", ridge=0.0).fit(moved)
    found = find_equilibrium(model, np.array([offset]), model.network_.x_mean)
    assert found is not None
    np.testing.assert_allclose(found - offset, 0.0, atol=1e-13 * offset + 1e-7)
    lifted = model.lift_at(u_op=offset)
    np.testing.assert_array_equal(lifted.c, np.zeros(lifted.n_z))
