"""Arguments that made a controller or a filter, kept so that it can be made again."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from koopctrl.errors import OptionError


def arguments(named: dict[str, Any]) -> dict[str, Any]:
    """All arguments of an `__init__`, from its `locals()` before anything else is in them.

    `observer`, the older name of `estimator`, is taken for it.

    Raises
    ------
    OptionError
        If both are given.
    """
    given = {name: value for name, value in named.items() if name not in ("self", "__class__")}
    if "observer" in given:
        given["estimator"] = _one_of(given["estimator"], given.pop("observer"))
    return given


def _one_of(estimator: Any, observer: Any) -> Any:
    """What was given under either name."""
    if estimator is not None and observer is not None:
        raise OptionError("estimator is set and so is observer, its older name; expected one of them")
    return observer if estimator is None else estimator


def copied(settings: dict[str, Any]) -> dict[str, Any]:
    """Arguments that their caller can no longer change; models and estimators are as they are."""
    plain = (np.ndarray, list, tuple, dict)
    return {k: copy.deepcopy(v) if isinstance(v, plain) else v for k, v in settings.items()}
