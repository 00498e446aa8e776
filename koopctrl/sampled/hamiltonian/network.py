"""HamiltonianNetwork: an energy of sampled neurons, from derivatives or trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from koopctrl._threads import few_threads
from koopctrl._validation import FloatArray, as_signal, check_choice, check_integer, check_names, check_number
from koopctrl.data.trajectories import Trajectories, Trajectory
from koopctrl.errors import OptionError, ShapeError
from koopctrl.identification.least_squares import AUTO, LeastSquares
from koopctrl.identification.settings import make_rng
from koopctrl.network.samplers import SAMPLERS
from koopctrl.sampled.hamiltonian.basis import Basis, Encoding
from koopctrl.sampled.hamiltonian.collocation import Steps, fit_gauss, fit_mixed
from koopctrl.sampled.hamiltonian.energy import LagrangianEnergy, MechanicalEnergy, SampledEnergy
from koopctrl.sampled.hamiltonian.equations import Parts, fit_parts, row_units
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

STRUCTURES = ("general", "quadratic", "mobility", "mass_matrix")
SAMPLED_BY = (*SAMPLERS, "adaptive")
_SMOOTH = ("tanh", "softplus")
_GAIN_FEATURES = 30
# Stages may leave the box of the samples by this share of its width.
_MARGIN = 0.2


class HamiltonianNetwork(PortHamiltonian, BaseEstimator):
    r"""Port-Hamiltonian model whose energy is a sampled network.

    .. math::
        \dot q = H_p, \qquad \dot p = -H_q - D(q)\,H_p + G(q)\,u, \qquad H(q, p) = \phi(q, p)\,\theta

    Hidden weights of `phi` are sampled from the data; `theta` and the coefficients of `D` and `G` solve one
    linear least-squares problem with the damping non-negative. Momenta have to be measured: where the
    velocities are, and the mass matrix is constant, they will do (the energy is then per unit of mass); where
    it is not, see `MechanicalNetwork`.

    Parameters
    ----------
    n_features : int
        Neurons of the energy (of each of its parts with a structure).
    sampler : {"uniform", "swim", "elm", "adaptive"}
        Pairs of samples drawn uniformly; by the slope of the first momentum's derivative; Gaussian; or
        uniform first, and then by the slope of the energy found.
    activation : {"tanh", "softplus"}
    feature_scale : float
        Multiplies the neurons' width constants.
    structure : {"general", "quadratic", "mobility", "mass_matrix"}
        What is known of the energy: nothing; :math:`p' N p / 2 + V(q)`; :math:`p' N(q) p / 2 + V(q)`; or
        :math:`p' M(q)^{-1} p / 2 + V(q)`, from derivatives alone: the mass matrices of mechanisms are sums of
        few sines and cosines, their inverses are not.
    angles : sequence of int
        Positions that are angles in radians: they enter by sine and cosine.
    cyclic : sequence of int
        Positions on which nothing depends: their momenta are conserved but for inputs and damping.
    damping : {"constant", "varying"}, optional
        Non-negative diagonal damping, the same everywhere or a function of `q`; none by default.
    input_gain : {"constant", "varying"}
        The gain of inputs, where there are any.
    method : {"gauss", "mixed"}
        How trajectories are read: Gauss collocation, or symplectic Euler's mixed point with a correction of
        the energy (without ports only).
    n_stages : int
        Stages of Gauss collocation; the model's error is of order `dt^(2 n_stages)`.
    max_iter : int
        Most fits of Gauss collocation; corrections of the mixed point.
    ridge : float or "auto"
        Penalty, relative to each regressor's energy; by evidence with `"auto"`.
    rcond : float
        Singular values below `rcond` times the largest are cut.
    random_state : int, numpy.random.Generator or None

    Attributes
    ----------
    parts_ : Parts
        Energy, damping and gain.
    solution_ : LeastSquares
        Of the last fit.
    changes_ : list of float
        What each further fit to trajectories changed, relative to the derivatives' spread.
    scale_ : (2d,) array
        Spread of the states.

    Notes
    -----
    In the spirit of Rahma, Datar, Dietrich, *Training Hamiltonian neural networks without backpropagation*,
    arXiv 2411.17511; ports as in van der Schaft & Jeltsema, *Port-Hamiltonian Systems Theory*, 2014; the
    mixed point as in David & Mehats, *Symplectic learning for Hamiltonian neural networks*, arXiv 2106.11753.
    """

    solution_: LeastSquares

    def __init__(
        self,
        n_features: int = 500,
        *,
        sampler: str = "uniform",
        activation: str = "tanh",
        feature_scale: float = 0.7,
        structure: str = "general",
        angles: Sequence[int] = (),
        cyclic: Sequence[int] = (),
        damping: str | None = None,
        input_gain: str = "constant",
        method: str = "gauss",
        n_stages: int = 3,
        max_iter: int = 20,
        ridge: float | str = AUTO,
        rcond: float = 1e-15,
        random_state: Any = None,
    ) -> None:
        self.n_features = n_features
        self.sampler = sampler
        self.activation = activation
        self.feature_scale = feature_scale
        self.structure = structure
        self.angles = angles
        self.cyclic = cyclic
        self.damping = damping
        self.input_gain = input_gain
        self.method = method
        self.n_stages = n_stages
        self.max_iter = max_iter
        self.ridge = ridge
        self.rcond = rcond
        self.random_state = random_state

    @few_threads(fit_work)
    def fit_derivatives(
        self,
        x: ArrayLike,
        xdot: ArrayLike,
        u: ArrayLike | None = None,
        *,
        gauge: tuple[ArrayLike, float] | None = None,
        state_names: Sequence[str] | None = None,
        input_names: Sequence[str] | None = None,
    ) -> HamiltonianNetwork:
        """Fit to states and their time derivatives: one solve.

        Parameters
        ----------
        x : (n, 2d) array_like
            Positions, then momenta.
        xdot : (n, 2d) array_like
            Their derivatives.
        u : (n, n_u) array_like, optional
            Inputs.
        gauge : (state, energy), optional
            A state `(2d,)` and its energy; by default that of the data's mean is zero.
        state_names, input_names : sequence of str, optional

        Returns
        -------
        The estimator itself.

        Raises
        ------
        ShapeError, DataError
            If the arrays do not fit each other, are not finite, or never change.
        OptionError
            If a parameter is outside the values it may take.
        """
        x = as_signal(x, "x")
        xdot = as_signal(xdot, "xdot", x.shape[1])
        inputs = np.empty((len(x), 0)) if u is None else as_signal(u, "u")
        for name, other in (("xdot", xdot), ("u", inputs)):
            if len(other) != len(x):
                raise ShapeError(f"{name} has {len(other)} rows; expected {len(x)}, as x has")
        ridge, rng = self._check(), make_rng(self.random_state)
        parts = self._blank(x, xdot, inputs, rng)
        units = row_units(xdot, self.scale_)
        fitted, solution = fit_parts(parts, x, xdot, inputs, units, self.rcond, ridge)
        if self.sampler == "adaptive":
            parts = self._blank(x, xdot, inputs, rng, fitted.energy.value(x)[:, None])
            fitted, solution = fit_parts(parts, x, xdot, inputs, units, self.rcond, ridge)
        self.changes_: list[float] = []
        names = check_names(state_names, "state_names", x.shape[1], "x")
        return self._finish(fitted, solution, x, gauge, names, input_names, inputs.shape[1])

    @few_threads(fit_work)
    def fit(
        self, X: Trajectories | Trajectory, y: None = None, *, gauge: tuple[ArrayLike, float] | None = None
    ) -> HamiltonianNetwork:
        """Fit to trajectories alone: no derivatives are formed.

        Parameters
        ----------
        X : Trajectories
            Outputs are positions, then momenta; inputs are held from sample to sample.
        y : None
            Not used; there for scikit-learn.
        gauge : (state, energy), optional
            As in `fit_derivatives`.

        Returns
        -------
        The estimator itself.
        """
        if self.structure == "mass_matrix":
            raise OptionError(
                "structure is 'mass_matrix', which is fitted to derivatives; expected 'mobility' for "
                "trajectories of momenta. For those of velocities there is MechanicalNetwork"
            )
        data, steps = steps_of(X)
        x0, u = steps.x0, steps.u
        ridge, rng = self._check(), make_rng(self.random_state)
        parts = self._blank(x0, steps.slope, u, rng)
        units = row_units(steps.slope, self.scale_)
        fitted, solution, self.changes_ = self._fit_steps(parts, steps, units, ridge)
        if self.sampler == "adaptive":
            parts = self._blank(x0, steps.slope, u, rng, fitted.energy.value(x0)[:, None])
            fitted, solution, self.changes_ = self._fit_steps(parts, steps, units, ridge)
        return self._finish(fitted, solution, x0, gauge, data.output_names, data.input_names, u.shape[1])

    def _fit_steps(
        self, parts: Parts, steps: Steps, units: FloatArray, ridge: float | str
    ) -> tuple[Parts, LeastSquares, list[float]]:
        if self.method == "mixed":
            if parts.gain is not None or parts.damping is not None:
                raise OptionError(
                    "method is 'mixed', with inputs or damping; expected 'gauss': the correction of a mixed "
                    "point is that of a conservative flow"
                )
            return fit_mixed(parts, steps, units, self.rcond, ridge, self.max_iter)
        low, high = np.minimum(steps.x0, steps.x1).min(axis=0), np.maximum(steps.x0, steps.x1).max(axis=0)
        margin = _MARGIN * (high - low)
        return fit_gauss(
            parts,
            steps,
            units,
            self.rcond,
            ridge,
            self.n_stages,
            self.max_iter,
            (low - margin, high + margin),
        )

    def _check(self) -> float | str:
        """Check the parameters; returns the penalty."""
        check_choice(self.sampler, "sampler", SAMPLED_BY)
        check_choice(self.activation, "activation", _SMOOTH)
        check_choice(self.structure, "structure", STRUCTURES)
        check_choice(self.input_gain, "input_gain", PORTS)
        check_choice(self.method, "method", ("gauss", "mixed"))
        check_integer(self.n_stages, "n_stages", low=1)
        check_integer(self.max_iter, "max_iter", low=1)
        return check_common(self)

    def _blank(
        self,
        x: FloatArray,
        xdot: FloatArray,
        u: FloatArray,
        rng: np.random.Generator,
        targets: FloatArray | None = None,
    ) -> Parts:
        """Sampled functions without coefficients; `targets` steer the sampling."""
        mean, scale, angles = spread(x, self.angles)
        self.scale_ = scale
        d = x.shape[1] // 2
        cyclic = check_cyclic(self.cyclic, angles, d)
        sampler = self.sampler
        if sampler == "adaptive":
            sampler = "uniform" if targets is None else "swim"
        steer = xdot[:, d : d + 1] if targets is None else targets

        def basis(columns: slice, n_features: int, constant: bool, over: Sequence[int]) -> Basis:
            encoding = Encoding.of(mean[columns], scale[columns], over, cyclic)
            width = (n_features, self.feature_scale, bool(len(over)))
            return sampled_basis(
                encoding, x[:, columns], steer, width, rng, sampler, self.activation, constant
            )

        position = slice(0, d)
        if self.structure == "general":
            energy: Any = SampledEnergy(basis(slice(0, 2 * d), self.n_features, False, angles), np.empty(0))
        else:
            varying = self.structure != "quadratic"
            entries = basis(position, self.n_features if varying else 0, True, angles)
            entries = entries if varying else replace(entries, linear=False)
            potential = basis(position, self.n_features, False, angles)
            if self.structure == "mass_matrix":
                speed = np.std(xdot[:, :d], axis=0)
                energy = LagrangianEnergy(entries, potential, speed, np.empty(0))
            else:
                energy = MechanicalEnergy(entries, potential, scale[d:], np.empty(0))
        damping = gain = None
        if self.damping is not None:
            damping = damping_of(
                self.damping, Encoding.of(mean[:d], scale[:d], angles, cyclic), x[:, :d], rng
            )
        if u.shape[1]:
            varying = self.input_gain == "varying"
            functions = basis(position, _GAIN_FEATURES if varying else 0, True, angles)
            functions = functions if varying else replace(functions, linear=False)
            gain = InputGain(functions, np.zeros((functions.n_functions, d, u.shape[1])))
        return Parts(energy, damping, gain)

    def _finish(
        self,
        fitted: Parts,
        solution: LeastSquares,
        x: FloatArray,
        gauge: tuple[ArrayLike, float] | None,
        state_names: Sequence[str],
        input_names: Sequence[str] | None,
        n_u: int,
    ) -> HamiltonianNetwork:
        self.parts_, self.solution_ = fitted, solution
        state, value = (x.mean(axis=0), 0.0) if gauge is None else gauge
        point = np.asarray(self._states(state, "gauge")[0][0])
        self.parts_ = fitted.with_gauge(point, check_number(value, "gauge"))
        self.state_names_ = tuple(state_names)
        self.input_names_ = check_names(input_names, "input_names", n_u, "u")
        self.x_min_, self.x_max_ = x.min(axis=0), x.max(axis=0)
        if self.structure != "general":
            warn_indefinite(self.parts_, x)
        return self
