"""EnergyShaping: swing-up by the energy of a port-Hamiltonian model, then a regulator about the target."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._threads import one_blas_thread
from koopctrl._validation import (
    FloatArray,
    as_vector,
    as_weight,
    broadcast_vector,
    check_dt,
    check_finite,
    check_integer,
    check_kind,
    check_number,
)
from koopctrl.controllers.bounds import input_bounds
from koopctrl.controllers.energy_catch import make_catch
from koopctrl.controllers.energy_law import EnergyInfo, EnergyLaw, EnergyState, SwingFrame, with_time
from koopctrl.controllers.estimation.measurement import as_measurement
from koopctrl.errors import OptionError
from koopctrl.sampled.hamiltonian.faces import PortHamiltonian

# A target further than this from an equilibrium of the model, in the states' units, is none.
_NEAR = 0.2
_NEWTON = 8
_PROBES = 2000


class EnergyShaping:
    r"""Swing-up and stabilisation on a port-Hamiltonian model.

    While swinging the input drives the energy to that of the target, `koopctrl.controllers.energy_law` has
    the law and its Lyapunov function; near the target a linear-quadratic regulator takes over, within a
    region that was tried on the model.

    Parameters
    ----------
    model : HamiltonianNetwork or MechanicalNetwork
        Fitted, with inputs.
    x_target : (2d,) array_like
        Equilibrium to bring the plant to: positions, then momenta (zeros).
    dt : float
        Sample time, s.
    u_min, u_max : scalar or (n_u,) array_like
        Bounds on the inputs; finite.
    to_state : callable, optional
        Positions and momenta `(2d,)` (of a `MechanicalNetwork`: positions and velocities) from a measurement;
        by default the measurement is that.
    n_measured : int, optional
        Measured signals; `2d` by default.
    u_target : (n_u,) array_like, optional
        Input that holds the target; 0 by default.
    gain : float
        How much of the input's span an energy error of the swing's height asks for, at the velocity of the
        swing.
    travel : scalar or (n_u,) array_like, optional
        Excursion of the positions that inputs work on, such as a cart's along its track, that the swing may
        use; they are called back to the target. By default they are free.
    Q, R : array_like, optional
        Weights of the regulator on states and inputs; by default one at the states' spread and at the input's
        span.
    reach : scalar or (2d,) array_like, optional
        Largest errors at which the regulator may take over; by default half a unit of the states' spread.

    Attributes
    ----------
    law : EnergyLaw
        Numbers that do not change, and a pure `step`.
    state : EnergyState
        All that is remembered; may be kept and set again.
    catch : Catch
        Gain, cost to go and region of the regulator.
    info : EnergyInfo
        Of the last step: `status` is `swing`, `balance` or `fallback_hold`, and `lyapunov` the value of the
        Lyapunov function.

    Raises
    ------
    OptionError
        If the model has no inputs, the target is no equilibrium, or a setting is outside its range.
    SolverError
        If the regulator holds no neighbourhood of the target.
    """

    def __init__(
        self,
        model: PortHamiltonian,
        x_target: ArrayLike,
        *,
        dt: float,
        u_min: ArrayLike,
        u_max: ArrayLike,
        to_state: Callable[[FloatArray], ArrayLike] | None = None,
        n_measured: int | None = None,
        u_target: ArrayLike | None = None,
        gain: float = 20.0,
        travel: ArrayLike | None = None,
        Q: ArrayLike | None = None,
        R: ArrayLike | None = None,
        reach: ArrayLike | None = None,
    ) -> None:
        check_kind(model, "model", ("linearize", "energy", "simulate"), "a fitted HamiltonianNetwork")
        if not model.n_u:
            raise OptionError("model has no inputs; expected one that was fitted with them")
        n_x, n_u = 2 * model.n_dof, model.n_u
        if to_state is not None and not callable(to_state):
            raise OptionError(f"to_state is a {type(to_state).__name__}; expected a callable or None")
        self.model, self.dt, self.n_u = model, check_dt(dt), n_u
        self.n_measured = n_x if n_measured is None else check_integer(n_measured, "n_measured", low=1)
        self.u_min, self.u_max = input_bounds(u_min, u_max, n_u)
        span = 0.5 * (self.u_max - self.u_min)
        if not (np.isfinite(span).all() and (span > 0.0).all()):
            raise OptionError("u_min, u_max leave an input unbounded or fixed; expected finite bounds apart")
        target = as_vector(x_target, "x_target", n_x)
        u_0 = np.zeros(n_u) if u_target is None else as_vector(u_target, "u_target", n_u)
        scale = model.scale_
        rest, held = _equilibrium(model, target, u_0, scale, span)
        gain = check_number(gain, "gain", low=0.0, strict=True)
        lengths = None if travel is None else broadcast_vector(travel, "travel", n_u)
        if lengths is not None and (lengths <= 0.0).any():
            raise OptionError(f"travel is {lengths.tolist()}; expected excursions above zero")
        if lengths is not None and n_u >= model.n_dof:
            raise OptionError(
                f"travel is given, with {n_u} inputs on {model.n_dof} positions; expected fewer inputs than "
                "positions: nothing is left to swing"
            )
        self.Q = np.diag(scale**-2.0) if Q is None else as_weight(Q, "Q", n_x)
        self.R = np.diag(span**-2.0) if R is None else as_weight(R, "R", n_u, definite=True)
        limits = 0.5 * scale if reach is None else broadcast_vector(reach, "reach", n_x)
        angles = tuple(int(a) for a in getattr(model, "angles", ()))
        with one_blas_thread():
            catch = make_catch(model, rest, held, self.dt, self.Q, self.R, (self.u_min, self.u_max), limits)
            height = _height(model, target, angles)
            frame = _frame(model, target, height, span, lengths)
        self.catch = catch
        self.law = EnergyLaw(
            model.parts_, _reader(model, to_state, n_x), target.copy(), u_0.copy(), angles, gain, height,
            span, self.u_min, self.u_max, frame, catch, self.n_measured,
        )  # fmt: skip
        self.reset()

    @property
    def input_names(self) -> tuple[str, ...]:
        """Of the model."""
        return self.model.input_names_

    def reset(self) -> None:
        """Forget past measurements and inputs."""
        self.state: EnergyState = self.law.initial()
        self.info: EnergyInfo | None = None

    def control(self, measurement: ArrayLike, reference: ArrayLike | None = None) -> FloatArray:
        """Input at this sample.

        Parameters
        ----------
        measurement : (n_measured,) array_like
            Newest outputs; where one is missing (NaN) the last input is held.
        reference : array_like, optional
            Not used; there for the loop. The target is the equilibrium that the controller was made for.

        Returns
        -------
        (n_u,) array
        """
        start = time.perf_counter()
        y = as_measurement(measurement, self.n_measured)
        with one_blas_thread():
            u, self.state, info = self.law.step(self.state, y)
        self.info = with_time(info, time.perf_counter() - start)
        return u

    def __repr__(self) -> str:
        """Dimensions and gains."""
        return f"EnergyShaping(n_x={2 * self.model.n_dof}, n_u={self.n_u}, dt={self.dt:g} s)"


def _reader(model: Any, to_state: Any, n_x: int) -> Callable[[FloatArray], FloatArray]:
    """State of the model from a measurement."""
    turn = getattr(model, "momentum", None)

    def read(y: FloatArray) -> FloatArray:
        x = y if to_state is None else as_vector(to_state(y), "to_state(measurement)", n_x)
        check_finite(x, "to_state(measurement)")
        return np.array(x if turn is None else turn(x))

    return read


def _equilibrium(
    model: Any, target: FloatArray, u_target: FloatArray, scale: FloatArray, span: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The model's own equilibrium nearest to the target: an identified model rests a little beside it.

    The regulator is designed there and works about the target, where the plant is known to rest.
    """
    x, u = target.copy(), u_target.copy()
    for _ in range(_NEWTON):
        a, b = model.linearize(x, u)
        rows = np.concatenate([a * scale, b * span], axis=1) / scale[:, None]
        step = np.linalg.lstsq(rows, -model.rhs(x, u) / scale, rcond=1e-8)[0]
        x, u = x + step[: len(x)] * scale, u + step[len(x) :] * span
    away = float(max(np.abs((x - target) / scale).max(), np.abs((u - u_target) / span).max()))
    left = float(np.abs(model.rhs(x, u) / scale).max())
    rates = float(np.abs(np.linalg.eigvals(model.linearize(target, u_target)[0])).max(initial=0.0))
    if not away <= _NEAR or left > 1e-6 * rates:
        raise OptionError(
            f"x_target lies {away:.2g} of the states' units from the model's nearest equilibrium; expected "
            f"an equilibrium, within {_NEAR}. Look at x_target and u_target, or identify with more samples"
        )
    return x, u


def _height(model: Any, target: FloatArray, angles: tuple[int, ...]) -> float:
    """Height of the energy at the target above the lowest at rest."""
    d = model.n_dof
    low, high = model.x_min_[:d].copy(), model.x_max_[:d].copy()
    for i in angles:
        low[i], high[i] = -np.pi, np.pi
    q = np.random.default_rng(0).uniform(low, high, (_PROBES, d))
    rest = np.concatenate([q, np.zeros_like(q)], axis=1)
    energies = model.energy(rest) - model.energy(target)
    return float(max(-energies.min(), 0.0)) or float(np.ptp(energies)) or 1.0


def _frame(
    model: Any, target: FloatArray, height: float, span: FloatArray, travel: FloatArray | None
) -> SwingFrame:
    """Scales of a swing of full height, velocities split in units of what each reaches in it."""
    d = model.n_dof
    gain = model.input_gain_at(target[:d])
    mobility = model.parts_.energy.hessian(target[None])[0, d:, d:]
    unit = np.sqrt(2.0 * height * np.maximum(np.diag(mobility), np.finfo(float).tiny))
    through = np.diag(gain.T @ mobility @ gain)
    v_scale, w_scale = np.sqrt(2.0 * height * through), span * through
    scaled = gain * unit[:, None]
    length = np.linalg.norm(scaled, axis=0)
    inverse = np.linalg.pinv((scaled / length).T) / length
    lift = unit[:, None] * inverse
    remove = np.eye(d) - lift @ gain.T
    # The coupling of a swing of full height in which everything that is left moves.
    eta_scale = np.abs(lift.T @ np.linalg.inv(mobility) @ remove) @ unit
    if travel is not None and not (eta_scale > 0.0).all():
        raise OptionError(
            "travel is given but moving what inputs work on moves nothing else; expected a coupling"
        )
    return SwingFrame(v_scale, travel, lift, remove, eta_scale, w_scale)
