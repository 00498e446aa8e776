"""Warnings that point at the caller's line, however deep in the package they are raised."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

from koopctrl.errors import KoopctrlWarning

_PACKAGE = str(Path(__file__).resolve().parent) + os.sep


def warn(message: str, category: type[KoopctrlWarning] = KoopctrlWarning) -> None:
    """Warn at the first line outside the package that led here."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
