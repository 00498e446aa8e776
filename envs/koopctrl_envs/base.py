"""The gymnasium env around a plant."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike

from koopctrl.errors import DataError
from koopctrl_envs.checks import FloatArray, as_vector, as_weight, check_choice
from koopctrl_envs.plant import Plant
from koopctrl_envs.rendering.drawn import Drawn

if TYPE_CHECKING:
    from koopctrl_envs.rendering.artist import Artist

OVERSHOOT = 0.25
"""Observations may pass the plant's box of outputs by this part of its width: the sample that ends an episode
lies outside by up to one step."""

NOISE_CUT = 5.0
"""Noise is cut at this many standard deviations: no finite box holds a Gaussian without ends."""


FIXED = ("dt", "n_substeps", "u_min", "u_max", "x0_low", "x0_high", "x_min", "x_max")
"""Fields of a plant that stay as they are while an env lives: its spaces and its clock are made from them."""


class PlantEnv(Drawn):
    r"""A plant behind `reset` and `step`, in physical units.

    One step holds the input for `dt` seconds. The reward is

    .. math::

        -(y - r)^T Q (y - r) - (u - u_r)^T R (u - u_r)

    with the applied input `u` and the noise-free output `y` at the end of the step. An episode is terminated
    when the state leaves the plant's `[x_min, x_max]`; the time limit of the registration truncates it. The
    observation box is the plant's box of outputs, wider by a quarter on either side for the sample that ends
    an episode, and wider by the measurement noise; a reading beyond it is cut off there. The state is never
    clipped.

    `info` holds the time `t` (s), the true state `x`, the applied input `u` (`input_reference` after
    `reset`): the action, converted to physical units and clipped to `[u_min, u_max]`, without the
    disturbance; `clipped`, whether the action lay outside of its space; and `failure`, which says what
    terminated the episode, else `""`.

    Parameters
    ----------
    plant : Plant, optional
        By default one of `plant_class` with its default parameters.
    Q : array_like, optional
        Weight on the outputs: a scalar, a diagonal `(n_y,)` or a matrix.
    R : array_like, optional
        Weight on the inputs, likewise.
    reference : array_like, (n_y,), optional
        Set-point `r` of the outputs; by default those of the plant's first equilibrium, else zeros.
    input_reference : array_like, (n_u,), optional
        Input `u_r` that goes with it; by default the one that holds the first equilibrium, else zeros.
    process_noise : float or array_like, (n_u,)
        Standard deviation of the Gaussian noise (cut at 5 of them) added to the input after clipping, drawn
        anew for each step and unseen in `info`. It enters with the input, in its units, since noise added to
        the state could drive some plants past any bound.
    measurement_noise : float or array_like, (n_y,)
        Standard deviation of the Gaussian noise (cut likewise) added to each observation.
    disturbance : float or array_like, (n_u,)
        Constant added to the input after clipping, unseen in `info`.
    normalized_action : bool
        Whether actions run from -1 to 1 between `u_min` and `u_max`, as learning libraries prefer, instead
        of being inputs in their own units.
    out_of_bounds : {"clip", "refuse"}
        What becomes of an action outside the action space: it is clipped, and `info["clipped"]` is True; or
        `step` raises a `DataError`.
    integrator : {"rk4", "solve_ivp", "cvodes"}
        The plant's own fixed steps, `n_substeps` per sample, or a method of `Plant.exact_step`.
    render_mode : {"rgb_array", "human"}, optional
        What `render()` gives: pixels, `(360, 640, 3)`; or a window of matplotlib's, brought up to date by
        `reset` and `step` themselves.
    **parameters
        Fields of the plant, for instance `dt` or `u_max`.

    Attributes
    ----------
    plant : Plant
        Parameters and pure dynamics.
    dt : float
        Sample time, s.
    """

    plant_class: ClassVar[type[Plant]]
    default_Q: ClassVar[float | tuple[float, ...]] = 1.0
    default_R: ClassVar[float | tuple[float, ...]] = 0.1

    task_settings: ClassVar[dict[str, Any]] = {}
    """Fields of `koopctrl_envs.tasks.TaskSettings` in which the standard tasks of this plant differ."""

    def __init__(
        self,
        plant: Plant | None = None,
        *,
        Q: ArrayLike | None = None,
        R: ArrayLike | None = None,
        reference: ArrayLike | None = None,
        input_reference: ArrayLike | None = None,
        process_noise: ArrayLike = 0.0,
        measurement_noise: ArrayLike = 0.0,
        disturbance: ArrayLike = 0.0,
        normalized_action: bool = False,
        out_of_bounds: str = "clip",
        integrator: str = "rk4",
        render_mode: str | None = None,
        **parameters: Any,
    ) -> None:
        if plant is None:
            plant = self.plant_class()  # pyright: ignore[reportCallIssue] (subclasses have defaults)
        names = [field.name for field in dataclasses.fields(plant)]
        for name in parameters:
            if name not in names:
                raise ValueError(
                    f"{name} is no parameter of {type(plant).__name__}; it has {', '.join(names)}"
                )
        if integrator not in ("rk4", "solve_ivp", "cvodes"):
            raise ValueError(f"integrator is {integrator!r}; expected 'rk4', 'solve_ivp' or 'cvodes'")
        plant = plant.replaced(**parameters)
        self.plant: Plant = plant
        self.dt = plant.dt
        self._set_render_mode(render_mode, plant.dt)

        self.Q = as_weight(self.default_Q if Q is None else Q, "Q", plant.n_y)
        self.R = as_weight(self.default_R if R is None else R, "R", plant.n_u)
        known = len(plant.equilibria) > 0
        if reference is None:
            reference = plant.output(plant.equilibria[0]) if known else np.zeros(plant.n_y)
        resting = plant.equilibrium_inputs[0] if known else np.zeros(plant.n_u)
        self.reference = as_vector(reference, "reference", plant.n_y)
        self.input_reference = as_vector(
            resting if input_reference is None else input_reference, "input_reference", plant.n_u
        )
        self.process_noise = _as_std(process_noise, "process_noise", plant.n_u)
        self.measurement_noise = _as_std(measurement_noise, "measurement_noise", plant.n_y)
        self.disturbance = as_vector(disturbance, "disturbance", plant.n_u, spread=True)

        self.integrator = integrator
        self._u_min, self._u_max = np.array(plant.u_min), np.array(plant.u_max)
        self.normalized_action = bool(normalized_action)
        self.out_of_bounds = check_choice(out_of_bounds, "out_of_bounds", ("clip", "refuse"))
        unit = np.ones(plant.n_u)
        low, high = (-unit, unit) if self.normalized_action else (self._u_min, self._u_max)
        self.action_space = spaces.Box(low, high, dtype=np.float64)
        low, high = plant.output_bounds()
        # An unbounded end stays one; half of infinity would make it NaN.
        width = np.where(np.isfinite(high - low), high - low, 0.0)
        spread = OVERSHOOT * width + NOISE_CUT * self.measurement_noise
        self.observation_space = spaces.Box(low - spread, high + spread, dtype=np.float64)
        self._x: FloatArray | None = None
        self._n_steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode.

        Parameters
        ----------
        seed : int, optional
            Seeds starts and noise.
        options : dict, optional
            `x0`, `(n_x,)`: the start. Or `x0_low`, `x0_high`, `(n_x,)` or scalars: the box to draw it from
            instead of the plant's. Both have to lie in the plant's `[x_min, x_max]`.

        Returns
        -------
        observation : ndarray, (n_y,)
        info : dict
        """
        super().reset(seed=seed)
        self._x = self.start_of(options or {}, self.np_random)
        self._n_steps = 0
        y = self.plant.output(self._x)
        observation = self._observe(y)
        self._record(0.0, self._x, y, self.reference, self.input_reference)
        return observation, self._info(self.input_reference, "")

    def step(self, action: ArrayLike) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """Apply an action for `dt` seconds.

        Parameters
        ----------
        action : array_like, (n_u,)
            Finite; clipped to the action space, or refused outside of it (`out_of_bounds`).

        Returns
        -------
        observation : ndarray, (n_y,)
        reward : float
        terminated : bool
            Whether the state has left `[x_min, x_max]`; `info["failure"]` says where.
        truncated : bool
            Always False here; the `TimeLimit` wrapper of `gymnasium.make` truncates.
        info : dict

        Raises
        ------
        ValueError
            If the action is no finite vector of its size, or the integration breaks down.
        """
        if self._x is None:
            raise gymnasium.error.ResetNeeded("step() was called before reset(); call reset() first")
        action = as_vector(action, "action", self.plant.n_u)
        outside = bool(self.outside(action))
        u = self.inputs_of(action)
        x = self._advance(self._x, u + self.disturbance + self.noise_of(self.process_noise, self.np_random))
        if not np.isfinite(x).all():
            raise ValueError(
                f"{self.plant} diverges with {self.plant.n_substeps} Runge-Kutta steps per sample; "
                "raise n_substeps"
            )
        self._x = x
        self._n_steps += 1
        y = self.plant.output(self._x)
        reward = float(self.reward_of(y, u))
        failure = self.plant.failure(self._x)
        self._record(self._n_steps * self.dt, self._x, y, self.reference, u, failure)
        return self._observe(y), reward, failure != "", False, self._info(u, failure, outside)

    def artist(self) -> Artist:
        """What draws this plant from recorded states; `koopctrl`'s results animate with it."""
        from koopctrl_envs.rendering.artist import Artist

        return Artist(self.plant, self.body, self.plant.output_names if self.shown is None else self.shown)

    def _advance(self, x: FloatArray, u: FloatArray) -> FloatArray:
        plant = self.plant
        return (
            plant.step(x, u) if self.integrator == "rk4" else plant.exact_step(x, u, method=self.integrator)
        )

    @property
    def state(self) -> FloatArray:
        """The true state now, `(n_x,)`, a copy: what `info["x"]` said last.

        Raises
        ------
        gymnasium.error.ResetNeeded
            Before the first `reset`.
        """
        if self._x is None:
            raise gymnasium.error.ResetNeeded("there is no state before reset(); call reset() first")
        return self._x.copy()

    def inputs_of(self, actions: FloatArray) -> FloatArray:
        """Inputs `(..., n_u)` in physical units, within their limits, of actions `(..., n_u)`."""
        if self.normalized_action:
            actions = self._u_min + 0.5 * (actions + 1.0) * (self._u_max - self._u_min)
        return np.clip(actions, self._u_min, self._u_max)

    def outside(self, actions: FloatArray) -> Any:
        """Which actions `(..., n_u)` lie outside the action space, `(...)` of bool.

        Raises
        ------
        DataError
            If one does and `out_of_bounds` is "refuse".
        """
        space: Any = self.action_space
        beyond = ((actions < space.low) | (actions > space.high)).any(axis=-1)
        if self.out_of_bounds == "refuse" and beyond.any():
            first = actions.reshape(-1, self.plant.n_u)[np.flatnonzero(beyond)[0]]
            raise DataError(
                f"action is {first.tolist()}; expected entries from {space.low.tolist()} to "
                f'{space.high.tolist()}. Clip it, or make the env with out_of_bounds="clip"'
            )
        return beyond

    def actions_of(self, inputs: FloatArray) -> FloatArray:
        """Actions `(..., n_u)` that stand for inputs `(..., n_u)` within their limits."""
        if self.normalized_action:
            return 2.0 * (inputs - self._u_min) / (self._u_max - self._u_min) - 1.0
        return np.array(inputs)

    def use_parameters(self, **parameters: Any) -> None:
        """Go on with other parameters of the plant; wrappers that draw or drift them call this.

        Parameters
        ----------
        **parameters
            Fields of the plant, without those that spaces and clocks are made from.

        Raises
        ------
        ValueError
            If one is no parameter of the plant, has a value that it refuses, or would change the env's spaces
            or sample time.
        """
        names = [field.name for field in dataclasses.fields(self.plant)]
        for name in parameters:
            if name not in names or name in FIXED:
                raise ValueError(
                    f"{name} is no parameter that may change; {type(self.plant).__name__} has "
                    f"{', '.join(n for n in names if n not in FIXED)}"
                )
        changed = dataclasses.replace(self.plant, **parameters)
        if (changed.n_x, changed.n_u, changed.n_y) != (self.plant.n_x, self.plant.n_u, self.plant.n_y):
            raise ValueError(f"{', '.join(parameters)} would change the number of signals; make another env")
        self.plant = changed

    def reward_of(self, y: FloatArray, u: FloatArray) -> FloatArray:
        """Rewards `(...)` of outputs `(..., n_y)` and inputs `(..., n_u)`."""
        error, effort = y - self.reference, u - self.input_reference
        return -(np.sum((error @ self.Q) * error, axis=-1) + np.sum((effort @ self.R) * effort, axis=-1))

    def start_of(self, options: dict[str, Any], rng: np.random.Generator) -> FloatArray:
        """Start `(n_x,)` under the options of `reset`."""
        plant = self.plant
        if unknown := set(options) - {"x0", "x0_low", "x0_high"}:
            raise ValueError(f"options has {sorted(unknown)}; expected x0, or x0_low and x0_high")
        if "x0" in options and len(options) > 1:
            raise ValueError("options has both x0 and a box to draw it from; pass one of them")
        if not options:
            return plant.draw_start(rng)
        if "x0" in options:
            low = high = as_vector(options["x0"], "x0", plant.n_x)
        else:
            low = as_vector(options.get("x0_low", plant.x0_low), "x0_low", plant.n_x, spread=True)
            high = as_vector(options.get("x0_high", plant.x0_high), "x0_high", plant.n_x, spread=True)
            if (low > high).any():
                raise ValueError(f"x0_low is {low.tolist()}, above x0_high, which is {high.tolist()}")
        if (low < plant.x_min).any() or (high > plant.x_max).any():
            what = (
                f"x0 is {low.tolist()}"
                if "x0" in options
                else f"the box is {low.tolist()} to {high.tolist()}"
            )
            raise ValueError(
                f"{what}; expected a start between {list(plant.x_min)} and {list(plant.x_max)}, outside of "
                "which episodes end. Make the env with wider x_min, x_max"
            )
        return low if "x0" in options else rng.uniform(low, high)

    @staticmethod
    def noise_of(std: FloatArray, rng: np.random.Generator) -> FloatArray:
        """One draw of the noise with these standard deviations."""
        if not std.any():
            return np.zeros_like(std)
        return std * np.clip(rng.standard_normal(std.size), -NOISE_CUT, NOISE_CUT)

    def _observe(self, y: FloatArray) -> FloatArray:
        space: Any = self.observation_space
        return np.clip(y + self.noise_of(self.measurement_noise, self.np_random), space.low, space.high)

    def _info(self, u: FloatArray, failure: str, clipped: bool = False) -> dict[str, Any]:
        # Copies: callers keep and change what they are given.
        info = {"t": self._n_steps * self.dt, "x": np.array(self._x), "u": u.copy()}
        return info | {"clipped": clipped, "failure": failure}


def _as_std(value: ArrayLike, name: str, size: int) -> FloatArray:
    std = as_vector(value, name, size, spread=True)
    if (std < 0.0).any():
        raise ValueError(f"{name} is {std.tolist()}; expected standard deviations, zero or more")
    return std
