"""One BLAS thread for small dense work: waking a second one costs more than it saves."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from threadpoolctl import ThreadpoolController

_libraries: list[Any] | None = None


def _blas_libraries() -> list[Any]:
    """BLAS libraries in this process, looked up once: numpy and scipy have loaded theirs by now."""
    global _libraries
    if _libraries is None:
        found = ThreadpoolController().lib_controllers
        _libraries = [lib for lib in found if lib.user_api == "blas"]
    return _libraries


class one_blas_thread:
    """Context in which BLAS runs on the calling thread alone; afterwards it is as it was.

    The limit is one of the process, as BLAS has no other. threadpoolctl's own context inspects all libraries
    each time, which would cost as much as a whole control step.
    """

    def __enter__(self) -> None:
        self._before = [(lib, lib.get_num_threads()) for lib in _blas_libraries()]
        for lib, count in self._before:
            if count != 1:
                lib.set_num_threads(1)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for lib, count in self._before:
            if count != 1:
                lib.set_num_threads(count)
