"""Self-contained C99 of a linear network: outputs and next states of all neurons at one sample, in place.

Layers are independent, so that each needs as many operations as it has weights and the state is updated where
it
stands: first- and second-order neurons in one loop each, larger layers from their first neuron to their last,
which is
the order in which no state is needed any more once it has been replaced (their blocks are upper triangular).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from koopctrl._paths import folder_path
from koopctrl._time import check_dt
from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError
from koopctrl.export.c.scalar import BYTES, as_scalar, check_range, check_scalar, number
from koopctrl.export.c.writer import check_identifier, comment
from koopctrl.ltinet.simulate.sampling import sampled_fields
from koopctrl.ltinet.structure import NetworkStructure

_PER_LINE = 4


@dataclass(frozen=True)
class NetworkCode:
    """What was written.

    Attributes
    ----------
    folder : Path
    files : tuple of str
        Names in `folder`: header and source.
    name : str
        Prefix of all public identifiers.
    n_states, n_inputs, n_outputs : int
    dt : float
        Sample time in seconds.
    data_bytes : int
        Constant data; a network's memory is one scalar for each state beside it.
    scalar : str
        `double` or `float`.
    """

    folder: Path
    files: tuple[str, ...]
    name: str
    n_states: int
    n_inputs: int
    n_outputs: int
    dt: float
    data_bytes: int
    scalar: str = "double"


def network_to_c(
    net: NetworkStructure,
    folder: str | PathLike[str],
    name: str,
    dt: float | None,
    scalar: str = "double",
) -> NetworkCode:
    """Write a network; see `LTINetwork.to_c`.

    Raises
    ------
    OptionError
        `name` is no usable identifier, the network has dead times, or a sample time is missing.
    """
    check_identifier(name)
    check_scalar(scalar)
    if net.delayed:
        raise OptionError(
            "to_c was called of a network with dead times; expected none. Delay the signals "
            "outside, or write the "
            "network of its sampled matrices: LTINetwork.from_statespace(net.sample(dt).to_statespace())"
        )
    if not net.discrete:
        seconds = net.sample_time if dt is None else check_dt(dt)
        if not seconds:
            raise OptionError("dt is None, and the network is continuous; expected a sample time in seconds")
        net = replace(net, **sampled_fields(net, seconds))
    elif dt is not None:
        net = replace(net, **sampled_fields(net, check_dt(dt)))
    data = _Data(scalar)
    source = _source(net, name, data)
    target = folder_path(folder)
    texts = {f"{name}.h": as_scalar(_header(net, name), scalar), f"{name}.c": source}
    for file, text in texts.items():
        (target / file).write_text(text, encoding="utf-8", newline="\n")
    return NetworkCode(
        target, tuple(texts), name, net.n_states, net.B.shape[1], len(net.C), net.sample_time, data.bytes,
        scalar,
    )  # fmt: skip


class _Data:
    """Constant arrays of a source file."""

    def __init__(self, scalar: str) -> None:
        self.lines: list[str] = []
        self.scalar = scalar
        self.bytes = 0

    def add(self, name: str, values: FloatArray) -> None:
        flat = np.asarray(values, dtype=float).ravel()
        if not flat.size:
            return
        check_range(flat, name, self.scalar)
        self.bytes += flat.size * BYTES[self.scalar]
        text = [number(v, self.scalar) for v in flat]
        rows = [", ".join(text[i : i + _PER_LINE]) for i in range(0, flat.size, _PER_LINE)]
        self.lines.append(
            f"static const {self.scalar} {name}[{flat.size}] = {{\n    " + ",\n    ".join(rows) + "};"
        )


def _header(net: NetworkStructure, name: str) -> str:
    guard = name.upper()
    return f"""/* A linear network of {net.n_states} states in {len(net.blocks)} layers, by koopctrl.
 * Inputs: {comment(", ".join(net.input_names))}
 * Outputs: {comment(", ".join(net.output_names))}
 */
#ifndef {guard}_H
#define {guard}_H

#define {guard}_N_STATES {net.n_states}
#define {guard}_N_INPUTS {net.B.shape[1]}
#define {guard}_N_OUTPUTS {len(net.C)}
#define {guard}_DT {number(net.sample_time)}

/* All neurons at rest. */
void {name}_reset(double *w);

/* Outputs at this sample for the input that acts from it, y = C w + D u; the states stay. */
void {name}_output(const double *w, const double *u, double *y);

/* States at the next sample, in place: the input acts until then. No allocation, no global data. */
void {name}_update(double *w, const double *u);

#endif
"""


def _source(net: NetworkStructure, name: str, data: _Data) -> str:
    n, n_u, n_y = net.n_states, net.B.shape[1], len(net.C)
    grouped = net.grouped
    ones, first, second, rest = grouped.shape()
    order = grouped.order
    # states are kept in the grouped order, so that the loops run over neighbours
    data.add("kc_B", net.B[order])
    data.add("kc_C", net.C[:, order])
    data.add("kc_D", net.D)
    data.add("kc_first", grouped.real)
    data.add("kc_second", grouped.pairs)
    body = [_loop_first(ones.stop, n_u), _loop_second(first.start, second.start, len(grouped.pairs), n_u)]
    for number_of, (where, stack) in enumerate(zip(rest, grouped.others, strict=True)):
        data.add(f"kc_layers{number_of}", stack)
        count, k, _ = stack.shape
        body.append(_loop_layers(number_of, where.start, count, k, n_u))
    pieces = "".join(body)
    uses = "    int i, j;\n" if pieces else "    (void)w;\n    (void)u;\n"
    reset = f"    int i;\n    for (i = 0; i < {n}; i++) w[i] = 0.0;\n" if n else "    (void)w;\n"
    functions = {
        f"{name}_reset(double *w)": reset,
        f"{name}_output(const double *w, const double *u, double *y)": _output(n, n_u, n_y),
        f"{name}_update(double *w, const double *u)": uses + pieces,
    }
    written = [f"void {head}\n{{\n{lines}}}\n" for head, lines in functions.items()]
    code = as_scalar("\n".join(written), data.scalar)
    return "\n".join([f'#include "{name}.h"\n', *data.lines, "", code])


def _output(n: int, n_u: int, n_y: int) -> str:
    if not n_y:
        return "    (void)w;\n    (void)u;\n    (void)y;\n"
    terms = ""
    if n:
        terms += f"        for (j = 0; j < {n}; j++) sum += kc_C[i * {n} + j] * w[j];\n"
    if n_u:
        terms += f"        for (j = 0; j < {n_u}; j++) sum += kc_D[i * {n_u} + j] * u[j];\n"
    unused = "".join(f"    (void){name};\n" for name, size in (("w", n), ("u", n_u)) if not size)
    return (
        f"    int i, j;\n{unused}    for (i = 0; i < {n_y}; i++) {{\n        double sum = 0.0;\n{terms}"
        "        y[i] = sum;\n    }\n"
    )


def _driven(row: str, n_u: int, into: str) -> str:
    if not n_u:
        return "        (void)u;\n        (void)j;\n"
    return f"        for (j = 0; j < {n_u}; j++) {into} += kc_B[({row}) * {n_u} + j] * u[j];\n"


def _loop_first(count: int, n_u: int) -> str:
    if not count:
        return ""
    return (
        f"    for (i = 0; i < {count}; i++) {{\n        double next = kc_first[i] * w[i];\n"
        f"{_driven('i', n_u, 'next')}        w[i] = next;\n    }}\n"
    )


def _loop_second(a: int, b: int, count: int, n_u: int) -> str:
    if not count:
        return ""
    return (
        f"    for (i = 0; i < {count}; i++) {{\n"
        f"        const double *M = kc_second + 4 * i;\n"
        f"        double p = M[0] * w[{a} + i] + M[1] * w[{b} + i];\n"
        f"        double q = M[2] * w[{a} + i] + M[3] * w[{b} + i];\n"
        f"{_driven(f'{a} + i', n_u, 'p')}{_driven(f'{b} + i', n_u, 'q')}"
        f"        w[{a} + i] = p;\n        w[{b} + i] = q;\n    }}\n"
    )


def _loop_layers(which: int, start: int, count: int, k: int, n_u: int) -> str:
    """Rows from first to last; a second-order neuron's two rows are replaced together."""
    return (
        f"    for (i = 0; i < {count}; i++) {{\n"
        f"        const double *M = kc_layers{which} + {k * k} * i;\n"
        f"        double *x = w + {start} + {k} * i, before = 0.0, next;\n"
        f"        int r, c;\n"
        f"        for (r = 0; r < {k}; r++) {{\n"
        f"            next = r > 0 ? M[r * {k} + r - 1] * before : 0.0;\n"
        f"            for (c = r; c < {k}; c++) next += M[r * {k} + c] * x[c];\n"
        + _driven(f"{start} + {k} * i + r", n_u, "next").replace("        ", "            ", 1)
        + "            before = x[r];\n            x[r] = next;\n        }\n    }\n"
    )
