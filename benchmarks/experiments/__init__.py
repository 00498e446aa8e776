"""The papers' experiments beside the peers a user would pick: `python -m benchmarks.experiments --help`.

An experiment (`data/`) is training records, test records and a score; a contender (`models/`) is a fit, which
hands back a prediction, and the settings it may try. Every contender tries the same number of settings on the
training part alone (`tuning`), every pair of the two and a seed is one cell, and a cell one JSON (`cell`).
"""

import sys
from pathlib import Path

# The other benchmark scripts import each other by name.
_SCRIPTS = str(Path(__file__).resolve().parent.parent)
if _SCRIPTS not in sys.path:
    sys.path.append(_SCRIPTS)
