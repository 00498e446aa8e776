"""Measured parameters in one-step models: exact recovery, frozen models, families, exports, files, units."""

import numpy as np
import pytest
from varying_plants import A, B, affine_step, pendulum_step, records

from koopctrl import RNNMPC, KoopmanRNN, Trajectories, design_mpc, load, verify_design
from koopctrl.controllers import find_steady_state
from koopctrl.controllers.rollout import Rollout
from koopctrl.errors import DataError, OptionError, ShapeError

KINDS = [
    (kind, coupling)
    for kind in ("linear", "bilinear", "quadratic", "network")
    for coupling in ("affine", "layer")
    if (kind, coupling) != ("quadratic", "affine")
]


@pytest.fixture(scope="module")
def affine_data():
    return records(affine_step)


@pytest.fixture(scope="module")
def pendulum_data():
    return records(pendulum_step, low=2.0, high=6.0)


@pytest.fixture(scope="module")
def pendulum(pendulum_data):
    return KoopmanRNN(40, parameters=["p"], random_state=0).fit(pendulum_data)


@pytest.mark.parametrize("n_features", [0, 20])
@pytest.mark.parametrize("kind", ["linear", "bilinear", "network"])
def test_an_affine_plant_is_recovered_exactly(affine_data, kind, n_features):
    model = KoopmanRNN(n_features, parameters="p", input_coupling=kind, random_state=0).fit(affine_data)
    assert model.parameter_names_ == ("p",)
    for p in (-0.7, 0.0, 0.9):
        x, u = np.array([0.3, -0.2]), np.array([0.4, p])
        np.testing.assert_allclose(model.network_.step(x, u), affine_step(x, u[:1], p), atol=1e-12)
        a, b = model.network_.jacobian(x, u)
        np.testing.assert_allclose(a, A[0] + p * A[1], atol=1e-11)
        np.testing.assert_allclose(b[:, :1], B[0] + p * B[1], atol=1e-11)


@pytest.mark.parametrize(("kind", "coupling"), KINDS)
def test_jacobians_rollouts_and_casadi_agree_with_the_step(pendulum_data, kind, coupling):
    model = KoopmanRNN(
        15, parameters=["p"], input_coupling=kind, parameter_coupling=coupling, random_state=0
    ).fit(pendulum_data)
    net, roll = model.network_, Rollout(model.network_)
    x, u, h = np.array([0.4, -0.3]), np.array([0.6, 4.5]), 1e-6
    a, b = net.jacobian(x, u)
    for i in range(2):
        e = h * np.eye(2)[i]
        np.testing.assert_allclose(a[:, i], (net.step(x + e, u) - net.step(x - e, u)) / (2 * h), atol=1e-7)
        np.testing.assert_allclose(b[:, i], (net.step(x, u + e) - net.step(x, u - e)) / (2 * h), atol=1e-7)
    np.testing.assert_allclose(roll.step(x, u, np.zeros(2)), net.step(x, u), atol=1e-12)
    batch = roll.run(x, np.tile(u, (3, 4, 1)), np.zeros(2))
    np.testing.assert_allclose(batch[1, 1], net.step(x, u), atol=1e-12)
    for mine, theirs in zip(roll.jacobians(x[None], u[None]), (a, b), strict=True):
        np.testing.assert_allclose(mine[0], theirs, atol=1e-11)
    np.testing.assert_allclose(model.to_casadi()(x, u).full()[:, 0], net.step(x, u), atol=1e-12)


@pytest.mark.parametrize(("kind", "coupling"), KINDS)
def test_a_frozen_model_is_the_model_at_its_parameter(pendulum_data, kind, coupling):
    model = KoopmanRNN(
        15, parameters=["p"], input_coupling=kind, parameter_coupling=coupling, random_state=0
    ).fit(pendulum_data)
    frozen = model.frozen(3.0)
    assert (frozen.n_u, frozen.input_names_, frozen.parameter_names_) == (1, ("u",), ())
    rng = np.random.default_rng(0)
    x, u = rng.normal(size=(20, 2)), rng.normal(size=(20, 1))
    full = np.column_stack([u, np.full(20, 3.0)])
    np.testing.assert_allclose(frozen.network_.step(x, u), model.network_.step(x, full), atol=1e-10)
    np.testing.assert_allclose(
        frozen.network_.jacobian(x[0], u[0])[1], model.network_.jacobian(x[0], full[0])[1][:, :1], atol=1e-10
    )
    # Its data are its own answers.
    shots = frozen.snapshots_
    np.testing.assert_allclose(frozen.network_.next_output(shots.x, shots.u), shots.y_next, atol=1e-12)
    assert len(shots.x) > 0.8 * len(model.snapshots_.x)


def test_a_frozen_lift_is_that_of_a_model_fitted_at_the_parameter():
    """A linear plant whose parameter stands still: all linear faces are its matrices."""
    varying = KoopmanRNN(0, parameters="p", input_coupling="linear", ridge=0.0).fit(records(affine_step))
    rng, p = np.random.default_rng(1), 0.4
    x, u = [np.ones(2)], rng.normal(size=(200, 1))
    for k in range(200):
        x.append(affine_step(x[-1], u[k], p))
    fixed = KoopmanRNN(0, input_coupling="linear", ridge=0.0).fit(
        Trajectories.from_arrays([np.array(x)], [u], dt=0.1)
    )
    here = varying.lift_at([0.1, 0.2], 0.3, parameter=p)
    there = fixed.lift_at([0.1, 0.2], 0.3)
    unit = here.observables.x_scale
    for lifted in (here, there):
        scale = lifted.observables.x_scale
        np.testing.assert_allclose(lifted.A * scale[:, None] / scale, A[0] + p * A[1], atol=1e-11)
        np.testing.assert_allclose(lifted.B * scale[:, None], B[0] + p * B[1], atol=1e-11)
    np.testing.assert_allclose(here.c * unit, there.c * there.observables.x_scale, atol=1e-11)


def test_a_lift_of_the_network_is_near_its_derivatives(pendulum):
    lifted = pendulum.lift_at([0.0, 0.0], 0.0, parameter=4.0, method="jacobian")
    scale = lifted.observables.x_scale
    a, b = pendulum.network_.jacobian(np.zeros(2), np.array([0.0, 4.0]))
    np.testing.assert_allclose(lifted.A * scale[:, None] / scale, a, atol=1e-10)
    np.testing.assert_allclose(lifted.B * scale[:, None], b[:, :1], atol=1e-10)


@pytest.mark.parametrize("method", ["jacobian", "linear", "edmd", "auto"])
def test_families_of_an_affine_plant_are_exact(affine_data, method):
    model = KoopmanRNN(20, parameters="p", input_coupling="linear", random_state=0).fit(affine_data)
    family = model.lift_family([0.0, 0.0], 0.0, method=method)
    scale = family.observables.x_scale
    for i in range(2):
        np.testing.assert_allclose(family.model.A[i][:2, :2] * scale[:, None] / scale, A[i], atol=1e-11)
        np.testing.assert_allclose(family.model.B[i][:2] * scale[:, None], B[i], atol=1e-11)
    rng = np.random.default_rng(3)
    u, p, x = rng.normal(size=(40, 1)), np.sin(np.arange(40) / 4.0), [np.array([1.0, 0.0])]
    for k in range(40):
        x.append(affine_step(x[-1], u[k], p[k]))
    np.testing.assert_allclose(family.simulate(x[0], u, p), x, atol=1e-10)
    frozen = family.frozen(0.3)
    np.testing.assert_allclose(
        frozen.step(frozen.lift(x[5]), u[5]), family.step(family.lift(x[5]), u[5], 0.3)
    )


def test_a_family_from_derivatives_says_what_is_not_affine(pendulum_data):
    affine, layer = (
        KoopmanRNN(30, parameters="p", parameter_coupling=kind, random_state=0).fit(pendulum_data)
        for kind in ("affine", "layer")
    )
    assert affine.lift_family([0.0, 0.0], 0.0, method="jacobian").misfit < 1e-10
    assert layer.lift_family([0.0, 0.0], 0.0, method="jacobian").misfit > 1e-6


def test_auto_takes_what_regulates_best(pendulum):
    family = pendulum.lift_family([0.0, 0.0], 0.0)
    assert {"linear", "jacobian"} <= set(family.errors)
    assert family.costs.keys() == family.errors.keys()
    taken = min(cost for name, cost in family.costs.items() if name.startswith(family.method))
    assert taken <= 1.02 * family.costs["linear"]  # it never loses to plain least squares
    assert pendulum.lift_family([0.0, 0.0], 0.0, Q=[1.0, 0.1], R=0.1).costs != family.costs


def test_family_exports_agree(pendulum, tmp_path):
    family = pendulum.lift_family([0.0, 0.0], 0.0, method="edmd")
    rng = np.random.default_rng(0)
    z, u, p = rng.normal(size=family.n_z), np.array([0.3]), np.array([3.3])
    z_next, y = family.to_casadi()(z, u, p)
    np.testing.assert_allclose(z_next.full()[:, 0], family.step(z, u, p), atol=1e-12)
    block = family.to_nlsys()
    assert block.input_labels == ["u", "p"]
    both = np.concatenate([u, p])
    np.testing.assert_allclose(block.dynamics(0.0, z, both), family.step(z, u, p), atol=1e-12)
    np.testing.assert_allclose(block.output(0.0, z, both), y.full()[:, 0], atol=1e-12)
    np.testing.assert_array_equal(family.to_statespace(p).A, family.frozen(p).A)
    stacks = family.matrices()
    assert stacks["A"].shape == (2, family.n_z, family.n_z)
    assert stacks["C"].shape == (1, 2, family.n_z)
    family.save(tmp_path / "family.npz")
    again = load(tmp_path / "family.npz")
    np.testing.assert_array_equal(again.step(z, u, p), family.step(z, u, p))
    np.testing.assert_array_equal(
        again.frozen(p).network.step(np.ones(2), u), family.frozen(p).network.step(np.ones(2), u)
    )
    assert repr(again) == repr(family)
    assert again.errors == family.errors


@pytest.mark.parametrize("coupling", ["affine", "layer"])
def test_files_and_nlsys(pendulum_data, coupling, tmp_path):
    model = KoopmanRNN(10, parameters=["p"], parameter_coupling=coupling, random_state=0).fit(pendulum_data)
    model.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    assert again.parameter_names_ == ("p",)
    assert again.get_params() == model.get_params()
    x, u = np.array([0.1, 0.2]), np.array([0.3, 4.0])
    np.testing.assert_array_equal(again.network_.step(x, u), model.network_.step(x, u))
    np.testing.assert_array_equal(again.solution_.coef, model.solution_.coef)
    np.testing.assert_allclose(model.to_nlsys().dynamics(0.0, x, u), model.network_.step(x, u), atol=1e-13)


def test_a_model_follows_with_forgetting(affine_data):
    model = KoopmanRNN(0, parameters="p", input_coupling="linear").fit(affine_data)
    model.partial_fit(records(affine_step, seed=5, n_episodes=1), forgetting=0.99)
    x, u = np.array([0.3, -0.2]), np.array([0.4, 0.5])
    np.testing.assert_allclose(model.network_.step(x, u), affine_step(x, u[:1], 0.5), atol=1e-8)


@pytest.mark.parametrize("coupling", ["affine", "layer"])
def test_units_of_all_signals_change_nothing(pendulum_data, coupling):
    def scaled(data, by_y, by_u, by_p):
        return Trajectories.from_arrays(
            [e.outputs * by_y for e in data], [e.inputs * [by_u, by_p] for e in data], dt=0.1,
            input_names=["u", "p"],
        )  # fmt: skip

    factors = (1e-9, 1e9, 3e5)
    models = [
        KoopmanRNN(15, parameters="p", parameter_coupling=coupling, ridge=1e-8, random_state=0).fit(data)
        for data in (pendulum_data, scaled(pendulum_data, *factors))
    ]
    x, u = np.array([0.4, -0.3]), np.array([0.6, 4.5])
    there = models[1].network_.step(x * factors[0], u * factors[1:]) / factors[0]
    np.testing.assert_allclose(there, models[0].network_.step(x, u), rtol=1e-8)
    families = [
        m.lift_family(f * np.zeros(2), 0.0, parameter=4.0 * g, method="linear")
        for m, f, g in zip(models, (1.0, factors[0]), (1.0, factors[2]), strict=True)
    ]
    a, b = (f.frozen(4.0 * g) for f, g in zip(families, (1.0, factors[2]), strict=True))
    np.testing.assert_allclose(b.A, a.A, rtol=1e-6, atol=1e-9)


def test_lags_of_the_output_go_with_parameters():
    data = records(affine_step)
    seen = Trajectories.from_arrays(
        [e.outputs[:, :1] for e in data], [e.inputs for e in data], dt=0.1, input_names=["u", "p"]
    )
    model = KoopmanRNN(0, parameters="p", output_lags=3, ridge=1e-8).fit(seen)
    assert model.frozen(0.2).n_x == 3
    lagged = KoopmanRNN(0, parameters="p", output_lags=2, input_lags=2, ridge=1e-8).fit(seen)
    assert lagged.predict(seen)[0].shape == seen[0].outputs.shape
    with pytest.raises(OptionError, match="input_lags is 2"):
        lagged.frozen(0.2)


def test_a_report_has_the_linear_face_follow_the_parameter(affine_data):
    """Of an affine plant it is exact at every horizon, which no frozen model is."""
    model = KoopmanRNN(0, parameters="p", input_coupling="linear").fit(affine_data)
    report = model.report(records(affine_step, seed=4), horizons=(1, 20))
    assert max(h.lifted_nrmse for h in report.horizons) < 1e-9


@pytest.mark.parametrize("coupling", ["affine", "layer"])
def test_a_plant_that_nobody_moves_may_have_nothing_but_parameters(coupling):
    rng = np.random.default_rng(0)
    p, x = rng.uniform(0.5, 1.0, (400, 1)), [np.ones(1)]
    for v in p:
        x.append(v * x[-1] + 0.3 * np.cos(x[-1]))
    data = Trajectories.from_arrays(np.array(x), p, dt=0.1, input_names=["p"])
    model = KoopmanRNN(50, parameters="p", parameter_coupling=coupling, random_state=0).fit(data)
    assert model.network_.step(np.array([1.3]), np.array([0.7]))[0] == pytest.approx(
        0.7 * 1.3 + 0.3 * np.cos(1.3), abs=1e-5
    )
    family = model.lift_family()
    lifted = family.frozen([0.7])
    assert (family.n_u, lifted.n_u) == (0, 0)
    z = lifted.lift(np.array([1.0]))
    assert lifted.unlift(z) == pytest.approx(1.0)


def test_what_is_refused(affine_data, pendulum):
    fit = {"X": affine_data}
    for options, words in (
        ({"parameters": ["q"]}, "parameters is .'q'."),
        ({"parameters": ["p", "p"]}, "each at most once"),
        ({"parameters": 3}, "parameters is a int"),
        ({"parameters": ["p"], "parameter_coupling": "cubic"}, "parameter_coupling"),
        ({"parameters": ["p"], "input_coupling": "quadratic"}, "input_coupling is 'quadratic'"),
        ({"parameters": ["p"], "n_states": 2}, "n_states"),
    ):
        with pytest.raises(OptionError, match=words):
            KoopmanRNN(5, **options).fit(**fit)
    plain = KoopmanRNN(5, random_state=0).fit(affine_data)
    for call in (lambda: plain.lift_at(parameter=1.0), lambda: plain.frozen(1.0), plain.lift_family):
        with pytest.raises(OptionError, match="measured parameters"):
            call()
    mpc = RNNMPC(pendulum, 5, 1.0, 0.1)
    for call in (
        lambda: find_steady_state(pendulum, y=[0.0, 0.0]),
        lambda: design_mpc(pendulum, 5, 1.0, 0.1),
        lambda: verify_design(mpc, pendulum),
    ):
        with pytest.raises(OptionError, match=r"model\.frozen"):
            call()
    with pytest.raises(ShapeError, match="parameter"):
        pendulum.frozen([1.0, 2.0])
    with pytest.raises(DataError, match="parameter"):
        pendulum.frozen(np.nan)
    with pytest.warns(UserWarning, match="far outside"):
        pendulum.frozen(60.0)
    with pytest.raises(OptionError, match="rank_tol"):
        pendulum.lift_family(method="linear", rank_tol=0.1)
    with pytest.raises(ShapeError, match="one row a step"):
        pendulum.lift_family(method="linear").simulate(np.zeros(2), np.zeros((4, 1)), np.zeros(3))
