r"""MechanicalNetwork: mass matrix and potential of a mechanical system from positions, velocities and forces.

The momentum balance over one sample, with inputs held,

.. math:: M(q_1) v_1 - M(q_0) v_0 = \int_0^h \tfrac12 \partial_q (v' M v) - V_q - D(q) v \, dt + h\,G u

is linear in the coefficients of `M`, `V` and `D`. No accelerations are formed; in the integral, positions
follow the cubic through both ends first, and then the trajectory of the model that was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from koopctrl._threads import few_threads
from koopctrl._validation import (
    FloatArray,
    as_float_array,
    as_matrix,
    check_choice,
    check_finite,
    check_integer,
    check_number,
)
from koopctrl.data.trajectories import Trajectories, Trajectory
from koopctrl.errors import DataError, OptionError, ShapeError
from koopctrl.identification.least_squares import AUTO, LeastSquares, QRAccumulator
from koopctrl.identification.settings import make_rng
from koopctrl.sampled.hamiltonian.basis import Basis, Encoding, no_layer
from koopctrl.sampled.hamiltonian.collocation import Steps, gauss, stages_on_model
from koopctrl.sampled.hamiltonian.energy import LagrangianEnergy
from koopctrl.sampled.hamiltonian.equations import Parts
from koopctrl.sampled.hamiltonian.faces import PortHamiltonian
from koopctrl.sampled.hamiltonian.ports import InputGain
from koopctrl.sampled.hamiltonian.prelude import (
    PORTS,
    check_common,
    check_cyclic,
    damping_of,
    fit_work,
    sampled_basis,
    spread,
    steps_of,
    warn_indefinite,
)
from koopctrl.sampled.hamiltonian.solve import solve_signed

_STAGES = 4


class MechanicalNetwork(PortHamiltonian, BaseEstimator):
    r"""Port-Hamiltonian model of a mechanical system whose velocities are measured, not its momenta.

    .. math:: H(q, p) = \tfrac12 p' M(q)^{-1} p + V(q), \qquad p = M(q)\,v

    with `M` and `V` of sampled neurons and, for angles, sine and cosine. The forces' directions are known
    (`input_matrix`): without them no record tells a heavy system under strong springs from a light one under
    weak ones.

    Parameters
    ----------
    n_features : int
        Neurons of the potential, and of every entry of a varying mass matrix. With angles alone 0 is often
        enough: sine and cosine are there already.
    input_matrix : (d, n_u) array_like, optional
        Forces per unit of input; by default inputs act on the first positions, one each.
    mass : {"constant", "varying"}
        Whether the mass matrix depends on the position.
    angles : sequence of int
        Positions that are angles in radians.
    cyclic : sequence of int
        Positions on which nothing depends, such as a cart's along its track.
    damping : {"constant", "varying"}, optional
        Non-negative diagonal damping.
    feature_scale : float
        Multiplies the neurons' width constants.
    n_refits : int
        Fits along the trajectory of the model found, after the first one along cubics.
    ridge : float or "auto"
        Penalty, relative to each regressor's energy.
    rcond : float
        Singular values below `rcond` times the largest are cut.
    random_state : int, numpy.random.Generator or None

    Attributes
    ----------
    parts_ : Parts
        Energy, damping and gain.
    solution_ : LeastSquares
        Of the last fit.
    scale_ : (2d,) array
        Spread of positions and momenta.

    Notes
    -----
    Linear in the parameters as the inverse dynamic models of Khalil & Dombre, *Modeling, Identification and
    Control of Robots*, 2002, chapter 12; here in integrated form and with sampled functions.
    """

    solution_: LeastSquares

    def __init__(
        self,
        n_features: int = 0,
        *,
        input_matrix: ArrayLike | None = None,
        mass: str = "varying",
        angles: Sequence[int] = (),
        cyclic: Sequence[int] = (),
        damping: str | None = None,
        feature_scale: float = 0.7,
        n_refits: int = 2,
        ridge: float | str = AUTO,
        rcond: float = 1e-13,
        random_state: Any = None,
    ) -> None:
        self.n_features = n_features
        self.input_matrix = input_matrix
        self.mass = mass
        self.angles = angles
        self.cyclic = cyclic
        self.damping = damping
        self.feature_scale = feature_scale
        self.n_refits = n_refits
        self.ridge = ridge
        self.rcond = rcond
        self.random_state = random_state

    @few_threads(fit_work)
    def fit(
        self, X: Trajectories | Trajectory, y: None = None, *, gauge: tuple[ArrayLike, float] | None = None
    ) -> MechanicalNetwork:
        """Fit to records of positions and velocities under inputs.

        Parameters
        ----------
        X : Trajectories
            Outputs are positions, then velocities; inputs are held from sample to sample.
        y : None
            Not used; there for scikit-learn.
        gauge : (positions, energy), optional
            Positions `(d,)` at which the energy at rest has this value; by default the mean position has
            zero.

        Returns
        -------
        The estimator itself.

        Raises
        ------
        DataError
            If the inputs never act: the size of masses and forces is then unknown.
        ShapeError, OptionError
            If data or parameters do not fit.
        """
        data, steps = steps_of(X)
        x0, u = steps.x0, steps.u
        mean, scale, angles = spread(x0, self.angles)
        d = x0.shape[1] // 2
        gain = self._check(d, u)
        rng = make_rng(self.random_state)
        position = Encoding.of(mean[:d], scale[:d], angles, check_cyclic(self.cyclic, angles, d))

        def basis(n_features: int, constant: bool, linear: bool) -> Basis:
            width = (n_features, self.feature_scale, bool(angles))
            return sampled_basis(position, x0[:, :d], None, width, rng, constant=constant, linear=linear)

        varying = self.mass == "varying"
        energy = LagrangianEnergy(
            basis(self.n_features if varying else 0, True, varying),
            basis(self.n_features, False, True),
            scale[d:],
            np.empty(0),
        )
        damping = None
        if self.damping is not None:
            damping = damping_of(self.damping, position, x0[:, :d], rng)
        held = Basis(position, no_layer(position.n_code), True, False)
        parts = Parts(energy, damping, InputGain(held, gain[None]))
        stages = _cubic(steps)
        for again in range(1 + self.n_refits):
            if again:
                stages = stages_on_model(partial(_rhs_of_velocities, parts), steps, stages, 2)
            parts, self.solution_ = self._solve(parts, steps, stages, scale)
        mass = parts.energy.momentum(x0[:, :d], x0[:, d:])
        size = np.abs(mass).max(axis=0)
        self.scale_ = np.concatenate([scale[:d], size * np.std(mass / size, axis=0)])
        where, value = (mean[:d], 0.0) if gauge is None else gauge
        rest = np.concatenate([self._vector(where, d), np.zeros(d)])
        self.parts_ = parts.with_gauge(rest, check_number(value, "gauge"))
        self.state_names_ = (*data.output_names[:d], *(f"momentum of {n}" for n in data.output_names[:d]))
        self.input_names_ = data.input_names
        states = np.concatenate([x0[:, :d], mass], axis=1)
        self.x_min_, self.x_max_ = states.min(axis=0), states.max(axis=0)
        warn_indefinite(self.parts_, states)
        return self

    def momentum(self, x: ArrayLike) -> FloatArray:
        """States `[q, p]` of positions and velocities `x = [q, v]`, `(..., 2d)`."""
        states, shape = self._states(x)
        d = self.n_dof
        p = self.parts_.energy.momentum(states[:, :d], states[:, d:])
        return np.concatenate([states[:, :d], p], axis=1).reshape(*shape, -1)

    def velocity(self, x: ArrayLike) -> FloatArray:
        """Positions and velocities `[q, v]` of states `x = [q, p]`, `(..., 2d)`."""
        states, shape = self._states(x)
        d = self.n_dof
        v = self.parts_.energy.velocity(states)
        return np.concatenate([states[:, :d], v], axis=1).reshape(*shape, -1)

    def mass_matrix(self, q: ArrayLike) -> FloatArray:
        """Mass matrices `(..., d, d)` at positions `q`, `(..., d)`."""
        positions, shape = self._positions(q)
        return self.parts_.energy.mass_matrix(positions).reshape(*shape, self.n_dof, self.n_dof)

    def _check(self, d: int, u: FloatArray) -> FloatArray:
        """Check the parameters; returns the matrix of forces per input, `(d, n_u)`."""
        check_common(self)
        check_choice(self.mass, "mass", PORTS)
        check_integer(self.n_refits, "n_refits")
        n_u = u.shape[1]
        if not u.any():
            raise DataError(
                "the inputs never act; expected forces that do, in some episodes: the size of masses is "
                "measured against them"
            )
        if self.input_matrix is None:
            if n_u > d:
                raise OptionError(
                    f"there are {n_u} inputs and {d} positions; expected input_matrix, ({d}, {n_u})"
                )
            return np.eye(d)[:, :n_u]
        return as_matrix(self.input_matrix, "input_matrix", (d, n_u))

    def _vector(self, value: ArrayLike, size: int) -> FloatArray:
        array = check_finite(as_float_array(value, "gauge"), "gauge")
        if array.shape != (size,):
            raise ShapeError(f"gauge has positions of shape {array.shape}; expected ({size},)")
        return array

    def _solve(
        self, parts: Parts, steps: Steps, stages: FloatArray, scale: FloatArray
    ) -> tuple[Parts, LeastSquares]:
        energy, d = parts.energy, steps.x0.shape[1] // 2
        _, b, _ = gauss(stages.shape[1])
        ends = energy.momentum_columns(steps.x1) - energy.momentum_columns(steps.x0)
        inner, outer = 0.0, 0.0
        for i, weight in enumerate(b):
            inner = inner + weight * energy.force_columns(stages[:, i])
            if parts.damping is not None:
                x = stages[:, i]
                values = parts.damping.functions(x[:, :d])
                drag = np.einsum("na,ni,ik->nkai", values, x[:, d:], np.eye(d))
                outer = outer + weight * drag.reshape(len(x), d, -1)
        columns = [ends / steps.h - inner] + ([np.asarray(outer)] if parts.damping is not None else [])
        phi = np.concatenate(columns, axis=2)
        target = steps.u @ parts.gain.coef[0].T  # pyright: ignore[reportOptionalMemberAccess]
        # Forces of all positions in one unit: power over each one's velocity.
        power = np.sqrt(np.mean((target * scale[d:]) ** 2))
        units = power / scale[d:]
        rows = QRAccumulator(phi.shape[2], 1)
        rows.update((phi / units[:, None]).reshape(-1, phi.shape[2]), (target / units).reshape(-1, 1))
        n_signed = 0 if parts.damping is None else parts.damping.coef.size
        solution = solve_signed(rows, n_signed, self.rcond, self.ridge)
        coef, k = solution.coef[:, 0], energy.n_columns
        damping = None if parts.damping is None else parts.damping.with_coef(coef[k:])
        return Parts(replace(energy, coef=coef[:k]), damping, parts.gain), solution


def _rhs_of_velocities(parts: Parts, x: FloatArray, u: FloatArray) -> FloatArray:
    """Derivative of `[q, v]`: `M vdot = pdot - Mdot v`."""
    energy, d = parts.energy, parts.energy.n_dof
    q, v = x[:, :d], x[:, d:]
    mass = energy.mass_matrix(q)
    force = parts.rhs(np.concatenate([q, np.einsum("nij,nj->ni", mass, v)], axis=1), u)[:, d:]
    slopes = energy.mass.combine_slopes(q, energy.parts[1]).reshape(len(x), d, d, d)
    turning = np.einsum("ncij,nc,nj->ni", slopes, v, v)
    return np.concatenate([v, np.linalg.solve(mass, (force - turning)[..., None])[..., 0]], axis=1)


def _cubic(steps: Steps) -> FloatArray:
    """Positions and velocities at Gauss nodes along the cubic through both ends, `(n, s, 2d)`."""
    c, _, _ = gauss(_STAGES)
    d, h = steps.x0.shape[1] // 2, steps.h
    q0, v0, q1, v1 = (
        steps.x0[:, None, :d],
        steps.x0[:, None, d:],
        steps.x1[:, None, :d],
        steps.x1[:, None, d:],
    )
    t = c[:, None]
    q = (1 + 2 * t) * (1 - t) ** 2 * q0 + t * (1 - t) ** 2 * h * v0
    q = q + t**2 * (3 - 2 * t) * q1 + t**2 * (t - 1) * h * v1
    rise = (q1 - q0) / h
    v = 6 * t * (1 - t) * rise + (1 - t) * (1 - 3 * t) * v0 + t * (3 * t - 2) * v1
    return np.concatenate([q, v], axis=2)
