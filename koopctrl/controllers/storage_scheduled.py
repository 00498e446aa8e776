"""Gain-scheduled controllers in files: the family, the arguments, the parameter and the state."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np

from koopctrl.controllers.lqr import LQR
from koopctrl.controllers.mpc.linear import LinearMPC
from koopctrl.controllers.scheduled import GainScheduled
from koopctrl.controllers.state import ravel
from koopctrl.controllers.storage import FILTERS, describe_filter, with_state
from koopctrl.errors import DataError
from koopctrl.storage_arrays import one_of
from koopctrl.storage_file import write_file
from koopctrl.storage_packed import Packed, unpack
from koopctrl.storage_varying import family_of_parts, family_parts

_CLASSES: dict[str, Any] = {"LQR": LQR, "LinearMPC": LinearMPC}


def save_scheduled(controller: GainScheduled, path: str | PathLike[str]) -> None:
    """Write a controller to exactly `path`.

    Raises
    ------
    DataError
        If its estimator is no filter of this package, or a function that makes others elsewhere: no file
        holds a function.
    """
    header, arrays = family_parts(controller.family)
    packed = Packed({f"model.{name}": array for name, array in arrays.items()})
    settings = {k: v for k, v in controller._settings.items() if k not in ("lifted", "estimator")}
    described = {
        "family": header, "controller": controller._class.__name__, "resolution": controller.resolution,
        "settings": packed.put("settings", settings), "estimator": _estimator(controller, packed),
    }  # fmt: skip
    packed.arrays |= {"state": ravel(controller.state), "parameter": controller.parameter}
    write_file(path, "GainScheduled", described, packed.arrays)


def scheduled_of_parts(
    header: dict[str, Any], arrays: dict[str, np.ndarray], known: Any = None
) -> GainScheduled:
    """The controller in a file's header and arrays; `koopctrl.load` calls this."""
    own = {n.removeprefix("model."): a for n, a in arrays.items() if n.startswith("model.")}
    family = family_of_parts(header["family"], own, known)
    given: dict[str, Any] = dict(unpack(header["settings"], arrays))
    described = header["estimator"]
    if described is not None:
        kind, names = FILTERS[one_of(described["kind"], tuple(FILTERS))]
        found = unpack(described["settings"], arrays)
        given["estimator"] = lambda lifted: kind(lifted, **{n: found[n] for n in names if n in found})
    made = GainScheduled(
        family,
        _CLASSES[one_of(header["controller"], tuple(_CLASSES))],
        resolution=header["resolution"],
        **given,
    )
    parameter = arrays["parameter"]
    if parameter.shape != (family.n_p,) or not np.isfinite(parameter).all():
        raise DataError(f"the parameter is {parameter.tolist()}; expected {family.n_p} finite numbers")
    made.inner, made.parameter = made._at(family.inside(parameter)), family.inside(parameter).copy()
    with_state(made.inner, arrays["state"])
    return made


def _estimator(controller: GainScheduled, packed: Packed) -> dict[str, Any] | None:
    """The filter that the controller's function makes, the same at both ends of the parameter's box."""
    make, family = controller._estimator, controller.family
    if make is None:
        return None
    both = []
    for p in (family.model.p_min, family.model.p_max):
        estimator, own = make(family.frozen(p)), Packed()
        describe_filter(estimator, own)  # refuses those of other kinds
        kind, own = type(estimator).__name__, Packed()
        asked = getattr(estimator, "asked", estimator.settings)
        settings = {n: v for n, v in asked.items() if n in FILTERS[kind][1]}
        both.append(({"kind": kind, "settings": own.put("estimator", settings)}, own.arrays))
    (described, arrays), (other, others) = both
    packed.arrays |= arrays
    if described != other or any(not np.array_equal(arrays[name], others[name]) for name in arrays):
        raise DataError(
            "estimator makes filters with other arguments where the parameter is another; expected the same "
            "everywhere, for no file holds a function"
        )
    return described
