"""Small dense work runs BLAS on one thread, and leaves the number of threads as it was."""

import numpy as np
import pytest
from scipy import linalg

from koopctrl import KoopmanRNN, LinearMPC, LTINetwork, Trajectories, select, subspace
from koopctrl._threads import LARGE, _blas_libraries, few_threads, one_blas_thread
from koopctrl.errors import OptionError
from koopctrl.identification.least_squares import QRAccumulator
from koopctrl.koopman_rnn import _fit_work
from koopctrl.sampled import HamiltonianNetwork, SampledNetworkClassifier, SampledNetworkRegressor
from koopctrl.sampled.pde import PDE, Diffusion, Dirichlet, Interval


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    u, y = rng.uniform(-1, 1, (4, 60, 1)), np.zeros((4, 61, 1))
    for k in range(60):
        y[:, k + 1] = 0.8 * y[:, k] + 0.2 * np.tanh(u[:, k])
    return Trajectories.from_arrays(y, u, dt=0.1)


@pytest.fixture
def two():
    libraries = _blas_libraries()
    before = [lib.get_num_threads() for lib in libraries]
    for lib in libraries:
        lib.set_num_threads(2)
    yield libraries
    for lib, count in zip(libraries, before, strict=True):
        lib.set_num_threads(count)


def threads(libraries):
    return {lib.get_num_threads() for lib in libraries}


def test_what_a_user_calls_is_limited(two, data, monkeypatch):
    seen = []
    solve = QRAccumulator.solve

    def watched(self, *args, **kwargs):
        seen.append(threads(two))
        return solve(self, *args, **kwargs)

    monkeypatch.setattr(QRAccumulator, "solve", watched)
    model = KoopmanRNN(10, random_state=0).fit(data)
    assert seen
    model.lift_at(0.0, 0.0, horizon=5)
    select(data, max_trials=2, random_state=0)
    assert all(found == {1} for found in seen)
    assert threads(two) == {2}
    mpc = LinearMPC(model.lift_at(0.0, 0.0), 5, 1.0, 0.1)
    mpc.control([0.1])
    assert threads(two) == {2}


def _oscillator():
    t = 0.1 * np.arange(200)
    states = np.stack([np.cos(t), -np.sin(t)], axis=1)
    return Trajectories.from_arrays([states], dt=0.1)


def _points():
    x = np.random.default_rng(0).uniform(-1.0, 1.0, (200, 2))
    return x, np.sin(x).sum(axis=1)


def _heat(data):
    pde = PDE(Interval(0, 1), [Diffusion(0.1)], [Dirichlet()], initial=lambda x: np.sin(np.pi * x[:, 0]))
    pde.discretise(30, random_state=0).solve([0.0, 0.1])


def _linear(data):
    system = (-np.diag([1.0, 2.0, 9.0]), np.ones((3, 1)), np.ones((1, 3)), np.zeros((1, 1)))
    net = LTINetwork.from_statespace(system)
    net.reduce(2)
    net.accuracy()


SMALL = {
    "regression": lambda data: SampledNetworkRegressor(20).fit(*_points()).predict(_points()[0]),
    "classes": lambda data: SampledNetworkClassifier(20).fit(_points()[0], _points()[1] > 0),
    "batches": lambda data: SampledNetworkRegressor(20).partial_fit(*_points()).partial_fit(*_points()),
    "subspace": lambda data: subspace(data, order=1),
    "linear networks": _linear,
    "equations": _heat,
    "energy": lambda data: HamiltonianNetwork(20).fit(_oscillator()),
}


@pytest.mark.parametrize("call", SMALL.values(), ids=SMALL)
def test_whatever_factors_small_matrices_is_limited(two, data, monkeypatch, call):
    seen = []
    for home, names in (
        (np.linalg, ["svd", "qr", "eigh", "eigvals", "lstsq"]),
        (linalg, ["schur", "qr", "svd"]),
    ):
        for name in names:
            before = getattr(home, name)

            def watched(*args, before=before, **kwargs):
                seen.append(threads(two))
                return before(*args, **kwargs)

            monkeypatch.setattr(home, name, watched)
    call(data)
    assert seen
    assert all(found == {1} for found in seen)
    assert threads(two) == {2}


def test_arguments_may_be_named():
    net = LTINetwork.from_second_order(
        M=np.eye(1), P=np.eye(1), K=np.eye(1), B=np.ones((1, 1)), C_position=np.eye(1)
    )
    assert net.n_states == 2
    HamiltonianNetwork(20).fit(X=_oscillator())
    with pytest.raises(TypeError, match="missing"):
        LTINetwork.from_second_order()


def test_large_work_keeps_its_threads_and_errors_give_them_back(two):
    found = few_threads(lambda n: n)(lambda n: threads(two))
    assert found(0.9 * LARGE) == {1}
    assert found(LARGE) == {2}
    with pytest.raises(OptionError), one_blas_thread():
        raise OptionError("an error on the way")
    assert threads(two) == {2}


def test_work_is_pairs_times_width_squared(data):
    assert _fit_work(KoopmanRNN(50), data) == 240 * 50**2
    assert _fit_work(KoopmanRNN(50), list(data), None) == 240 * 50**2
    assert _fit_work(KoopmanRNN(50), iter(data)) == 0.0
