"""Long horizons on unstable plants: the LQR's input without active bounds, an independent QP with them."""

import numpy as np
import pytest
from scipy import linalg, sparse

from koopctrl import RNNMPC, KoopmanRNN, LiftedModel, LinearMPC, Trajectories
from koopctrl.export.c.code import mpc_to_c
from koopctrl.export.c.sil import CompiledMPC


def scalar(a):
    return LiftedModel.from_matrices([[a]], [[1.0]], [[1.0]], dt=1.0)


def lqr_gain(A, B, Q, R):
    P = linalg.solve_discrete_are(A, B, Q, R)
    return np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)


@pytest.mark.parametrize(
    ("a", "N"),
    [
        (1.5, 20),
        (1.5, 40),
        (1.5, 45),
        (1.5, 50),
        (1.5, 51),
        (1.5, 100),
        (1.5, 200),
        (1.2, 100),
        (2.0, 200),
        (3.0, 400),
    ],
)
def test_the_input_is_the_lqrs_at_every_horizon(a, N):
    mpc = LinearMPC(scalar(a), N, 1.0, 1.0, u_min=-50, u_max=50)
    K = lqr_gain(np.array([[a]]), np.eye(1), np.eye(1), np.eye(1))[0, 0]
    for x in (1.0, -3.0, 1e-6, 12.0):
        np.testing.assert_allclose(mpc.control([x]), [-K * x], rtol=1e-12)
        assert mpc.info.status == "optimal"
        plan = [-K * x * (a - K) ** k for k in range(N)]
        np.testing.assert_allclose(mpc.info.inputs[:, 0], plan, atol=1e-12 * abs(x))


@pytest.mark.parametrize("N", [45, pytest.param(200, marks=pytest.mark.slow)])
def test_in_c_too(N, tmp_path):
    mpc = LinearMPC(scalar(1.5), N, 1.0, 1.0, u_min=-5, u_max=5)
    compiled = CompiledMPC(mpc_to_c(mpc, tmp_path), flags=("-std=c99", "-O0"))
    K, x = mpc.K[0, 0], 3.0
    for _ in range(20):
        u = compiled.control([x])
        np.testing.assert_allclose(u, [-K * x], atol=1e-12)
        x = 1.5 * x + u[0] + 0.1 * np.sin(10 * x)


def sparse_plan(A, B, C, x0, N, P, low, high, y_high=None):
    """States kept as variables, so that nothing grows: the optimum by an active set found with OSQP's help.

    Returned with the largest defect of the conditions of optimality of that very problem.
    """
    import casadi

    n, m = B.shape
    size = N * (n + m)
    H = sparse.lil_matrix((size, size))
    rows = sparse.lil_matrix((N * n, size))
    rhs = np.zeros(N * n)
    for k in range(N):
        at = k * (n + m)
        H[at : at + m, at : at + m] = np.eye(m)
        H[at + m : at + m + n, at + m : at + m + n] = P if k == N - 1 else C.T @ C
        rows[k * n : (k + 1) * n, at : at + m] = -B
        rows[k * n : (k + 1) * n, at + m : at + m + n] = np.eye(n)
        if k:
            rows[k * n : (k + 1) * n, at - n : at] = -A
    rhs[:n] = A @ x0
    lower, upper = np.full(size, -np.inf), np.full(size, np.inf)
    for k in range(N):
        lower[k * (n + m) : k * (n + m) + m], upper[k * (n + m) : k * (n + m) + m] = low, high
        if y_high is not None:
            upper[k * (n + m) + m] = y_high
    shapes = {"h": casadi.DM(H.tocsc()).sparsity(), "a": casadi.DM(rows.tocsc()).sparsity()}
    solver = casadi.conic(
        "oracle", "qpoases", shapes, {"printLevel": "none", "sparse": True, "error_on_fail": False}
    )
    answer = solver(h=H.tocsc(), a=rows.tocsc(), lba=rhs, uba=rhs, lbx=lower, ubx=upper)
    x = np.array(answer["x"]).ravel()
    active = np.flatnonzero(np.abs(np.array(answer["lam_x"]).ravel()) > 1e-9)
    value = np.where(np.array(answer["lam_x"]).ravel() > 0, upper, lower)
    fixed = sparse.csc_matrix((np.ones(len(active)), (np.arange(len(active)), active)), (len(active), size))
    normals = sparse.vstack([rows.tocsc(), fixed]).tocsc()
    k = normals.shape[0]
    kkt = sparse.bmat([[H.tocsc(), normals.T], [normals, sparse.csc_matrix((k, k))]]).tocsc()
    lu = sparse.linalg.splu(kkt)
    right = np.concatenate([np.zeros(size), rhs, value[active]])
    found = lu.solve(right)
    found = found + lu.solve(right - kkt @ found)
    x, lam = found[:size], found[size + N * n :]
    signs = np.where(value[active] == upper[active], lam, -lam)
    defect = max(
        float(np.maximum(lower - x, x - upper).max()), float(np.maximum(-signs, 0.0).max(initial=0.0)),
        float(np.abs(kkt @ found - right).max()),
    )  # fmt: skip
    return x.reshape(N, n + m)[:, :m], defect


# Seed 11 has the longest horizon too; on 5 the oracle takes twenty times as long as there.
LONG = [4, 10]
QUICK = [seed for seed in range(12) if seed not in (5, *LONG)]


@pytest.mark.parametrize("seed", [*QUICK, *(pytest.param(seed, marks=pytest.mark.slow) for seed in LONG)])
def test_plans_agree_with_a_sparse_problem_up_to_radius_two(seed):
    """Horizons from 1 to 200; the start is one from which the bounded inputs still bring the plant home."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(2, 5)), int(rng.integers(1, 3))
    N = [1, 7, 30, 60, 120, 200][seed % 6]
    A = rng.normal(size=(n, n))
    A *= rng.uniform(1.05, 2.0) / np.abs(np.linalg.eigvals(A)).max()
    B, C = rng.normal(size=(n, m)), rng.normal(size=(2, n))
    lifted = LiftedModel.from_matrices(A, B, C, dt=1.0)
    free = LinearMPC(lifted, N, 1.0, 1.0)
    x0 = rng.normal(size=n)
    free.control(x0)
    K = lqr_gain(A, B, C.T @ C, np.eye(m))
    np.testing.assert_allclose(free.info.inputs[0], -K @ x0, atol=1e-8 * np.abs(K @ x0).max())
    bound = 0.8 * np.abs(free.info.inputs).max()
    mpc = LinearMPC(lifted, N, 1.0, 1.0, u_min=-bound, u_max=bound)
    mpc.control(x0)
    plan, defect = sparse_plan(A, B, C, x0, N, free.P, -bound, bound)
    scale = np.abs(plan).max()
    if np.abs(A @ x0).max() > 1e3 * bound or defect > 1e-7 * scale:
        pytest.fail("the oracle did not solve its problem")
    assert mpc.info.status == "optimal"
    np.testing.assert_allclose(mpc.info.inputs, plan, atol=1e-7 * 2 * bound)
    assert (np.abs(np.abs(plan) - bound) < 1e-9).any()


@pytest.mark.parametrize(
    "options",
    [
        {"du_min": -3.0, "du_max": 3.0, "R_rate": 0.3},
        {"blocks": [1] * 12 + [4] * 3},
        {"input_delay": 2},
        {"terminal": "none"},
        {"y_max": [2.0, 9.0]},
    ],
)
def test_both_forms_of_the_problem_have_one_answer(options, monkeypatch):
    """Where the plain form is still accurate: with and without feedback the same inputs and costs."""
    import koopctrl.controllers.mpc.condensing as condensing

    A, B = np.array([[1.15, 0.3], [0.0, 0.8]]), np.array([[0.2], [1.0]])
    lifted = LiftedModel.from_matrices(A, B, np.eye(2), dt=1.0)
    N = 24
    answers = []
    for limit in (np.inf, 0.0):
        monkeypatch.setattr(condensing, "COND_LIMIT", limit)
        mpc = LinearMPC(lifted, N, 1.0, 0.1, u_min=-4.0, u_max=4.0, **options)
        assert (mpc.law.qp.n_inputs > 0) == (limit == 0.0)
        told = []
        for x, r in (([1.5, -2.0], None), ([1.0, 3.0], [0.4, 0.0]), ([-0.5, 1.0], np.full((3, 2), 0.2))):
            mpc.control(x, r, input_reference=np.full((2, 1), 0.1) if r is None else [0.3])
            told.append((mpc.info.status, mpc.info.inputs))
        answers.append(told)
    for plain, closed in zip(*answers, strict=True):
        assert plain[0] == closed[0]
        np.testing.assert_allclose(closed[1], plain[1], atol=1e-6)


@pytest.fixture(scope="module")
def unstable_network():
    rng = np.random.default_rng(0)
    u, y = rng.uniform(-1, 1, (40, 6, 1)), np.zeros((40, 7, 1))
    y[:, 0] = rng.uniform(-1, 1, (40, 1))
    for k in range(6):
        y[:, k + 1] = 1.5 * y[:, k] + u[:, k]
    return KoopmanRNN(0, input_coupling="linear", random_state=0).fit(Trajectories.from_arrays(y, u, dt=1.0))


@pytest.mark.parametrize("N", [20, 40, 50, 100, 200])
def test_on_a_network_too(unstable_network, N):
    """Fresh, from the shifted plan, at a bound; and no bound is broken on the way."""
    K = lqr_gain(np.array([[1.5]]), np.eye(1), np.eye(1), np.eye(1))[0, 0]
    mpc = RNNMPC(unstable_network, N, 1.0, 1.0, u_min=-5.0, u_max=5.0)
    x = 3.0
    for _ in range(6):
        u = mpc.control([x], [0.0])
        np.testing.assert_allclose(u, [-K * x], atol=1e-7)
        assert mpc.info.status == "optimal"
        x = 1.5 * x + u[0] + 0.1 * np.sin(9.0 * x)
    linear = LinearMPC(scalar(1.5), N, 1.0, 1.0, u_min=-5.0, u_max=5.0)
    for x in (6.0, 9.0):
        mpc.reset()
        mpc.control([x], [0.0])
        linear.control([x])
        assert np.abs(mpc.info.inputs).max() <= 5.0
        np.testing.assert_allclose(mpc.info.inputs, linear.info.inputs, atol=1e-5)


@pytest.mark.parametrize("N", [50, 120])
def test_the_c_of_a_network_that_needs_feedback_agrees(unstable_network, N, tmp_path):
    mpc = RNNMPC(unstable_network, N, 1.0, 1.0, u_min=-0.5, u_max=0.5)
    compiled, rng, n_y = (
        CompiledMPC(mpc_to_c(mpc, tmp_path), flags=("-std=c99", "-O0")),
        np.random.default_rng(0),
        unstable_network.n_y,
    )
    for k in range(40):
        y, r = 0.1 * rng.normal(size=n_y), 0.05 * rng.normal(size=n_y)
        u = mpc.control(y, r)
        np.testing.assert_allclose(compiled.control(y, r), u, atol=1e-6, err_msg=str(k))
        assert compiled.info.status == mpc.info.status
