"""A fitted model as a plant to control: a surrogate of what was recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray, as_floats
from koopctrl_envs.system_env import SystemEnv

if TYPE_CHECKING:
    import control

TRUST = 0.5
"""Outputs may leave the range of the data by this part of its width before an episode ends."""


class ModelEnv(SystemEnv):
    r"""A fitted model behind `reset` and `step`, in place of the plant that it was learned from.

    Controllers are tried, and policies trained, on a surrogate where the plant is not at hand: what it says
    is worth as much as the model is, and nothing far from its data. Reward, limits, `info` and pictures are
    those of `SystemEnv`; `info["x"]` is the model's own state: measured signals, a lag window or a hidden
    state.

    Parameters
    ----------
    model : object with `to_nlsys()`, or control.NonlinearIOSystem
        A `koopctrl.KoopmanRNN` that is fitted, a `Plant`, or anything else whose `to_nlsys()` is sampled.
    u_min, u_max : array_like, (n_u,) or scalar
        Limits of the inputs, best those of the records.
    starts : array_like, (n, n_x), optional
        States from one of which each episode starts. By default outputs at rest, drawn from the middle half
        of `model.y_range_`, in each sample of a lag window; zeros where the model names no such range.
    y_min, y_max : array_like, (n_y,) or scalar, optional
        Where episodes end; by default half a width beyond `model.y_range_` on either side.
    **options
        `Q`, `R`, `reference`, `input_reference`, `measurement_noise` and `render_mode`, as in `SystemEnv`.

    Attributes
    ----------
    system : control.NonlinearIOSystem
        The model's discrete face, which runs.

    Raises
    ------
    ValueError
        If `model` has no sampled face with a state, or vectors have another size.
    """

    def __init__(
        self,
        model: Any,
        u_min: ArrayLike,
        u_max: ArrayLike,
        *,
        starts: ArrayLike | None = None,
        y_min: ArrayLike | None = None,
        y_max: ArrayLike | None = None,
        **options: Any,
    ) -> None:
        self.system = system = _discrete_face(model)
        # A system's functions cannot be pickled, a model can.
        self._model = model
        self._y_range = _range_of(model, int(system.noutputs or 0))
        low, high = (-np.inf, np.inf) if self._y_range is None else self._y_range
        room = 0.0 if self._y_range is None else TRUST * np.subtract(high, low)
        n_x = int(system.nstates or 0)
        names = (system.state_labels, system.input_labels, system.output_labels)
        super().__init__(
            float(system.dt or 0.0), names, u_min=u_min, u_max=u_max,
            y_min=np.subtract(low, room) if y_min is None else y_min,
            y_max=np.add(high, room) if y_max is None else y_max, **options,
        )  # fmt: skip
        self._starts: FloatArray | None = None
        if starts is not None:
            self._starts = np.atleast_2d(as_floats(starts, "starts", n_x)).copy()
            if self._starts.ndim != 2 or not len(self._starts) or not np.isfinite(self._starts).all():
                raise ValueError(f"starts has shape {np.shape(starts)}; expected (n, {n_x}) finite states")
        # How a window of y_k .. y_{k-p+1}, u_{k-1} .. u_{k-q+1} is made up, where the model is one of lags.
        self._lags = tuple(
            int(value) if (value := getattr(model, name, 1)) else 1 for name in ("output_lags", "input_lags")
        )

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if self._model is not self.system:
            del state["system"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "system" not in state:
            self.system = _discrete_face(self._model)

    def draw_start(self, rng: np.random.Generator) -> FloatArray:
        """One of `starts`, or outputs at rest within the range of the data."""
        names = self.plant
        n_x, n_y, n_u = len(names.state_names), len(names.output_names), len(names.input_names)
        if self._starts is not None:
            return self._starts[rng.integers(len(self._starts))]
        p, q = self._lags
        if self._y_range is None or n_x != p * n_y + (q - 1) * n_u:
            return np.zeros(n_x)
        low, high = self._y_range
        y = rng.uniform(low + 0.25 * (high - low), high - 0.25 * (high - low))
        return np.concatenate([np.tile(y, p), np.tile(self.input_reference, q - 1)])

    def next_state(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """State one sample later."""
        return self.system.dynamics(self._n_steps * self.dt, x, u)

    def output(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """Output of the model."""
        return self.system.output(self._n_steps * self.dt, x, u)


def _discrete_face(model: Any) -> control.NonlinearIOSystem:
    import control

    if isinstance(model, type):
        raise ValueError(f"model is the class {model.__name__}; expected a fitted object of it")
    if not isinstance(model, control.NonlinearIOSystem):
        if not callable(getattr(model, "to_nlsys", None)):
            raise ValueError(
                f"model is a {type(model).__name__}; expected a fitted model with to_nlsys(), or "
                "control.NonlinearIOSystem"
            )
        model = model.to_nlsys()
    if not model.dt or model.dt is True:
        raise ValueError(
            "model has no sample time; expected a discrete one in seconds. Sample it, for instance by "
            "plant.to_nlsys(dt)"
        )
    if not model.nstates or not model.ninputs or not model.noutputs:
        raise ValueError("model has no states, inputs or outputs; expected all of them")
    return model


def _range_of(model: Any, n_y: int) -> tuple[FloatArray, FloatArray] | None:
    """Range of the outputs that the model was fitted on, where it keeps one."""
    kept = getattr(model, "y_range_", None)
    if kept is None:
        return None
    low, high = (np.asarray(end, dtype=float).ravel() for end in kept)
    return (low, high) if low.shape == high.shape == (n_y,) else None
