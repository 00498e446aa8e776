"""The closed loop: a controller on anything with gymnasium's `reset` and `step`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import (
    FloatArray,
    as_float_array,
    as_vector,
    as_weight,
    check_bool,
    check_dt,
    check_integer,
    check_same_dt,
)
from koopctrl._warnings import warn
from koopctrl.controllers.estimation.protocol import Estimator
from koopctrl.controllers.loop.result import ClosedLoopResult
from koopctrl.controllers.loop.signal_names import signal_names, units_of
from koopctrl.controllers.loop.signals import Schedule, sample_schedule
from koopctrl.controllers.protocol import bounds_of
from koopctrl.data.gym_interface import (
    accepts,
    as_observation,
    as_reward,
    check_plant,
    clip_action,
    fit_action,
    plant_dt,
    reset_plant,
    step_plant,
    warn_clipped,
)
from koopctrl.data.plants import as_plant
from koopctrl.data.streams import Streams
from koopctrl.errors import DataError, KoopctrlWarning, OptionError, ShapeError

__all__ = ["ClosedLoopResult", "run_closed_loop"]

# An output that is missing this long, up to the end, is a broken sensor and not a lost sample.
_BLIND = 10


def run_closed_loop(
    env: Any,
    controller: Any,
    n_steps: int,
    reference: Schedule = None,
    *,
    disturbance: Schedule = None,
    input_reference: Schedule = None,
    cost_parameters: Schedule = None,
    seed: int | None = 0,
    x0: ArrayLike | None = None,
    options: dict[str, Any] | None = None,
    dt: float | None = None,
    preview: bool = False,
    Q: ArrayLike | None = None,
    R: ArrayLike | None = None,
) -> ClosedLoopResult:
    """Run a controller on a plant.

    At step `k` the controller gets the measurement `y_k` and its input is held until `y_{k+1}`.

    Parameters
    ----------
    env : object with `reset(seed=, options=)` and `step(action)`, python-control system, or callable
        The first as in gymnasium, which is not needed; a system without feedthrough, `StateSpace` or
        `NonlinearIOSystem`; or a function `f(x, u) -> x_next` whose state is measured, which needs `x0`.
    controller : Controller
        Reset at the start.
    n_steps : int
    reference : None, (n_y,), (n, n_y) array_like, or callable
        Of the controller's outputs, whatever is measured. None leaves the controller's own set-point; an
        array has one row a step, the last one held; a callable maps time in seconds to `(n_y,)`.
    disturbance : None, (n_v,), (n, n_v) array_like, or callable
        Measured disturbance: `v_k` acts on the plant over the same interval as `u_k`. The controller is shown
        it, and the env is sent `controller.join(u_k, v_k)` where the controller has `join`, else `u_k`; so is
        an env whose actions are as many as the controller's inputs: one that carries its disturbances itself,
        such as a plant whose parameters drift.
    input_reference : None, (n_u,), (n, n_u) array_like, or callable
        Where the inputs should be, shown to the controller.
    cost_parameters : None, (n_p,), (n, n_p) array_like, or callable
        Parameters of a controller's own stage cost or constraints, prices say: row `k` counts for the input
        sent at step `k` and the output it leads to.
    seed : int, optional
        What `env.reset` is seeded with is spawned from it: never the integer itself, with which the caller,
        or `collect`, may have drawn other numbers.
    options : dict, optional
        Passed to `env.reset`.
    x0 : (n_x,) array_like, optional
        Passed to `env.reset` as `options={"x0": x0}`.
    dt : float, optional
        Sample time in seconds; by default the outermost `dt` among the env and its wrappers, times the number
        of times that wrappers outside of it repeat an action, else the controller's. A system in continuous
        time is integrated over each sample.
    preview : bool
        Whether the controller is shown the next `horizon` samples of references, disturbances and
        `cost_parameters` too, and those of its `input_delay` beyond them.
    Q, R : array_like, optional
        Weights of `cost`; the controller's by default.

    Returns
    -------
    ClosedLoopResult

    Raises
    ------
    DataError
        If the plant returns numbers that are not finite, or the controller does, or the plant's answers are
        not those of gymnasium's interface.
    TimeBaseError
        If plant and controller have different sample times, or none is known.

    Warns
    -----
    KoopctrlWarning
        If the plant ends the episode early, or an output is missing from some sample to the end.
    """
    n_steps = check_integer(n_steps, "n_steps", low=1)
    env = as_plant(env, getattr(controller, "dt", None) if dt is None and _wants_dt(env) else dt)
    check_plant(env)
    if hasattr(env, "num_envs"):
        raise OptionError("env is a vector env; expected a single one. A controller remembers one episode")
    _check_options(options)
    start_seed = Streams(seed).of("closed_loop")
    check_bool(preview, "preview")
    dt = _sample_time(env, controller, dt, n_steps)
    if x0 is not None:
        options = {**(options or {}), "x0": as_float_array(x0, "x0").copy()}
    given = {"reference": reference, "disturbance": disturbance, "input_reference": input_reference,
             "cost_parameters": cost_parameters}  # fmt: skip
    _check_controller(controller, [n for n, v in given.items() if n == "reference" or v is not None])
    controller.reset()
    observation, info = reset_plant(env, start_seed, options)
    announced = getattr(getattr(env, "observation_space", None), "shape", None)
    y = _measured(observation, 0, None, announced)
    default = getattr(controller, "set_point", getattr(getattr(controller, "lifted", None), "y_op", None))
    horizon = _foresight(controller) if preview else 0
    outputs_of = _outputs_of(controller, len(y))
    n_y = len(outputs_of(y))
    sizes = {"reference": n_y, "disturbance": _size_of(controller, "n_v"),
             "input_reference": _size_of(controller, "n_u"),
             "cost_parameters": _size_of(controller, "n_p") or None}  # fmt: skip
    rows = {
        name: sample_schedule(value, n_steps + 1 + horizon, dt, name, sizes[name])
        for name, value in given.items()
        if value is not None
    }
    references = rows["reference"] if "reference" in rows else _default_reference(default, n_steps, n_y)
    v = rows.get("disturbance")

    states, measured, outputs = [_state(info, None)], [y], [outputs_of(y)]
    inputs, disturbances, times, statuses, rewards, ended = [], [], [], [], [], ""
    n_clipped = 0
    for k in range(n_steps):
        # Copies: what a controller or a plant does to what it is handed must not reach the record.
        shown: dict[str, Any] = {
            n: (r[k : k + horizon + 1] if horizon else r[k]).copy() for n, r in rows.items()
        }
        start = time.perf_counter()
        answer = controller.control(y.copy(), **{"reference": None, **shown})
        times.append(time.perf_counter() - start)
        u = _as_input(answer, k)
        statuses.append(str(getattr(getattr(controller, "info", None), "status", "")))
        action = _joined(env, controller, u, v[k]) if v is not None else u
        action, outside = clip_action(env, fit_action(env, action, "the controller's input"))
        answer = step_plant(env, action.copy(), k)
        observation, reward, terminated, truncated, info = answer
        y = _measured(observation, k + 1, len(y), announced)
        sent, v_k = u, None if v is None else v[k]
        reported = info.get("u")
        if reported is None and outside:
            reported, n_clipped = action, n_clipped + 1
        if reported is not None:
            u, v_k = _applied(controller, reported, len(u), v_k)
            # Where inputs arrive late, what set out now is the controller's business, not what arrived.
            late = info.get("u_accepted")
            entered = u if late is None else _applied(controller, late, len(u), None)[0]
            if hasattr(controller, "applied") and not np.array_equal(entered, sent):
                controller.applied(entered.copy())
        states.append(_state(info, states[-1]))
        measured.append(y)
        outputs.append(outputs_of(y))
        inputs.append(u)
        disturbances.append(v_k)
        rewards.append(as_reward(reward))
        if terminated or truncated:
            ended = "terminated" if terminated else "truncated"
            break
    n = len(inputs)
    if n < n_steps:
        warn(
            f"the plant ended the episode ({ended}) after {n} of {n_steps} steps; make it with a longer "
            "max_episode_steps, or ask for fewer",
            KoopctrlWarning,
        )
    warn_clipped(n_clipped, n, "the controller's inputs")
    n_u = len(inputs[0])
    output_names, input_names, disturbance_names = signal_names(
        env, controller, n_y, n_u, 0 if v is None else v.shape[1]
    )
    _warn_blind(np.array(measured), _measured_names(controller, output_names, len(y)))
    return ClosedLoopResult(
        time=dt * np.arange(n + 1),
        states=_stack_states(states, np.array(measured)),
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
        output_names=output_names,
        input_names=input_names,
        disturbances=None if v is None else np.array(disturbances),
        disturbance_names=disturbance_names,
        units=units_of(env, output_names, input_names),
        artist=_artist(env),
    )


def _outputs_of(controller: Any, n_measured: int) -> Callable[[FloatArray], FloatArray]:
    """What a measurement says of the outputs that references are for; the measurement itself by default."""
    estimator = getattr(controller, "estimator", None)
    if isinstance(estimator, Estimator) and estimator.n_measured == n_measured:
        return estimator.outputs
    return lambda y: y


def _measured_names(controller: Any, output_names: tuple[str, ...], n_measured: int) -> tuple[str, ...]:
    estimator = getattr(controller, "estimator", None)
    if len(output_names) != n_measured and isinstance(estimator, Estimator):
        return estimator.measured_names
    return output_names


def _artist(env: Any) -> Any:
    """What draws the plant from recorded states, if it has such a thing."""
    make = getattr(getattr(env, "unwrapped", env), "artist", None)
    return make() if callable(make) else None


def _wants_dt(env: Any) -> bool:
    """Whether a plant has no sample time of its own."""
    return not (getattr(env, "dt", None) or callable(getattr(env, "step", None)))


def _check_options(options: Any) -> None:
    if options is not None and not isinstance(options, Mapping):
        raise OptionError(f"options is a {type(options).__name__}; expected a dict for env.reset")


def _check_controller(controller: Any, shown: list[str]) -> None:
    """Refuse a controller without the methods, or without the arguments that it is to be called with."""
    for name in ("reset", "control"):
        if not callable(getattr(controller, name, None)):
            raise OptionError(
                f"controller is a {type(controller).__name__} without {name}(); expected an LQR, a LinearMPC "
                "or another object with reset() and control(measurement, reference)"
            )
    if isinstance(controller, type):
        raise OptionError(f"controller is the class {controller.__name__}; expected an object of it")
    for name in shown:
        if not accepts(controller.control, None, **{name: None}):
            raise OptionError(
                f"the control() of {type(controller).__name__} takes no {name}; expected "
                f"control(measurement, reference=None, *, ...) with {name}. Use a controller that has it"
            )


def _foresight(controller: Any) -> int:
    """Number of samples ahead that a controller can use: its horizon begins when its inputs act."""
    delay = getattr(getattr(controller, "problem", None), "delay", 0)
    return int(getattr(controller, "horizon", 0)) + int(delay)


def _size_of(controller: Any, name: str) -> int | None:
    """Number of inputs or disturbances that a controller says it has."""
    size = getattr(controller, name, None)
    return size if isinstance(size, int) else None


def _sample_time(env: Any, controller: Any, given: float | None, n_steps: int) -> float:
    """The caller's sample time, else the plant's, else the controller's, which must be the same."""
    plant = plant_dt(env) if given is None else check_dt(given)
    own = getattr(controller, "dt", None)
    if plant is not None and own is not None:
        check_same_dt(plant, check_dt(own, "the controller's dt"), "the plant and the controller", n_steps)
    return check_dt(own if plant is None else plant, "dt of the plant or the controller")


def _measured(observation: Any, step: int, size: int | None, announced: Any) -> FloatArray:
    y = as_observation(observation, "observation", size)
    # What an env announces to be a table (stacked frames) is read row by row, as `collect` does.
    if np.ndim(observation) > 1 and np.shape(observation) != announced:
        raise ShapeError(f"the plant's observation has shape {np.shape(observation)}; expected (n_y,)")
    if np.isinf(y).any():
        raise DataError(
            f"the plant returned {y.tolist()} at step {step}; expected finite outputs, or NaN for missing"
        )
    return y


def _state(info: Mapping[str, Any], last: FloatArray | None) -> FloatArray | None:
    """State that the plant reports, if any."""
    if info.get("x") is None:
        return None
    return as_observation(info["x"], 'info["x"]', None if last is None else len(last))


def _stack_states(states: list[FloatArray | None], outputs: FloatArray) -> FloatArray:
    """States, NaN where the plant reported none; the outputs where it never did."""
    known = next((s for s in states if s is not None), None)
    if known is None:
        return outputs.copy()
    return np.array([np.full(len(known), np.nan) if s is None else s for s in states])


def _as_input(value: Any, step: int) -> FloatArray:
    u = np.array(as_float_array(value, "what the controller returned")) if value is not None else None
    if u is None or u.ndim > 1 or not u.size:
        got = "None" if u is None else f"an array of shape {u.shape}"
        raise ShapeError(f"the controller returned {got} at step {step}; expected inputs (n_u,)")
    if not np.isfinite(u).all():
        raise DataError(f"the controller returned {u.tolist()} at step {step}; expected finite inputs")
    return np.atleast_1d(u)


def _joined(env: Any, controller: Any, u: FloatArray, v: FloatArray) -> FloatArray:
    """What the env is sent: inputs and disturbances, in the order that the controller knows.

    One that has an action for each input alone has its disturbances from elsewhere.
    """
    shape = getattr(getattr(env, "action_space", None), "shape", None)
    if not hasattr(controller, "join") or shape == u.shape:
        return u
    return np.atleast_1d(as_float_array(controller.join(u, v), "what controller.join returned"))


def _applied(
    controller: Any, reported: Any, n_u: int, v: FloatArray | None
) -> tuple[FloatArray, FloatArray | None]:
    """Inputs and disturbances in what the plant says it applied."""
    full = as_float_array(reported, 'info["u"]').ravel()
    if v is not None and len(full) != n_u and hasattr(controller, "split_inputs"):
        u, v = (np.atleast_1d(np.array(part, dtype=np.float64)) for part in controller.split_inputs(full))
        return as_vector(u, 'the inputs in info["u"]', n_u), v
    return as_vector(full, 'info["u"]', n_u).copy(), v


def _default_reference(default: FloatArray | None, n_steps: int, n_y: int) -> FloatArray:
    row = np.zeros(n_y) if default is None or np.shape(default) != (n_y,) else default
    return np.tile(row, (n_steps + 1, 1))


def _warn_blind(outputs: FloatArray, names: tuple[str, ...]) -> None:
    """Say which outputs are missing from some sample to the end."""
    n = len(outputs)
    tails = [n - 1 - int(np.max(np.flatnonzero(~np.isnan(y)), initial=-1)) for y in outputs.T]
    lost = [(name, n - t) for name, t in zip(names, tails, strict=True) if t >= min(_BLIND, n - 1)]
    if lost:
        said = ", ".join(f"{name} from sample {k} on" for name, k in lost)
        warn(
            f"the plant's outputs were NaN to the end: {said}; the controller ran without them. Look at the "
            "plant, or at what makes its observation",
            KoopctrlWarning,
        )


def _weight(given: ArrayLike | None, controller: Any, name: str, size: int) -> FloatArray | None:
    if given is not None:
        return as_weight(given, name, size)
    known = getattr(controller, name, None)
    return known if known is not None and np.shape(known) == (size, size) else None
