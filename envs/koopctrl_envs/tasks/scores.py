"""Reference scores: what each task costs NMPC with the true model, the true state and all loads told.

`benchmarks/task_scores.py` makes the file beside this module.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from koopctrl_envs.tasks.task import Task

FILE = Path(__file__).with_name("scores.json")


@dataclass(frozen=True)
class ReferenceScore:
    """Cost of the yardstick on one task.

    Attributes
    ----------
    cost : float
        Sum over all starts.
    violations : int
        Samples beyond constraints, of which it knows nothing.
    settings : dict
        How it was computed: controller, solver, horizon, what it was told.
    """

    cost: float
    violations: int
    settings: dict[str, Any]


@lru_cache(maxsize=1)
def stored() -> dict[str, Any]:
    """What the file holds: `settings`, and `scores` by `Task.label`."""
    return json.loads(FILE.read_text()) if FILE.exists() else {"settings": {}, "scores": {}}


def reference_score(task: Task) -> ReferenceScore | None:
    """Stored score of a task; None where there is none, or it belongs to another version of the task."""
    found = stored()["scores"].get(task.label)
    if found is None or found["fingerprint"] != task.fingerprint():
        return None
    settings = {**stored()["settings"], "horizon": found["horizon"]}
    return ReferenceScore(found["cost"], found["violations"], settings)
