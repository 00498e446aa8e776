"""What scikit-learn takes for samples: episodes, of which one record has but one.

Its splitters ask for the number of samples and then refuse in their own words, which say nothing of records.
What asks is read off the calling frames: there is no other place where a splitter and its data meet before.
Elsewhere, as for splits that are given as indices, one episode is as good as many.
"""

from __future__ import annotations

import sys
from types import FrameType

from koopctrl.errors import DataError

_SPLITTERS = "sklearn.model_selection._split"
_DEPTH = 8  # calls between a splitter and `len`


def refuse_what_cannot_be_split(n: int) -> None:
    """Raise if a splitter of scikit-learn asks for the length of data that have too few episodes for it.

    Raises
    ------
    DataError
        Where scikit-learn would raise a ValueError, which it is too.
    """
    if _SPLITTERS not in sys.modules:
        return
    frame: FrameType | None = sys._getframe(2)
    for _ in range(_DEPTH):
        module = "" if frame is None else str(frame.f_globals.get("__name__", ""))
        if frame is None or not module.startswith("sklearn."):
            return
        if module == _SPLITTERS:
            _refuse(n, frame.f_locals.get("self"))
        frame = frame.f_back


def _refuse(n: int, splitter: object) -> None:
    folds = getattr(splitter, "n_splits", 0)
    in_folds = isinstance(splitter, getattr(sys.modules[_SPLITTERS], "_BaseKFold", ()))
    if n > 1 and not (in_folds and folds > n):
        return
    many = folds if in_folds else 5
    records = "1 episode" if n == 1 else f"{n} episodes"
    raise DataError(
        f"the data have {records}, which scikit-learn takes for samples; expected at least "
        f"{many if in_folds else 2} to split. Pass data.blocks({many}) in place of data, which cuts every "
        "record into blocks, or take data.split(0.3) for a training and a test part"
    )
