"""C99 of an explicit controller: find the region, multiply once."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from koopctrl.controllers.mpc.explicit_law import NEAR, sees_last_input
from koopctrl.export.c.model import GeneratedPart, fill, source_text, write
from koopctrl.export.c.writer import DataSection, StateLayout, check_identifier, comment, number

if TYPE_CHECKING:
    from koopctrl.controllers.mpc.explicit import ExplicitMPC

_FUNCTIONS = """#define GUARD_N_REGIONS @n_regions@

/* The input u, GUARD_N_INPUTS numbers within their bounds, of a state x@ALSO@.
 * @UNUSED@
 * Returns the region, 0 to GUARD_N_REGIONS - 1; -1 outside of all, where u is left as it was: hold the last
 * input there, or follow another law. At most @n_rows@ rows of @n_theta@ are looked at. */
int NAME_lookup(const double *x, const double *reference, const double *u_last, double *u);
"""


def explicit_to_c(explicit: ExplicitMPC, folder: str | PathLike[str], name: str) -> GeneratedPart:
    """Write a table and its lookup.

    Parameters
    ----------
    explicit : ExplicitMPC
    folder : path
        Made if need be.
    name : str
        Of the files, and prefix of all public identifiers.

    Raises
    ------
    OptionError
        If `name` is no usable identifier.
    """
    check_identifier(name)
    law, table, data = explicit.law, explicit.table, DataSection()
    n_x, n_u, last = law.lifted.n_x, law.model.n_u, sees_last_input(law)
    n_r = len(explicit.set_point) if law.fixed is None else 0
    data.define(
        N_X=n_x, N_R=n_r, N_LAST=n_u if last else 0, N_THETA=len(table.middle), N_IN=n_u,
        N_REGIONS=table.n_regions, NEAR=number(NEAR),
    )  # fmt: skip
    arrays = {
        "middle": table.middle, "half": table.half, "rows": table.rows, "heights": table.heights,
        "starts": table.starts.astype(int), "gains": table.gains[:, :n_u],
        "offsets": table.offsets[:, :n_u] + law.model.u_op, "u_min": law.problem.u_min,
        "u_max": law.problem.u_max,
    }  # fmt: skip
    for key, values in arrays.items():
        data.array(key, np.asarray(values))
    also = f", a set-point reference ({n_r} numbers)" if n_r else ""
    also += " and the last input u_last" if last else ""
    unused = [n for n, used in (("reference", n_r), ("u_last", last)) if not used]
    functions = _FUNCTIONS
    values = {
        "n_regions": table.n_regions, "ALSO": also, "n_rows": len(table.heights),
        "n_theta": len(table.middle),
        "UNUSED": f"{' and '.join(unused)} may be null." if unused else "All three are needed.",
    }  # fmt: skip
    for key, value in values.items():
        functions = functions.replace(f"@{key}@", str(value))
    texts = {
        f"{name}.h": fill("model.h", {
            "SUMMARY": "an explicit predictive controller", "DT": f"{explicit.dt:.12g}", "n_x": n_x,
            "n_y": len(explicit.set_point), "n_u": n_u, "outputs": comment(", ".join(explicit.output_names)),
            "inputs": comment(", ".join(explicit.input_names)), "FUNCTIONS": functions,
        }),
        f"{name}.c": source_text(name, data, ("explicit.c",)),
    }  # fmt: skip
    return write(folder, name, texts, data, StateLayout())
