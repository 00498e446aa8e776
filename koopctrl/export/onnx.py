"""To ONNX: one step of a network, for runtimes that have neither Python nor a C compiler."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._paths import file_path
from koopctrl._validation import FloatArray, check_choice
from koopctrl.errors import OptionError
from koopctrl.network.folded import Rollout

if TYPE_CHECKING:
    import onnx

    from koopctrl.koopman_rnn import KoopmanRNN

_OPSET, _IR = 17, 8
_TYPES = {"double": np.float64, "float": np.float32}


def _tool() -> Any:
    """The package, which is an extra.

    Raises
    ------
    OptionError
        If it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise OptionError("to_onnx() needs the package onnx; pip install koopctrl[onnx]") from error
    return onnx


class _Graph:
    """Nodes and constants as they come."""

    def __init__(self, tool: Any, dtype: Any) -> None:
        self._tool = tool
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._dtype, self._count = dtype, 0

    def constant(self, values: FloatArray) -> str:
        """An array that is part of the model."""
        self._count += 1
        name = f"c{self._count}"
        self.constants.append(
            self._tool.numpy_helper.from_array(np.ascontiguousarray(values, dtype=self._dtype), name)
        )
        return name

    def whole(self, values: list[int]) -> str:
        """Indices."""
        self._count += 1
        name = f"i{self._count}"
        self.constants.append(self._tool.numpy_helper.from_array(np.array(values, dtype=np.int64), name))
        return name

    def __call__(self, op: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """The result of an operation."""
        self._count += 1
        name = out or f"t{self._count}"
        self.nodes.append(self._tool.helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def affine(self, x: str, matrix: FloatArray, constant: FloatArray | None = None) -> str:
        """`x M + c`."""
        made = self("MatMul", x, self.constant(matrix))
        return made if constant is None else self("Add", made, self.constant(constant))

    def columns(self, x: str, begin: int, end: int, out: str | None = None) -> str:
        """Some columns."""
        return self("Slice", x, self.whole([begin]), self.whole([end]), self.whole([1]), out=out)


def network_to_onnx(
    model: KoopmanRNN, path: str | PathLike[str] | None = None, *, scalar: str = "double"
) -> onnx.ModelProto:
    r"""One step of a network as an ONNX graph, for many states at once.

    .. math:: x_{k+1}, y_k = f(x_k, u_k)

    Inputs `x` `(batch, n_x)` and `u` `(batch, n_u)` (none where the model has none), outputs `x_next` and
    `y`,
    in physical units. `x` is the measured signals, the window of lags, or the hidden state; `y` belongs to
    `x`, as in `to_nlsys`. Steps are held within the range of a `rollout_margin`. Names, sample time and
    what `x` holds stand in the
    model's metadata.

    Parameters
    ----------
    model : KoopmanRNN
    path : path, optional
        Where to write it, by convention ending in `.onnx`.
    scalar : {"double", "float"}
        Type of all numbers.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    OptionError
        If onnx is not installed, or an option is not known.
    """
    check_choice(scalar, "scalar", tuple(_TYPES))
    tool = _tool()
    helper = tool.helper
    net, bounds = model._network, model.rollout_bounds()
    inner = net.state if model.hidden else net  # pyright: ignore[reportAttributeAccessIssue]
    dtype = _TYPES[scalar]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph, window = _Graph(tool, dtype), inner.window
    n_x, n_u = window.n_x, window.n_u
    newest = _next_output(graph, Rollout(inner), bounds)
    shift_x = window.advance(np.eye(n_x), np.zeros((n_x, n_u)), np.zeros((n_x, window.n_y)))
    unit = window.advance(np.zeros((window.n_y, n_x)), np.zeros((window.n_y, n_u)), np.eye(window.n_y))
    moved = graph(
        "Add", graph.affine("x", shift_x), graph.affine(newest, unit), out=None if n_u else "x_next"
    )
    if n_u:
        shift_u = window.advance(np.zeros((n_u, n_x)), np.eye(n_u), np.zeros((n_u, window.n_y)))
        graph("Add", moved, graph.affine("u", shift_u), out="x_next")
    if model.hidden:
        _readout(graph, net.readout, n_x)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        graph.columns("x_next" if window.shift else "x", 0, model.n_y, out="y")
    shapes = {"x": n_x, "u": n_u}
    inputs = [helper.make_tensor_value_info(k, kind, ["batch", n]) for k, n in shapes.items() if n]
    shapes = {"x_next": n_x, "y": model.n_y}
    outputs = [helper.make_tensor_value_info(k, kind, ["batch", n]) for k, n in shapes.items()]
    made = helper.make_model(
        helper.make_graph(graph.nodes, "koopman_rnn", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR, producer_name="koopctrl",
    )  # fmt: skip
    names = window.names(model.output_names_, model.input_names_) if not model.hidden else ()
    states = names or [f"x{i}" for i in range(n_x)]
    helper.set_model_props(
        made,
        {"dt": repr(float(model.dt_)), "states": ", ".join(states), "inputs": ", ".join(model.input_names_),
         "outputs": ", ".join(model.output_names_)},
    )  # fmt: skip
    tool.checker.check_model(made, full_check=True)
    if path is not None:
        file_path(path).write_bytes(made.SerializeToString())
    return made


def _next_output(graph: _Graph, roll: Rollout, bounds: tuple[FloatArray, FloatArray] | None) -> str:
    """`y_{k+1}`, from sums about the training data's mean."""
    coupling, x_mean, n_y = roll.network.coupling, roll.network.x_mean, roll.n_y
    dx = graph("Sub", "x", graph.constant(x_mean))
    du = graph("Sub", "u", graph.constant(roll.u_mean)) if roll.n_u else ""
    const = roll.const + (x_mean @ roll.linear).reshape(roll.const.shape)
    const[0] += roll.u_mean @ roll.direct
    terms = graph.affine(dx, roll.linear, const.ravel())
    if len(roll.bias):
        pre = graph.affine(dx, roll.wx, roll.bias + x_mean @ roll.wx + roll.u_mean @ roll.wu)
        if coupling.layer_sees_input and roll.n_u:
            pre = graph("Add", pre, graph.affine(du, roll.wu))
        psi = graph("Tanh" if roll.tanh else "Relu", pre)
        terms = graph("Add", terms, graph.affine(psi, roll.outer))
    total = graph("Add", graph.columns("x", 0, n_y), graph.columns(terms, 0, n_y))
    if roll.n_u:
        total = graph("Add", total, graph.affine(du, roll.direct))
        unit = graph("Div", du, graph.constant(roll.u_scale))
    for q, factors in enumerate(coupling.products):
        if not len(factors):
            continue  # the first monomial is one
        product = graph.columns(unit, factors[0], factors[0] + 1)
        for f in factors[1:]:
            product = graph("Mul", product, graph.columns(unit, f, f + 1))
        term = graph("Mul", product, graph.columns(terms, q * n_y, (q + 1) * n_y))
        total = graph("Add", total, term)
    if bounds is None:
        return total
    low, high = (graph.constant(np.broadcast_to(side, (n_y,))) for side in bounds)
    return graph("Min", graph("Max", total, low), high)


def _readout(graph: _Graph, readout: Any, n_x: int) -> None:
    """Outputs of a hidden state, `constant + C x + D u + F psi(x, u)`."""
    s, coef, layer = readout.scaling, readout.coef * readout.scaling.y_scale, readout.layer
    q, n_u = layer.n_features, len(s.u_mean)
    sees = bool(readout.feedthrough and n_u)
    scaled = (
        graph("Div", graph("Sub", "u", graph.constant(s.u_mean)), graph.constant(s.u_scale)) if sees else ""
    )
    made = graph.affine("x", coef[1 : 1 + n_x], s.y_mean + coef[0])
    if q:
        pre = graph.affine("x", layer.weights[:, :n_x].T, layer.biases)
        if sees:
            pre = graph("Add", pre, graph.affine(scaled, layer.weights[:, n_x:].T))
        psi = graph("Tanh" if layer.activation == "tanh" else "Relu", pre)
        made = graph("Add", made, graph.affine(psi, coef[1 + n_x : 1 + n_x + q]))
    if sees:
        made = graph("Add", made, graph.affine(scaled, coef[1 + n_x + q :]))
    graph("Identity", made, out="y")
