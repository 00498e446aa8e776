"""Fits, choices and ensembles on a Dask cluster: the same answers as in this process, workers lost or not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from koopctrl import KoopmanEnsemble, KoopmanRNN, Trajectories, Trajectory, select
from koopctrl.errors import OptionError, SolverError
from koopctrl.identification import on_workers

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def pendulum(n_episodes: int, n_steps: int, seed: int = 0) -> Trajectories:
    """Swings of a damped pendulum under random torques, semi-implicit Euler steps."""
    rng = np.random.default_rng(seed)
    x = np.empty((n_episodes, n_steps + 1, 2))
    x[:, 0] = rng.uniform(-1.0, 1.0, (n_episodes, 2))
    u = rng.uniform(-1.0, 1.0, (n_episodes, n_steps, 1))
    for k in range(n_steps):
        rate = x[:, k, 1] + 0.1 * (u[:, k, 0] - np.sin(x[:, k, 0]) - 0.2 * x[:, k, 1])
        x[:, k + 1] = np.stack([x[:, k, 0] + 0.1 * rate, rate], axis=1)
    return Trajectories.from_arrays(x, u, dt=0.1)


@pytest.mark.parametrize(
    ("settings", "digits"),
    [
        ({"ridge": 1e-8}, 1e-11),
        ({"ridge": "auto", "rounds": 1}, 1e-6),
        ({"ridge": 1e-6, "solver": "gram"}, 1e-8),
    ],
)
def test_fit_is_that_of_this_process(
    client: Any, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], digits: float
) -> None:
    data = pendulum(30, 80)
    monkeypatch.setattr(on_workers, "TASK_BYTES", 8_000)  # many blocks and several waves
    model = KoopmanRNN(25, random_state=0, **settings)
    here = model.fit(data)
    expected, solution = here.predict(data), here.solution_
    there = KoopmanRNN(25, random_state=0, **settings).fit(data, client=client)
    assert there.solution_.n_rows == solution.n_rows == data.n_steps
    np.testing.assert_allclose(there.solution_.residual_rms, solution.residual_rms, rtol=1e-6)
    np.testing.assert_array_equal(there.snapshots_.x, here.snapshots_.x)
    for a, b in zip(there.predict(data), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=digits)


def test_iterators_stream_through_the_workers(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pendulum(12, 400)
    monkeypatch.setattr("koopctrl.koopman_rnn._FIRST_STEPS", 1000)
    here = KoopmanRNN(20, ridge=1e-8, random_state=1).fit(iter(data))
    there = KoopmanRNN(20, ridge=1e-8, random_state=1).fit(iter(data), client=client)
    assert there.solution_.n_rows == data.n_steps
    np.testing.assert_allclose(there.network_.coef, here.network_.coef, atol=1e-8)


def test_ensemble_has_the_same_members(client: Any) -> None:
    data = pendulum(8, 60)
    ensemble = KoopmanEnsemble(KoopmanRNN(10), 3, n_folds=2, random_state=0)
    expected = ensemble.fit(data).predict_band(data)
    errors = ensemble.errors_
    ensemble.fit(data, client=client)
    np.testing.assert_array_equal(ensemble.errors_, errors)
    np.testing.assert_array_equal(ensemble.predict_band(data), expected)


def test_select_makes_the_same_choice(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pendulum(5, 30)
    linear = [{"n_features": 0}, {"n_states": 2, "n_features": 0, "refine": False}]
    monkeypatch.setattr("koopctrl.selection.choose.linear_candidates", lambda *_: linear)
    candidates = [{"n_features": 15}, {"n_features": 30, "ridge": 1e-6}, {"n_features": 10, "output_lags": 2}]
    lines: list[str] = []
    here = select(data, max_trials=3, candidates=candidates, random_state=0)
    there = select(
        data, max_trials=3, candidates=candidates, random_state=0, client=client, progress=lines.append
    )
    assert here.selection_.best.settings == there.selection_.best.settings
    tried = [[(t.settings, t.errors) for t in m.selection_.trials] for m in (here, there)]
    assert tried[0] == tried[1]
    assert len(lines) == sum(len(t.errors) for t in there.selection_.trials)
    np.testing.assert_array_equal(here.predict(data), there.predict(data))


def test_bad_clients_and_hidden_states_are_refused(client: Any) -> None:
    data = pendulum(3, 60)
    with pytest.raises(OptionError, match="client is a str"):
        KoopmanRNN(5).fit(data, client="tcp://127.0.0.1")
    with pytest.raises(OptionError, match="n_states"):
        KoopmanRNN(5, n_states=2).fit(data, client=client)


def test_a_task_that_fails_says_what_it_would_say_here(client: Any) -> None:
    with pytest.raises(OptionError, match="feature_scale"):
        KoopmanEnsemble(KoopmanRNN(5, feature_scale=-1.0), 2, n_folds=0).fit(pendulum(3, 60), client=client)


@pytest.mark.slow
def test_killing_a_worker_costs_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pendulum(60, 400)
    monkeypatch.setattr("koopctrl.koopman_rnn._FIRST_STEPS", 1000)
    monkeypatch.setattr(on_workers, "TASK_BYTES", 8_000)
    here = KoopmanRNN(40, ridge=1e-8, random_state=0).fit(iter(data))
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        before = dict(client.run(os.getpid))

        def killing() -> Iterator[Trajectory]:
            for i, episode in enumerate(data):
                if i == 30:
                    os.kill(next(iter(before.values())), signal.SIGKILL)
                yield episode

        there = KoopmanRNN(40, ridge=1e-8, random_state=0).fit(killing(), client=client)
        after = dict(client.run(os.getpid))
    assert set(after.values()) != set(before.values())
    assert there.solution_.n_rows == data.n_steps
    np.testing.assert_allclose(there.network_.coef, here.network_.coef, atol=1e-8)


@pytest.mark.slow
def test_workers_that_are_lost_again_and_again_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        monkeypatch.setattr("koopctrl._workers._TRIES", 1)
        from koopctrl._workers import run_tasks

        with pytest.raises(SolverError, match="lost their worker"):
            run_tasks(client, os.abort, [()])
