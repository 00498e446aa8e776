"""Self-contained C99 of a predictive controller: lift, prediction, condensed QP and its solver, observer.

The files need a C compiler and libm, nothing else: no allocation, no other library, no global state. The QP
solver is a dual active-set method for small dense problems (`templates/qp.c`), chosen by test: see
`benchmarks/c_qp.py` for it beside an operator-splitting method with polishing and beside CasADi's `qrqp`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from koopctrl._paths import folder_path
from koopctrl.errors import OptionError
from koopctrl.export.c.linear import linear_mpc_parts
from koopctrl.export.c.linear_sets import tuned_laws
from koopctrl.export.c.model import named
from koopctrl.export.c.rnn import rnn_mpc_parts
from koopctrl.export.c.scalar import SINGLE, as_scalar, check_scalar
from koopctrl.export.c.tube import tube_mpc_parts
from koopctrl.export.c.writer import Parts, check_identifier, comment, template

if TYPE_CHECKING:
    from koopctrl.controllers.mpc.base import PredictiveController

_COMPILE = "cc -std=c99 -O2 -o {name}_example main.c {name}.c -lm"
_PARTS: dict[str, Callable[[Any, bool, str, bool | None], Parts]] = {
    "LinearMPC": linear_mpc_parts,
    "RNNMPC": rnn_mpc_parts,
    "TubeMPC": tube_mpc_parts,
}


_TOLD = """
/* The same, told of measured disturbances: n_disturbance_rows rows of GUARD_N_DISTURBANCES, row k for k
 * samples from now, the last one held; NaN: as the one before it. Without any (a null pointer), and in the
 * functions above, the last one heard of is taken to stay. The reference is one row, or a null pointer,
 * unless `preview` is set. */
int NAME_control_told(NAME_state *state, const double *measurement, const double *reference, int n_rows,
                      int preview, const double *disturbance, int n_disturbance_rows, double *u,
                      NAME_info *info);
"""

_RETUNE = """/* Sets of weights and bounds. */
enum {
TUNINGS
};

/* Weights and bounds from now on, a GUARD_TUNING_..; what is remembered of the plant, the estimate and the
last plan go on.
 * Tells whether there is such a set. */
int NAME_retune(NAME_state *state, int tuning);

"""


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
    n_measured, n_outputs, n_inputs, n_disturbances, horizon : int
    data_bytes : int
        Constant data (flash), shared by all instances.
    state_bytes : int
        One controller's memory (RAM), workspaces included; beside it only the stack is used.
    untracked : bool
        Whether references may have NaN, of outputs that are not tracked.
    scalar : str
        `double` or `float`.
    tunings : tuple of str
        Sets of weights and bounds, the controller's own, `base`, first.
    rounding : float
        Of code in floats: bound on what rounding does to an input, relative to its range, or to a step of
        the network, relative to its outputs' spread; see `koopctrl.export.c.single`.
    """

    folder: Path
    files: tuple[str, ...]
    name: str
    n_measured: int
    n_outputs: int
    n_inputs: int
    n_disturbances: int
    horizon: int
    data_bytes: int
    state_bytes: int
    untracked: bool = False
    scalar: str = "double"
    tunings: tuple[str, ...] = ("base",)
    rounding: float = 0.0


def mpc_to_c(
    mpc: PredictiveController,
    folder: str | PathLike[str],
    name: str = "koopctrl_mpc",
    *,
    diagnostics: bool = True,
    scalar: str = "double",
    tunings: Mapping[str, PredictiveController] | None = None,
    untracked: bool | None = None,
) -> GeneratedCode:
    """Write a controller as C99 source, with header, example and notes.

    Parameters
    ----------
    mpc : LinearMPC, TubeMPC or RNNMPC
        The first two without estimator or with a `KalmanFilter` or a `MovingHorizonEstimator`, an `RNNMPC`
        without or with an `ExtendedKalmanFilter`, an `UnscentedKalmanFilter` or a `MovingHorizonEstimator`.
    folder : path
        Made if need be; files of the same names in it are replaced.
    name : str
        Of the files, and prefix of all public identifiers.
    diagnostics : bool
        Whether to add functions that return predictions and the lifted state, with the data they need.
    scalar : {"double", "float"}
        Type of all numbers; see `koopctrl.export.c.single` for what floats cost.
    tunings : mapping, optional
        Controllers by name, made with `mpc.with_(...)`, to whose weights and bounds `NAME_retune` switches
        between samples, as Python goes on with the other controller.
    untracked : bool, optional
        Of a `LinearMPC` or `TubeMPC`: whether references may have NaN for outputs that are not tracked, which
        takes data
        for each choice of outputs; by default where there are three outputs or fewer. An `RNNMPC` always
        can.

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
    if type(mpc).__name__ not in _PARTS:
        raise OptionError(
            f"mpc is a {type(mpc).__name__}; expected a LinearMPC, a TubeMPC or an RNNMPC, the "
            "controllers with C code"
        )
    check_scalar(scalar)
    parts = _PARTS[type(mpc).__name__](tuned_laws(mpc, tunings), diagnostics, scalar, untracked)
    texts = {
        f"{name}.h": _header(parts, name),
        f"{name}.c": _source(parts, name),
        "main.c": _example(name, scalar),
        "README.txt": _notes(parts, name),
    }
    target = folder_path(folder)
    for file, text in texts.items():
        (target / file).write_text(text, encoding="utf-8", newline="\n")
    sizes = (len(parts.measured), len(parts.outputs), len(parts.inputs), len(parts.told), parts.horizon)
    return GeneratedCode(
        target, tuple(texts), name, *sizes, parts.data.bytes, parts.state.bytes, parts.untracked, scalar,
        parts.tunings, parts.rounding,
    )  # fmt: skip


def _example(name: str, scalar: str) -> str:
    text = named(template("main.c"), name)
    return text if scalar == "double" else as_scalar(text, scalar).replace('"%lf"', '"%f"')


def _header(parts: Parts, name: str) -> str:
    from koopctrl import __version__

    values = {
        "SUMMARY": parts.summary,
        "n_measured": len(parts.measured),
        "measured": comment(", ".join(parts.measured)),
        "n_y": len(parts.outputs),
        "outputs": comment(", ".join(parts.outputs)),
        "n_told": len(parts.told),
        "told": comment(", ".join(parts.told) or "none"),
        "TOLD": _TOLD if parts.told else "",
        "UNTRACKED": "; NaN: not tracked" if parts.untracked else "",
        "n_u": len(parts.inputs),
        "inputs": comment(", ".join(parts.inputs)),
        "horizon": parts.horizon,
        "state_bytes": parts.state.bytes,
        "data_bytes": parts.data.bytes,
        "FIELDS": parts.state.text(),
        "DIAGNOSTICS": parts.diagnostics,
        "RETUNE": _retune(parts),
    }
    text = template("mpc.h").replace("VERSION", __version__).replace("DT s", f"{parts.dt:.12g} s")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return named(as_scalar(text, parts.state.scalar), name)


def _retune(parts: Parts) -> str:
    if len(parts.tunings) == 1:
        return ""
    lines = [f"    GUARD_TUNING_{t.upper()} = {k}" for k, t in enumerate(parts.tunings)]
    return _RETUNE.replace("TUNINGS", ",\n".join(lines))


def _source(parts: Parts, name: str) -> str:
    body = "\n".join(named(as_scalar(template(file), parts.state.scalar), name) for file in parts.templates)
    single = SINGLE if parts.state.scalar == "float" else ""
    return f'#include "{name}.h"\n\n#include <math.h>\n\n{single}{parts.data.text()}\n{body}'


def _notes(parts: Parts, name: str) -> str:
    accepted = "1e-7" if parts.state.scalar == "double" else "2e-4"
    single = ""
    if parts.state.scalar == "float":
        single = f"""
Numbers are floats. Rounding alone moves an input (without a network) by at most {parts.rounding:.1e} of its
range, or a
step of the network by that of its outputs' spread; sums of small differences are in double, some thousand a
QP.
"""
    return f"""{name}: a predictive controller in C99, generated by koopctrl

Build the example:   {_COMPILE.format(name=name)}
Run it:              one line per sample on stdin: measurement, reference, measured disturbances if any;
                     out come input and status.

Call {name}_reset once, then {name}_control every {parts.dt:.12g} s; {name}.h says what goes in and out.

Memory:  {parts.state.bytes} bytes per controller ({name}_state, with workspaces), {parts.data.bytes}
         bytes of constant data; no allocation, no global variables: controllers in several threads do not
         meet.

Inputs are always finite and within their bounds, whatever is measured. An answer of the QP solver counts only
if the bound on its error, computed from the problem's own matrices, is at most {accepted} of its size.
Otherwise the policy is, in
this order: the next input of the last plan; {parts.fall_back}. The returned status and
info.reason say so.

Time: there is no clock in here and max_solve_time has no part in it. A QP takes at most KC_MAX_ITERATIONS
({name}.c) of the active-set method from the last working set, and as many from the start.
{single}
Do not compile with -ffast-math or -ffinite-math-only: missing measurements are recognised by NaN.
"""
