"""Both faces as models of do-mpc, so that its MPC, MHE, EKF and simulator run on them.

do-mpc is optional and imported on call. All signals are in raw units and keep their names.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import casadi

from koopctrl._validation import check_choice
from koopctrl.errors import OptionError
from koopctrl.export.casadi import lifted_to_casadi, network_to_casadi

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN
    from koopctrl.lifted.model import LiftedModel

_RESERVED = "default"  # do-mpc's own entry in each of its structures
LIFTED_STATE = "z"


def network_to_do_mpc(
    model: KoopmanRNN,
    *,
    symvar_type: str = "SX",
    process_noise: bool = False,
    measurement_noise: bool = True,
    measured_inputs: bool = False,
) -> Any:
    """The recurrent network as a discrete-time `do_mpc.model.Model` that is set up.

    `_x` has one scalar variable for each entry of the state or lag window, `_u` one for each input, `_y` one
    for each output, by their names in the data (`model.state_names_`; a delay of i samples is `name[k-i]`).
    Each output is an expression (`_aux`) too, for use in objectives. do-mpc keeps the sample time in its
    controllers, estimators and simulators: set their `settings.t_step = model.dt_`. With feedthrough the
    input of a step is the one at the time of the output it leads to, as in `model.simulate`.

    Parameters
    ----------
    model : KoopmanRNN
        Fitted.
    symvar_type : {"SX", "MX"}
        CasADi's kind of symbol. Problems in SX evaluate faster; in MX they are set up faster for wide layers.
        do-mpc's EKF and `linearize` need SX.
    process_noise : bool
        Whether the learned next outputs carry additive noise (`_w`), for MHE. The exact shift of a lag window
        carries none.
    measurement_noise : bool
        Whether the outputs carry additive noise (`_v`).
    measured_inputs : bool
        Whether inputs are measurements too, without noise, after the outputs: do-mpc's MHE takes past inputs
        as free variables unless they are.

    Returns
    -------
    do_mpc.model.Model

    Raises
    ------
    OptionError
        If do-mpc is not installed, or a name cannot be one in do-mpc.
    NotFittedError
        If the model is not fitted.
    """
    window = model._network.window
    peer = _new_model("discrete", symvar_type)
    states = _names(model.state_names_, "states")
    inputs = _names(model.input_names_, "inputs")
    outputs = _names(model.output_names_, "outputs")
    xs = [peer.set_variable("_x", name) for name in states]
    us = [peer.set_variable("_u", name) for name in inputs]
    result = _call(network_to_casadi(model), symvar_type, casadi.vertcat(*xs), _column(us, symvar_type))
    x_next = casadi.vertsplit(result[0])
    for i, (name, expression) in enumerate(zip(states, x_next, strict=True)):
        peer.set_rhs(name, expression, process_noise=process_noise and i < window.n_y)
    seen = casadi.vertsplit(result[1]) if model.hidden else xs[: window.n_y]
    _measure(peer, outputs, seen, measurement_noise)
    return _finish(peer, inputs, us, outputs, measured_inputs)


def lifted_to_do_mpc(
    lifted: LiftedModel,
    *,
    symvar_type: str = "SX",
    process_noise: bool = False,
    measurement_noise: bool = True,
    measured_inputs: bool = False,
) -> Any:
    """The linear face as a `do_mpc.model.Model` that is set up; continuous in time if `lifted.dt` is 0.

    `_x` is one vector `z` of lifted coordinates, which starts from `lifted.lift(x0)`; inputs and outputs have
    their names, and each output is an expression (`_aux`) too, for use in objectives. Drift and bilinear
    terms are part of it. In do-mpc's objects set `settings.t_step = lifted.dt`. With the feedthrough of a
    network the input of a step is the one at the time of the output it leads to, as for the network; with a
    given `D`, note that do-mpc's simulator measures with the input of the step that has just ended.

    Parameters
    ----------
    lifted : LiftedModel
    symvar_type : {"SX", "MX"}
        CasADi's kind of symbol; do-mpc's EKF needs SX.
    process_noise : bool
        Whether the lifted coordinates carry additive noise (`_w`), for MHE.
    measurement_noise : bool
        Whether the outputs carry additive noise (`_v`).
    measured_inputs : bool
        Whether inputs are measurements too, without noise, after the outputs, as MHE wants it.

    Returns
    -------
    do_mpc.model.Model

    Raises
    ------
    OptionError
        If do-mpc is not installed, or a name cannot be one in do-mpc.
    """
    peer = _new_model("continuous" if lifted.dt == 0 else "discrete", symvar_type)
    inputs, outputs = _names(lifted.input_names, "inputs"), _names(lifted.output_names, "outputs")
    z = peer.set_variable("_x", LIFTED_STATE, shape=(lifted.n_z, 1))
    us = [peer.set_variable("_u", name) for name in inputs]
    z_next, y = _call(lifted_to_casadi(lifted), symvar_type, z, _column(us, symvar_type))
    if lifted.window.shift:
        n_y = lifted.window.n_y
        y = casadi.DM(lifted.x_op[:n_y]) + z[:n_y] * casadi.DM(lifted.observables.x_scale[:n_y])
    peer.set_rhs(LIFTED_STATE, z_next, process_noise=process_noise)
    _measure(peer, outputs, casadi.vertsplit(y), measurement_noise)
    return _finish(peer, inputs, us, outputs, measured_inputs)


def _new_model(model_type: str, symvar_type: str) -> Any:
    check_choice(symvar_type, "symvar_type", ("SX", "MX"))
    try:
        with warnings.catch_warnings():
            # On import it warns of extras that its models, controllers and estimators do not need.
            warnings.filterwarnings("ignore", "The .* feature")
            import do_mpc
    except ImportError as error:
        raise OptionError(
            f"to_do_mpc needs do-mpc, which could not be imported ({error}); run `pip install do-mpc`"
        ) from error
    return do_mpc.model.Model(model_type, symvar_type)


def _names(names: Sequence[str], what: str) -> tuple[str, ...]:
    if _RESERVED in names:
        raise OptionError(
            f"one of the {what} is named {_RESERVED!r}, which do-mpc keeps for itself; rename it in the data"
        )
    return tuple(names)


def _column(symbols: list[Any], symvar_type: str) -> Any:
    """Column of the symbols; of their kind even when there are none."""
    return casadi.vertcat(*symbols) if symbols else getattr(casadi, symvar_type)(0, 1)


def _call(function: casadi.Function, symvar_type: str, *args: Any) -> list[Any]:
    """Expressions of a function; scalar operations for SX, so that derivatives exploit sparsity."""
    called = function.expand() if symvar_type == "SX" else function
    # do-mpc compares sparsity patterns, so structural zeros are filled.
    return [casadi.densify(e) for e in called.call(list(args))]


def _measure(peer: Any, names: Sequence[str], expressions: Sequence[Any], noise: bool) -> None:
    for name, expression in zip(names, expressions, strict=True):
        peer.set_expression(name, expression)
        peer.set_meas(name, expression, meas_noise=noise)


def _finish(
    peer: Any, inputs: Sequence[str], us: Sequence[Any], outputs: Sequence[str], measured_inputs: bool
) -> Any:
    if measured_inputs:
        both = sorted(set(inputs) & set(outputs))
        if both:
            raise OptionError(
                f"{both} name inputs and outputs, so inputs cannot be measurements too; rename one of each"
            )
        for name, u in zip(inputs, us, strict=True):
            peer.set_meas(name, u, meas_noise=False)
    peer.setup()
    return peer
