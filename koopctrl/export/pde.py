"""Discretised equations as python-control systems and CasADi functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import casadi
import numpy as np

from koopctrl._validation import check_dt, check_integer
from koopctrl.errors import OptionError
from koopctrl.export.names import named_for_pycontrol

if TYPE_CHECKING:
    import control

    from koopctrl.sampled.pde.semi_discrete import SemiDiscrete


def _state_names(model: SemiDiscrete) -> list[str]:
    names = [f"c{i}" for i in range(model.n_coordinates)]
    return names if model.pde.order == 1 else names + [f"{n}_rate" for n in names]


def to_statespace(model: SemiDiscrete, name: str = "pde") -> control.StateSpace:
    """Continuous-time state space of a linear equation without forcing, signals named as the equation's."""
    import control

    a, b, c, d = model.matrices()

    def make(inputs: list[str], outputs: list[str]) -> control.StateSpace:
        return control.StateSpace(
            a, b, c, d, 0, inputs=inputs, outputs=outputs, states=_state_names(model), name=name,
            remove_useless_states=False,
        )  # fmt: skip

    return named_for_pycontrol(make, model.pde.input_names or (), model.pde.output_names or (), name)


def to_nlsys(model: SemiDiscrete, name: str = "pde") -> control.NonlinearIOSystem:
    """Continuous-time nonlinear system; its `params` are the equation's parameters."""
    import control

    def inputs_of(u: Any) -> np.ndarray:
        return np.atleast_1d(np.asarray(u, dtype=float))[: model.n_inputs]

    def at(params: dict[str, Any]) -> SemiDiscrete:
        given = {k: float(v) for k, v in params.items() if k in model.parameters}
        return model.at(**given) if given else model

    def update(t: float, x: Any, u: Any, params: dict[str, Any]) -> np.ndarray:
        return at(params).derivative(np.asarray(x, dtype=float), inputs_of(u), t)

    def output(t: float, x: Any, u: Any, params: dict[str, Any]) -> np.ndarray:
        return model.output(np.asarray(x, dtype=float), inputs_of(u), t)

    def make(inputs: list[str], outputs: list[str]) -> control.NonlinearIOSystem:
        return control.nlsys(
            update, output, inputs=inputs, outputs=outputs, states=_state_names(model),
            params=dict(model.parameters), dt=0, name=name,
        )  # fmt: skip

    return named_for_pycontrol(make, model.pde.input_names or (), model.pde.output_names or (), name)


def to_casadi(
    model: SemiDiscrete, dt: float | None = None, n_substeps: int = 1, name: str = "pde"
) -> casadi.Function:
    """`(x, v, p) -> (x', y)`, or with a sample time `(x, v, p) -> (x_next, y)`; `y` at the time of `x`.

    `p` holds the parameters in the order of `model.parameters` (empty if there are none). The next state is
    ETDRK4's, with the linear part at the parameters' present values as its stiff part: it stays of fourth
    order when `p` moves.

    Parameters
    ----------
    model : SemiDiscrete
        Without forcing and boundary data that depend on time.
    dt : float, optional
        Sample time, s.
    n_substeps : int
        Steps of the integrator in a sample.
    name : str
        Of the function.

    Raises
    ------
    OptionError
        If the equation depends on time, or a nonlinear term does not take symbols.
    """
    if not model.autonomous:
        raise OptionError("the equation has forcing or boundary data; expected inputs alone for to_casadi")
    x, v = casadi.MX.sym("x", model.n_states), casadi.MX.sym("v", model.n_inputs)
    p = casadi.MX.sym("p", len(model.parameters))
    slope = _derivative(model, x, v, p)
    full = _full(model, x, v)
    y = casadi.mtimes(casadi.DM(model.sensors), full)
    names = (["x", "v", "p"], ["derivative", "y"])
    continuous = casadi.Function(name, [x, v, p], [slope, y], *names)
    if dt is None:
        return continuous
    h = check_dt(dt) / check_integer(n_substeps, "n_substeps", low=1)
    return casadi.Function(
        name, [x, v, p], [_etdrk4(model, continuous, x, v, p, h, n_substeps), y], ["x", "v", "p"],
        ["x_next", "y"],
    )  # fmt: skip


def _full(model: SemiDiscrete, x: casadi.MX, v: casadi.MX) -> casadi.MX:
    full = casadi.mtimes(casadi.DM(model.null), x[: model.n_coordinates])
    return full + casadi.mtimes(casadi.DM(model.lift_inputs), v) if model.n_inputs else full


def _derivative(model: SemiDiscrete, x: casadi.MX, v: casadi.MX, p: casadi.MX) -> casadi.MX:
    weight = {None: 1.0, **{k: p[i] for i, k in enumerate(model.parameters)}}
    full = _full(model, x, v)
    total = casadi.MX.zeros(model.n_coordinates)
    for k, matrix in model.linear.items():
        total += weight[k] * casadi.mtimes(casadi.DM(matrix), full)
    for k, matrix in model.input_parts.items():
        if model.n_inputs:
            total += weight[k] * casadi.mtimes(casadi.DM(matrix), v)
    for k, term in model.nonlinear:
        arguments = [casadi.mtimes(casadi.DM(e), full) for e in term.evaluations]
        try:
            value = casadi.MX(term.term.function(*arguments))
        # CasADi raises NotImplementedError where a function has no form for symbols.
        except (TypeError, NotImplementedError, ValueError) as error:
            raise OptionError(
                f"a nonlinear term fails on CasADi's symbols ({error}); expected arithmetic and "
                "NumPy's functions"
            ) from error
        total += weight[k] * casadi.mtimes(casadi.DM(term.project), value)
    if model.pde.order == 1:
        return total
    rate = x[model.n_coordinates :]
    return casadi.vertcat(rate, total - model.pde.damping * rate)


def _etdrk4(
    model: SemiDiscrete,
    slope: casadi.Function,
    x: casadi.MX,
    v: casadi.MX,
    p: casadi.MX,
    h: float,
    n_substeps: int,
) -> casadi.MX:
    from koopctrl.sampled.pde.etdrk4 import ETDRK4, linear_part

    matrix = linear_part(model)
    integrator = ETDRK4(matrix, h)
    stiff = casadi.DM(matrix)

    def rest(state: Any, t: float) -> Any:
        return slope(state, v, p)[0] - casadi.mtimes(stiff, state)

    state: Any = x
    for j in range(n_substeps):
        state = integrator.step(state, j * h, rest, casadi.mtimes, casadi.DM)
    return state
