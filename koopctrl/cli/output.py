"""What commands print: text and tables for people, or one JSON object for programs.

Nothing that a user named (columns, files) is taken for markup.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

_PATIENCE = 2.0  # seconds before a bar shows


class Output:
    """Text on stdout, unless `as_json` is set: then one object at the end, and the text is left out."""

    def __init__(self) -> None:
        self.console = Console(markup=False, highlight=False, soft_wrap=True)
        self.as_json = False
        self.collected: dict[str, Any] = {}
        self._bar: Progress | None = None

    def begin(self, as_json: bool) -> None:
        """Start a command."""
        self.as_json, self.collected = as_json, {}

    def say(self, text: str) -> None:
        """Print a line for people."""
        if not self.as_json:
            self.console.print(text)

    def table(self, title: str, rows: list[dict[str, Any]]) -> None:
        """Print rows of the same keys; the first column is the name of the row."""
        if self.as_json:
            return
        table = Table(title=Text(title, style="bold"), title_justify="left")
        for i, name in enumerate(rows[0]):
            table.add_column(Text(name.replace("_", " ")), justify="right" if i else "left")
        for row in rows:
            table.add_row(*(Text(_cell(v)) for v in row.values()))
        self.console.print(table)

    def keep(self, **figures: Any) -> None:
        """Collect figures for the JSON object."""
        self.collected |= figures

    def finish(self) -> None:
        """Print the JSON object, if one was asked for."""
        if self.as_json:
            sys.stdout.write(json.dumps(_plain(self.collected), indent=2) + "\n")

    @contextmanager
    def busy(self, text: str, total: float | None = None) -> Iterator[Any]:
        """Show a bar while something takes longer than two seconds; yields `update(done, text)`.

        The bar is on stderr, and only where that is a terminal.
        """
        console = Console(stderr=True)
        bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn(),
            console=console, transient=True,
        )  # fmt: skip
        task = bar.add_task(text, total=total)
        timer = threading.Timer(_PATIENCE, bar.start)
        timer.daemon = True
        if console.is_terminal:
            self._bar = bar
            timer.start()

        def update(done: float | None = None, what: str | None = None) -> None:
            bar.update(task, completed=done, description=what)

        try:
            yield update
        finally:
            timer.cancel()
            self.stop()

    def stop(self) -> None:
        """Take a bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


said = Output()


def told(kind: str, text: str) -> None:
    """One line on stderr that begins with its kind, "warning" or "error"."""
    line = Text(f"{kind}: ", style="red" if kind == "error" else "yellow")
    Console(stderr=True, soft_wrap=True, highlight=False).print(line.append(text, style="default"))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if not np.isfinite(value) else f"{value:.4g}"
    return str(value)


def _plain(value: Any) -> Any:
    """What JSON can hold; numbers that are not finite become null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
