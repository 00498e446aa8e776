"""Colours and sizes that all pictures share."""

from __future__ import annotations

INK, PALE, GRID = "#263238", "#b0bec5", "#eceff1"
SIGNALS = ("#1565c0", "#ef6c00", "#2e7d32", "#8e24aa")
REFERENCE, FORCE, WATER, BODY = "#c62828", "#ef6c00", "#64b5f6", "#455a64"
SIZE, DPI, FONT = (8.0, 4.5), 80, 8.5
"""Inches, dots an inch, points: pictures are 640 by 360 pixels."""
