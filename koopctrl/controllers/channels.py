"""Which of a model's inputs a controller moves, and which are disturbances that it is told of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError


@dataclass(frozen=True)
class InputChannels:
    """The two kinds of inputs, by their positions in the model's input vector.

    Attributes
    ----------
    moved : (n_u,) int array
        Inputs the controller chooses.
    told : (n_v,) int array
        Measured disturbances.
    """

    moved: np.ndarray
    told: np.ndarray

    @property
    def n_u(self) -> int:
        """Number of inputs the controller chooses."""
        return len(self.moved)

    @property
    def n_v(self) -> int:
        """Number of measured disturbances."""
        return len(self.told)

    def join(self, u: FloatArray, v: FloatArray) -> FloatArray:
        """Full input vectors `(..., n_u + n_v)`."""
        if not self.n_v:
            return u
        full = np.empty((*u.shape[:-1], self.n_u + self.n_v))
        full[..., self.moved], full[..., self.told] = u, v
        return full

    def split(self, full: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Inverse of `join`."""
        return full[..., self.moved], full[..., self.told]


def choose_channels(names: Sequence[str], measured: Sequence[str | int] | str | int | None) -> InputChannels:
    """Tell the inputs apart.

    Parameters
    ----------
    names : sequence of str
        Of the model's inputs.
    measured : sequence of str or int, str, int or None
        Names or positions of those that are measured disturbances.

    Raises
    ------
    OptionError
        If one is unknown or named twice, or no input is left to move.
    """
    names = tuple(names)
    if measured is None:
        return InputChannels(np.arange(len(names)), np.arange(0))
    chosen = [measured] if np.ndim(measured) == 0 else list(measured)  # pyright: ignore[reportArgumentType]
    told: list[int] = []
    for item in chosen:
        known = names.index(item) if isinstance(item, str) and item in names else item
        if isinstance(known, (bool, str)) or not isinstance(known, (int, np.integer)):
            raise OptionError(
                f"measured_disturbances has {item!r}; expected names or positions of inputs: {list(names)}"
            )
        if not 0 <= known < len(names) or int(known) in told:
            raise OptionError(
                f"measured_disturbances is {chosen!r}; expected each at most once, out of {list(names)}"
            )
        told.append(int(known))
    moved = [i for i in range(len(names)) if i not in told]
    if not moved:
        raise OptionError(
            f"measured_disturbances names all inputs, {list(names)}; expected at least one to be moved"
        )
    return InputChannels(np.array(moved), np.array(told, dtype=int))


def with_parameters(
    measured: Sequence[str | int] | str | int | None, parameters: Sequence[str], names: Sequence[str]
) -> Sequence[str | int] | str | int | None:
    """Measured disturbances, with a model's measured parameters, which nobody moves, among them."""
    if not parameters:
        return measured
    given = [] if measured is None else [measured] if isinstance(measured, (str, int)) else list(measured)
    known = {names[i] if isinstance(i, (int, np.integer)) and 0 <= i < len(names) else i for i in given}
    return [*given, *(p for p in parameters if p not in known)]
