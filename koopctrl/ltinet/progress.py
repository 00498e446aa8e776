"""A progress bar that costs nothing when it is off."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class Progress:
    """Context manager around rich's bar; `step(done, total)` sets how much is done.

    Parameters
    ----------
    enabled : bool
        Show the bar; rich is imported only then.
    label : str
        Text in front of it.
    """

    def __init__(self, enabled: bool, label: str) -> None:
        self.enabled, self.label = enabled, label
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if self.enabled:
            from rich.progress import Progress as Bar

            self._bar = Bar(transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=None)
        return self

    def step(self, done: int, total: int) -> None:
        """Show that `done` of `total` is finished."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
