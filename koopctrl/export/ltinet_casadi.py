"""A network as `casadi.Function`, for optimisation and for C code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from koopctrl.errors import OptionError

if TYPE_CHECKING:
    from koopctrl.ltinet.structure import NetworkStructure
    from koopctrl.ltinet.varying.affine import AffineModel


def network_to_casadi(net: NetworkStructure, name: str = "ltinet") -> Any:
    """`(x, u) -> (dx, y)` in neuron states (`(x_next, y)` of a discrete network), as sparse as the network.

    Parameters
    ----------
    net : LTINetwork
    name : str
        Name of the function, and of the C function that `generate` writes.

    Returns
    -------
    casadi.Function
    """
    import casadi

    if not isinstance(name, str) or not casadi.Function.check_name(name):
        raise OptionError(f"name is {name!r}; expected a C identifier without double underscores")
    if net.delayed:
        raise OptionError(
            "to_casadi was called of a network with dead times; expected none. Use to_statespace"
        )
    x = casadi.SX.sym("x", net.n_states)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    u = casadi.SX.sym("u", net.B.shape[1])  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    A, B, C, D = (casadi.sparsify(casadi.DM(M)) for M in (net.block_matrix().tocsc(), net.B, net.C, net.D))
    dx = casadi.mtimes(A, x) + casadi.mtimes(B, u)
    y = casadi.mtimes(C, x) + casadi.mtimes(D, u)
    return casadi.Function(
        name,
        [x, u],
        [casadi.densify(dx), casadi.densify(y)],
        ["x", "u"],
        ["x_next" if net.discrete else "dx", "y"],
    )


def parameter_network_to_casadi(model: AffineModel, name: str) -> Any:
    """`(x, u, p) -> (dx, y)` of an affine model."""
    import casadi

    if not isinstance(name, str) or not casadi.Function.check_name(name):
        raise OptionError(f"name is {name!r}; expected a C identifier without double underscores")
    x, u, p = (
        casadi.SX.sym(letter, size)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
        for letter, size in (("x", len(model.A[0])), ("u", model.B[0].shape[1]), ("p", model.n_p))
    )

    def at(parts: Any) -> Any:
        total = casadi.DM(parts[0])
        for i, part in enumerate(parts[1:]):
            total = total + p[i] * casadi.DM(part)
        return total

    dx = casadi.mtimes(at(model.A), x) + casadi.mtimes(at(model.B), u)
    y = casadi.mtimes(at(model.C), x) + casadi.mtimes(at(model.D), u)
    return casadi.Function(name, [x, u, p], [dx, y], ["x", "u", "p"], ["dx", "y"])
