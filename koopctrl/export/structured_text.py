"""To IEC 61131-3 structured text: linear models and LQR as function blocks for programmable controllers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from koopctrl._paths import file_path
from koopctrl._validation import FloatArray
from koopctrl.controllers.estimation.lifted_measurement import LiftedMeasurement
from koopctrl.controllers.lqr import LQR
from koopctrl.errors import OptionError
from koopctrl.lifted.model import LiftedModel

_WORDS = frozenset(
    re.findall(
        r"\w+",
        """abs acos action and any array asin at atan bool by byte case char concat configuration constant
        cos date
        delete dint do dword else elsif end exit exp expt external false find for from function if in input
        insert
        int interval left len limit lint ln log lreal lword max mid min mod move mux nan not of on or output
        pointer program real repeat replace resource retain return right rol ror round sel shl shr sin
        single sint
        sqrt string struct tan task then time to true trunc type udint uint ulint until usint var while with
        word
        wstring xor init start k i j z p u y x r dt""",
    )
)
_PER_LINE = 4


@dataclass(frozen=True)
class StructuredText:
    """What was written.

    Attributes
    ----------
    path : Path
    name : str
        Of the function block.
    inputs, outputs : dict
        Signals and the variables that hold them; a name that the language forbids is written in another way.
    """

    path: Path
    name: str
    inputs: dict[str, str]
    outputs: dict[str, str]


def to_structured_text(given: Any, path: str | PathLike[str], name: str = "KoopctrlBlock") -> StructuredText:
    """Write a function block, to be called once every sample time.

    A model, `LiftedModel`: inputs in, outputs of this sample out, then the state moves on; `init` sets it
    to the lifted state of
    the start values. A regulator, `LQR` with the state measured: measurements and set-points in, inputs
    within their bounds
    out; `reachable` is false where a set-point's own steady input is beyond the bounds, where Python's
    `LQR` aims at
    the nearest one that can be held and this block does not. A measurement or set-point that is not a
    number holds the last input.

    Parameters
    ----------
    given : LiftedModel or LQR
    path : path
        File to write, by convention ending in `.st`.
    name : str
        Of the function block.

    Raises
    ------
    OptionError
        If the object is another one, has an estimator, bilinear terms or lags, or the name is no identifier.
    """
    if (
        not isinstance(name, str)
        or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name)
        or name.lower() in _WORDS
    ):
        raise OptionError(f"name is {name!r}; expected an identifier of IEC 61131-3 that is no word of it")
    target = file_path(path)
    if isinstance(given, LiftedModel):
        text, inputs, outputs = _model(given, name)
    elif isinstance(given, LQR):
        text, inputs, outputs = _regulator(given, name)
    else:
        raise OptionError(
            f"a {type(given).__name__} has no structured text; expected a LiftedModel or an LQR. Predictive "
            "controllers go through C: mpc.to_c(folder)"
        )
    target.write_text(text, encoding="ascii", newline="\n")
    return StructuredText(target, name, inputs, outputs)


def _identifiers(names: Sequence[str], taken: set[str]) -> dict[str, str]:
    """A variable for each signal; letters, digits and single underscores, apart without regard to case."""
    found = {}
    for signal in names:
        base = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", signal)).strip("_") or "signal"
        base = base if base[0].isalpha() else f"s_{base}"
        new, count = base, 2
        while new.lower() in taken or new.lower() in _WORDS:
            new, count = f"{base}_{count}", count + 1
        taken.add(new.lower())
        found[signal] = new
    return found


class _Writer:
    """Constants, variables and statements of a block."""

    def __init__(self) -> None:
        self.constants: list[str] = []
        self.variables = ["i : DINT;", "j : DINT;"]
        self.body: list[str] = []

    def constant(self, name: str, values: FloatArray) -> None:
        """A flat array, row by row."""
        numbers = [_number(v) for v in np.asarray(values, dtype=float).ravel()]
        rows = [", ".join(numbers[i : i + _PER_LINE]) for i in range(0, len(numbers), _PER_LINE)]
        self.constants.append(
            f"{name} : ARRAY[0..{len(numbers) - 1}] OF LREAL := [\n        " + ",\n        ".join(rows) + "];"
        )

    def array(self, name: str, size: int) -> None:
        """A variable."""
        self.variables.append(f"{name} : ARRAY[0..{size - 1}] OF LREAL;")

    def add(self, *lines: str) -> None:
        """Statements."""
        self.body += lines

    def product(self, target: str, start: str, terms: Sequence[tuple[str, str, int]], rows: int) -> None:
        """`target[i] := start + sum matrix[i, j] vector[j]`."""
        self.add(f"FOR i := 0 TO {rows - 1} DO", f"    {target}[i] := {start};")
        for matrix, vector, size in terms:
            if size:
                self.add(
                    f"    FOR j := 0 TO {size - 1} DO",
                    f"        {target}[i] := {target}[i] + {matrix}[i * {size} + j] * {vector};",
                    "    END_FOR;",
                )
        self.add("END_FOR;")

    def text(self, name: str, title: str, inputs: Sequence[str], outputs: Sequence[str]) -> str:
        """The whole block."""
        from koopctrl import __version__

        def section(head: str, lines: Sequence[str]) -> str:
            return f"{head}\n" + "".join(f"    {line}\n" for line in lines) + "END_VAR\n" if lines else ""

        return (
            f"(* {title}, generated by koopctrl {__version__} *)\nFUNCTION_BLOCK {name}\n"
            + section("VAR_INPUT", inputs)
            + section("VAR_OUTPUT", outputs)
            + section("VAR CONSTANT", self.constants)
            + section("VAR", self.variables)
            + "".join(f"{line}\n" for line in self.body)
            + "END_FUNCTION_BLOCK\n"
        )


def _number(value: float) -> str:
    text = repr(float(value))
    mantissa, _, exponent = text.partition("e")
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{mantissa}E{int(exponent)}" if exponent else mantissa


def _title(what: str, dt: float) -> str:
    return f"{what}, to be called every {dt:.12g} s"


def _lift(write: _Writer, lifted: LiftedModel, x: str) -> None:
    """`z := lift(x)`: the scaled state, and what features add to it."""
    obs, n_x, n_z = lifted.observables, lifted.n_x, lifted.n_z
    write.constant("x_op", lifted.x_op)
    write.constant("x_scale", obs.x_scale)
    n_f = obs.layer.n_features if obs.reduce.shape[1] else 0
    write.add(f"FOR i := 0 TO {n_x - 1} DO", f"    z[i] := ({x}[i] - x_op[i]) / x_scale[i];", "END_FOR;")
    if not n_f:
        return
    write.constant("weights", obs.layer.weights)
    write.constant("biases", obs.layer.biases + obs.layer.weights @ lifted.x_op)
    write.constant("psi_op", obs.layer(lifted.x_op))
    write.constant("from_psi", obs.reduce.T)
    write.constant("from_x", -obs.project.T)
    write.array("psi", n_f)
    write.product("psi", "biases[i]", [("weights", f"({x}[j] - x_op[j])", n_x)], n_f)
    write.add(f"FOR i := 0 TO {n_f - 1} DO")
    if obs.layer.activation == "tanh":
        # 1 - 2 / (e^2a + 1), where e^2a cannot overflow.
        write.add("    psi[i] := 1.0 - 2.0 / (EXP(2.0 * LIMIT(-30.0, psi[i], 30.0)) + 1.0) - psi_op[i];")
    else:
        write.add("    psi[i] := MAX(psi[i], 0.0) - psi_op[i];")
    write.add(
        "END_FOR;",
        f"FOR i := {n_x} TO {n_z - 1} DO",
        "    z[i] := 0.0;",
        f"    FOR j := 0 TO {n_x - 1} DO",
        f"        z[i] := z[i] + from_x[(i - {n_x}) * {n_x} + j] * ({x}[j] - x_op[j]);",
        "    END_FOR;",
        f"    FOR j := 0 TO {n_f - 1} DO",
        f"        z[i] := z[i] + from_psi[(i - {n_x}) * {n_f} + j] * psi[j];",
        "    END_FOR;",
        "END_FOR;",
    )


def _model(lifted: LiftedModel, name: str) -> tuple[str, dict[str, str], dict[str, str]]:
    if lifted.N is not None:
        raise OptionError("the lifted model is bilinear; expected a linear one for structured text")
    write, taken = _Writer(), {"init"}
    inputs = _identifiers(lifted.input_names, taken)
    outputs = _identifiers(lifted.output_names, taken)
    starts = _identifiers([f"x0_{i}" for i in range(lifted.n_x)], taken)
    n_x, n_z, n_u, n_y = lifted.n_x, lifted.n_z, lifted.n_u, lifted.n_y
    for key, values in (("mA", lifted.A), ("mC", lifted.C), ("drift", lifted.c), ("y_op", lifted.y_op)):
        write.constant(key, values)
    for key, size in (("z", n_z), ("z_next", n_z), ("start_x", n_x), ("found", n_y)):
        write.array(key, size)
    write.variables.append("begun : BOOL := FALSE;")
    fed: list[tuple[str, str, int]] = []
    if n_u:
        write.constant("mB", lifted.B)
        write.constant("mD", lifted.D)
        write.constant("u_op", lifted.u_op)
        write.array("du", n_u)
        fed = [("mB", "du[j]", n_u)]
        write.add(*(f"du[{i}] := {v} - u_op[{i}];" for i, v in enumerate(inputs.values())))
    write.add("IF init OR NOT begun THEN")
    write.add(*(f"start_x[{i}] := {v};" for i, v in enumerate(starts.values())))
    _lift(write, lifted, "start_x")
    write.add("begun := TRUE;", "END_IF;")
    seen = [("mC", "z[j]", n_z), *([("mD", "du[j]", n_u)] if n_u else [])]
    write.product("found", "y_op[i]", seen, n_y)
    write.add(*(f"{v} := found[{i}];" for i, v in enumerate(outputs.values())))
    write.product("z_next", "drift[i]", [("mA", "z[j]", n_z), *fed], n_z)
    write.add("z := z_next;")
    declared = ["init : BOOL := FALSE;"]
    declared += [f"{v} : LREAL := {_number(s)};" for v, s in zip(inputs.values(), lifted.u_op, strict=True)]
    declared += [f"{v} : LREAL := {_number(s)};" for v, s in zip(starts.values(), lifted.x_op, strict=True)]
    shown = [f"{v} : LREAL;" for v in outputs.values()]
    return write.text(name, _title("A linear model", lifted.dt), declared, shown), inputs | starts, outputs


def _regulator(lqr: LQR, name: str) -> tuple[str, dict[str, str], dict[str, str]]:
    law = lqr.law
    lifted, source = law.lifted, law.estimator
    if not isinstance(source, LiftedMeasurement) or source.gain or len(law.gain[0]) != source.basis.shape[1]:
        raise OptionError(
            "the regulator has an estimator, a window of lags or a disturbance model; structured text has "
            "regulators of a measured state alone. Predictive controllers with estimators go through C"
        )
    write, taken = _Writer(), {"reachable", "held"}
    given = _identifiers([f"y_{n}" if n in lqr.input_names else n for n in source.measured_names], taken)
    wanted = _identifiers([f"r_{n}" for n in lifted.output_names], taken)
    sent = _identifiers(lqr.input_names, taken)
    n_x, n_z, n_u, n_y = lifted.n_x, lifted.n_z, lifted.n_u, lifted.n_y
    # From lifted coordinates, u = u_s(r) - K (z - z_s(r)).
    K, target = law.riccati.K, law.target
    write.constant("gain", K)
    write.constant("from_r", target.u_gain + K @ target.z_gain)
    write.constant("rest", target.u_offset + K @ target.z_offset)
    write.constant("steady_r", target.u_gain)
    write.constant("steady", target.u_offset)
    bounded = bool(np.isfinite([law.u_min, law.u_max]).any())
    limits = [np.where(np.isfinite(b), b, s * 1e300) for b, s in ((law.u_min, -1.0), (law.u_max, 1.0))]
    write.constant("u_min", limits[0])
    write.constant("u_max", limits[1])
    for key, size in (("x", n_x), ("z", n_z), ("r", n_y), ("u", n_u), ("held_u", n_u)):
        write.array(f"v_{key}" if key in ("x", "r", "u") else key, size)
    write.variables += ["sound : BOOL;", "begun : BOOL := FALSE;"]
    write.add(*(f"v_x[{i}] := {v};" for i, v in enumerate(given.values())))
    write.add(*(f"v_r[{i}] := {v};" for i, v in enumerate(wanted.values())))
    write.add("IF NOT begun THEN")
    rest = np.clip(lifted.u_op, law.u_min, law.u_max)
    write.add(*(f"held_u[{i}] := {_number(v)};" for i, v in enumerate(rest)), "begun := TRUE;", "END_IF;")
    _lift(write, lifted, "v_x")
    fed = [("gain", "(-z[j])", n_z), ("from_r", "v_r[j]", n_y)]
    write.product("v_u", "rest[i]", fed, n_u)
    # What is not a number compares with nothing.
    write.add("sound := TRUE;", f"FOR i := 0 TO {n_u - 1} DO")
    write.add("    IF NOT (ABS(v_u[i]) < 1.0E300) THEN", "        sound := FALSE;", "    END_IF;", "END_FOR;")
    write.add(f"FOR i := 0 TO {n_u - 1} DO", "    IF sound THEN")
    write.add("        held_u[i] := LIMIT(u_min[i], v_u[i], u_max[i]);", "    END_IF;", "END_FOR;")
    write.add("held := NOT sound;", "reachable := TRUE;")
    if bounded:
        write.product("v_u", "steady[i]", [("steady_r", "v_r[j]", n_y)], n_u)
        write.add(f"FOR i := 0 TO {n_u - 1} DO", "    IF v_u[i] < u_min[i] OR v_u[i] > u_max[i] THEN")
        write.add("        reachable := FALSE;", "    END_IF;", "END_FOR;")
    write.add(*(f"{v} := held_u[{i}];" for i, v in enumerate(sent.values())))
    declared = [f"{v} : LREAL;" for v in given.values()]
    declared += [f"{v} : LREAL := {_number(s)};" for v, s in zip(wanted.values(), lifted.y_op, strict=True)]
    shown = [f"{v} : LREAL;" for v in sent.values()] + ["reachable : BOOL;", "held : BOOL;"]
    return write.text(name, _title("A regulator", law.dt), declared, shown), given | wanted, sent
