"""The base of every plant: parameters and pure dynamics, without state, randomness or gymnasium."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray, as_count, as_floats, as_number, as_vector
from koopctrl_envs.component_formulas import complex_step, runge_kutta

Components = Sequence[Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plant(ABC):
    r"""A continuous-time plant :math:`\dot x = f(x, u),\; y = h(x)`, sampled with held inputs.

    A plant is a frozen dataclass of its parameters. Its formulas are written once, component by component
    (`rhs_components`, `output_components`), and run on floats, on numpy arrays and on CasADi symbols:
    `xp` is the module that holds the elementary functions. Use only functions that `math`, `numpy` and
    `casadi` share by name (`sin`, `cos`, `exp`, `sqrt`, `tanh`, `fabs`, ...) and products instead of powers.

    To add a plant: subclass this in a file of its own with the class attributes below and `rhs_components`,
    subclass `PlantEnv` beside it, and add one `register` line to the package. Outputs that bear the name of a
    state are that state; for others write `output_components` and `output_bounds` too.

    Parameters
    ----------
    dt : float
        Default sample time, s.
    n_substeps : int
        Runge-Kutta steps per `dt`.
    u_min, u_max : tuple of float
        Input limits, `(n_u,)`, in the units of the inputs. The dynamics do not apply them; the env does.
    x0_low, x0_high : tuple of float
        Box, `(n_x,)`, from which the env draws its starts.
    x_min, x_max : tuple of float
        Box, `(n_x,)`, in which the plant works; infinite where a state has no limit. The env accepts starts
        in it and ends an episode outside: a tank has run over, a cart has left its track.

    Attributes
    ----------
    state_names, input_names, output_names : tuple of str
        Names of the signals.
    state_units, input_units, output_units : tuple of str
        Their units; `"1"` is dimensionless.
    """

    state_names: ClassVar[tuple[str, ...]]
    state_units: ClassVar[tuple[str, ...]]
    input_names: ClassVar[tuple[str, ...]]
    input_units: ClassVar[tuple[str, ...]]
    output_names: ClassVar[tuple[str, ...]]
    output_units: ClassVar[tuple[str, ...]]
    disturbance_names: ClassVar[tuple[str, ...]] = ()
    """Inputs that are measured disturbances, not to be chosen: the weather."""
    positive: ClassVar[tuple[str, ...]] = ()
    """Names of the parameters that must be above zero."""
    nonnegative: ClassVar[tuple[str, ...]] = ()
    """Names of the parameters that must not be below zero: frictions, that make a plant undamped at zero."""
    integers: ClassVar[tuple[str, ...]] = ()
    """Names of the parameters that count something: integers above zero."""
    step_error: ClassVar[float] = 1e-8
    """Largest error of one step with default parameters, anywhere the plant gets from its starts under inputs
    within their limits, over the width of the box of starts."""
    energy_drift: ClassVar[float | None] = None
    """Of a plant with `energy`: how far, at most, it drifts in 10,000 steps without friction and input, over
    what lies between the lowest and the highest state at rest."""

    dt: float
    n_substeps: int
    u_min: tuple[float, ...]
    u_max: tuple[float, ...]
    x0_low: tuple[float, ...]
    x0_high: tuple[float, ...]
    x_min: tuple[float, ...]
    x_max: tuple[float, ...]

    def __post_init__(self) -> None:
        integers = ("n_substeps", *self.integers)
        for name in integers:
            object.__setattr__(self, name, as_count(getattr(self, name), name))
        sizes = dict.fromkeys(("u_min", "u_max"), self.n_u)
        sizes |= dict.fromkeys(("x0_low", "x0_high", "x_min", "x_max"), self.n_x)
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            if name in integers:
                continue
            if name in sizes:
                ends = name in ("x_min", "x_max")
                value = tuple(as_vector(value, name, sizes[name], spread=True, infinite=ends).tolist())
            else:
                # Plain floats: a numpy scalar on the left of a CasADi symbol takes the product over.
                positive = name in ("dt", *self.positive)
                value = as_number(value, name, positive=positive, negative=name not in self.nonnegative)
            object.__setattr__(self, name, value)
        for low, high in (("u_min", "u_max"), ("x0_low", "x0_high"), ("x_min", "x_max")):
            if any(a > b for a, b in zip(getattr(self, low), getattr(self, high), strict=True)):
                raise ValueError(
                    f"{low} is {getattr(self, low)}, above {high}, which is {getattr(self, high)}"
                )
        if np.less(self.x0_low, self.x_min).any() or np.greater(self.x0_high, self.x_max).any():
            raise ValueError("x0_low, x0_high leave the box x_min, x_max; widen x_min, x_max as well")

    def replaced(self, **parameters: Any) -> Self:
        """The same plant with other parameters.

        A box that is the same for all states stays so where their number changes (the points of a grid).
        """
        boxes = ("x0_low", "x0_high", "x_min", "x_max")
        same = {n: v[0] for n in boxes if n not in parameters and len(set(v := getattr(self, n))) == 1}
        return dataclasses.replace(self, **same, **parameters)

    @property
    def n_x(self) -> int:
        """Number of states."""
        return len(self.state_names)

    @property
    def n_u(self) -> int:
        """Number of inputs."""
        return len(self.input_names)

    @property
    def n_y(self) -> int:
        """Number of outputs."""
        return len(self.output_names)

    @property
    def equilibria(self) -> FloatArray:
        """Known equilibria under `equilibrium_inputs`, `(n, n_x)`; the first is the env's default."""
        return np.zeros((0, self.n_x))

    @property
    def equilibrium_inputs(self) -> FloatArray:
        """Inputs that hold `equilibria`, `(n, n_u)`; by default zeros."""
        return np.zeros((len(self.equilibria), self.n_u))

    @abstractmethod
    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of every state.

        Parameters
        ----------
        x, u : sequence of `n_x` and `n_u` components
            Floats, arrays that broadcast, or symbols (`casadi.vertsplit(x)`).
        xp : module
            Where the elementary functions come from: `numpy`, `math` or `casadi`.

        Returns
        -------
        tuple
            `n_x` components.
        """

    def output_components(self, x: Components, xp: Any = np) -> tuple[Any, ...]:
        """Outputs as `n_y` components, with the arguments of `rhs_components`; by default those of the states
        whose names are among `output_names`.
        """
        del xp
        return tuple(x[self.state_names.index(name)] for name in self.output_names)

    def output_bounds(self) -> tuple[FloatArray, FloatArray]:
        """Box of the outputs, `(n_y,)` each, while the state is in `[x_min, x_max]`."""
        measured = [self.state_names.index(name) for name in self.output_names]
        return np.array(self.x_min)[measured], np.array(self.x_max)[measured]

    def draw_start(self, rng: np.random.Generator) -> FloatArray:
        """Start of an episode, `(n_x,)`; by default uniform in `[x0_low, x0_high]`."""
        return rng.uniform(self.x0_low, self.x0_high)

    @cached_property
    def _limits(self) -> tuple[FloatArray, FloatArray]:
        return np.array(self.x_min), np.array(self.x_max)

    def failure(self, x: FloatArray) -> str:
        """What is wrong with a state `(n_x,)` outside `[x_min, x_max]`, in words; empty inside."""
        low, high = self._limits
        if ((low <= x) & (x <= high)).all():
            return ""
        for name, unit, value, low, high in zip(
            self.state_names, self.state_units, x.tolist(), self.x_min, self.x_max, strict=True
        ):
            if not low <= value <= high:
                side, end = ("below", low) if value < low else ("above", high)
                return f"{name} is {value:.4g}, {side} {end:g} {unit}".removesuffix(" 1")
        return ""

    def step_components(
        self, x: Components, u: Components, xp: Any = np, dt: float | None = None
    ) -> tuple[Any, ...]:
        """State after `dt` seconds with `u` held, by Runge-Kutta steps of order four.

        The arguments are those of `rhs_components`, so `xp=casadi` gives the discrete plant as an expression.
        Sub-steps are never longer than `self.dt / n_substeps`, whatever `dt` is.
        """
        return self._integrate(lambda state: self.rhs_components(state, u, xp), tuple(x), dt)

    @property
    def in_substeps(self) -> bool:
        """Whether `step_components` takes a sample as a chain of `n_substeps_of(dt)` equal steps, by one map:
        Runge-Kutta's do, an exponential over the whole of it does not.
        """
        kind = type(self)
        return (kind.step_components, kind._integrate) == (Plant.step_components, Plant._integrate)

    def _interval(self, dt: float | None) -> float:
        return self.dt if dt is None else as_number(dt, "dt", positive=True)

    def n_substeps_of(self, dt: float) -> int:
        """Number of equal sub-steps that `dt` seconds are cut into."""
        return max(1, math.ceil(self.n_substeps * dt / self.dt * (1.0 - 1e-12)))

    def _integrate(
        self, slopes: Callable[[Components], tuple[Any, ...]], state: tuple[Any, ...], dt: float | None
    ) -> tuple[Any, ...]:
        """Runge-Kutta steps over `dt`, of components that may be arrays of states themselves."""
        dt = self._interval(dt)
        n_substeps = self.n_substeps_of(dt)
        return runge_kutta(slopes, state, dt / n_substeps, n_substeps)

    def rhs(self, x: ArrayLike, u: ArrayLike) -> FloatArray:
        """Time derivative `(..., n_x)` at states `(..., n_x)` and inputs `(..., n_u)`; batches broadcast.

        Parameters
        ----------
        x, u : array_like, (..., n_x) and (..., n_u)
            Wherever it is wanted; inputs are not clipped.
        """
        return self._evaluate(self.rhs_components, x, u)

    def step(self, x: ArrayLike, u: ArrayLike, dt: float | None = None) -> FloatArray:
        """States `(..., n_x)` after `dt` seconds with `u` held; leading axes broadcast.

        Parameters
        ----------
        x : array_like, (..., n_x)
            States at the start of the interval.
        u : array_like, (..., n_u)
            Inputs over the interval; they are not clipped to `u_min`, `u_max`.
        dt : float, optional
            Length of the interval, s; by default the plant's own.
        """
        return self._evaluate(lambda a, b, xp: self.step_components(a, b, xp, dt), x, u)

    def output(self, x: ArrayLike) -> FloatArray:
        """Outputs `(..., n_y)` of states `(..., n_x)`."""
        return self._evaluate(lambda a, _, xp: self.output_components(a, xp), x, np.zeros(self.n_u))

    def exact_step(
        self, x: ArrayLike, u: ArrayLike, dt: float | None = None, method: str = "solve_ivp"
    ) -> FloatArray:
        """State `(n_x,)` after `dt` seconds with `u` held, by an integrator that chooses its own steps.

        For parameters that make the plant too stiff for `n_substeps` steps of Runge-Kutta; many times slower.

        Parameters
        ----------
        x, u : array_like, (n_x,) and (n_u,)
        dt : float, optional
            Length of the interval, s; by default the plant's own.
        method : {"solve_ivp", "cvodes"}
            scipy's LSODA to a relative error of 1e-10, or SUNDIALS' CVODES through CasADi, which is built
            once for each plant and is then the faster one.
        """
        from koopctrl_envs.integration import exact_step

        dt = self._interval(dt)
        return exact_step(self, as_vector(x, "x", self.n_x), as_vector(u, "u", self.n_u), dt, method)

    def to_nlsys(self, dt: float = 0.0) -> Any:
        """The plant as `control.NonlinearIOSystem`: continuous, or with `dt > 0` sampled, with its names.

        Inputs are not clipped. Use the keywords of `control.input_output_response` for the accuracy of the
        continuous one.
        """
        from koopctrl_envs.faces.pycontrol import plant_to_nlsys

        return plant_to_nlsys(self, dt)

    def to_casadi(self, dt: float | None = None, integrator: str = "rk4") -> Any:
        """`casadi.Function` `(x, u) -> (x_next, y)` of one sample; `y` are the outputs at the time of `x`.

        Parameters
        ----------
        dt : float, optional
            Sample time, s; by default the plant's own.
        integrator : {"rk4", "cvodes"}
            The steps that the env takes, or CVODES.
        """
        from koopctrl_envs.faces.casadi import plant_to_casadi

        return plant_to_casadi(self, dt, integrator)

    def to_do_mpc(self, dt: float | None = None, **options: Any) -> Any:
        """`do_mpc.model.Model`; for `options` see `koopctrl_envs.faces.do_mpc.plant_to_do_mpc`."""
        from koopctrl_envs.faces.do_mpc import plant_to_do_mpc

        return plant_to_do_mpc(self, dt, **options)

    def linearize(self, x: ArrayLike, u: ArrayLike, dt: float = 0.0) -> Any:
        """`control.StateSpace` of deviations from `x` and `u`, an equilibrium or not, with names.

        Parameters
        ----------
        x, u : array_like, (n_x,) and (n_u,)
        dt : float
            Zero for continuous time, else the sample time, s, of a discrete system with held input.
        """
        from koopctrl_envs.faces.pycontrol import plant_to_statespace

        return plant_to_statespace(self, x, u, dt)

    def jacobians(self, x: ArrayLike, u: ArrayLike, dt: float = 0.0) -> tuple[FloatArray, FloatArray]:
        """Jacobians of `rhs`, or of `step` if `dt > 0`, by complex step: exact to rounding.

        Parameters
        ----------
        x, u : array_like, (..., n_x) and (..., n_u)
            Where to linearise, an equilibrium or not.
        dt : float
            Zero gives continuous-time matrices, else the sample time, s, of discrete ones with held input.

        Returns
        -------
        A : ndarray, (..., n_x, n_x)
        B : ndarray, (..., n_x, n_u)
        """
        x, u = as_floats(x, "x", self.n_x), as_floats(u, "u", self.n_u)
        lead = np.broadcast_shapes(x.shape[:-1], u.shape[:-1])
        point = np.concatenate(
            [np.broadcast_to(x, (*lead, self.n_x)), np.broadcast_to(u, (*lead, self.n_u))], axis=-1
        )

        def formula(columns: Any) -> tuple[Any, ...]:
            states, inputs = tuple(columns[: self.n_x]), tuple(columns[self.n_x :])
            if dt == 0.0:
                return self.rhs_components(states, inputs, np)
            return self.step_components(states, inputs, np, dt)

        jacobian = complex_step(formula, point)
        return jacobian[..., : self.n_x].copy(), jacobian[..., self.n_x :].copy()

    def output_jacobian(self, x: ArrayLike) -> FloatArray:
        """Derivatives `(..., n_y, n_x)` of the outputs at states `(..., n_x)`, by complex step."""
        x = as_floats(x, "x", self.n_x)
        return complex_step(lambda columns: self.output_components(tuple(columns), np), x)

    def steady_state(
        self,
        y: ArrayLike,
        x_guess: ArrayLike | None = None,
        u_guess: ArrayLike | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        r"""State and input at rest with given outputs: :math:`f(x, u) = 0,\; h(x) = y`; see `equilibrium`.

        Parameters
        ----------
        y : array_like, (n_y,)
            Outputs; NaN where one may be anything, for instance where there are more outputs than inputs.
        x_guess, u_guess : array_like, (n_x,) and (n_u,), optional
            Where the search starts; by default at the first equilibrium. Measured disturbances stay there.

        Returns
        -------
        x : ndarray, (n_x,)
        u : ndarray, (n_u,)

        Raises
        ------
        ValueError
            If there is none that the search finds. Inputs are not held to `u_min`, `u_max`.
        """
        from koopctrl_envs.equilibrium import steady_state

        return steady_state(self, y, x_guess, u_guess)

    def _evaluate(
        self, formula: Callable[[Components, Components, Any], tuple[Any, ...]], x: ArrayLike, u: ArrayLike
    ) -> FloatArray:
        """Run a component formula on arrays whose last axis holds the components."""
        x, u = as_floats(x, "x", self.n_x), as_floats(u, "u", self.n_u)
        if x.ndim == u.ndim == 1:
            # Plain floats are ten times faster than arrays of one element, but raise where arrays overflow.
            with contextlib.suppress(ArithmeticError, ValueError):
                return np.array(formula(x.tolist(), u.tolist(), math), dtype=np.float64)
        states, inputs = (np.ascontiguousarray(np.moveaxis(a, -1, 0)) for a in (x, u))
        lead = np.broadcast_shapes(x.shape[:-1], u.shape[:-1])
        parts = formula(tuple(states), tuple(inputs), np)
        return cast(FloatArray, np.stack([np.broadcast_to(part, lead) for part in parts], axis=-1))
