"""Arguments that made a controller, kept so that it can be made again."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np


def copied(settings: dict[str, Any]) -> dict[str, Any]:
    """Arguments that their caller can no longer change; models and estimators are as they are."""
    plain = (np.ndarray, list, tuple, dict)
    return {k: copy.deepcopy(v) if isinstance(v, plain) else v for k, v in settings.items()}
