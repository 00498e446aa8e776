"""Small dense work runs BLAS on one thread, and leaves the number of threads as it was."""

import numpy as np
import pytest

from koopctrl import KoopmanRNN, LinearMPC, Trajectories, select
from koopctrl._threads import LARGE, _blas_libraries, few_threads, one_blas_thread
from koopctrl.errors import OptionError
from koopctrl.identification.least_squares import QRAccumulator
from koopctrl.koopman_rnn import _fit_work


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
