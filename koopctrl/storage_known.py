"""Known parts of grey-box models in files: names, values and a few answers, never the function itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import DataError
from koopctrl.identification.grey_box import GreyBoxFit
from koopctrl.identification.held_out import Snapshots
from koopctrl.network.known import KnownPart
from koopctrl.network.recurrent import RecurrentNetwork
from koopctrl.storage_arrays import Arrays

_PROBES = 16
_REGION = ("known_x_min", "known_x_max", "known_u_min", "known_u_max")
# Of an output's spread: another machine's functions differ in the last digits.
_SAME = 1e-8


def known_arrays(net: RecurrentNetwork, snapshots: Snapshots | None) -> dict[str, FloatArray]:
    """Coefficients of a known part, and its answers at some data, by which it is known again."""
    known = net.known
    assert known is not None  # asked for by whoever calls
    if snapshots is not None and len(snapshots.x):
        chosen = np.unique(np.linspace(0, len(snapshots.x) - 1, _PROBES).astype(int))
        x, u = snapshots.x[chosen], snapshots.u[chosen]
    else:
        rng = np.random.default_rng(0)
        x = net.x_mean + net.x_scale * rng.normal(size=(_PROBES, len(net.x_mean)))
        u = net.scaling.u_mean + net.scaling.u_scale * rng.normal(size=(_PROBES, net.window.n_u))
        kept = np.isfinite(known(x, u)).all(axis=1)
        x, u = x[kept], u[kept]
    arrays = {"known_theta": known.theta, "known_x": x, "known_u": u, "known_y": known(x, u)}
    return arrays | dict(zip(_REGION, known.region, strict=True))


def wanted_known(arrays: Arrays) -> Any:
    """The function that a file's model needs.

    Raises
    ------
    DataError
        If none was handed over.
    """
    if arrays.known is None:
        raise DataError(
            "the model has a known part, a function, which no file holds; expected load(path, known=f) with "
            "the "
            "function that it was fitted with"
        )
    if not callable(arrays.known):
        raise DataError(f"known is a {type(arrays.known).__name__}; expected a function known(x, u)")
    return arrays.known


def read_known_part(
    names: Any, arrays: Arrays, prefix: str, n_x: int, n_u: int, y_scale: FloatArray
) -> KnownPart:
    """The known part, whose function must answer as the one that the model was fitted with did."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"the header says coefficients {names!r}; expected names")
    theta = arrays.get(prefix + "known_theta", len(names))
    x_low, x_high = (arrays.get(prefix + name, n_x) for name in _REGION[:2])
    u_low, u_high = (arrays.get(prefix + name, n_u) for name in _REGION[2:])
    if (x_low > x_high).any() or (u_low > u_high).any():
        raise DataError("the region of the known part's data is empty")
    region = (x_low, x_high, u_low, u_high)
    known = KnownPart(wanted_known(arrays), tuple(names), theta, len(y_scale), region)
    x = arrays.get(prefix + "known_x", None, n_x)
    u = arrays.get(prefix + "known_u", len(x), n_u)
    y = arrays.get(prefix + "known_y", len(x), len(y_scale))
    try:
        found = known(x, u)
    except Exception as error:
        raise DataError(
            f"known failed on data of the model ({type(error).__name__}: {error}); expected the function "
            "that it was "
            "fitted with"
        ) from error
    off = np.abs(found - y) / (y_scale + np.abs(y))
    if not (off <= _SAME).all():
        raise DataError(
            "known gives other next outputs than the function that the model was fitted with (by "
            f"{np.max(off):.2g} "
            "relative); expected that function"
        )
    return known


def write_grey_box(fit: GreyBoxFit) -> tuple[dict[str, Any], dict[str, FloatArray]]:
    """Header and arrays of a fit; what is infinite stands as NaN."""
    header = {"names": list(fit.names), "n_iterations": fit.n_iterations, "converged": fit.converged}
    arrays = {
        "grey_theta": fit.theta, "grey_covariance": fit.covariance, "grey_sigma": fit.sigma,
        "grey_ridge": np.array([fit.ridge]),
    }  # fmt: skip
    return header, {name: np.where(np.isinf(a), np.nan, a) for name, a in arrays.items()}


def read_grey_box(header: dict[str, Any], arrays: Arrays, n_y: int) -> GreyBoxFit:
    """Inverse of `write_grey_box`."""
    names = tuple(str(name) for name in header["names"])
    n = len(names)
    covariance = _infinite(arrays.get("grey_covariance", n, n, finite=False))
    ridge = _infinite(arrays.get("grey_ridge", 1, finite=False))
    return GreyBoxFit(
        names, arrays.get("grey_theta", n), np.sqrt(np.diag(covariance)), covariance,
        arrays.get("grey_sigma", n_y), float(ridge[0]), int(header["n_iterations"]),
        bool(header["converged"]),
    )  # fmt: skip


def _infinite(values: FloatArray) -> FloatArray:
    return np.where(np.isnan(values), np.inf, values)
