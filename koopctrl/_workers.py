"""Work handed to the workers of a Dask cluster, with another try for what a lost worker took along.

`client` is a `dask.distributed.Client` wherever the package takes one; nothing here imports Dask before
one is passed. Tasks carry their data with them, so that the scheduler can give them to another worker
when theirs is lost; what fails as a task fails in the caller, with its own exception.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from koopctrl.errors import OptionError, SolverError

_TRIES = 4
# Bytes of data in one task; the scheduler warns about ten million.
TASK_BYTES = 4_000_000


def check_client(client: Any) -> Any:
    """The client, or an `OptionError` that says what is wanted; None for this process."""
    if client is not None and not all(
        callable(getattr(client, n, None)) for n in ("submit", "gather", "nthreads")
    ):
        raise OptionError(
            f"client is a {type(client).__name__}; expected a dask.distributed.Client. "
            "Make one with Client(LocalCluster()), or leave client out to work in this process"
        )
    return client


def n_slots(client: Any) -> int:
    """Tasks that the cluster runs at the same time."""
    return max(1, sum(client.nthreads().values()))


def lost_errors() -> tuple[type[BaseException], ...]:
    """What Dask raises where a task's worker was lost as often as the scheduler allows."""
    distributed = importlib.import_module("distributed")  # there, since there is a client
    return distributed.KilledWorker, distributed.CancelledError


def run_tasks(client: Any, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """`[function(*a) for a in arguments]`, each on a worker.

    Raises
    ------
    SolverError
        If the workers of a task are lost again and again: it takes more memory than they have, or the cluster
        is gone.
    """
    lost = lost_errors()
    found: dict[int, Any] = {}
    for _ in range(_TRIES):
        waiting = [i for i in range(len(arguments)) if i not in found]
        futures = [client.submit(function, *arguments[i], pure=False) for i in waiting]
        for i, future in zip(waiting, futures, strict=True):
            try:
                found[i] = future.result()
            except lost:
                continue
        if len(found) == len(arguments):
            return [found[i] for i in range(len(arguments))]
    raise SolverError(
        f"{len(arguments) - len(found)} of {len(arguments)} tasks lost their worker {_TRIES} times; give the "
        "workers more memory, or leave client out to work in this process"
    )
