"""Models in other forms: descriptor, second order, transfer functions, zeros and poles, foreign objects."""

from __future__ import annotations

from types import SimpleNamespace

import control
import numpy as np
import pytest
from scipy import signal, sparse
from scipy.linalg import eigvals

from koopctrl import LTINetwork
from koopctrl.errors import OptionError, ShapeError, SolverError
from tests.ltinet import digits
from tests.plants_lti import diffusion_2d, laplacian_2d, random_mimo


def descriptor_transfer(A, B, C, D, E, points) -> np.ndarray:
    return np.array([C @ np.linalg.solve(s * E - A, B) + D for s in points])


POINTS = np.array([0.3, 1.0j, 4.0 + 2.0j, 50.0j])


@pytest.mark.parametrize("kind", ["spd", "general", "bad units", "index 1", "index 1, bad units"])
def test_descriptor_models(kind: str) -> None:
    rng = np.random.default_rng(3)
    n = 9
    A, B, C, D = random_mimo(n, 2, 2, 8)
    E = rng.standard_normal((n, n))
    if kind == "spd":
        E = E @ E.T + np.eye(n)
    if kind.startswith("index 1"):
        E[:, -3:] = 0.0
        E[-3:] = 0.0
        p, q = np.linalg.qr(rng.standard_normal((n, n)))[0], np.linalg.qr(rng.standard_normal((n, n)))[0]
        A, B, C, E = p @ A @ q, p @ B, C @ q, p @ E @ q
    if kind.endswith("bad units"):
        d = 10.0 ** rng.uniform(-4, 4, n)
        A, B, E = A * d[:, None], B * d[:, None], E * d[:, None]
    net = LTINetwork.from_statespace((A, B, C, D, E))
    assert net.n_states == (n - 3 if kind.startswith("index 1") else n)
    exact = descriptor_transfer(A, B, C, D, E, POINTS)
    tolerance = 1e-8 if "bad" in kind else 1e-10
    np.testing.assert_allclose(net.transfer_function(POINTS), exact, atol=tolerance * np.abs(exact).max())
    as_object = LTINetwork.from_statespace(SimpleNamespace(A=A, B=B, C=C, D=D, E=E))
    np.testing.assert_array_equal(as_object.B, net.B)
    sixth = LTINetwork.from_statespace((A, B, C, D, sparse.csr_array(E), 0.0))
    np.testing.assert_allclose(sixth.transfer_function(POINTS), exact, atol=tolerance * np.abs(exact).max())
    x = rng.standard_normal(net.n_states)
    np.testing.assert_allclose(net.to_neurons(net.to_states(x)), x, atol=1e-8)


def test_a_symmetric_pencil_stays_symmetric() -> None:
    A, B, C, D = diffusion_2d(5)
    rng = np.random.default_rng(0)
    E = np.diag(rng.uniform(0.5, 2.0, 25)) + 0.05
    net = LTINetwork.from_statespace((A, B, C, D, E))
    assert net.method == "symmetric"
    np.testing.assert_allclose(np.sort(net.eigenvalues.real), np.sort(eigvals(A, E).real), rtol=1e-9)


def test_index_two_is_refused() -> None:
    A, E = np.eye(3), np.diag([1.0, 1.0], 1)
    with pytest.raises(SolverError, match="index 1"):
        LTINetwork.from_statespace((A, np.ones((3, 1)), np.ones((1, 3)), 0, E))
    with pytest.raises(ShapeError, match="E has shape"):
        LTINetwork.from_statespace((A, np.ones((3, 1)), np.ones((1, 3)), 0, np.eye(2)))


def test_sparse_descriptor_models_are_reduced_as_they_are() -> None:
    N = 12
    L = laplacian_2d(N)
    mass = sparse.csr_array(sparse.eye_array(N * N) + 0.002 * L / (N + 1) ** 2)
    _, B, C, _ = diffusion_2d(N)
    B, C = B[:, :1], C[2:]
    whole = LTINetwork.from_statespace((L, B, C, 0, mass))
    large, small = LTINetwork.from_reduced((L, B, C, 0, mass), 8), whole.reduce(8)
    np.testing.assert_allclose(
        large.reduction.hankel[:10], small.reduction.hankel[:10], rtol=1e-6, atol=1e-12
    )
    s = np.array([0.0, 10.0, 100j])
    exact = whole.transfer_function(s)
    for net in (large, small):
        gap = np.abs(net.transfer_function(s) - exact).max()
        assert gap <= net.reduction.bound * (1 + 1e-6) + 1e-10


def masses(n: int, alpha: float, beta: float, seed: int = 0):
    rng = np.random.default_rng(seed)
    M = np.diag(rng.uniform(0.5, 2.0, n))
    k = rng.uniform(0.5, 2.0, n + 1)
    K = np.diag(k[:-1] + k[1:]) - np.diag(k[1:-1], 1) - np.diag(k[1:-1], -1)
    return M, alpha * M + beta * K, K, rng.standard_normal((n, 2)), rng.standard_normal((2, n))


@pytest.mark.parametrize(("alpha", "beta"), [(0.02, 0.01), (0.0, 0.0), (3.0, 0.1), (0.1, 2.0)])
def test_second_order_models_through_their_modes(alpha: float, beta: float) -> None:
    M, P, K, B, C = masses(7, alpha, beta)
    V = np.random.default_rng(1).standard_normal((2, 7))
    net = LTINetwork.from_second_order(M, P, K, B, C_position=C, C_velocity=V)
    assert net.method == "modal"
    s = np.array([0.1, 0.7j, 2.0 + 1j, 30j])
    exact = np.array([(C + x * V) @ np.linalg.solve(x * x * M + x * P + K, B) for x in s])
    np.testing.assert_allclose(net.transfer_function(s), exact, atol=1e-12 * np.abs(exact).max())
    q = np.random.default_rng(2).standard_normal(14)
    np.testing.assert_allclose(net.to_states(net.to_neurons(q)), q, atol=1e-10)
    assert net.state_names[0] == "q0"
    assert net.state_names[-1] == "v6"
    t = np.linspace(0, 5, 26)
    u = np.random.default_rng(3).standard_normal((26, 2))
    A = np.block([[np.zeros((7, 7)), np.eye(7)], [-np.linalg.solve(M, K), -np.linalg.solve(M, P)]])
    full = (A, np.vstack([np.zeros((7, 2)), np.linalg.solve(M, B)]), np.hstack([C, V]), np.zeros((2, 2)))
    y, exact = net.simulate(t, u).outputs, digits.held_response(full, 0.2, u)
    assert np.abs(y - exact).max() <= 1e-12 * max(np.abs(exact).max(), 1.0)
    if alpha > 0.0:
        assert (np.abs(y - exact).max(axis=0) <= net.error_bound(np.abs(u).max(), step=0.2).total).all()


def test_second_order_models_without_a_modal_form() -> None:
    M, P, K, B, C = masses(5, 0.1, 0.1)
    P = P + np.diag([1.0, 0, 0, 0, 0])
    net = LTINetwork.from_second_order(M, P, K, B, C_position=C)
    assert net.method != "modal"
    s = np.array([0.1, 0.7j])
    exact = np.array([C @ np.linalg.solve(x * x * M + x * P + K, B) for x in s])
    np.testing.assert_allclose(net.transfer_function(s), exact, rtol=1e-10)
    free = LTINetwork.from_second_order([[2.0]], [[0.0]], [[0.0]], [[1.0]], C_position=[[1.0]])
    np.testing.assert_allclose(
        free.simulate([0.0, 1.0, 2.0], 1.0).outputs[:, 0], [0.0, 0.25, 1.0], atol=1e-12
    )
    with pytest.raises(OptionError, match="C_position"):
        LTINetwork.from_second_order(M, P, K, B)
    with pytest.raises(ShapeError, match="K has shape"):
        LTINetwork.from_second_order(M, P, np.eye(2), B, C_position=C)


def test_transfer_functions() -> None:
    sys = control.tf([[[1.0, 2.0], [3.0]], [[1.0], [2.0, 0.0, 1.0]]],
                     [[[1.0, 3.0, 2.0], [1.0, 0.5]], [[4.0], [1.0, 1.0, 5.0]]])  # fmt: skip
    net = LTINetwork.from_statespace(sys)
    assert net.input_names == tuple(sys.input_labels)
    for s in POINTS:
        np.testing.assert_allclose(net.transfer_function([s])[0], sys(s, squeeze=False), rtol=1e-12)
    discrete = LTINetwork.from_statespace(control.tf([1.0], [1.0, 0.5], 0.1))
    assert discrete.discrete
    np.testing.assert_allclose(discrete.transfer_function([1.0]), [[[1.0 / 1.5]]], rtol=1e-14)
    scipy_net = LTINetwork.from_statespace(signal.TransferFunction([1.0, 2.0], [1.0, 3.0, 2.5]))
    np.testing.assert_allclose(
        scipy_net.transfer_function([1j])[0, 0, 0], (1j + 2) / (-1 + 3j + 2.5), rtol=1e-13
    )
    with pytest.raises(OptionError, match="proper"):
        LTINetwork.from_statespace(signal.TransferFunction([1.0, 2.0, 3.0], [1.0, 1.0]))


@pytest.mark.parametrize("seed", range(8))
def test_zeros_and_poles(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def draw(n: int) -> list[complex]:
        out: list[complex] = []
        while len(out) < n:
            if rng.random() < 0.5 and n - len(out) >= 2:
                v = complex(-rng.uniform(0.1, 3), rng.uniform(0.1, 5))
                out += [v, v.conjugate()]
            else:
                out.append(complex(-rng.uniform(0.1, 5)))
        return out

    p = draw(int(rng.integers(1, 9)))
    z = draw(int(rng.integers(0, len(p) + 1)))
    net = LTINetwork.from_zpk(z, p, 2.5)
    exact = np.array([2.5 * np.prod(s - np.array(z)) / np.prod(s - np.array(p)) for s in POINTS])
    np.testing.assert_allclose(net.transfer_function(POINTS)[:, 0, 0], exact, rtol=1e-9, atol=1e-12)
    same = LTINetwork.from_statespace(signal.ZerosPolesGain(z, p, 2.5))
    np.testing.assert_allclose(same.transfer_function(POINTS)[:, 0, 0], exact, rtol=1e-9, atol=1e-12)


def test_twenty_poles_of_wilkinson_are_no_problem_without_the_polynomial() -> None:
    poles = -np.arange(1.0, 21.0)
    net = LTINetwork.from_zpk([], poles, float(np.prod(-poles)))
    np.testing.assert_allclose(np.sort(net.eigenvalues.real), np.sort(poles), rtol=1e-12)
    s = 1j * np.geomspace(0.01, 3.0, 8)
    exact = np.array([np.prod(-poles / (x - poles)) for x in s])
    np.testing.assert_allclose(net.transfer_function(s)[:, 0, 0], exact, atol=1e-8)


@pytest.mark.parametrize(
    ("zeros", "poles", "text"),
    [
        ([1.0, 2.0], [-1.0], "no more zeros"),
        ([], [-1.0 + 1j], "conjugate"),
        ([], [-1 + 1j, -1 - 2j], "conjugate"),
    ],
)
def test_zeros_and_poles_that_make_no_real_system(zeros, poles, text: str) -> None:
    with pytest.raises(OptionError, match=text):
        LTINetwork.from_zpk(zeros, poles, 1.0)


def test_objects_with_matrices_and_a_sampling_time() -> None:
    """The interface of pyMOR's LTIModel."""
    A, B, C, D = random_mimo(5, 2, 2, 4)
    foreign = SimpleNamespace(to_matrices=lambda: (A, B, C, None, np.eye(5) * 2.0), sampling_time=0)
    net = LTINetwork.from_statespace(foreign)
    exact = descriptor_transfer(A, B, C, 0 * D, 2.0 * np.eye(5), POINTS)
    np.testing.assert_allclose(net.transfer_function(POINTS), exact, rtol=1e-10)


def test_dead_times_are_read_with_the_model() -> None:
    net = LTINetwork.from_statespace(random_mimo(3, 2, 1, 0), input_delays=[0.2, 0.0], output_delays=0.1)
    np.testing.assert_array_equal(net.input_delays, [0.2, 0.0])
    np.testing.assert_array_equal(net.output_delays, [0.1])
    s = 2.0j
    bare = LTINetwork.from_statespace(random_mimo(3, 2, 1, 0)).transfer_function([s])[0]
    np.testing.assert_allclose(
        net.transfer_function([s])[0], bare * np.exp(-s * np.array([[0.3, 0.1]])), rtol=1e-12
    )
    with pytest.raises(OptionError, match="dead times"):
        LTINetwork.from_statespace(random_mimo(3, 2, 1, 0), input_delays=-1.0)
