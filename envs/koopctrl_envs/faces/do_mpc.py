"""A plant as a model of do-mpc, which is optional."""

from __future__ import annotations

import warnings
from typing import Any

import casadi

from koopctrl_envs.faces.casadi import output_function, plant_to_casadi, rhs_function
from koopctrl_envs.plant import Plant


def plant_to_do_mpc(
    plant: Plant,
    dt: float | None = None,
    *,
    symvar_type: str = "SX",
    process_noise: bool = False,
    measurement_noise: bool = True,
) -> Any:
    """`do_mpc.model.Model` that is set up, in discrete time, or in continuous time with `dt=0`.

    `_x`, `_u` and `_y` have one scalar each for the plant's states, inputs and outputs, by their names; each
    output is an expression (`_aux`) too, for objectives. The discrete model takes the env's own steps. do-mpc
    keeps the sample time in its controllers and simulators: set their `t_step` to the plant's `dt`.

    Parameters
    ----------
    plant : Plant
    dt : float, optional
        Sample time in seconds, by default the plant's; 0 for continuous time.
    symvar_type : {"SX", "MX"}
        CasADi's kind of symbol; do-mpc's EKF and `linearize` need SX.
    process_noise, measurement_noise : bool
        Whether states and outputs carry additive noise (`_w`, `_v`), for do-mpc's estimators.

    Raises
    ------
    ValueError
        If do-mpc is not installed, or `symvar_type` is none.
    """
    if symvar_type not in ("SX", "MX"):
        raise ValueError(f"symvar_type is {symvar_type!r}; expected 'SX' or 'MX'")
    try:
        with warnings.catch_warnings():
            # On import it warns of extras that its models do not need.
            warnings.filterwarnings("ignore", "The .* feature")
            import do_mpc
    except ImportError as error:
        raise ValueError(
            f"to_do_mpc needs do-mpc, which could not be imported ({error}); run `pip install do-mpc`"
        ) from error
    continuous = dt is not None and float(dt) == 0.0
    step = rhs_function(plant) if continuous else plant_to_casadi(plant, dt)
    outputs = output_function(plant)
    if symvar_type == "SX" and not continuous:
        step = step.expand()
    peer = do_mpc.model.Model("continuous" if continuous else "discrete", symvar_type)
    x = casadi.vertcat(*(peer.set_variable("_x", name) for name in plant.state_names))
    u = casadi.vertcat(*(peer.set_variable("_u", name) for name in plant.input_names))
    ahead = casadi.vertsplit(casadi.densify(step.call([x, u])[0]))
    for name, expression in zip(plant.state_names, ahead, strict=True):
        peer.set_rhs(name, expression, process_noise=process_noise)
    for name, expression in zip(plant.output_names, casadi.vertsplit(outputs(x)), strict=True):
        peer.set_expression(name, expression)
        peer.set_meas(name, expression, meas_noise=measurement_noise)
    peer.setup()
    return peer
