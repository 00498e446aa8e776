"""What every controller is, and a check that something keeps to it."""

from __future__ import annotations

import copy
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, check_dt
from koopctrl.errors import DataError, OptionError, ShapeError


@runtime_checkable
class Controller(Protocol):
    """A feedback law with memory: what must be there is `reset` and `control`.

    What may be there beside them, and is used where it is (`check_controller` looks at all of it):

    `dt` : sample time in seconds.
    `n_measured`, `n_u`, `n_v` : numbers of measured signals, of inputs, and of measured disturbances.
    `set_point`, `output_names`, `input_names` : the default reference, and names.
    `u_min`, `u_max` : bounds that every input obeys; likewise `du_min`, `du_max`, `y_min`, `y_max`.
    `Q`, `R` : weights, for the cost of an episode.
    `horizon` : samples of a preview that can be used.
    `info` : of the last step, with `status` (text) and `solve_time` (seconds).
    `applied(u)` : called with the input that the plant says it applied (`info["u"]`), where that is another
    one; of a plant whose inputs arrive late, with the one that set out (`info["u_accepted"]`).
    `control(..., input_reference=, disturbance=)` : only called with these where the loop has them.
    `join(u, v)`, `split_inputs(all)` : what the plant is sent, and its parts.
    """

    def reset(self) -> None:
        """Forget past measurements, inputs and plans: the next answers are those of a new controller."""
        ...

    def control(self, measurement: ArrayLike, reference: ArrayLike | None = None) -> FloatArray:
        """Input `(n_u,)` to hold until the next sample.

        Parameters
        ----------
        measurement : (n_measured,) array_like
            Newest measured signals `y_k`, NaN where missing.
        reference : (n_y,) or (n, n_y) array_like, optional
            Set-point for the outputs, or its preview from now on.
        """
        ...


def check_controller(controller: Any, *, n_steps: int = 20, seed: int = 0) -> None:
    """Exercise a controller and refuse what keeps to no contract, as `check_env` does for environments.

    It is run from its reset on random measurements about its set-point, some of them missing, and must give
    fresh, finite inputs of one size within its bounds; the same after a reset, and the same from a copy made
    on the way. Nothing that it is given may be written to. What else it has, see `Controller`, must fit. It
    is left reset.

    Parameters
    ----------
    controller : Controller
    n_steps : int
        Length of each run.
    seed : int
        Of the measurements.

    Raises
    ------
    OptionError, ShapeError, DataError
        Saying what was found and what was wanted.
    """
    if isinstance(controller, type) or not isinstance(controller, Controller):
        what = (
            f"the class {controller.__name__}" if isinstance(controller, type) else type(controller).__name__
        )
        raise OptionError(f"controller is {what}; expected an object with reset() and control()")
    n_y, n_measured = _sizes(controller)
    rng = np.random.default_rng(seed)
    centre = np.zeros(n_measured) if n_measured != n_y else _set_point(controller, n_y)
    spread = 0.1 * np.maximum(np.abs(centre), np.abs(centre).max(initial=0.0)) + 0.1 * (not centre.any())
    samples = centre + spread * rng.standard_normal((n_steps, n_measured))
    samples[rng.random(n_steps) < 0.2] = np.nan
    first = _run(controller, samples, n_y)
    second = _run(controller, samples, n_y)
    if not np.array_equal(first, second):
        raise DataError(
            f"after reset() the controller gave {_first_difference(first, second)}; expected the same inputs "
            "for the same measurements"
        )
    _check_copy(controller, samples, first)
    _check_attributes(controller, first.shape[1])
    if getattr(controller, "horizon", None) is not None:
        controller.reset()
        _input(
            controller.control(centre, reference=np.tile(_set_point(controller, n_y), (3, 1))), first.shape[1]
        )
    controller.reset()


def _sizes(controller: Any) -> tuple[int, int]:
    """Numbers of outputs and of measured signals."""
    known = [getattr(controller, name, None) for name in ("set_point", "output_names")]
    n_y = next((len(k) for k in known if k is not None), None)
    n_measured = getattr(controller, "n_measured", n_y)
    if n_y is None and n_measured is None:
        raise OptionError(
            "the controller has neither n_measured nor set_point nor output_names; expected one of them, so "
            "that it can be tried"
        )
    return int(n_measured if n_y is None else n_y), int(n_measured)  # pyright: ignore[reportArgumentType]


def _set_point(controller: Any, n_y: int) -> FloatArray:
    given = getattr(controller, "set_point", None)
    return np.zeros(n_y) if given is None else np.asarray(given, dtype=float)


def _run(controller: Any, samples: FloatArray, n_y: int) -> FloatArray:
    """Inputs from the reset on, each checked."""
    controller.reset()
    inputs: list[FloatArray] = []
    reference = _set_point(controller, n_y)
    for k, y in enumerate(samples):
        given, asked = y.copy(), None if k % 2 else reference.copy()
        kept = None if asked is None else asked.copy()
        answer = controller.control(given, reference=asked)
        if not np.array_equal(given, y, equal_nan=True):
            raise DataError("control() wrote to its measurement; expected that it is left as it is")
        if asked is not None and not np.array_equal(asked, kept):  # pyright: ignore[reportArgumentType]
            raise DataError("control() wrote to its reference; expected that it is left as it is")
        u = _input(answer, inputs[0].size if inputs else None)
        inputs.append(u.copy())
        _check_bounds(controller, u, k)
        info = getattr(controller, "info", None)
        if info is not None and not isinstance(getattr(info, "status", None), str):
            raise DataError("controller.info has no status in words; expected info.status of type str")
        if isinstance(answer, np.ndarray) and answer.flags.writeable:
            answer += 1.0  # what was handed out is no longer the controller's
    return np.array(inputs)


def _input(answer: Any, size: int | None) -> FloatArray:
    u = np.asarray(answer, dtype=float) if answer is not None else np.empty(0)
    if u.ndim != 1 or not u.size or (size is not None and u.size != size):
        raise ShapeError(
            f"control() returned {'None' if answer is None else f'shape {u.shape}'}; expected inputs (n_u,)"
            + ("" if size is None else f" with n_u = {size}, as before")
        )
    if not np.isfinite(u).all():
        raise DataError(f"control() returned {u.tolist()}; expected finite inputs whatever is measured")
    return u


def _check_bounds(controller: Any, u: FloatArray, k: int) -> None:
    low, high = (getattr(controller, name, None) for name in ("u_min", "u_max"))
    below = low is not None and (u < np.asarray(low)).any()
    if below or (high is not None and (u > np.asarray(high)).any()):
        raise DataError(
            f"control() returned {u.tolist()} at sample {k}, beyond u_min or u_max; expected inputs within"
        )


def _check_copy(controller: Any, samples: FloatArray, expected: FloatArray) -> None:
    """A copy made on the way goes on as the controller does."""
    controller.reset()
    half = len(samples) // 2
    reference = _set_point(controller, _sizes(controller)[0])
    for k, y in enumerate(samples[:half]):
        controller.control(y.copy(), reference=None if k % 2 else reference)
    other = copy.deepcopy(controller)
    for k, y in enumerate(samples[half:], half):
        u = _input(other.control(y.copy(), reference=None if k % 2 else reference), expected.shape[1])
        if not np.array_equal(u, expected[k]):
            raise DataError(
                f"a copy of the controller gave {u.tolist()} at sample {k}, the controller itself "
                f"{expected[k].tolist()}; expected the same. Keep all of its memory in itself"
            )


def _check_attributes(controller: Any, n_u: int) -> None:
    """What may be there fits what `control` does."""
    if getattr(controller, "dt", None) is not None:
        check_dt(controller.dt, "controller.dt")
    for name, size in (("input_names", n_u), ("n_u", n_u), ("u_min", n_u), ("u_max", n_u)):
        value = getattr(controller, name, None)
        found = value if isinstance(value, int) else None if value is None else np.size(value)
        if found is not None and found != size:
            raise ShapeError(f"controller.{name} says {found}; expected {size}, as control() returns")
    n_v = int(getattr(controller, "n_v", 0) or 0)
    if n_v and hasattr(controller, "join") and hasattr(controller, "split_inputs"):
        u, v = np.arange(1.0, n_u + 1.0), -np.arange(1.0, n_v + 1.0)
        back = controller.split_inputs(controller.join(u, v))
        if not (np.array_equal(back[0], u) and np.array_equal(back[1], v)):
            raise DataError("split_inputs(join(u, v)) is not (u, v); expected that one undoes the other")
    if hasattr(controller, "applied"):
        controller.applied(np.zeros(n_u))


def _first_difference(first: FloatArray, second: FloatArray) -> str:
    k = int(np.flatnonzero((first != second).any(axis=1))[0])
    return f"{second[k].tolist()} at sample {k}, and {first[k].tolist()} before"


def bounds_of(controller: Any) -> dict[str, Any]:
    """Bounds a controller knows of, by name; for metrics."""
    names = ("u_min", "u_max", "du_min", "du_max", "y_min", "y_max")
    return {n: getattr(controller, n) for n in names if getattr(controller, n, None) is not None}
