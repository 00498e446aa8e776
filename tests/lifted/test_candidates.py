"""Candidates for the lifted face: each is the least-squares problem that it says it is."""

import numpy as np
import plants
import pytest

from koopctrl import KoopmanRNN
from koopctrl.identification.held_out import cut, episodes, rows, split
from koopctrl.lifted.candidates import Recipe, Workshop
from koopctrl.lifted.multi_step import fit_free_run
from koopctrl.lifted.regression import NestedRegression

DUFFING = plants.record(
    plants.sampled(plants.duffing, 0.1), 2, 1, 0.1, n_episodes=20, n_steps=40, x_max=1.5, u_max=1.0
)
X_OP, U_OP = np.array([1.0, 0.0]), np.zeros(1)


@pytest.fixture(scope="module")
def model():
    return KoopmanRNN(40, random_state=0).fit(DUFFING)


@pytest.fixture(scope="module")
def workshop(model):
    runs = episodes(model.network_.window, model.snapshots_)
    return Workshop(model.network_, model.snapshots_, X_OP, U_OP, *split(runs), 10)


def pairs(model, candidate, chosen):
    s = model.snapshots_
    x_next = model.network_.window.advance(s.x, s.u, s.y_next)
    lift = candidate.observables
    return lift(s.x)[chosen], (s.u - U_OP)[chosen], lift(x_next)[chosen]


def is_stable(model, workshop, n_z):
    """Whether plain least squares is stable, so that nothing has to be moved."""
    z, _, _ = found = pairs(model, workshop.make(Recipe("EDMD", n_z)), slice(None))
    w = np.linalg.lstsq(np.hstack(found[:2]), found[2], rcond=None)[0].T
    return np.abs(np.linalg.eigvals(w[:, : z.shape[1]])).max() < 1.0


@pytest.mark.parametrize("kind", ["EDMD", "linear", "anchored free", "anchored driven"])
def test_a_candidate_is_least_squares_over_all_pairs(model, workshop, kind):
    sizes = [len(c.A) for c in workshop.candidates() if c.recipe.kind == kind]
    n_z = next(n for n in sizes if kind != "EDMD" or is_stable(model, workshop, n))
    made = workshop.make(Recipe(kind, n_z), all_data=True)
    z, du, z_next = pairs(model, made, slice(None))
    found = np.hstack([made.A, made.B])
    if kind == "linear":
        w = np.linalg.lstsq(np.hstack([z, du, np.ones((len(z), 1))]), z_next, rcond=None)[0].T
        np.testing.assert_allclose(np.hstack([found, made.c[:, None]]), w, atol=1e-8)
        return
    target = z_next - made.c
    if kind == "EDMD":
        w = np.linalg.lstsq(np.hstack([z, du]), target, rcond=None)[0].T
        np.testing.assert_allclose(found, w, atol=1e-6)
        return
    # The state's part is the network's own to first order; the rest is least squares of what that leaves.
    net = model.network_
    a, b = net.jacobian(X_OP, U_OP)
    scale = net.x_scale
    a, b = a * scale / scale[:, None], b / scale[:, None]
    np.testing.assert_allclose(made.A[:2, :2], a, atol=1e-12)
    np.testing.assert_allclose(made.B[:2], b, atol=1e-12)
    left = target[:, :2] - z[:, :2] @ a.T - du @ b.T
    np.testing.assert_allclose(made.A[:2, 2:], np.linalg.lstsq(z[:, 2:], left, rcond=None)[0].T, atol=1e-6)
    regressors = np.hstack([z, du]) if kind == "anchored driven" else z[:, 2:]
    w = np.linalg.lstsq(regressors, target[:, 2:], rcond=None)[0].T
    own = np.hstack([made.A[2:], made.B[2:]]) if kind == "anchored driven" else made.A[2:, 2:]
    np.testing.assert_allclose(own, w, atol=1e-6)


def test_anchored_candidates_have_the_network_s_derivatives_at_the_operating_point(model, workshop):
    made = next(c for c in workshop.candidates() if c.recipe.kind == "anchored driven")
    step = 1e-5
    for direction in np.eye(2):
        ahead = model.network_.step(X_OP + step * direction, U_OP)
        behind = model.network_.step(X_OP - step * direction, U_OP)
        slope = (ahead - behind) / (2 * step)
        z = made.observables(X_OP + step * direction) - made.observables(X_OP - step * direction)
        predicted = (made.A @ z)[:2] * made.observables.x_scale / (2 * step)
        np.testing.assert_allclose(predicted, slope, atol=1e-6)


def test_held_out_rows_are_not_fitted(model, workshop):
    runs = episodes(model.network_.window, model.snapshots_)
    fit, judge = split(runs)
    assert not set(rows(fit)) & set(rows(judge))
    assert len(rows(fit)) + len(rows(judge)) == len(model.snapshots_.x)
    made = workshop.make(Recipe("linear", 2))
    z, du, z_next = pairs(model, made, rows(fit))
    w = np.linalg.lstsq(np.hstack([z, du, np.ones((len(z), 1))]), z_next, rcond=None)[0].T
    np.testing.assert_allclose(np.hstack([made.A, made.B, made.c[:, None]]), w, atol=1e-8)


def test_a_stable_plant_gets_stable_lifts(workshop):
    for made in workshop.candidates():
        if not made.recipe.free_run:
            assert np.abs(np.linalg.eigvals(made.A)).max() < 1.0 + 1e-6, made.recipe


def test_episodes_are_told_apart_from_pairs_alone(model):
    runs = episodes(model.network_.window, model.snapshots_)
    assert [r.stop - r.start for r in runs] == [40] * 20
    segments = cut(model.snapshots_, runs, 10, 50)
    assert len(segments) == 50
    assert segments.horizon == 10
    for x0, u, y in zip(segments.x0, segments.u, segments.y, strict=True):
        np.testing.assert_allclose(plants.roll(plants.sampled(plants.duffing, 0.1), x0, u)[1:], y, atol=1e-9)


def test_a_ridge_is_relative_to_the_regressors_whatever_their_units():
    rng = np.random.default_rng(0)
    z, du = rng.standard_normal((50, 4)), rng.standard_normal((50, 1))
    z_next = rng.standard_normal((50, 4))
    unit = np.array([1.0, 1e6, 1e-6, 1.0])
    A, B = NestedRegression(z, du, z_next, 2).dynamics(4, 1e-2)
    A_other, B_other = NestedRegression(z * unit, du * 1e9, z_next * unit, 2).dynamics(4, 1e-2)
    np.testing.assert_allclose(A_other / unit[:, None] * unit, A, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(B_other / unit[:, None] * 1e9, B, rtol=1e-9, atol=1e-12)


def test_a_fit_on_the_free_run_lowers_the_free_run_s_error_and_leaves_fixed_rows_alone():
    rng = np.random.default_rng(0)
    A = np.array([[0.9, 0.2, 0.1], [-0.2, 0.8, 0.0], [1.0, 0.0, 0.0]])
    B, c = np.array([[0.1], [0.3], [0.0]]), np.array([0.01, 0.0, 0.0])
    z0, du = rng.standard_normal((30, 3)), rng.standard_normal((30, 12, 1))
    z, y = z0, np.empty((30, 12, 1))
    for k in range(12):
        z = z @ A.T + du[:, k] @ B.T + c
        y[:, k] = z[:, :1]

    def error(a, b):
        z, total = z0, 0.0
        for k in range(12):
            z = z @ a.T + du[:, k] @ b.T + c
            total += float(np.sum((z[:, :1] - y[:, k]) ** 2))
        return total

    start_a, start_b = A + 0.05 * rng.standard_normal((3, 3)), B + 0.05
    start_a[2], start_b[2] = A[2], B[2]
    found_a, found_b = fit_free_run(start_a, start_b, c, np.array([0, 1]), 1, z0, du, y, error)
    np.testing.assert_array_equal(found_a[2], A[2])
    assert error(found_a, found_b) < 1e-6 * error(start_a, start_b)


def test_a_fit_that_does_not_help_on_held_out_data_is_not_taken():
    rng = np.random.default_rng(1)
    A, B, c = np.array([[0.5]]), np.array([[1.0]]), np.zeros(1)
    z0, du, y = rng.standard_normal((5, 1)), rng.standard_normal((5, 4, 1)), rng.standard_normal((5, 4, 1))

    def error(a, b):
        return float(abs(a[0, 0] - 0.5) + abs(b[0, 0] - 1.0))

    found_a, found_b = fit_free_run(A, B, c, np.array([0]), 1, z0, du, y, error)
    np.testing.assert_array_equal(found_a, A)
    np.testing.assert_array_equal(found_b, B)
