"""Excitations as policies: what `collect` asks for the next action."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array
from koopctrl.data.gym_interface import accepts
from koopctrl.data.signal_limits import HOLD, checked_sizes, draw_hold, generator
from koopctrl.errors import OptionError


class ExcitationPolicy:
    """An excitation as a policy for `collect`: called with an observation, it gives the next input.

    `collect` calls `reset(seed=...)` at the beginning of each episode with a stream of its own.

    Parameters
    ----------
    signal : callable
        `multilevel`, `prbs`, .. or another `signal(n_steps, low, high, ...)`.
    low, high : float or (n_u,) array_like
        Bounds, for instance `env.action_space.low`.
    n_steps : int
        Length of the signal, which begins anew, with the next draw, after that.
    around : callable observation -> action, optional
        Policy to which the excitation is added, to excite a plant in closed loop; an object with `control`
        will do. The sum is not held to the bounds: `collect` holds it to those of the env.
    seed : int, optional
        Used until `reset` gives another.
    **options
        Passed to `signal`.
    """

    def __init__(
        self,
        signal: Callable[..., FloatArray],
        low: ArrayLike,
        high: ArrayLike,
        *,
        n_steps: int = 1000,
        around: Any = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        if not callable(signal):
            raise OptionError(f"signal is {signal!r}; expected a function such as excitation.prbs")
        if around is not None and not callable(around) and not callable(getattr(around, "control", None)):
            raise OptionError(f"around is {around!r}; expected a policy, or a controller with control()")
        self._signal, self._options = signal, options
        self._n_steps, self._low, self._high = checked_sizes(n_steps, low, high)
        self._around = around
        self.reset(seed)
        self._rows = self._draw()  # refuses options that do not fit, here and not in the first episode

    def reset(self, seed: Any = None) -> None:
        """Begin the signal anew, from `seed` where one is given."""
        self._rng = generator(seed)
        self._rows: FloatArray | None = None
        self._k = 0
        begin = None if callable(self._around) else getattr(self._around, "reset", None)
        if callable(begin):
            begin()

    def __call__(self, observation: Any) -> FloatArray:
        """Input `(n_u,)` of the next step."""
        if self._rows is None or self._k >= len(self._rows):
            self._rows, self._k = self._draw(), 0
        u = self._rows[self._k].copy()
        self._k += 1
        if self._around is None:
            return u
        base: Any = self._around(observation) if callable(self._around) else self._around.control(observation)
        return u + as_float_array(base, "what around returned").ravel()

    def _draw(self) -> FloatArray:
        seeded = {"seed": self._rng} if accepts(self._signal, self._n_steps, 0.0, 1.0, seed=None) else {}
        return self._signal(self._n_steps, self._low, self._high, **seeded, **self._options)


class HeldActions:
    """Actions drawn from an action space, each entry held for a random time: the default policy of `collect`.

    In a Box with ends these are the levels of `multilevel`; other spaces are drawn from as they sample
    themselves.

    Parameters
    ----------
    space : gymnasium.Space
        With a seed its copy is drawn from; without, it itself is.
    seed : int, optional
    """

    def __init__(self, space: Any, seed: int | None = None) -> None:
        own, holds = np.random.SeedSequence(seed).spawn(2)
        self._space = space
        if seed is not None:
            self._space = copy.deepcopy(space)
            self._space.seed(int(own.generate_state(1)[0]))
        self._rng = np.random.default_rng(holds)
        self._action: Any = None
        self._left: Any = None

    def __call__(self, observation: Any) -> Any:
        """Action of the next step, in the space's own kind."""
        if self._action is None:
            self._action = self._space.sample()
            self._left = np.array(
                [draw_hold(self._rng, *HOLD) for _ in range(max(1, np.size(self._parts())))]
            )
        elif (self._left == 0).any():
            over = np.flatnonzero(self._left == 0)
            fresh = self._space.sample()
            if isinstance(fresh, np.ndarray) and fresh.ndim:
                self._action = self._action.copy()
                self._action.ravel()[over] = fresh.ravel()[over]
            else:
                self._action = fresh
            self._left[over] = [draw_hold(self._rng, *HOLD) for _ in over]
        self._left -= 1
        return copy.deepcopy(self._action)

    def _parts(self) -> Any:
        """What is held on its own: the entries of an array, else the action as a whole."""
        return self._action if isinstance(self._action, np.ndarray) else 0
