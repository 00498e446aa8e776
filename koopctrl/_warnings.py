"""Warnings that point at the caller's line, however deep in the package they are raised.

Each of them speaks: Python shows a warning once for a line, and a line that fits models in a loop has
something else to say each time. Filters (`warnings.simplefilter`) work as for all warnings.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

from koopctrl.errors import KoopctrlWarning

_PACKAGE = str(Path(__file__).resolve().parent) + os.sep


def warn(message: str, category: type[KoopctrlWarning] = KoopctrlWarning) -> None:
    """Warn at the first line outside the package that led here."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__", "<unknown>"),
        registry={},  # of its own: the line's would remember that it has spoken
    )
