"""A discretised partial differential equation as a plant to control."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray
from koopctrl_envs.system_env import SystemEnv


class FieldEnv(SystemEnv):
    r"""A model of `koopctrl.sampled.pde` behind `reset` and `step`, under held inputs.

    Observations are the sensors at the end of a step. The reward is :math:`-(y - r)^T Q (y - r) - (v - v_r)^T
    R (v - v_r)` with the applied input and the outputs without noise. An episode is terminated when an output
    leaves `[y_min, y_max]`; wrap the env in `gymnasium.wrappers.TimeLimit` to truncate it. `info` holds the
    time `t` (s), the model's state `x` (`model.evaluate(x, points)` is the field), the applied input `u`, and
    `failure`, which says what terminated the episode, else `""`.

    Parameters
    ----------
    model : SemiDiscrete
        From `pde.discretise(...)`, with sensors and inputs; a controller should be made on another one.
    dt : float
        Sample time in seconds.
    draw_start : callable, optional
        `draw_start(rng)` gives a function of the points from which an episode starts; by default every one
        starts as the equation says.
    **options
        Limits, weights, references, noise and rendering, as in `SystemEnv`.

    Raises
    ------
    ValueError
        Limits the wrong way round, a model without sensors or inputs, or vectors of another size.
    """

    def __init__(
        self,
        model: Any,
        dt: float,
        *,
        draw_start: Callable[[np.random.Generator], Callable[[FloatArray], ArrayLike]] | None = None,
        **options: Any,
    ) -> None:
        n_u, n_y = model.n_inputs, model.n_outputs
        if not n_u or not n_y:
            raise ValueError(f"model has {n_u} inputs and {n_y} sensors; expected some of both")
        if draw_start is not None and not callable(draw_start):
            raise ValueError(f"draw_start is a {type(draw_start).__name__}; expected a callable or None")
        self.model, self._face = model, model.step_face(dt)
        self._draw_start, self._initial = draw_start, None
        states = tuple(f"x{i}" for i in range(len(self._face.x)))
        names = (states, model.pde.input_names, model.pde.output_names)
        super().__init__(self._face.dt, names, **options)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode; `options["initial"]` is a function of the points to start from."""
        options = dict(options or {})
        self._initial = options.pop("initial", None)
        if options:
            raise ValueError(f"options has {sorted(options)}; expected initial")
        self._face = self.model.step_face(self.dt)  # its substeps are those of this episode
        return super().reset(seed=seed)

    def draw_start(self, rng: np.random.Generator) -> FloatArray:
        """See `SystemEnv`."""
        drawn = None if self._draw_start is None else self._draw_start(rng)
        self._face.reset(drawn if self._initial is None else self._initial)
        return self._face.x

    def next_state(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """See `SystemEnv`."""
        return self._face.next_state(x, u, self._n_steps * self.dt)

    def output(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """See `SystemEnv`."""
        return self.model.output(x, u, self._n_steps * self.dt)
