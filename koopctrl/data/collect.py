"""Recording episodes from anything with gymnasium's `reset` and `step`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._time import check_dt
from koopctrl._validation import (
    FloatArray,
    alias,
    as_float_array,
    check_choice,
    check_finite,
    check_integer,
    check_names,
)
from koopctrl.data.excitation_policy import HeldActions
from koopctrl.data.gym_interface import (
    accepts,
    as_observation,
    check_plant,
    check_vector_like,
    clip_action,
    fit_action,
    plant_attribute,
    plant_dt,
    reset_plant,
    step_plant,
    warn_clipped,
)
from koopctrl.data.plants import as_plant
from koopctrl.data.streams import Streams
from koopctrl.data.trajectories import Trajectories, Trajectory
from koopctrl.errors import DataError, OptionError, ShapeError, TimeBaseError


def collect(
    env: Any,
    policy: Callable[[FloatArray], Any] | None = None,
    n_episodes: int = 1,
    *,
    seed: int | None = None,
    max_steps: int | None = None,
    dt: float | None = None,
    x0: ArrayLike | None = None,
    signals: str = "observation",
    output_names: Sequence[str] | None = None,
    input_names: Sequence[str] | None = None,
    state_names: Sequence[str] | None = None,
) -> Trajectories:
    """Record episodes.

    Parameters
    ----------
    env : gymnasium.Env or gymnasium.vector.VectorEnv
        Or anything with their `reset` and `step`; a python-control system, which starts from the origin, or a
        function `f(x, u) -> x_next`, which needs `x0` and `dt`, with a `policy` and `max_steps`. Episodes end
        where it says so, by termination or by truncation; the last transition before that is kept, the
        automatic reset of a vector env is not.
    policy : callable observation -> action, optional
        By default levels drawn from the action space, each held for a random time from 1 to 50 steps, entry
        by entry (see `koopctrl.excitation.multilevel`): they show gains at rest as well as what is fast. A
        vector env's policy sees the whole batch. A policy with `reset(seed=...)`, as those of
        `koopctrl.excitation`, is told the beginning of each episode.
    n_episodes : int
        Number of episodes.
    seed : int, optional
        Starts (with the env's own noise), default actions, and policies that can be seeded get independent
        streams spawned from it; episodes of different seeds have nothing in common.
    max_steps : int, optional
        Longest episode; needed if the env has no end of its own.
    dt : float, optional
        Sample time in seconds; by default the outermost `dt` among the env and its wrappers, times the number
        of times that wrappers outside of it repeat an action.
    x0 : (n_x,) or (n_episodes, n_x) array_like, optional
        Start of all episodes or of each, passed to `env.reset` as `options={"x0": x0}`; not for a vector env.
    signals : {"observation", "state"}
        Record observations, or the true state in `info["x"]`.
    output_names, input_names : sequence of str, optional
        By default the plant's own names if the env has them.
    state_names : sequence of str, optional
        Another word for `output_names`.

    Returns
    -------
    Trajectories
        Inputs are `info["u"]` (what was applied) where the env reports it, else what was sent: actions
        outside the action space are clipped to it before.

    Raises
    ------
    TimeBaseError
        If the sample time is not known.
    DataError
        If the env's answers are not those of gymnasium's interface, or have NaN.

    Warns
    -----
    KoopctrlWarning
        If actions of the policy were clipped and the env does not report what it applied.
    """
    env = env if hasattr(env, "num_envs") else as_plant(env, dt)
    check_plant(env)
    n_episodes = check_integer(n_episodes, "n_episodes", low=1)
    check_choice(signals, "signals", ("observation", "state"))
    if max_steps is not None:
        max_steps = check_integer(max_steps, "max_steps", low=1)
    streams = Streams(seed)
    if policy is not None and not callable(policy):
        raise OptionError(f"policy is {policy!r}; expected a callable observation -> action, or None")
    if policy is not None and not accepts(policy, None):
        raise OptionError("policy takes other arguments than one observation; expected observation -> action")
    dt = plant_dt(env) if dt is None else check_dt(dt)
    if dt is None:
        raise TimeBaseError("the env has no dt; expected the sample time in seconds. Pass dt=...")
    recorder = _Recorder(signals, streams, max_steps)
    starts = _starts(x0, n_episodes)
    if hasattr(env, "num_envs"):
        if x0 is not None:
            raise OptionError("x0 is given for a vector env; expected one env, whose reset takes it")
        episodes = recorder.vector(env, policy, n_episodes)
    else:
        episodes = [recorder.single(env, policy, i, starts[i]) for i in range(n_episodes)]
    warn_clipped(recorder.n_outside, recorder.n_actions, "the policy's actions")
    plant = plant_attribute(env, "plant")
    n_y, n_u = episodes[0][0].shape[1], episodes[0][1].shape[1]
    kind = "state_names" if signals == "state" else "output_names"
    given = alias(output_names, "output_names", state_names, "state_names")
    name = "state_names" if output_names is None and state_names is not None else "output_names"
    shown = plant_attribute(env, kind)  # a wrapper that leaves outputs out says what is left
    own = _own_names(plant, kind, n_y, given) if shown is None or len(shown) != n_y else given or shown
    names = check_names(own, name, n_y, "x")
    inputs = check_names(_own_names(plant, "input_names", n_u, input_names), "input_names", n_u, "u")
    return Trajectories(Trajectory(y, u, dt, names, inputs, str(i)) for i, (y, u) in enumerate(episodes))


def _starts(x0: ArrayLike | None, n_episodes: int) -> list[dict[str, Any] | None]:
    """Options of each episode's reset."""
    if x0 is None:
        return [None] * n_episodes
    array = np.atleast_1d(check_finite(as_float_array(x0, "x0"), "x0"))
    if array.ndim > 2 or (array.ndim == 2 and len(array) != n_episodes):
        raise ShapeError(f"x0 has shape {array.shape}; expected one state (n_x,), or ({n_episodes}, n_x)")
    return [{"x0": row.copy()} for row in np.broadcast_to(array, (n_episodes, array.shape[-1]))]


class _Recorder:
    """Keeps what the two kinds of env have in common."""

    def __init__(self, signals: str, streams: Streams, max_steps: int | None) -> None:
        self.signals, self.streams, self.max_steps = signals, streams, max_steps
        # Actions recorded as sent, and how many of them lay outside the action space.
        self.n_actions = self.n_outside = 0

    def single(
        self, env: Any, policy: Any, episode: int, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Record one episode of a single env."""
        policy = self._begin(env, policy, episode)
        observation, info = reset_plant(env, self.streams.of("starts", episode), options)
        y, u = [self._signal(observation, info, None)], []
        while self.max_steps is None or len(u) < self.max_steps:
            action = fit_action(env, policy(copy.deepcopy(observation)), "the policy's action")
            sent, outside = clip_action(env, action)
            # The env gets a copy of its own: what it does to that is not what it was sent.
            observation, _, terminated, truncated, info = step_plant(env, copy.deepcopy(sent), len(u))
            applied = info.get("u")
            if applied is None:
                applied = sent
                self.n_actions += 1
                self.n_outside += outside
            u.append(_action_row(applied, u[0].size if u else None))
            y.append(self._signal(observation, info, y[0].size))
            if terminated or truncated:
                break
        return np.stack(y), np.stack(u)

    def vector(self, env: Any, policy: Any, n_episodes: int) -> list[tuple[FloatArray, FloatArray]]:
        """Record the first `n_episodes` episodes that a vector env begins."""
        mode = str(getattr(env.metadata.get("autoreset_mode"), "name", "NEXT_STEP"))
        if mode == "DISABLED":
            raise OptionError("env has autoreset disabled; expected next-step or same-step autoreset")
        n = env.num_envs
        policy = self._begin(env, policy, 0)
        observation, info = reset_plant(env, self.streams.of("starts"))
        done: list[tuple[int, FloatArray, FloatArray]] = []
        # One open episode per sub-env: its number, signals, inputs. None: the next step is a reset.
        start = self._signals(observation, info, n)
        open_: list[tuple[int, list[FloatArray], list[FloatArray]] | None] = [
            (i, [start[i]], []) for i in range(n)
        ]
        begun, n_vector_steps = n, 0
        while sum(order < n_episodes for order, _, _ in done) < n_episodes:
            asked = fit_action(env, policy(copy.deepcopy(observation)), "the policy's action")
            action, outside = clip_action(env, asked)
            answer = step_plant(env, copy.deepcopy(action), n_vector_steps)
            observation, _, terminated, truncated, info = answer
            if "u" not in info:
                self.n_actions += 1
                self.n_outside += outside
            n_vector_steps += 1
            signals = self._signals(observation, info, n)
            applied = _rows(_masked(info, "u", action), "action")
            for i in range(n):
                current = open_[i]
                if current is None:  # this step's action was ignored: its observation is a fresh start
                    open_[i], begun = (begun, [signals[i]], []), begun + 1
                    continue
                order, y, u = current
                ended = bool(terminated[i] or truncated[i])
                if ended and mode == "SAME_STEP":
                    final = self._final(info, i)
                    y.append(final[0])
                    u.append(final[1] if final[1] is not None else _rows(action, "action")[i])
                    open_[i], begun = (begun, [signals[i]], []), begun + 1
                else:
                    y.append(signals[i])
                    u.append(applied[i])
                    if ended:
                        open_[i] = None
                if ended or len(u) == self.max_steps:
                    done.append((order, np.stack(y), np.stack(u)))
                    if not ended:
                        # Cut here, go on recording under the next number from the same sample.
                        open_[i], begun = (begun, [signals[i]], []), begun + 1
        chosen = sorted((d for d in done if d[0] < n_episodes), key=lambda d: d[0])
        return [(y, u) for _, y, u in chosen]

    def _begin(self, env: Any, policy: Any, episode: int) -> Any:
        """The policy at the beginning of an episode (of all of a vector env), seeded where it can be."""
        if policy is None:
            if not hasattr(env, "action_space"):
                raise OptionError(
                    "policy is None and the env has no action_space to draw from; expected a policy"
                )
            return HeldActions(env.action_space, self.streams.of("actions", episode))
        reset = getattr(policy, "reset", None)
        if callable(reset) and accepts(reset, seed=None):
            reset(seed=self.streams.of("policies", episode))
        return policy

    def _signal(self, observation: Any, info: Mapping[str, Any], size: int | None) -> FloatArray:
        if self.signals == "observation":
            return as_observation(observation, "observation", size)
        if "x" not in info:
            raise DataError('the env reports no state in info["x"]; expected one, or signals="observation"')
        return as_observation(info["x"], 'info["x"]', size)

    def _signals(self, observation: Any, info: Mapping[str, Any], n: int) -> FloatArray:
        if self.signals == "observation":
            check_vector_like(observation, "observation")
            return _rows(observation, "observation")
        if "x" not in info:
            raise DataError('the env reports no state in info["x"]; expected one, or signals="observation"')
        return _rows(info["x"], 'info["x"]').reshape(n, -1)

    def _final(self, info: Mapping[str, Any], i: int) -> tuple[FloatArray, FloatArray | None]:
        """Last observation (or state) before a same-step reset, and the input that led to it."""
        final_info = info.get("final_info", {})
        u = final_info["u"][i] if "u" in final_info else None
        if self.signals == "state":
            return _row(final_info["x"][i], 'info["x"]'), None if u is None else _row(u, "action")
        return _row(info["final_obs"][i], "observation"), None if u is None else _row(u, "action")


def _own_names(plant: Any, kind: str, count: int, given: Sequence[str] | None) -> Sequence[str] | None:
    """The caller's names, else the plant's where wrappers have left the number of its signals as it was."""
    if given is not None:
        return given
    own = getattr(plant, kind, None)
    return own if own is not None and len(own) == count else None


def _masked(info: Mapping[str, Any], key: str, default: Any) -> Any:
    """Per-env entry of a vector env's info, the default where a sub-env gave none."""
    if key not in info:
        return default
    values = np.array(_rows(info[key], key))
    mask = np.asarray(info.get("_" + key, np.ones(len(values), dtype=bool)))
    values[~mask] = _rows(default, "action")[~mask]
    return values


def _row(value: Any, name: str) -> FloatArray:
    return np.array(as_float_array(value, name), dtype=np.float64).ravel()


def _action_row(value: Any, size: int | None) -> FloatArray:
    row = _row(value, "action")
    if size is not None and row.size != size:
        raise ShapeError(
            f"action has {row.size} entries, and had {size} before; expected the same throughout"
        )
    return row


def _rows(value: Any, name: str) -> FloatArray:
    array = as_float_array(value, name)
    return np.array(array.reshape(len(array), -1))
