"""Controllers in files: the model, the arguments that made the controller, and its state. Nothing is pickled.

The law is not in the file: it is made again from the model's own numbers, so that a file stays small, and one
of an older version gets today's mending.
"""

from __future__ import annotations

import json
from os import PathLike
from typing import Any

import numpy as np

from koopctrl import storage
from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.extended_kalman import ExtendedKalmanFilter
from koopctrl.controllers.estimation.kalman import KalmanFilter
from koopctrl.controllers.lqr import LQR
from koopctrl.controllers.mpc.linear import LinearMPC
from koopctrl.controllers.mpc.rnn import RNNMPC
from koopctrl.controllers.state import ravel, unravel
from koopctrl.errors import DataError

_MODELS = {"LQR": "lifted", "LinearMPC": "lifted", "RNNMPC": "model"}
_CLASSES: dict[str, Any] = {"LQR": LQR, "LinearMPC": LinearMPC, "RNNMPC": RNNMPC}
_FILTERS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "KalmanFilter": (
        KalmanFilter,
        ("Qn", "Rn", "measured", "disturbance", "measured_disturbances", "Qd", "steady", "P0", "gate"),
    ),
    "ExtendedKalmanFilter": (
        ExtendedKalmanFilter,
        ("Qn", "Rn", "measured", "disturbance", "Qd", "P0", "gate"),
    ),
}


def save_controller(controller: Any, path: str | PathLike[str]) -> None:
    """Write a controller to exactly `path`.

    Parameters
    ----------
    controller : LQR, LinearMPC or RNNMPC
        With its state: where it is read, it goes on from there.
    path : path-like

    Raises
    ------
    DataError
        If it is of another kind, or has an estimator that is no filter of this package.
    """
    kind = type(controller).__name__
    if _CLASSES.get(kind) is not type(controller):
        raise DataError(f"controller is a {kind}; expected one of {', '.join(_CLASSES)}")
    settings = dict(controller.settings)
    if isinstance(controller, LinearMPC):
        # A choice made by trials is kept: the file need not hold what they were made on.
        settings |= {"terminal": controller.terminal, "check": False}
    model = settings.pop(_MODELS[kind])
    header, arrays = storage.model_parts(model)
    packed = _Packed({f"model.{name}": array for name, array in arrays.items()})
    estimator = settings.pop("estimator")
    described = {
        "model": header,
        "settings": packed.put("settings", settings),
        "estimator": None if estimator is None else _describe_filter(estimator, packed),
    }
    packed.arrays["state"] = ravel(controller.state)
    storage.write(path, kind, described, packed.arrays)


def read_controller(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    """The controller in a file's header and arrays; `koopctrl.load` calls this.

    Raises
    ------
    DataError
        If the parts do not fit together.
    """
    kind = header["kind"]
    own = {n.removeprefix("model."): a for n, a in arrays.items() if n.startswith("model.")}
    model = storage.model_from_parts(header["model"], own)
    settings = _unpack(header["settings"], arrays)
    estimator = header["estimator"]
    if estimator is not None:
        made, names = _FILTERS[estimator["kind"]]
        given = {n: _unpack(estimator["settings"], arrays)[n] for n in names}
        estimator = made(model, **given)
    controller = _CLASSES[kind](**{_MODELS[kind]: model}, estimator=estimator, **settings)
    vector = arrays["state"]
    initial = controller.law.initial()
    if vector.ndim != 1 or len(vector) != len(ravel(initial)):
        raise DataError(f"the state has shape {vector.shape}; expected ({len(ravel(initial))},)")
    controller.state = unravel(initial, vector)
    return controller


def _describe_filter(estimator: Any, packed: _Packed) -> dict[str, Any]:
    kind = type(estimator).__name__
    if kind not in _FILTERS or _FILTERS[kind][0] is not type(estimator):
        raise DataError(
            f"the controller's estimator is a {kind}; expected one of {', '.join(_FILTERS)}, the ones that "
            "can be written to a file"
        )
    return {"kind": kind, "settings": packed.put("estimator", estimator.settings)}


class _Packed:
    """Arguments as JSON, their arrays apart."""

    def __init__(self, arrays: dict[str, FloatArray]) -> None:
        self.arrays: dict[str, Any] = dict(arrays)

    def put(self, name: str, value: Any) -> Any:
        """What JSON can hold of a value; its arrays are named after where they stand."""
        if isinstance(value, np.ndarray):
            self.arrays[name] = value
            return {"array": name}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, dict):
            return {"dict": {k: self.put(f"{name}.{k}", v) for k, v in value.items()}}
        if isinstance(value, (list, tuple)):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [self.put(f"{name}.{i}", v) for i, v in enumerate(value)]}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        try:
            json.dumps(value)
        except TypeError as error:
            raise DataError(
                f"{name} is a {type(value).__name__}, which cannot be written to a file"
            ) from error
        return value


def _unpack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        return arrays[content]
    if kind == "dict":
        return {k: _unpack(v, arrays) for k, v in content.items()}
    parts = [_unpack(v, arrays) for v in content]
    return tuple(parts) if kind == "tuple" else parts
