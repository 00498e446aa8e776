"""A plant with noise on what is measured and a load on its inputs, of which the controller does not know."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, broadcast_vector, check_integer
from koopctrl.data.gym_interface import plant_dt
from koopctrl.data.plants import as_plant
from koopctrl.errors import OptionError


class Disturbed:
    """A plant under `u + load`, measured as `y + noise w` with `w` standard normal.

    Parameters
    ----------
    plant : env, python-control system or callable
        Anything that `run_closed_loop` takes.
    noise : scalar or (n_y,) array_like
        Standard deviations, in the outputs' units.
    load : scalar or (n_u,) array_like
        Added to the inputs, in their units, from step `start` on.
    start : int
        Step at which the load sets in.
    seed : int
        Of the noise: the same in every episode.
    dt : float, optional
        Sample time in seconds, where the plant has none.

    Raises
    ------
    OptionError
        If noise is negative, or `start` or `seed` is no whole number from zero on.
    ShapeError, DataError
        If noise or load do not fit the plant's signals, at its first step.
    """

    def __init__(
        self,
        plant: Any,
        noise: ArrayLike = 0.0,
        load: ArrayLike = 0.0,
        *,
        start: int = 0,
        seed: int = 0,
        dt: float | None = None,
    ) -> None:
        self.env = as_plant(plant, dt)
        self.noise, self.load = as_float_array(noise, "noise"), as_float_array(load, "load")
        if not (self.noise >= 0.0).all():
            raise OptionError(f"noise is {noise!r}; expected standard deviations from zero on")
        self.start, self.seed = check_integer(start, "start"), check_integer(seed, "seed")
        self.dt = plant_dt(self.env) if dt is None else dt

    @property
    def unwrapped(self) -> Any:
        """The plant itself."""
        return getattr(self.env, "unwrapped", self.env)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin an episode: `(measurement, info)`."""
        self._k, self._rng = 0, np.random.default_rng(self.seed)
        y, info = self.env.reset(seed=seed, options=options)
        return self._measured(y), info

    def step(self, action: ArrayLike) -> Any:
        """One sample; `info["u"]` is the input without the load."""
        sent = np.atleast_1d(np.asarray(action, dtype=float))
        load = broadcast_vector(self.load, "load", len(sent))
        self._k += 1
        y, *rest, info = self.env.step(sent + load if self._k > self.start else sent.copy())
        return self._measured(y), *rest, {**info, "u": sent}

    def _measured(self, y: Any) -> FloatArray:
        y = np.atleast_1d(np.asarray(y, dtype=float))
        spread = broadcast_vector(self.noise, "noise", len(y))
        return y + spread * self._rng.standard_normal(len(y))
