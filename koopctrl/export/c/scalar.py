"""The scalar type of generated code: double, or float for processors that have no other in hardware.

Everything is written with doubles and turned into floats in one place: types, functions of libm, constants
and
data. `KC_SINGLE` tells the code which tolerances are rounding.
"""

from __future__ import annotations

import re

import numpy as np

from koopctrl._validation import check_choice
from koopctrl.errors import OptionError

SCALARS = ("double", "float")
# What code in floats begins with; a few sums of small differences are in double there.
SINGLE = "#define KC_SINGLE 1\n#define KC_WIDE double\n"
BYTES = {"double": 8, "float": 4}
_MATH = ("sqrt", "fabs", "fmax", "fmin", "tanh", "hypot", "exp", "log1p")
# Comments and strings stand as they are; then numbers with a point or an exponent, and words.
_TOKEN = re.compile(
    r"""(?P<kept>/\*.*?\*/|"(?:\\.|[^"\\])*")
    |(?P<number>(?<![\w.])(?:\d+\.\d*|\.\d+|\d+(?=[eE][+-]?\d))(?:[eE][+-]?\d+)?(?![\w.]))
    |(?P<word>[A-Za-z_]\w*)""",
    re.DOTALL | re.VERBOSE,
)
# What stays a double in code in floats is written kc_double.
_WORDS = {"double": "float", "kc_double": "double"} | {name: f"{name}f" for name in _MATH}


def check_scalar(scalar: str) -> str:
    """Refuse other types."""
    return check_choice(scalar, "scalar", SCALARS)


def as_scalar(text: str, scalar: str) -> str:
    """C code in doubles, or the same in floats: no double is left, so that none is promoted."""
    if scalar == "double":
        return text

    def single(match: re.Match[str]) -> str:
        if match["number"]:
            return f"{match['number']}f"
        return _WORDS.get(match["word"] or "", match[0])

    return _TOKEN.sub(single, text)


def number(value: float, scalar: str = "double") -> str:
    """A number with as many digits as read back to the same bits."""
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = f"{value:.17g}" if scalar == "double" else f"{np.float32(value):.9g}"
    text = text if any(c in text for c in ".e") else f"{text}.0"
    return text if scalar == "double" else f"{text}f"


def check_range(values: np.ndarray, name: str, scalar: str) -> None:
    """Refuse data that single precision cannot hold.

    Raises
    ------
    OptionError
        A finite value is beyond the largest float, or all of an array is below the smallest.
    """
    if scalar == "double":
        return
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max(initial=0.0))
    limits = np.finfo(np.float32)
    if largest > float(limits.max) or 0.0 < largest < float(limits.tiny):
        raise OptionError(
            f"scalar is 'float', and {name} has values up to {largest:.3g}, which single precision "
            f"({limits.tiny:.2g} to {limits.max:.2g}) cannot hold; scale the signals or weights to usual "
            "sizes, or take scalar='double'"
        )
