"""What a controller may be designed on: a `LiftedModel`, or anything that turns into one."""

from __future__ import annotations

from typing import Any


def as_lifted(model: Any) -> Any:
    """The `LiftedModel` of a linear network (or of anything else with `to_lifted`); other "
    "models as they are.
    """
    turn = getattr(model, "to_lifted", None)
    return model if turn is None else turn()
