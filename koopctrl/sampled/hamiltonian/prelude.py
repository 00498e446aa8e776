"""What Hamiltonian estimators begin with: parameters, records, units, functions without coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from koopctrl._validation import FloatArray, check_choice, check_integer, check_number
from koopctrl._warnings import warn
from koopctrl.data.trajectories import Trajectories, Trajectory
from koopctrl.errors import DataError, NumericalWarning, OptionError, ShapeError
from koopctrl.identification.least_squares import AUTO
from koopctrl.network.samplers import SAMPLERS
from koopctrl.sampled.hamiltonian.basis import Basis, Encoding, no_layer, recentred
from koopctrl.sampled.hamiltonian.collocation import Steps
from koopctrl.sampled.hamiltonian.equations import Parts
from koopctrl.sampled.hamiltonian.ports import Damping

PORTS = ("constant", "varying")
_BUMPS = 20


def steps_of(X: Trajectories | Trajectory) -> tuple[Trajectories, Steps]:
    """Records, and their samples two by two.

    Raises
    ------
    DataError
        If there are none.
    """
    data = Trajectories([X]) if isinstance(X, Trajectory) else Trajectories.coerce(X)
    x0, u, x1 = data.snapshots()
    if not len(x0):
        raise DataError("X has no two neighbouring samples; expected longer episodes")
    return data, Steps(x0, x1, u, data.dt)


def check_common(model: Any) -> float | str:
    """Check the parameters that all estimators of this kind have; returns the penalty."""
    check_integer(model.n_features, "n_features")
    if model.damping is not None:
        check_choice(model.damping, "damping", PORTS)
    check_number(model.feature_scale, "feature_scale", low=0.0, strict=True)
    check_number(model.rcond, "rcond", low=0.0, high=0.1)
    if isinstance(model.ridge, str):
        return check_choice(model.ridge, "ridge", (AUTO,))
    return check_number(model.ridge, "ridge", low=0.0)


def sampled_basis(
    encoding: Encoding,
    x: FloatArray,
    steer: FloatArray | None,
    width: tuple[int, float, bool],
    rng: np.random.Generator,
    sampler: str = "uniform",
    activation: str = "tanh",
    constant: bool = False,
    linear: bool = True,
) -> Basis:
    """Functions on points `x`, sampled by how `steer` (by default the points) rises.

    `width` is the number of neurons, what multiplies their width constants, and whether there are angles:
    then neurons are centred anew, since a pair of points on a circle is a chord.
    """
    n_features, feature_scale, has_angles = width
    if not (n_features and encoding.n_code):
        return Basis(encoding, no_layer(encoding.n_code), constant, linear)
    codes = encoding(x)
    aims = codes if steer is None else steer
    layer = SAMPLERS[sampler](codes, codes, aims, n_features, activation, feature_scale, rng)
    return Basis(encoding, recentred(layer, codes, rng) if has_angles else layer, constant, linear)


def damping_of(kind: str, encoding: Encoding, q: FloatArray, rng: np.random.Generator) -> Damping:
    """Damping without coefficients, with bumps where it varies."""
    return Damping.start(encoding, q, _BUMPS if kind == "varying" else 0, rng)


def spread(x: FloatArray, angles: Sequence[int]) -> tuple[FloatArray, FloatArray, tuple[int, ...]]:
    """Mean and standard deviation of the states, and the angles checked.

    Raises
    ------
    ShapeError
        If the number of states is not even.
    DataError
        If one of them never changes.
    OptionError
        If an angle is no position.
    """
    if x.shape[1] % 2 or not x.shape[1]:
        raise ShapeError(f"x has {x.shape[1]} columns; expected an even number, positions then momenta")
    if len(x) < 2:
        raise DataError(f"x has {len(x)} samples; expected at least two")
    still = np.flatnonzero(np.ptp(x, axis=0) == 0.0).tolist()
    if still:
        raise DataError(f"x never changes in columns {still}; expected states that move. Leave them out")
    d = x.shape[1] // 2
    try:
        checked = tuple(check_integer(a, "angles") for a in angles)
    except TypeError as error:
        raise OptionError(f"angles is {angles!r}; expected a sequence of positions' numbers") from error
    if any(a >= d for a in checked):
        raise OptionError(f"angles is {list(checked)}; expected numbers below {d}, those of the positions")
    unit = np.abs(x).max(axis=0)
    relative = x / unit
    return relative.mean(axis=0) * unit, relative.std(axis=0) * unit, checked


def check_cyclic(cyclic: Sequence[int], angles: Sequence[int], d: int) -> tuple[int, ...]:
    """Positions on which nothing depends, checked."""
    try:
        checked = tuple(check_integer(c, "cyclic") for c in cyclic)
    except TypeError as error:
        raise OptionError(f"cyclic is {cyclic!r}; expected a sequence of positions' numbers") from error
    if any(c >= d or c in angles for c in checked):
        raise OptionError(
            f"cyclic is {list(checked)}, angles {list(angles)}; expected numbers below {d}, "
            "each in one of them"
        )
    return checked


def warn_indefinite(parts: Parts, x: FloatArray) -> None:
    """Say that the kinetic energy found is not positive somewhere on the data."""
    d = parts.energy.n_dof
    block = parts.energy.hessian(x[:: max(1, len(x) // 1000)])[:, d:, d:]
    unit = np.sqrt(np.abs(np.einsum("nii->ni", block)).max(axis=0))
    unit = np.where(unit > 0.0, unit, 1.0)
    smallest = np.linalg.eigvalsh(block / unit / unit[:, None]).min()
    if smallest <= 0.0:
        warn(
            "the kinetic energy that was identified is not positive at some of the samples: the model is of "
            "no use there. Give more samples, fewer neurons, or a larger ridge",
            NumericalWarning,
        )


def fit_work(model: Any, x: Any, *_: Any, **__: Any) -> float:
    """Multiplications of the least squares, by the number of samples."""
    records = isinstance(x, (Trajectories, Trajectory))
    samples = sum(e.n_steps for e in Trajectories.coerce(x)) if records else np.size(x)
    return float(samples) * (model.n_features if isinstance(model.n_features, int) else 0) ** 2
