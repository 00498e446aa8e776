"""Controllers in files: the model, the arguments that made the controller, and its state. Nothing is pickled.

The law is not in the file: it is made again from the model's own numbers, so that a file stays small, and one
of an older version gets today's mending.
"""

from __future__ import annotations

from dataclasses import fields
from os import PathLike
from typing import Any

import numpy as np

from koopctrl import storage
from koopctrl.controllers.estimation.extended_kalman import ExtendedKalmanFilter
from koopctrl.controllers.estimation.kalman import KalmanFilter
from koopctrl.controllers.estimation.moving_horizon import MovingHorizonEstimator
from koopctrl.controllers.estimation.unscented_kalman import UnscentedKalmanFilter
from koopctrl.controllers.lqr import LQR
from koopctrl.controllers.mpc.deepc import DeePC
from koopctrl.controllers.mpc.explicit import ExplicitMPC
from koopctrl.controllers.mpc.explicit_law import RegionTable
from koopctrl.controllers.mpc.linear import LinearMPC
from koopctrl.controllers.mpc.rnn import RNNMPC
from koopctrl.controllers.mpc.tube import TubeMPC
from koopctrl.controllers.state import ravel, unravel
from koopctrl.data.record_file import record_parts, records_of_parts
from koopctrl.errors import DataError
from koopctrl.storage_file import write_file
from koopctrl.storage_packed import Packed, unpack

_MODELS = {"LQR": "lifted", "LinearMPC": "lifted", "RNNMPC": "model", "TubeMPC": "lifted", "DeePC": "data"}
_CLASSES: dict[str, Any] = {
    "LQR": LQR,
    "LinearMPC": LinearMPC,
    "RNNMPC": RNNMPC,
    "TubeMPC": TubeMPC,
    "DeePC": DeePC,
}
FILTERS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "KalmanFilter": (
        KalmanFilter,
        ("Qn", "Rn", "measured", "disturbance", "measured_disturbances", "Qd", "steady", "P0", "gate"),
    ),
    "ExtendedKalmanFilter": (
        ExtendedKalmanFilter,
        ("Qn", "Rn", "measured", "disturbance", "Qd", "P0", "gate"),
    ),
    "UnscentedKalmanFilter": (
        UnscentedKalmanFilter,
        ("Qn", "Rn", "measured", "disturbance", "Qd", "P0", "gate", "spread"),
    ),
    "MovingHorizonEstimator": (
        MovingHorizonEstimator,
        (
            "horizon",
            "Qn",
            "Rn",
            "y_min",
            "y_max",
            "x_min",
            "x_max",
            "d_min",
            "d_max",
            "constraints",
            "measured",
            "disturbance",
            "measured_disturbances",
            "Qd",
            "steady",
            "P0",
            "gate",
            "max_iter",
            "solver",
        ),
    ),
}


def save_controller(controller: Any, path: str | PathLike[str]) -> None:
    """Write a controller to exactly `path`.

    Parameters
    ----------
    controller : LQR, LinearMPC, RNNMPC, TubeMPC, ExplicitMPC or DeePC
        With its state: where it is read, it goes on from there.
    path : path-like

    Raises
    ------
    DataError
        If it is of another kind, or has an estimator that is no filter of this package.
    """
    kind = type(controller).__name__
    if isinstance(controller, ExplicitMPC):
        described, packed = _described(controller.controller)
        table = controller.table
        own = {**controller._own, "fixed": controller.law.fixed}
        own |= {f.name: getattr(table, f.name) for f in fields(table)}
        described["explicit"] = packed.put("explicit", own)
        packed.arrays["state"] = ravel(controller.state)
    else:
        described, packed = _described(controller)
    write_file(path, kind, described, packed.arrays)


def _described(controller: Any) -> tuple[dict[str, Any], Packed]:
    """The header's and the arrays' part of a controller."""
    kind = type(controller).__name__
    if _CLASSES.get(kind) is not type(controller):
        raise DataError(f"controller is a {kind}; expected one of {', '.join([*_CLASSES, 'ExplicitMPC'])}")
    settings = dict(controller.settings)
    if isinstance(controller, LinearMPC):
        # A choice made by trials is kept: the file need not hold what they were made on.
        settings |= {"terminal": controller.terminal, "check": False}
    model = settings.pop(_MODELS[kind])
    if isinstance(controller, DeePC):
        header, arrays = record_parts(model.episodes)
    else:
        header, arrays = storage.model_parts(model)
    packed = Packed({f"model.{name}": array for name, array in arrays.items()})
    estimator = settings.pop("estimator")
    described = {
        "model": header,
        "settings": packed.put("settings", settings),
        "estimator": None if estimator is None else describe_filter(estimator, packed),
    }
    packed.arrays["state"] = ravel(controller.state)
    return described, packed


def read_controller(header: dict[str, Any], arrays: dict[str, np.ndarray], known: Any = None) -> Any:
    """The controller in a file's header and arrays; `koopctrl.load` calls this.

    Raises
    ------
    DataError
        If the parts do not fit together.
    """
    kind = header["kind"]
    if kind == "ExplicitMPC":
        return _read_explicit(header, arrays, known)
    own = {n.removeprefix("model."): a for n, a in arrays.items() if n.startswith("model.")}
    of_records = kind == "DeePC"
    model = (
        records_of_parts(header["model"], own)
        if of_records
        else storage.model_from_parts(header["model"], own, known)
    )
    settings = unpack(header["settings"], arrays)
    estimator = header["estimator"]
    if estimator is not None:
        made, names = FILTERS[estimator["kind"]]
        given = {n: unpack(estimator["settings"], arrays)[n] for n in names}
        estimator = made(model, **given)
    if not of_records:
        settings["estimator"] = estimator
    controller = _CLASSES[kind](**{_MODELS[kind]: model}, **settings)
    return with_state(controller, arrays["state"])


def _read_explicit(header: dict[str, Any], arrays: dict[str, np.ndarray], known: Any) -> ExplicitMPC:
    """The online controller, and the table that was made of it."""
    online = read_controller({**header, "kind": "LinearMPC"}, arrays, known)
    own = unpack(header["explicit"], arrays)
    fixed = own.pop("fixed")
    table = RegionTable(**{f.name: own.pop(f.name) for f in fields(RegionTable)})
    return with_state(ExplicitMPC._from_table(online, own, fixed, table), arrays["state"])


def with_state(controller: Any, vector: np.ndarray) -> Any:
    """A controller that goes on from a state in a file."""
    initial = controller.law.initial()
    if vector.ndim != 1 or len(vector) != len(ravel(initial)):
        raise DataError(f"the state has shape {vector.shape}; expected ({len(ravel(initial))},)")
    controller.state = unravel(initial, vector)
    return controller


def describe_filter(estimator: Any, packed: Packed) -> dict[str, Any]:
    """Kind and arguments of a filter of this package."""
    kind = type(estimator).__name__
    if kind not in FILTERS or FILTERS[kind][0] is not type(estimator):
        raise DataError(
            f"the controller's estimator is a {kind}; expected one of {', '.join(FILTERS)}, the ones that "
            "can be written to a file"
        )
    return {"kind": kind, "settings": packed.put("estimator", estimator.settings)}
