"""C99 of a model or an estimator by itself: for simulators, soft sensors, and controllers of one's own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._paths import folder_path
from koopctrl._validation import FloatArray, check_fitted
from koopctrl.errors import OptionError
from koopctrl.export.c.scalar import SINGLE, as_scalar, check_scalar
from koopctrl.export.c.single import check_rounding, lifted_rounding, needs_doubles, network_rounding
from koopctrl.export.c.writer import DataSection, StateLayout, check_identifier, comment, template
from koopctrl.network.folded import Rollout

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN
    from koopctrl.lifted.model import LiftedModel
    from koopctrl.network.hidden_state import Readout

_NETWORK = """
/* x_next, GUARD_N_STATES numbers, after one sample under the input u. @STATE@ */
void NAME_step(const double *x, const double *u, double *x_next);

/* Derivatives of x_next: A, rows of GUARD_N_STATES, and B, rows of GUARD_N_INPUTS. */
void NAME_jacobian(const double *x, const double *u, double *A, double *B);

/* GUARD_N_OUTPUTS outputs. */
void NAME_output(const double *x, const double *u, double *y);
"""
_LINEAR = """#define GUARD_N_LIFTED @n_z@

/* z, GUARD_N_LIFTED numbers, of a state x. */
void NAME_lift(const double *x, double *z);

/* z_next after one sample under the input u. */
void NAME_step(const double *z, const double *u, double *z_next);

/* GUARD_N_OUTPUTS outputs. */
void NAME_output(const double *z, const double *u, double *y);
"""


@dataclass(frozen=True)
class GeneratedPart:
    """What was written of a model or an estimator.

    Attributes
    ----------
    folder : Path
    files : tuple of str
        Header and source.
    name : str
        Prefix of all public identifiers.
    data_bytes, state_bytes : int
        Constant data, and memory of one instance.
    scalar : str
        `double` or `float`.
    rounding : float
        Of a model in floats: bound on what rounding does to one step, relative to the outputs' spread; see
        `koopctrl.export.c.single`.
    """

    folder: Path
    files: tuple[str, ...]
    name: str
    data_bytes: int
    state_bytes: int
    scalar: str = "double"
    rounding: float = 0.0


def add_network(roll: Rollout, data: DataSection, state: StateLayout | None = None, **features: int) -> None:
    """A network with its scalings folded in, as `network.folded` has it; memory of `features` in its type."""
    coupling = roll.network.coupling
    if roll.network.known is not None:
        raise OptionError(
            "the model has a known part, a Python function that cannot be written as C; expected one "
            "without. Use "
            "to_casadi(), whose generate() writes C"
        )
    data.define(
        N_FEATURES=len(roll.bias), N_Q=roll.n_q, TANH=int(roll.tanh),
        LAYER_SEES_INPUT=int(coupling.layer_sees_input),
    )  # fmt: skip
    wide = data.scalar == "float" and needs_doubles(roll)
    real = "double" if wide else data.scalar
    data.define(WIDE_NETWORK=int(wide), REAL=real, TANH_OF="tanh" if real == "double" else "tanhf")
    if state is not None:
        (state.wide if wide else state.doubles)(**features)
    # What is subtracted is rounded before it is folded in, so that its rounding cancels.
    kind = np.float64 if real == "double" else np.float32
    x_mean, u_mean = (v.astype(kind).astype(float) for v in (roll.network.x_mean, roll.u_mean))
    const = roll.const + (x_mean @ roll.linear).reshape(roll.const.shape)
    const[0] += u_mean @ roll.direct
    arrays = {
        "weights": roll.wx.T, "biases": roll.bias + x_mean @ roll.wx + u_mean @ roll.wu,
        "constant": const, "linear": roll.linear.T, "outer": roll.outer.T, "direct": roll.direct.T,
        "x_mean": x_mean, "u_mean": u_mean, "u_scale": roll.u_scale,
    }  # fmt: skip
    for name, values in arrays.items():
        data.array(name, values, wide=wide)
    if coupling.layer_sees_input:
        data.array("input_weights", roll.wu.T, wide=wide)
    data.array("monomial", np.array([(*indices, -1, -1)[:2] for indices in coupling.products], dtype=int))


def lifted_biases(lifted: LiftedModel) -> FloatArray:
    """Biases of a lifted model's features, for states in deviations from the operating point."""
    layer = lifted.observables.layer
    return layer.biases + layer.weights @ lifted.x_op


def model_to_c(
    model: KoopmanRNN | LiftedModel,
    folder: str | PathLike[str],
    name: str = "koopctrl_model",
    *,
    scalar: str = "double",
) -> GeneratedPart:
    """Write one step of a model, its outputs and Jacobians or its lift, as C99.

    With a `rollout_margin` a network's step is held within the training range as in `predict`; the Jacobian
    of what is held is 0.

    Parameters
    ----------
    model : KoopmanRNN or LiftedModel
    folder : path
        Made if need be.
    name : str
        Of the files, and prefix of all public identifiers.
    scalar : {"double", "float"}
        Type of all numbers; `rounding` of what is returned says what floats cost.

    Raises
    ------
    OptionError
        If `name` is no usable identifier, or floats cannot hold the model's numbers.
    """
    check_identifier(name)
    check_scalar(scalar)
    from koopctrl.lifted.model import LiftedModel

    rounding = 0.0
    if not isinstance(model, LiftedModel):
        check_fitted(model, "network_")
    if scalar == "float":
        rounding = check_rounding(_rounding(model), "the model")
    parts = _linear(model, scalar) if isinstance(model, LiftedModel) else _network(model, scalar)
    data, templates, values = parts
    texts = {f"{name}.h": fill("model.h", values), f"{name}.c": source_text(name, data, templates)}
    return write(folder, name, texts, data, StateLayout(scalar), rounding)


def _rounding(model: KoopmanRNN | LiftedModel) -> float:
    from koopctrl.lifted.model import LiftedModel

    if isinstance(model, LiftedModel):
        return lifted_rounding(model)
    net = model.network_
    return network_rounding(Rollout(net.state if model.hidden else net))  # pyright: ignore[reportAttributeAccessIssue]


def _network(model: KoopmanRNN, scalar: str) -> tuple[DataSection, tuple[str, ...], dict[str, Any]]:
    bounds, net, data = model.rollout_bounds(), model.network_, DataSection(scalar)
    hidden = getattr(net, "readout", None) if model.hidden else None
    roll = Rollout(net.state if hidden is not None else net)  # pyright: ignore[reportAttributeAccessIssue]
    window = roll.window
    data.define(
        N_X=roll.n_x,
        N_Y=roll.n_y,
        N_IN=roll.n_u,
        OUTPUT_LAGS=window.output_lags,
        HIDDEN=int(hidden is not None),
        BOUNDED=int(bounds is not None),
    )
    add_network(roll, data)
    if bounds is not None:
        data.array("low", bounds[0])
        data.array("high", bounds[1])
    state = "x holds the outputs" + (
        ", then those before, then past inputs" if window.n_x > window.n_y else ""
    )
    if hidden is not None:
        _add_readout(hidden, roll.n_x, data)
        state = "x is hidden: start it from an estimator, or from zero after a long time at rest"
    if window.shift:
        state += "; u is the next sample's input, for the model has feedthrough"
    values = {
        "SUMMARY": "a recurrent network", "DT": f"{model.dt_:.12g}", "n_x": roll.n_x, "n_y": model.n_y,
        "n_u": roll.n_u, "outputs": comment(", ".join(model.output_names_)),
        "inputs": comment(", ".join(model.input_names_) or "none"),
        "FUNCTIONS": _NETWORK.replace("@STATE@", f"{state}."),
    }  # fmt: skip
    return data, ("dot.c", "axpy.c", "rnn_model.c", "network_model.c"), values


def _add_readout(readout: Readout, n_x: int, data: DataSection) -> None:
    """Outputs `constant + C x + D u + F psi(x, u)` in physical units."""
    s, coef, layer = readout.scaling, readout.coef * readout.scaling.y_scale, readout.layer
    q, n_u = layer.n_features, len(s.u_mean)
    data.define(
        N_OUT=coef.shape[1], N_OUTPUT_FEATURES=q, FEEDTHROUGH=int(readout.feedthrough),
        OUTPUT_TANH=int(layer.activation == "tanh"),
    )  # fmt: skip
    constant = s.y_mean + coef[0]
    arrays = {"output_x": coef[1 : 1 + n_x].T, "output_psi": coef[1 + n_x : 1 + n_x + q].T}
    weights, biases = layer.weights[:, :n_x], layer.biases
    if readout.feedthrough and n_u:
        of_input = coef[1 + n_x + q :] / s.u_scale[:, None]
        constant = constant - s.u_mean @ of_input
        arrays["output_u"] = of_input.T
        on_input = layer.weights[:, n_x:] / s.u_scale
        biases = biases - on_input @ s.u_mean
        arrays["output_input_weights"] = on_input
    arrays |= {"output_constant": constant, "output_weights": weights, "output_biases": biases}
    for name, values in arrays.items():
        data.array(name, values)


def _linear(lifted: LiftedModel, scalar: str) -> tuple[DataSection, tuple[str, ...], dict[str, Any]]:
    from koopctrl.export.c.estimator import add_lift

    data, obs = DataSection(scalar), lifted.observables
    has_layer = obs.reduce.shape[1] > 0
    n_raw = add_lift(lifted, data)
    data.define(
        N_X=lifted.n_x, N_Y=lifted.n_y, N_Z=lifted.n_z, N_IN=lifted.n_u, N_RAW=n_raw, LIFTS=1, OBSERVER=0,
        N_FEATURES=obs.layer.n_features if has_layer else 0, TANH=int(obs.layer.activation == "tanh"),
        BILINEAR=int(lifted.N is not None),
    )  # fmt: skip
    arrays = {
        "x_op": lifted.x_op, "A": lifted.A, "B": lifted.B, "C": lifted.C, "D": lifted.D, "c": lifted.c,
        "in_op": lifted.u_op, "y_op": lifted.y_op,
    }  # fmt: skip
    if has_layer:
        arrays |= {"weights": obs.layer.weights, "biases": lifted_biases(lifted)}
    if lifted.N is not None:
        arrays["products"] = lifted.N
    for name, values in arrays.items():
        data.array(name, values)
    values = {
        "SUMMARY": "a lifted linear model", "DT": f"{lifted.dt:.12g}", "n_x": lifted.n_x, "n_y": lifted.n_y,
        "n_u": lifted.n_u, "outputs": comment(", ".join(lifted.output_names)),
        "inputs": comment(", ".join(lifted.input_names) or "none"),
        "FUNCTIONS": _LINEAR.replace("@n_z@", str(lifted.n_z)),
    }  # fmt: skip
    return data, ("dot.c", "linear_lift.c", "linear_model.c"), values


def fill(file: str, values: dict[str, Any]) -> str:
    """A template with `@KEY@` replaced."""
    from koopctrl import __version__

    text = template(file)
    for key, value in {"VERSION": __version__, **values}.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def source_text(name: str, data: DataSection, templates: tuple[str, ...]) -> str:
    """The source file: data, then code."""
    body = "\n".join(as_scalar(template(file), data.scalar) for file in templates)
    single = SINGLE if data.scalar == "float" else ""
    return f'#include "{name}.h"\n\n#include <math.h>\n\n{single}{data.text()}\n{body}'


def named(text: str, name: str) -> str:
    """Put the name where the templates have NAME and GUARD."""
    text = re.sub(r"\bNAME(?=\b|_)", name, text)
    return re.sub(r"\bGUARD(?=_)", name.upper(), text)


def write(
    folder: str | PathLike[str], name: str, texts: dict[str, str], data: DataSection, state: StateLayout,
    rounding: float = 0.0,
) -> GeneratedPart:  # fmt: skip
    """Write files with the name put in."""
    target = folder_path(folder)
    for file, text in texts.items():
        if file.endswith(".h"):
            text = as_scalar(text, data.scalar)
        (target / file).write_text(named(text, name), encoding="utf-8", newline="\n")
    return GeneratedPart(target, tuple(texts), name, data.bytes, state.bytes, data.scalar, rounding)
