"""Talking to a plant: gymnasium's `reset` and `step`, with what an odd env answers said in one line."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from koopctrl._time import check_dt, check_same_dt
from koopctrl._validation import FloatArray, as_float_array
from koopctrl._warnings import warn
from koopctrl.errors import DataError, OptionError, ShapeError, TimeBaseError

# Attributes that wrappers keep the number of repeated actions in (gymnasium's MaxAndSkipObservation,
# Atari's).
_REPEATS = ("_skip", "skip", "frame_skip", "action_repeat", "n_repeat", "repeat")
_ROUNDING = 1e-6  # of a Box's width: its ends are often float32

_OLD = "This is the interface of old gym: wrap the env so that it follows gymnasium's"


def check_plant(env: Any) -> None:
    """Refuse what has no `reset` and `step`."""
    for name in ("reset", "step"):
        if not callable(getattr(env, name, None)):
            raise OptionError(
                f"env is a {type(env).__name__} without {name}(); expected gymnasium's reset and step"
            )


def accepts(function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Whether a call with these arguments fits the signature; True where there is none to read."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def reset_plant(
    env: Any, seed: int | None, options: dict[str, Any] | None = None
) -> tuple[Any, Mapping[str, Any]]:
    """`(observation, info)` of `env.reset`; what is None need not be an argument of it."""
    if accepts(env.reset, seed=seed, options=options):
        given: dict[str, Any] = {"seed": seed, "options": options}
    else:
        given = {k: v for k, v in (("seed", seed), ("options", options)) if v is not None}
        if not accepts(env.reset, **given):
            raise OptionError(
                f"env.reset does not take {' and '.join(given)}; expected gymnasium's "
                "reset(*, seed=None, options=None). Add them to it, or pass seed=None and no x0 or options"
            )
    # A copy: what the caller passed in is not the env's to write to.
    answer = env.reset(**copy.deepcopy(given))
    if not (isinstance(answer, (tuple, list)) and len(answer) == 2 and _is_info(answer[1])):
        raise DataError(
            f"env.reset returned {_describe(answer)}; expected (observation, info) with a dict info. {_OLD}"
        )
    return answer[0], _info(answer[1])


def step_plant(env: Any, action: Any, step: int) -> tuple[Any, Any, Any, Any, Mapping[str, Any]]:
    """`(observation, reward, terminated, truncated, info)` of `env.step`; `step` is named in messages."""
    try:
        answer = env.step(action)
    except Exception as error:
        error.add_note(
            f"raised by env.step at step {step}, which was given an action of shape {np.shape(action)}"
        )
        raise
    if not (isinstance(answer, (tuple, list)) and len(answer) == 5):
        raise DataError(
            f"env.step returned {_describe(answer)}; expected (observation, reward, terminated, truncated, "
            f"info). {_OLD}"
        )
    observation, reward, terminated, truncated, info = answer
    if not _is_info(info):
        raise DataError(f"env.step returned {_describe(info)} as info; expected a dict")
    return observation, reward, terminated, truncated, _info(info)


def fit_action(env: Any, action: Any, name: str) -> Any:
    """Give an action the shape of the env's action space where the sizes agree; refuse it where not."""
    if action is None:
        raise DataError(f"{name} is None; expected an action")
    shape = getattr(getattr(env, "action_space", None), "shape", None)
    if shape is None:
        return action
    space = type(env.action_space).__name__
    if space != "Box" and isinstance(action, np.ndarray) and np.issubdtype(action.dtype, np.floating):
        raise OptionError(
            f"the env's actions are {env.action_space}, and {name} is real numbers; expected an env with a "
            "Box of actions"
        )
    if np.shape(action) == shape:
        return action
    if np.size(action) != int(np.prod(shape)):
        raise ShapeError(
            f"{name} has shape {np.shape(action)}; expected {shape}, the shape of the env's actions"
        )
    return np.reshape(action, shape)


def clip_action(env: Any, action: Any) -> tuple[Any, bool]:
    """A copy of an action of the env's shape, held to its Box of actions, and whether it lay outside.

    Envs clip what they are sent, or trust that nothing lies outside; either way the clipped one is what acts.
    An end that is off by the rounding of the Box's own numbers is no end to clip at.
    """
    space = getattr(env, "action_space", None)
    low, high = getattr(space, "low", None), getattr(space, "high", None)
    sent = copy.deepcopy(action)
    if low is None or high is None or np.shape(action) != np.shape(low):
        return sent, False
    value = as_float_array(action, "the action")
    low, high = (np.asarray(end, dtype=np.float64) for end in (low, high))
    width = np.where(np.isfinite(high - low), high - low, np.abs(np.where(np.isfinite(high), high, low)))
    slack = _ROUNDING * np.where(np.isfinite(width), width, 0.0)
    outside = (value < low - slack) | (value > high + slack)
    if not outside.any():
        return sent, False
    kind = np.asarray(action).dtype
    return np.clip(value, low, high).astype(kind if kind.kind == "f" else np.float64), True


def warn_clipped(n_outside: int, n_actions: int, whose: str) -> None:
    """Say which share of the actions was clipped, where the env does not say what it applied."""
    if n_outside:
        warn(
            f"{100 * n_outside / n_actions:.3g} % of {whose} lay outside the action space and were clipped "
            'before they were sent; the clipped ones are recorded. An env that reports info["u"] is taken at '
            "its word"
        )


def plant_dt(env: Any) -> float | None:
    """Sample time in seconds of one `step`: the outermost `dt` that is defined, times repeated actions.

    A wrapper that repeats each action `n` times without a `dt` of its own makes a step `n` times as long.
    """
    if hasattr(env, "num_envs"):
        return _vector_dt(env)
    repeats, layer = 1, env
    while layer is not None:
        dt = getattr(layer, "dt", None)
        if dt is not None:
            return repeats * check_dt(dt, "the env's dt")
        inner = getattr(layer, "env", None)
        if inner is not None:
            repeats *= _repeats(vars(layer))
        layer = inner
    dt = getattr(getattr(env, "unwrapped", env), "dt", None)
    return None if dt is None else repeats * check_dt(dt, "the env's dt")


def plant_attribute(env: Any, name: str) -> Any:
    """Attribute of the env (the outermost that has it; the first env of a vector env), or None."""
    if hasattr(env, "num_envs"):
        values = _vector_attribute(env, name)
        return None if values is None else values[0]
    layer = env
    while layer is not None:
        if getattr(layer, name, None) is not None:
            return getattr(layer, name)
        layer = getattr(layer, "env", None)
    return getattr(getattr(env, "unwrapped", env), name, None)


def _vector_attribute(env: Any, name: str) -> Sequence[Any] | None:
    """Attribute of each env of a vector env; asked for only where it exists, since asking ends workers."""
    bare = getattr(env, "unwrapped", env)
    try:
        if callable(getattr(bare, "call", None)) and not all(bare.call("has_wrapper_attr", name)):
            return None
        return list(env.get_attr(name))
    except AttributeError:
        return None


def _vector_dt(env: Any) -> float | None:
    """Sample time of a vector env, which must be that of all its envs."""
    layer, inner = env, None
    while layer is not None and inner is None:
        dt = getattr(layer, "dt", None)
        if dt is not None and np.ndim(dt) == 0:
            return check_dt(dt, "the env's dt")
        inner, layer = getattr(layer, "envs", None), getattr(layer, "env", None)
    if inner:
        known = [plant_dt(one) for one in inner]
    else:
        given = _vector_attribute(env, "dt")
        if given is None:
            return None
        for name in _REPEATS:
            repeats = _vector_attribute(env, name)
            if repeats is not None and _is_repeat(repeats[0]):
                raise TimeBaseError(
                    f"the vector env's envs have {name}={repeats[0]}, and whether their dt is that of one "
                    "action or of all its repeats cannot be seen from outside. Pass dt=..."
                )
        known = [None if dt is None else check_dt(dt, "the env's dt") for dt in given]
    for dt in known[1:]:
        if (dt is None) != (known[0] is None):
            raise TimeBaseError("some of the vector env's envs have a dt and some have none; expected one")
        if dt is not None and known[0] is not None:
            check_same_dt(known[0], dt, "the vector env's envs")
    return known[0]


def _repeats(attributes: Mapping[str, Any]) -> int:
    """Times that a wrapper repeats each action, by the names under which wrappers keep it."""
    return next((int(attributes[n]) for n in _REPEATS if _is_repeat(attributes.get(n))), 1)


def _is_repeat(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) > 1


def as_observation(value: Any, name: str, size: int | None = None) -> FloatArray:
    """A fresh float64 vector from an observation or state, NaN allowed; `size` is that of the one before."""
    check_vector_like(value, name)
    array = np.array(as_float_array(value, f"the plant's {name}")).ravel()
    if size is not None and len(array) != size:
        raise ShapeError(
            f"the plant's {name} has {len(array)} entries, and had {size} before; expected the same "
            "throughout"
        )
    return array


def check_vector_like(value: Any, name: str) -> None:
    """Refuse dicts and None in place of a vector."""
    if isinstance(value, Mapping):
        raise DataError(
            f"the plant's {name} is a dict with keys {list(value)}; expected a vector. Wrap the env, e.g. "
            "with gymnasium.wrappers.FlattenObservation"
        )
    if value is None:
        raise DataError(f"the plant's {name} is None; expected a vector of numbers")


def as_reward(value: Any) -> float:
    """A number, NaN where the plant gives none."""
    if value is None:
        return float("nan")
    array = as_float_array(value, "the plant's reward")
    if array.size != 1:
        raise ShapeError(f"the plant's reward has shape {array.shape}; expected a number")
    return float(array.ravel()[0])


def _is_info(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)


def _info(value: Any) -> Mapping[str, Any]:
    return {} if value is None else value


def _describe(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        kinds = ", ".join(type(v).__name__ for v in value[:6])
        return f"{len(value)} values ({kinds})"
    return f"a {type(value).__name__}"
