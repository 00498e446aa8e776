"""Hamiltonian models for CasADi and for python-control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import casadi
import control
import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, check_dt, check_integer
from koopctrl.errors import OptionError
from koopctrl.export.names import named_for_pycontrol
from koopctrl.network.hidden_layer import Layer
from koopctrl.sampled.hamiltonian.basis import Basis
from koopctrl.sampled.hamiltonian.energy import LagrangianEnergy, MechanicalEnergy, SampledEnergy
from koopctrl.sampled.hamiltonian.faces import sampled

if TYPE_CHECKING:
    from koopctrl.sampled.hamiltonian.faces import PortHamiltonian


def hamiltonian_to_casadi(
    model: PortHamiltonian, dt: float | None = None, substeps: int = 4, name: str = "hamiltonian"
) -> casadi.Function:
    """`(x, u) -> xdot`, or with `dt` `(x, u) -> x_next` by Runge-Kutta steps of order four."""
    parts, d = model._fitted(), model.n_dof
    x, u = casadi.MX.sym("x", 2 * d), casadi.MX.sym("u", model.n_u)
    gradient = casadi.gradient(energy_expression(parts.energy, x), x)
    q, velocity = x[:d], gradient[d:]
    force = -gradient[:d]
    if parts.damping is not None:
        damping = parts.damping
        zeta = _code(damping.encoding, q)
        functions = [casadi.MX(1.0)]
        for centre in damping.centres:
            functions.append(casadi.exp(-casadi.sumsqr(zeta - casadi.DM(centre)) / (2.0 * damping.width**2)))
        force = force - casadi.mtimes(casadi.DM(damping.coef.T), casadi.vertcat(*functions)) * velocity
    if parts.gain is not None and model.n_u:
        flat = casadi.mtimes(casadi.DM(parts.gain.coef.reshape(len(parts.gain.coef), -1).T),
                             _functions(parts.gain.basis, q))  # fmt: skip
        force = force + casadi.mtimes(casadi.reshape(flat, model.n_u, d).T, u)
    rhs = casadi.Function(name, [x, u], [casadi.vertcat(velocity, force)], ["x", "u"], ["xdot"])
    if dt is None:
        return rhs
    h = check_dt(dt) / check_integer(substeps, "substeps", low=1)
    state: Any = x
    for _ in range(substeps):
        k1 = rhs(state, u)
        k2 = rhs(state + 0.5 * h * k1, u)
        k3 = rhs(state + 0.5 * h * k2, u)
        k4 = rhs(state + h * k3, u)
        state = state + h / 6.0 * (k1 + 2.0 * (k2 + k3) + k4)
    return casadi.Function(name, [x, u], [state], ["x", "u"], ["x_next"])


def energy_expression(energy: Any, x: casadi.MX) -> casadi.MX:
    """Energy of a symbolic state."""
    d = energy.n_dof
    q, p = x[:d], x[d:]
    if isinstance(energy, SampledEnergy):
        return casadi.dot(casadi.DM(energy.coef), _functions(energy.basis, x)) - energy.offset
    if isinstance(energy, MechanicalEnergy):
        v, n = energy.parts
        entries = casadi.mtimes(casadi.DM(n.T), _functions(energy.mobility, q))
        kinetic = casadi.MX(0.0)
        for m, (i, j) in enumerate(zip(*(k.tolist() for k in np.triu_indices(d)), strict=True)):
            half = 0.5 if i == j else 1.0
            kinetic += half * entries[m] * p[i] * p[j] / float(energy.p_scale[i] * energy.p_scale[j])
        return kinetic + casadi.dot(casadi.DM(v), _functions(energy.potential, q)) - energy.offset
    if isinstance(energy, LagrangianEnergy):
        v, m = energy.parts
        mass = casadi.reshape(casadi.mtimes(casadi.DM(m.T), _functions(energy.mass, q)), d, d)
        kinetic = 0.5 * casadi.dot(p, casadi.solve(mass, p, "symbolicqr", {}))
        return kinetic + casadi.dot(casadi.DM(v), _functions(energy.potential, q)) - energy.offset
    raise OptionError(f"the energy is a {type(energy).__name__}; expected one of the package's")


def _code(encoding: Any, x: casadi.MX) -> casadi.MX:
    parts = []
    for source, kind in zip(encoding.source.tolist(), encoding.kind, strict=True):
        if kind == "line":
            parts.append((x[source] - encoding.mean[source]) / encoding.scale[source])
        else:
            parts.append(casadi.sin(x[source]) if kind == "sin" else casadi.cos(x[source]))
    return casadi.vertcat(*parts)


def _functions(basis: Basis, x: casadi.MX) -> casadi.MX:
    zeta = _code(basis.encoding, x)
    parts = [casadi.MX(1.0)] * basis.constant + [zeta] * basis.linear
    if basis.layer.n_features:
        parts.append(_neurons(basis.layer, zeta))
    return casadi.vertcat(*parts)


def _neurons(layer: Layer, zeta: casadi.MX) -> casadi.MX:
    pre = casadi.mtimes(casadi.DM(layer.weights), zeta) + casadi.DM(layer.biases)
    if layer.activation == "tanh":
        return casadi.tanh(pre)
    if layer.activation == "softplus":
        return casadi.fmax(pre, 0.0) + casadi.log1p(casadi.exp(-casadi.fabs(pre)))
    return casadi.fmax(pre, 0.0)


def hamiltonian_to_nlsys(model: PortHamiltonian, name: str = "hamiltonian") -> control.NonlinearIOSystem:
    """Continuous-time system, its outputs the states."""
    parts, n_u = model._fitted(), model.n_u

    def update(t: float, x: Any, u: Any, params: dict[str, Any]) -> FloatArray:
        held = np.atleast_1d(np.asarray(u, dtype=float))[:n_u]
        return parts.rhs(np.asarray(x, dtype=float)[None], held[None])[0]

    def make(inputs: list[str], outputs: list[str]) -> control.NonlinearIOSystem:
        states = [f"x[{n}]" for n in model.state_names_]
        return control.nlsys(update, None, inputs=inputs, outputs=outputs, states=states, dt=0, name=name)

    return named_for_pycontrol(make, model.input_names_, model.state_names_, name)


def hamiltonian_to_statespace(
    model: PortHamiltonian, x: ArrayLike, u: ArrayLike | None, dt: float | None
) -> control.StateSpace:
    """Linear model in deviations from a state and an input; its outputs are the states."""
    a, b = model.linearize(x, u)
    if dt is not None:
        a, b = sampled(a, b, check_dt(dt))
    n = len(a)

    def make(inputs: list[str], outputs: list[str]) -> control.StateSpace:
        names = {"inputs": inputs, "outputs": outputs, "states": [f"x[{s}]" for s in model.state_names_]}
        zero = np.zeros((n, b.shape[1]))
        return control.StateSpace(a, b, np.eye(n), zero, dt or 0, remove_useless_states=False, **names)

    return named_for_pycontrol(make, model.input_names_, model.state_names_)
