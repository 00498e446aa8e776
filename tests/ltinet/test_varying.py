"""Parameter-varying networks: frozen, moving, exported, controlled."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.integrate import solve_ivp

from koopctrl import LinearMPC, LTINetwork
from koopctrl.errors import OptionError, ShapeError, SolverError
from koopctrl.ltinet import ParameterNetwork, ScheduledLQR
from koopctrl.ltinet.varying.affine import AffineModel, combine
from koopctrl.ltinet.varying.motion import moving_response
from tests.plants_lti import boundary_inputs_2d


def rod(n: int = 50):
    """Heated at one end, insulated at the other; the conductivity of its far half is the parameter."""
    h = 1.0 / n
    parts = []
    for low, high in ((0, n // 2), (n // 2, n)):
        A = np.zeros((n, n))
        for i in range(max(low, 1), high):
            A[i, i] -= 1.0
            A[i - 1, i - 1] -= 1.0
            A[i, i - 1] += 1.0
            A[i - 1, i] += 1.0
        parts.append(A / h**2)
    parts[0][0, 0] -= 2.0 / h**2
    B, C = np.zeros((n, 1)), np.zeros((2, n))
    B[0, 0] = 2.0 / h**2
    C[0, n // 2], C[1, n - 1] = 1.0, 1.0
    return parts, B, C, 0.2, 5.0


def masses(m: int = 20, alpha: float = 0.5, beta: float = 0.3):
    """A chain whose middle third of springs has a stiffness that is the parameter."""
    k = np.ones(m + 1)
    middle = np.zeros(m + 1)
    middle[m // 3 : 2 * m // 3] = 1.0

    def stiffness(k: np.ndarray) -> np.ndarray:
        return np.diag(k[:-1] + k[1:]) - np.diag(k[1:-1], 1) - np.diag(k[1:-1], -1)

    K0, K1 = stiffness(k - middle), stiffness(middle)
    zero, eye = np.zeros((m, m)), np.eye(m)
    A0 = np.block([[zero, eye], [-K0, -alpha * eye - beta * stiffness(k)]])
    A1 = np.block([[zero, zero], [-K1, zero]])
    B, C = np.zeros((2 * m, 1)), np.zeros((1, 2 * m))
    B[m, 0] = C[0, m - 1] = 1.0
    return [A0, A1], B, C, 0.5, 2.0


def frozen_error(parts, B, C, net: ParameterNetwork, points) -> float:
    worst = 0.0
    for p in points:
        full = LTINetwork.from_statespace((parts[0] + p * parts[1], B, C, 0))
        sizes = np.abs(full.eigenvalues)
        w = 1j * np.concatenate(
            [[0.0], np.geomspace(0.1 * sizes.min(), 10 * sizes.max(), 80), full.eigenvalues.imag]
        )
        G, H = full.transfer_function(w), net.frozen([p]).transfer_function(w)
        worst = max(worst, float(np.abs(G - H).max() / np.abs(G).max()))
    return worst


def reference(parts, B, C, t, p, u) -> np.ndarray:
    """Outputs of the full model while `p` moves linearly between the instants and `u` is held."""
    x, out = np.zeros(len(B)), [np.zeros(len(C))]
    h = t[1] - t[0]
    for k in range(len(t) - 1):

        def rate(s, x, k=k):
            at = p[k] + (p[k + 1] - p[k]) * s / h
            return (parts[0] + at * parts[1]) @ x + B @ u[k]

        x = solve_ivp(
            rate,
            (0, h),
            x,
            method="Radau",
            rtol=1e-9,
            atol=1e-12,
            jac=lambda s, x, k=k: parts[0] + (p[k] + (p[k + 1] - p[k]) * s / h) * parts[1],
        ).y[:, -1]
        out.append(C @ x)
    return np.array(out)


def test_a_rod_with_variable_conductivity() -> None:
    parts, B, C, low, high = rod()
    points = np.linspace(low, high, 9)
    large = ParameterNetwork.from_affine(parts, B, C, p_min=low, p_max=high, order=24)
    small = ParameterNetwork.from_affine(parts, B, C, p_min=low, p_max=high, order=16)
    assert frozen_error(parts, B, C, large, points) <= 1e-9
    assert frozen_error(parts, B, C, small, points) <= 5e-6
    blocks = small.model.at(small.nominal)[0]
    assert (
        np.count_nonzero(np.abs(blocks) > 1e-12 * np.abs(blocks).max()) <= 2 * 16
    )  # layers of one or two states
    x = np.random.default_rng(0).standard_normal(16)
    np.testing.assert_allclose(small.T_inv @ (small.T @ x), x, atol=1e-9)


@pytest.mark.parametrize("rate", [0.1, 1.0, 10.0])
def test_a_moving_parameter(rate: float) -> None:
    parts, B, C, low, high = rod(30)
    net = ParameterNetwork.from_affine(parts, B, C, p_min=low, p_max=high, order=16)
    slowest = -np.linalg.eigvalsh(parts[0] + 0.5 * (low + high) * parts[1]).max()
    t = np.linspace(0.0, 3.0 / slowest, 41)
    p = 0.5 * (low + high) + 0.5 * (high - low) * np.sin(rate * slowest * t)
    u = np.sign(np.sin(2.0 * slowest * t))[:, None] + 0.2
    exact = reference(parts, B, C, t, p, u)
    y = net.simulate(t, p, u).outputs
    full = AffineModel(tuple(parts), (B,), (C,), (np.zeros((2, 1)),), np.array([low]), np.array([high]))
    through = moving_response(full, p[:, None], u, np.zeros(30), t[1], "linear")
    scale = np.abs(exact).max()
    # what stepping costs, and what reduction does
    assert np.abs(through - exact).max() <= (3e-4 if rate == 10.0 else 1e-5) * scale
    assert np.abs(y - through).max() <= 5e-5 * scale


def test_a_chain_with_variable_stiffness() -> None:
    parts, B, C, low, high = masses()
    net = ParameterNetwork.from_affine(parts, B, C, p_min=low, p_max=high, order=16, per_axis=7)
    assert frozen_error(parts, B, C, net, np.linspace(low, high, 7)) <= 1e-2
    t = np.linspace(0, 40, 201)
    p, u = 1.25 + 0.7 * np.sin(0.3 * t), np.sign(np.sin(0.5 * t))[:, None]
    full = AffineModel(tuple(parts), (B,), (C,), (np.zeros((1, 1)),), np.array([low]), np.array([high]))
    exact = moving_response(full, p[:, None], u, np.zeros(40), t[1], "linear")
    assert np.abs(net.simulate(t, p, u).outputs - exact).max() <= 1e-2 * np.abs(exact).max()


def test_a_lightly_damped_chain_at_every_rate() -> None:
    parts, B, C, low, high = masses(20, 1e-3, 0.3)
    values = np.linalg.eigvals(parts[0] + low * parts[1])
    assert (np.abs(values) / (-2.0 * values.real)).max() > 15.0
    net = ParameterNetwork.from_affine(parts, B, C, p_min=low, p_max=high, order=32, per_axis=7, motion=0.1)
    assert frozen_error(parts, B, C, net, np.linspace(low, high, 7)) <= 5e-5
    full = AffineModel(tuple(parts), (B,), (C,), (np.zeros((1, 1)),), np.array([low]), np.array([high]))
    t = np.linspace(0.0, 60.0, 301)
    u = np.sign(np.sin(0.5 * t))[:, None]
    plain = ParameterNetwork.from_affine(parts, B, C, p_min=low, p_max=high, order=32, per_axis=7)
    for rate in (0.05, 0.3, 3.0):
        p = 1.25 + 0.7 * np.sin(rate * t)
        exact = moving_response(full, p[:, None], u, np.zeros(40), t[1], "linear")
        error, frozen = (np.abs(n.simulate(t, p, u).outputs - exact).max() for n in (net, plain))
        assert error <= 5e-5 * np.abs(exact).max()
    assert error <= 0.5 * frozen


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_unit_of_time_and_of_states_changes_no_moving_term(scale: float) -> None:
    parts, B, C, low, high = masses(6, 1e-3, 0.3)
    d = 10.0 ** np.random.default_rng(0).uniform(-3, 3, 12)
    slower = [scale * part * d / d[:, None] for part in parts]
    one = ParameterNetwork.from_affine(parts, B, C, p_min=low, p_max=high, order=9, motion=0.1)
    two = ParameterNetwork.from_affine(
        slower, scale * B / d[:, None], C * d, p_min=low, p_max=high, order=9, motion=0.1
    )
    w = 1j * np.geomspace(0.05, 5.0, 20)
    for p in (low, high):
        np.testing.assert_allclose(
            two.frozen([p]).transfer_function(scale * w),
            one.frozen([p]).transfer_function(w),
            rtol=1e-4,
            atol=1e-7,
        )


def test_a_plate_with_two_conductivities() -> None:
    N = 10
    line = (
        sparse.diags_array([np.ones(N - 1), -2.0 * np.ones(N), np.ones(N - 1)], offsets=[-1, 0, 1])
        * (N + 1) ** 2
    )
    parts = [
        0.0 * sparse.eye_array(N * N),
        sparse.kron(line, sparse.eye_array(N)),
        sparse.kron(sparse.eye_array(N), line),
    ]
    B, C = boundary_inputs_2d(N)
    net = ParameterNetwork.from_affine(
        parts, B[:, :1], C[2:], p_min=[0.5, 0.5], p_max=[2.0, 2.0], order=20, per_axis=3
    )
    for p in ([0.5, 2.0], [1.3, 0.7], [2.0, 2.0]):
        A = combine(parts, np.array(p)).toarray()
        full = LTINetwork.from_statespace((A, B[:, :1], C[2:], 0))
        w = 1j * np.concatenate([[0.0], np.geomspace(1.0, 1e4, 60)])
        G, H = full.transfer_function(w), net.frozen(p).transfer_function(w)
        assert np.abs(G - H).max() <= 5e-5 * np.abs(G).max()


def test_held_parameters_are_exact_and_steps_of_fourth_order() -> None:
    parts, B, C, low, high = rod(12)
    net = ParameterNetwork.from_affine(parts, B, C, p_min=low, p_max=high, order=8)
    t = np.linspace(0, 0.2, 11)
    constant = net.simulate(t, np.full(11, 1.5), np.ones(11)).outputs
    np.testing.assert_allclose(constant, net.frozen([1.5]).simulate(t, np.ones(11)).outputs, atol=1e-11)
    errors, fine = [], None
    for steps in (1280, 10, 20):
        t = np.linspace(0.0, 0.02, steps + 1)
        y = net.simulate(t, 1.0 + 20.0 * t, np.ones(steps + 1), substeps=1).outputs[-1]
        if fine is None:
            fine = y
        else:
            errors.append(np.abs(y - fine).max())
    assert errors[1] <= errors[0] / 8 or errors[0] <= 1e-12


def test_casadi_and_matrices_agree() -> None:
    parts, B, C, low, high = rod(10)
    net = ParameterNetwork.from_affine(parts, B, C, p_min=low, p_max=high, order=5)
    function = net.to_casadi()
    rng = np.random.default_rng(0)
    x, u, p = rng.standard_normal(5), rng.standard_normal(1), np.array([1.1])
    dx, y = (np.array(v).ravel() for v in function(x, u, p))
    M = net.matrices()
    np.testing.assert_allclose(dx, (M["A"][0] + p[0] * M["A"][1]) @ x + M["B"][0] @ u, rtol=1e-12)
    np.testing.assert_allclose(y, M["C"][0] @ x, rtol=1e-12)


def test_a_scheduled_regulator_follows_the_parameter() -> None:
    parts, B, C, low, high = rod(30)
    net = ParameterNetwork.from_affine(parts, B, C[1:], p_min=low, p_max=high, order=10)
    dt = 0.02
    lqr = ScheduledLQR(net, 1.0, 1e-3, dt=dt)
    for p in (low, 1.3, high):
        A, b, _, _ = net.sampled([p], dt)
        K = lqr.gain([p])
        assert np.abs(np.linalg.eigvals(A - b @ K)).max() < 1.0
    full = AffineModel(tuple(parts), (B,), (C[1:],), (np.zeros((1, 1)),), np.array([low]), np.array([high]))
    x, out = np.zeros(30), []
    for k in range(400):
        p = np.array([0.5 * (low + high) + 0.5 * (high - low) * np.sin(0.5 * k * dt)])
        u = lqr.control(net.T_inv @ x, p, reference=[1.0])
        states = _advance(full, x, u, p, dt)
        x = states
        out.append(C[1] @ x)
    assert abs(out[-1] - 1.0) <= 1e-2
    np.testing.assert_allclose(lqr.control(net.T_inv @ x, p), -lqr.gain(p) @ (net.T_inv @ x))


def test_scheduled_predictive_control_keeps_its_bounds_while_the_parameter_moves() -> None:
    parts, B, C, low, high = rod(30)
    net = ParameterNetwork.from_affine(parts, B, C[1:], p_min=low, p_max=high, order=10)
    dt, grid = 0.02, np.linspace(low, high, 5)
    plans = [
        LinearMPC(net.lifted_at([p], dt), 15, 1.0, 1e-3, u_min=-0.5, u_max=1.6, terminal="none", check=False)
        for p in grid
    ]
    full = AffineModel(tuple(parts), (B,), (C[1:],), (np.zeros((1, 1)),), np.array([low]), np.array([high]))
    x, out, inputs = np.zeros(30), [], []
    for k in range(250):
        p = np.array([0.5 * (low + high) + 0.5 * (high - low) * np.sin(0.5 * k * dt)])
        mpc = plans[int(np.argmin(np.abs(grid - p)))]
        u = mpc.control(net.T_inv @ x, reference=np.array([1.0]))
        x = _advance(full, x, u, p, dt)
        inputs.append(u[0])
        out.append(C[1] @ x)
    assert min(inputs) >= -0.5 - 1e-9
    assert max(inputs) == pytest.approx(1.6, abs=1e-6)
    assert abs(out[-1] - 1.0) <= 2e-2
    np.testing.assert_allclose(net.lifted_at([1.0], dt).A, net.sampled([1.0], dt)[0])


def _advance(full: AffineModel, x: np.ndarray, u: np.ndarray, p: np.ndarray, dt: float) -> np.ndarray:
    wide = AffineModel(full.A, full.B, (np.eye(len(x)),), (np.zeros((len(x), 1)),), full.p_min, full.p_max)
    return moving_response(wide, np.stack([p, p]), np.stack([u, u]), x, dt, "zoh")[-1]


def test_what_is_refused() -> None:
    parts, B, C, low, high = rod(10)
    net = ParameterNetwork.from_affine(parts, B, C, p_min=low, p_max=high, order=5)
    with pytest.raises(OptionError, match="wider box"):
        net.frozen([9.0])
    with pytest.raises(ShapeError, match="p has shape"):
        net.simulate([0.0, 0.1], [1.0, 1.0, 1.0], 1.0)
    with pytest.raises(ShapeError, match="parts"):
        ParameterNetwork.from_affine([*parts, parts[0]], B, C, p_min=low, p_max=high, order=5)
    with pytest.raises(OptionError, match="p_min"):
        ParameterNetwork.from_affine(parts, B, C, p_min=high, p_max=low, order=5)
    with pytest.raises(SolverError, match="not stable at"):
        ParameterNetwork.from_affine(
            [parts[0] + 1e3 * np.eye(10), parts[1]], B, C, p_min=low, p_max=high, order=5
        )
