"""Self-contained C99 of a predictive controller: lift, prediction, condensed QP and its solver, observer.

The files need a C compiler and libm, nothing else: no allocation, no other library, no global state. The QP
solver is a dual active-set method for small dense problems (`c_templates/qp.c`), chosen by test: see
`benchmarks/c_qp.py` for it beside an operator-splitting method with polishing and beside CasADi's `qrqp`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from koopctrl.errors import OptionError
from koopctrl.export.c_linear import DIAGNOSTICS, TEMPLATES, linear_mpc_parts
from koopctrl.export.c_writer import DataSection, StateLayout, check_identifier, comment, template

if TYPE_CHECKING:
    from koopctrl.controllers.linear_mpc import LinearMPC

COMPILE = "cc -std=c99 -O2 -o {name}_example main.c {name}.c -lm"


@dataclass(frozen=True)
class GeneratedCode:
    """What was written.

    Attributes
    ----------
    folder : Path
    files : tuple of str
        Names in `folder`: header, source, example, notes.
    name : str
        Prefix of all public identifiers.
    n_measured, n_outputs, n_inputs, horizon : int
    data_bytes : int
        Constant data (flash), shared by all instances.
    state_bytes : int
        One controller's memory (RAM), workspaces included; beside it only the stack is used.
    """

    folder: Path
    files: tuple[str, ...]
    name: str
    n_measured: int
    n_outputs: int
    n_inputs: int
    horizon: int
    data_bytes: int
    state_bytes: int


def mpc_to_c(
    mpc: LinearMPC,
    folder: str | PathLike[str],
    name: str = "koopctrl_mpc",
    *,
    diagnostics: bool = True,
) -> GeneratedCode:
    """Write a controller as C99 source, with header, example and notes.

    Parameters
    ----------
    mpc : LinearMPC
        Without observer, or with a `KalmanFilter`.
    folder : path
        Made if need be; files of the same names in it are replaced.
    name : str
        Of the files, and prefix of all public identifiers.
    diagnostics : bool
        Whether to add functions that return the lifted state and predictions, with the data they need.

    Returns
    -------
    GeneratedCode
        Names and sizes.

    Raises
    ------
    OptionError
        If `name` is no usable identifier, or a part of the controller has no C code.
    """
    check_identifier(name)
    if type(mpc).__name__ != "LinearMPC":
        raise OptionError(
            f"mpc is a {type(mpc).__name__}; expected a LinearMPC, the controller that has C code. "
            "Build one with LinearMPC(model.lift_at(...), ...)"
        )
    data, state = linear_mpc_parts(mpc, diagnostics)
    texts = {
        f"{name}.h": _header(mpc, name, data, state, diagnostics),
        f"{name}.c": _source(name, data),
        "main.c": _named(template("main.c"), name),
        "README.txt": _notes(mpc, name, data, state),
    }
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (target / file).write_text(text, encoding="utf-8", newline="\n")
    lifted = mpc.lifted
    return GeneratedCode(
        target,
        tuple(texts),
        name,
        mpc._source.n_measured,
        lifted.n_y,
        lifted.n_u,
        mpc.horizon,
        data.bytes,
        state.bytes,
    )


def _named(text: str, name: str) -> str:
    """Put the controller's name where the templates have NAME and GUARD."""
    text = re.sub(r"\bNAME(?=\b|_)", name, text)
    return re.sub(r"\bGUARD(?=_)", name.upper(), text)


def _header(mpc: LinearMPC, name: str, data: DataSection, state: StateLayout, diagnostics: bool) -> str:
    from koopctrl import __version__

    lifted, source = mpc.lifted, mpc._source
    measured = (
        lifted.output_names if source.observer is not None else lifted.output_names[: lifted.window.n_y]
    )
    values = {
        "SUMMARY": f"Horizon {mpc.horizon}, {lifted.n_z} lifted states, {mpc._qp.n_v} variables.",
        "n_measured": source.n_measured,
        "measured": comment(", ".join(measured)),
        "n_y": lifted.n_y,
        "outputs": comment(", ".join(lifted.output_names)),
        "n_u": lifted.n_u,
        "inputs": comment(", ".join(lifted.input_names)),
        "n_z": lifted.n_z,
        "horizon": mpc.horizon,
        "state_bytes": state.bytes,
        "data_bytes": data.bytes,
        "FIELDS": state.text(),
        "DIAGNOSTICS": DIAGNOSTICS if diagnostics else "",
    }
    text = template("mpc.h").replace("VERSION", __version__).replace("DT s", f"{mpc.dt:.12g} s")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return _named(text, name)


def _source(name: str, data: DataSection) -> str:
    body = "\n".join(_named(template(file), name) for file in TEMPLATES)
    return f'#include "{name}.h"\n\n#include <math.h>\n\n{data.text()}\n{body}'


def _notes(mpc: LinearMPC, name: str, data: DataSection, state: StateLayout) -> str:
    return f"""{name}: a predictive controller in C99, generated by koopctrl

Build the example:   {COMPILE.format(name=name)}
Run it:              one line per sample on stdin, measurement then reference; out come input and status.

Call {name}_reset once, then {name}_control every {mpc.dt:.12g} s; {name}.h says what goes in and out.

Memory:  {state.bytes} bytes per controller ({name}_state, workspaces included), {data.bytes} bytes of
         constant data; no allocation, no global variables, so controllers in several threads do not meet.

Inputs are always finite and within their bounds, whatever is measured. An answer of the QP solver counts only
if its KKT residual, computed from the problem's own matrices, is at most 1e-6. Otherwise the policy is, in
this order: the next input of the last plan; the LQR's input, saturated; the last input. The returned status and
info.reason say so.

Do not compile with -ffast-math or -ffinite-math-only: missing measurements are recognised by NaN.
"""
