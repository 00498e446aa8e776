"""The closed loop: a controller on anything with gymnasium's `reset` and `step`."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import (
    FloatArray,
    as_float_array,
    as_signal,
    as_vector,
    as_weight,
    check_dt,
    check_integer,
    check_same_dt,
)
from koopctrl.controllers.metrics import closed_loop_metrics
from koopctrl.controllers.protocol import bounds_of
from koopctrl.errors import DataError, KoopctrlWarning, OptionError, ShapeError

if TYPE_CHECKING:
    import control

Reference = ArrayLike | Callable[[float], ArrayLike] | None


@dataclass(frozen=True)
class ClosedLoopResult:
    """One episode; time is axis 0 of every array.

    Attributes
    ----------
    time : (n + 1,) array
        Seconds.
    states : (n + 1, n_x) array
        `info["x"]` where the plant gives it, else the measurements.
    outputs : (n + 1, n_y) array
        Measurements.
    inputs : (n, n_u) array
        `info["u"]`, what was really applied, where the plant gives it; else what the controller sent.
    references : (n + 1, n_y) array
    solve_times : (n,) array
        Seconds spent in `control`.
    statuses : tuple of str
        The controller's status at every step.
    rewards : (n,) array
        As the plant gave them.
    ended : str
        `terminated` or `truncated` where the plant ended the episode, else empty.
    Q, R : arrays or None
        Weights of `cost`.
    bounds : dict
        Bounds the controller was given, by name.
    output_names, input_names : tuple of str
    """

    time: FloatArray
    states: FloatArray
    outputs: FloatArray
    inputs: FloatArray
    references: FloatArray
    solve_times: FloatArray
    statuses: tuple[str, ...]
    rewards: FloatArray
    ended: str
    Q: FloatArray | None
    R: FloatArray | None
    bounds: dict[str, Any] = field(default_factory=dict)
    output_names: tuple[str, ...] = ()
    input_names: tuple[str, ...] = ()

    @property
    def n_steps(self) -> int:
        """Number of steps taken."""
        return len(self.inputs)

    @property
    def dt(self) -> float:
        """Sample time in seconds."""
        return float(self.time[1] - self.time[0])

    @property
    def cost(self) -> float:
        """`sum_k (y - r)'Q(y - r)` over steps 1 to n, plus `sum_k u'Ru`; NaN where no weights are known."""
        if self.Q is None or self.R is None:
            return float("nan")
        error = (self.outputs - self.references)[1:]
        return float(np.sum((error @ self.Q) * error) + np.sum((self.inputs @ self.R) * self.inputs))

    def metrics(self) -> dict[str, Any]:
        """Figures of merit; see `koopctrl.controllers.metrics`."""
        return closed_loop_metrics(self)

    def plot(self) -> Any:
        """Figure of outputs, references, inputs and bounds; see `koopctrl.plotting`."""
        from koopctrl.plotting import plot_closed_loop

        return plot_closed_loop(self)

    def to_timeresponse(self) -> control.TimeResponseData:
        """python-control's form; see `koopctrl.export.pycontrol`."""
        from koopctrl.export.pycontrol import closed_loop_to_timeresponse

        return closed_loop_to_timeresponse(self)


def run_closed_loop(
    env: Any,
    controller: Any,
    n_steps: int,
    reference: Reference = None,
    *,
    seed: int | None = 0,
    x0: ArrayLike | None = None,
    options: dict[str, Any] | None = None,
    preview: bool = False,
    Q: ArrayLike | None = None,
    R: ArrayLike | None = None,
) -> ClosedLoopResult:
    """Run a controller on a plant.

    At step `k` the controller gets the measurement `y_k` and its input is held until `y_{k+1}`.

    Parameters
    ----------
    env : object with `reset(seed=, options=)` and `step(action)`
        As in gymnasium, which is not needed. The sample time is its `dt` (or its `unwrapped.dt`), else the
        controller's.
    controller : Controller
        Reset at the start.
    n_steps : int
    reference : None, (n_y,), (n, n_y) array_like, or callable
        None leaves the controller's own set-point; an array has one row a step, the last one held; a callable
        maps time in seconds to `(n_y,)`.
    seed, options
        Passed to `env.reset`.
    x0 : (n_x,) array_like, optional
        Passed to `env.reset` as `options={"x0": x0}`.
    preview : bool
        Whether the controller is shown the reference's next `horizon` samples too.
    Q, R : array_like, optional
        Weights of `cost`; the controller's by default.

    Returns
    -------
    ClosedLoopResult

    Raises
    ------
    DataError
        If the plant returns numbers that are not finite, or the controller does.
    TimeBaseError
        If plant and controller have different sample times, or none is known.

    Warns
    -----
    KoopctrlWarning
        If the plant ends the episode early.
    """
    n_steps = check_integer(n_steps, "n_steps", low=1)
    for name in ("reset", "step"):
        if not hasattr(env, name):
            raise OptionError(
                f"env is a {type(env).__name__} without {name}(); expected gymnasium's reset and step"
            )
    dt = _sample_time(env, controller)
    if x0 is not None:
        options = {**(options or {}), "x0": as_float_array(x0, "x0").copy()}
    for name in ("reset", "control"):
        if not hasattr(controller, name):
            raise OptionError(
                f"controller is a {type(controller).__name__} without {name}(); expected an LQR, a LinearMPC "
                "or another object with reset() and control(measurement, reference)"
            )
    controller.reset()
    observation, info = env.reset(seed=seed, options=options)
    y = _measured(observation, 0)
    default = getattr(controller, "set_point", getattr(getattr(controller, "lifted", None), "y_op", None))
    references = _sample_reference(reference, n_steps, dt, len(y), default)
    horizon = getattr(controller, "horizon", 0) if preview else 0

    states, outputs = [_state(info, y)], [y]
    inputs, times, statuses, rewards, ended = [], [], [], [], ""
    for k in range(n_steps):
        shown = None if reference is None else references[k : k + horizon + 1] if horizon else references[k]
        start = time.perf_counter()
        u = np.atleast_1d(np.asarray(controller.control(y, reference=shown), dtype=np.float64))
        times.append(time.perf_counter() - start)
        if not np.isfinite(u).all():
            raise DataError(f"the controller returned {u.tolist()} at step {k}; expected finite inputs")
        statuses.append(str(getattr(getattr(controller, "info", None), "status", "")))
        observation, reward, terminated, truncated, info = env.step(u.copy())
        y = _measured(observation, k + 1)
        sent = u
        if isinstance(info, dict) and info.get("u") is not None:
            u = as_vector(info["u"], 'info["u"]', len(u)).copy()
            if hasattr(controller, "applied") and not np.array_equal(u, sent):
                controller.applied(u)
        states.append(_state(info, y))
        outputs.append(y)
        inputs.append(u)
        rewards.append(float(reward))
        if (terminated or truncated) and k + 1 < n_steps:
            ended = "terminated" if terminated else "truncated"
            warnings.warn(
                f"the plant ended the episode ({ended}) after {k + 1} of {n_steps} steps; make it with a "
                "longer "
                "max_episode_steps, or ask for fewer",
                KoopctrlWarning,
                stacklevel=2,
            )
            break
    n = len(inputs)
    n_y, n_u = len(y), len(inputs[0])
    named = getattr(controller, "lifted", None) or getattr(getattr(env, "unwrapped", env), "plant", None)
    return ClosedLoopResult(
        time=dt * np.arange(n + 1),
        states=np.array(states),
        outputs=np.array(outputs),
        inputs=np.array(inputs),
        references=references[: n + 1],
        solve_times=np.array(times),
        statuses=tuple(statuses),
        rewards=np.array(rewards),
        ended=ended,
        Q=_weight(Q, controller, "Q", n_y),
        R=_weight(R, controller, "R", n_u),
        bounds=bounds_of(controller),
        output_names=_names(named, "output_names", n_y, "y"),
        input_names=_names(named, "input_names", n_u, "u"),
    )


def _sample_time(env: Any, controller: Any) -> float:
    plant = getattr(env, "unwrapped", env)
    known = [d for d in (getattr(plant, "dt", None), getattr(controller, "dt", None)) if d is not None]
    if len(known) == 2:
        check_same_dt(check_dt(known[0]), check_dt(known[1]), "the plant and the controller")
    return check_dt(known[0] if known else None, "dt of the plant or the controller")


def _measured(observation: Any, step: int) -> FloatArray:
    y = np.atleast_1d(np.array(as_float_array(observation, "observation")))
    if y.ndim != 1:
        raise ShapeError(f"the plant's observation has shape {y.shape}; expected (n_y,)")
    if np.isinf(y).any():
        raise DataError(
            f"the plant returned {y.tolist()} at step {step}; expected finite outputs, or NaN for missing"
        )
    return y


def _state(info: Any, y: FloatArray) -> FloatArray:
    if isinstance(info, dict) and info.get("x") is not None:
        return as_float_array(info["x"], 'info["x"]').ravel().copy()
    return y


def _sample_reference(
    reference: Reference, n_steps: int, dt: float, n_y: int, default: FloatArray | None
) -> FloatArray:
    """One row for each of the samples 0 to n."""
    if reference is None:
        row = np.zeros(n_y) if default is None or len(default) != n_y else default
        return np.tile(row, (n_steps + 1, 1))
    if callable(reference):
        return np.array([as_vector(reference(k * dt), "reference(t)", n_y) for k in range(n_steps + 1)])
    array = as_float_array(reference, "reference")
    if array.ndim < 2 and not (array.ndim == 1 and n_y == 1 and len(array) > 1):
        return np.tile(as_vector(array, "reference", n_y), (n_steps + 1, 1))
    rows = as_signal(array, "reference", n_y)
    if not len(rows):
        raise ShapeError("reference has no rows; expected one a step")
    missing = n_steps + 1 - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], max(missing, 0), axis=0)])[: n_steps + 1]


def _weight(given: ArrayLike | None, controller: Any, name: str, size: int) -> FloatArray | None:
    if given is not None:
        return as_weight(given, name, size)
    known = getattr(controller, name, None)
    return known if known is not None and np.shape(known) == (size, size) else None


def _names(named: Any, attribute: str, count: int, prefix: str) -> tuple[str, ...]:
    names = getattr(named, attribute, ())
    return tuple(names) if len(names) == count else tuple(f"{prefix}{i}" for i in range(count))
