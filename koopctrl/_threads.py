"""One BLAS thread for small dense work: waking a second one costs more than it saves.

Beside a busy core it costs far more: a fit of 300 neurons to 7,500 pairs took 3.3 s with two threads there,
0.7 s with one.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Method = TypeVar("Method", bound=Callable[..., Any])

# Multiplications from which work is large: seconds on one thread.
LARGE = 1e11
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


def few_threads(work: Callable[..., float] | None = None) -> Callable[[Method], Method]:
    """Decorator of a function that runs BLAS on one thread, unless `work` of its arguments is `LARGE`.

    `work` gets them in the function's order, whether they were passed by name or not.
    """

    def decorate(function: Method) -> Method:
        signature = inspect.signature(function)

        def is_large(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
            if work is None:
                return False
            try:
                given = signature.bind(*args, **kwargs)
            except TypeError:  # the function itself says what is wrong
                return False
            return work(*given.args, **given.kwargs) >= LARGE

        @functools.wraps(function)
        def limited(*args: Any, **kwargs: Any) -> Any:
            if is_large(args, kwargs):
                return function(*args, **kwargs)
            with one_blas_thread():
                return function(*args, **kwargs)

        return limited  # pyright: ignore[reportReturnType]

    return decorate
