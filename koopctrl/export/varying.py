"""Families of linear models as CasADi functions and python-control systems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import casadi
import numpy as np

from koopctrl.export.names import named_for_pycontrol

if TYPE_CHECKING:
    import control

    from koopctrl.lifted.varying.family import LiftedFamily


def family_to_casadi(family: LiftedFamily, name: str = "lifted_family") -> casadi.Function:
    """`(z, u, p) -> (z_next, y)`; `u` and `p` in raw units, `z = family.lift(x)`."""
    z, u = casadi.MX.sym("z", family.n_z), casadi.MX.sym("u", family.n_u)
    p = casadi.MX.sym("p", family.n_p)
    du = u - casadi.DM(family.u_op)
    z_next = casadi.MX(family.n_z, 1)
    for i, (A, B, c) in enumerate(zip(family.model.A, family.model.B, family.c, strict=True)):
        part = casadi.mtimes(casadi.DM(A), z) + casadi.mtimes(casadi.DM(B), du) + casadi.DM(c)
        z_next = z_next + (part if i == 0 else p[i - 1] * part)
    y = casadi.mtimes(casadi.DM(family.model.C[0]), z) + casadi.DM(family.y_op)
    return casadi.Function(name, [z, u, p], [z_next, y], ["z", "u", "p"], ["z_next", "y"])


def family_to_nlsys(family: LiftedFamily, name: str = "lifted_family") -> control.NonlinearIOSystem:
    """Discrete-time system in lifted coordinates; inputs are those moved, then parameters, in raw units."""
    import control

    n_u = family.n_u

    def update(t: float, z: Any, inputs: Any, params: dict[str, Any]) -> Any:
        both = np.atleast_1d(np.asarray(inputs, dtype=float))
        return family.step(np.asarray(z, dtype=float), both[:n_u], both[n_u : n_u + family.n_p])

    def output(t: float, z: Any, inputs: Any, params: dict[str, Any]) -> Any:
        return family.model.C[0] @ np.asarray(z, dtype=float) + family.y_op

    states = [f"z{i}" for i in range(family.n_z)]

    def make(inputs: list[str], outputs: list[str]) -> control.NonlinearIOSystem:
        return control.nlsys(
            update, output, inputs=inputs, outputs=outputs, states=states, dt=family.dt, name=name
        )

    return named_for_pycontrol(
        make, (*family.input_names, *family.parameter_names), family.output_names, name
    )
