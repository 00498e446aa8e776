"""LiftedModel by itself: its equation, its fixed point, and matrices wrapped as one."""

import dataclasses

import numpy as np
import plants
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koopctrl import LiftedModel
from koopctrl.errors import DataError, KoopctrlError, OptionError, ShapeError, SolverError, TimeBaseError

A, B, DT = plants.three_states()
C = np.array([[1.0, 0.0, 2.0]])
D = np.array([[0.5, -1.0]])


def wrapped(**changes) -> LiftedModel:
    return dataclasses.replace(LiftedModel.from_matrices(A, B, C, D, dt=DT), **changes)


def test_wrapped_matrices_are_the_plant():
    model = wrapped()
    assert (model.n_x, model.n_z, model.n_u, model.n_y) == (3, 3, 2, 1)
    assert model.dt == DT
    assert model.spectral_radius == pytest.approx(np.abs(np.linalg.eigvals(A)).max())
    rng = np.random.default_rng(0)
    u, x0 = rng.normal(size=(30, 2)), rng.normal(size=3)
    x = plants.roll(plants.linear_step(A, B), x0, u)
    expected = x @ C.T + np.vstack([u, u[-1:]]) @ D.T
    np.testing.assert_allclose(model.simulate(x0, u), expected, atol=1e-12)
    np.testing.assert_array_equal(model.lift(x), x)
    np.testing.assert_array_equal(model.unlift(x0), x0)
    assert model.simulate(x0, u[:0]).shape == (1, 1)


def test_defaults_are_all_states_and_no_feedthrough():
    model = LiftedModel.from_matrices(A, B, dt=DT, output_names=["a", "b", "c"], input_names=["f", "g"])
    np.testing.assert_array_equal(model.C, np.eye(3))
    np.testing.assert_array_equal(model.D, np.zeros((3, 2)))
    assert (model.output_names, model.input_names) == (("a", "b", "c"), ("f", "g"))
    assert wrapped().output_names == ("y0",)


def test_scalars_are_one_by_one_systems():
    model = LiftedModel.from_matrices(0.5, 2.0, 3.0, 0.25, dt=1.0)
    np.testing.assert_allclose(model.simulate([1.0], [1.0, 0.0]), [[3.25], [7.5], [3.75]])


@pytest.mark.parametrize(
    ("a", "b", "c", "d", "kind"),
    [
        (A[:2], B, None, None, ShapeError),
        (A, B[:2], None, None, ShapeError),
        (A, B[:, 0], None, None, ShapeError),
        (A, B, C[:, :2], None, ShapeError),
        (A, B, C[0], None, ShapeError),
        (A, B, C, D.T, ShapeError),
        (A, B, C, 1.0, ShapeError),
        (A * np.nan, B, None, None, DataError),
        (A, B * np.inf, None, None, DataError),
        ("A", B, None, None, DataError),
        (A * 1j, B, None, None, DataError),
    ],
)
def test_matrices_that_do_not_fit_are_refused(a, b, c, d, kind):
    with pytest.raises(kind):
        LiftedModel.from_matrices(a, b, c, d, dt=DT)


def test_other_arguments_of_from_matrices():
    for bad in (None, 0.0, -1.0, np.nan):
        with pytest.raises(TimeBaseError, match="dt"):
            LiftedModel.from_matrices(A, B, dt=bad)
    with pytest.raises(ShapeError, match="output_names"):
        LiftedModel.from_matrices(A, B, dt=DT, output_names=["a"])
    with pytest.raises(OptionError, match="input_names"):
        LiftedModel.from_matrices(A, B, dt=DT, input_names=["a", "a"])


def test_the_caller_s_matrices_are_not_shared():
    a = A.copy()
    model = LiftedModel.from_matrices(a, B, dt=DT)
    a[:] = 0.0
    np.testing.assert_array_equal(model.A, A)


@given(st.integers(0, 99))
def test_a_step_is_the_equation(seed):
    rng = np.random.default_rng(seed)
    n = rng.normal(size=(2, 3, 3))
    model = wrapped(N=n, c=rng.normal(size=3), u_op=rng.normal(size=2), y_op=rng.normal(size=1))
    z, u = rng.normal(size=3), rng.normal(size=2)
    du = u - model.u_op
    expected = A @ z + B @ du + sum(du[i] * n[i] @ z for i in range(2)) + model.c
    np.testing.assert_allclose(model.step(z, u), expected, atol=1e-12)
    np.testing.assert_allclose(model.output(z, u), C @ z + D @ du + model.y_op, atol=1e-12)
    batch_z, batch_u = rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 5, 2))
    np.testing.assert_allclose(
        model.step(batch_z, batch_u)[1, 2], model.step(batch_z[1, 2], batch_u[1, 2]), atol=1e-12
    )


def test_the_fixed_point():
    model = wrapped(c=np.array([0.1, -0.2, 0.3]), y_op=np.array([4.0]))
    z_e, y_e = model.equilibrium()
    np.testing.assert_allclose(model.step(z_e, model.u_op), z_e, atol=1e-12)
    np.testing.assert_allclose(y_e, C @ z_e + 4.0, atol=1e-12)
    z_e, y_e = wrapped(y_op=np.array([4.0])).equilibrium()
    np.testing.assert_array_equal(z_e, np.zeros(3))
    np.testing.assert_array_equal(y_e, [4.0])


def test_a_drift_without_a_fixed_point_is_an_error_that_says_what_to_do():
    model = dataclasses.replace(LiftedModel.from_matrices(np.eye(2), np.ones((2, 1)), dt=1.0), c=np.ones(2))
    with pytest.raises(SolverError, match="x_op, u_op at an equilibrium"):
        model.equilibrium()
    # An integrator whose drift lies in the range of I - A has one.
    a = np.diag([1.0, 0.5])
    model = dataclasses.replace(LiftedModel.from_matrices(a, np.ones((2, 1)), dt=1.0), c=np.array([0.0, 1.0]))
    np.testing.assert_allclose(model.equilibrium()[0], [0.0, 2.0], atol=1e-12)


def test_arguments_that_do_not_fit_are_refused():
    model = wrapped()
    for call, name in ((model.lift, "x"), (model.unlift, "z")):
        for bad in (np.zeros(2), np.zeros((4, 2)), np.zeros((2, 2, 3)), 1.0, [[1.0], [1.0, 2.0]]):
            with pytest.raises(ShapeError, match=f"^{name} "):
                call(bad)
        for bad in ([np.nan, 0, 0], ["a", "b", "c"], [1j, 0, 0]):
            with pytest.raises(DataError, match=f"^{name} "):
                call(bad)
    for x0, u in ((np.zeros(2), np.zeros((3, 2))), (np.zeros(3), np.zeros((3, 1))), (np.zeros(3), 5)):
        with pytest.raises(KoopctrlError):
            model.simulate(x0, u)


def test_training_snapshots_can_be_left_out():
    z = np.zeros((4, 3))
    model = wrapped(training=(z, np.zeros((4, 2)), z))
    assert model.without_training().training is None
    assert model.training is not None


def test_the_repr_says_sizes_and_stability():
    for word in ("n_z=3", "n_u=2", "n_y=1", "dt=0.2", "spectral radius"):
        assert word in repr(wrapped())


@pytest.mark.parametrize("method", ["step", "output"])
def test_sizes_of_another_model_are_refused_by_name(method):
    model = LiftedModel.from_matrices(0.5 * np.eye(3), np.ones((3, 2)), dt=0.1)
    call = getattr(model, method)
    for z, u, said in (
        (np.zeros(2), np.zeros(2), r"z has shape \(2,\); expected \(\.\.\., 3\)"),
        (np.zeros(3), np.zeros(1), r"u has shape \(1,\); expected \(\.\.\., 2\)"),
        (0.0, np.zeros(2), r"z has shape \(\)"),
        (np.zeros((4, 3)), np.zeros((5, 2)), "the same leading axes"),
    ):
        with pytest.raises(ShapeError, match=said):
            call(z, u)
    with pytest.raises(DataError, match="z has dtype"):
        call("abc", np.zeros(2))
    assert call([1.0, 0.0, 0.0], [0, 0]).shape == (3,)
    assert call(np.zeros((4, 1, 3)), np.zeros((5, 2))).shape == (4, 5, 3)
