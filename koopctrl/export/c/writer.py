"""Text of C programs: identifiers, data, sizes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING

from koopctrl.errors import OptionError
from koopctrl.export.c.data import DataSection, DataSets, comment
from koopctrl.export.c.scalar import BYTES, number

if TYPE_CHECKING:
    from koopctrl.controllers.mpc.law import PredictiveLaw

_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """auto break case char const continue default do double else enum extern float for goto if inline
        int long main register restrict return short signed sizeof static struct switch typedef union unsigned
        void volatile while asm bool true false""",
    )
)
# Files that a compiler or a system has under these names: "math.h" beside <math.h>, main.c, the example.
_FILES = frozenset(
    re.findall(
        r"\w+",
        """main assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal
        stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings tgmath
        threads time uchar wchar wctype unistd memory features endian con prn aux nul""",
    )
)

__all__ = [
    "DataSection", "DataSets", "Parts", "StateLayout", "add_channels", "add_step", "check_identifier",
    "comment", "number", "template",
]  # fmt: skip


def check_identifier(name: str) -> str:
    """Refuse what is no C identifier, or one that the generated files or the C library use."""
    if (
        not isinstance(name, str)
        or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,30}", name)
        or name in _KEYWORDS
        or name.lower() in _FILES
        or f"{name.lower()}_".startswith("kc_")
    ):
        raise OptionError(
            f"name is {name!r}; expected a C identifier: a letter, then up to 30 letters, digits or "
            "underscores, no keyword, no name of a file that the example or the C library has (main, math, "
            "stdio, ..), and neither kc nor beginning with kc_, which the generated code uses"
        )
    return name


def template(file: str) -> str:
    """Text of one of the C files that ship with the package."""
    return (resources.files("koopctrl.export.c") / "templates" / file).read_text(encoding="utf-8")


@dataclass
class StateLayout:
    """Fields of the state structure, scalars first so that there is no padding but at the end."""

    scalar: str = "double"
    _doubles: list[tuple[str, int]] = field(default_factory=list)
    _integers: list[tuple[str, int]] = field(default_factory=list)
    _wide: list[tuple[str, int]] = field(default_factory=list)

    def wide(self, **sizes: int) -> None:
        """Arrays that are doubles in code in floats too."""
        if self.scalar == "double":
            self.doubles(**sizes)
        else:
            self._wide += [(name, max(1, int(n))) for name, n in sizes.items()]

    def doubles(self, **sizes: int) -> None:
        """Arrays of scalars; an empty one gets one element, C having none."""
        self._doubles += [(name, max(1, int(n))) for name, n in sizes.items()]

    def integers(self, **sizes: int) -> None:
        """Arrays of integers, or scalars for size 0."""
        self._integers += [(name, int(n)) for name, n in sizes.items()]

    @property
    def bytes(self) -> int:
        """`sizeof`, with 4-byte integers."""
        width = BYTES[self.scalar]
        size = sum(width * n for _, n in self._doubles) + sum(4 * max(1, n) for _, n in self._integers)
        if self._wide:
            size, width = size + sum(8 * n for _, n in self._wide), 8
        return -(-size // width) * width

    def text(self) -> str:
        """The fields."""
        lines = [f"    kc_double {name}[{n}];" for name, n in self._wide]
        lines += [f"    {self.scalar} {name}[{n}];" for name, n in self._doubles]
        lines += [f"    int {name}[{n}];" if n else f"    int {name};" for name, n in self._integers]
        return "\n".join(lines)


def add_channels(data: DataSection, state: StateLayout, law: PredictiveLaw, recalls: bool) -> None:
    """Inputs that are moved and told, and memory of those sent and heard of.

    `recalls`: whether the state is estimated with the inputs that acted.
    """
    channels, delay = law.channels, law.problem.delay
    u_op, v_op = law.u_rest, law.v_rest
    n_in = channels.n_u + channels.n_v
    data.define(N_U=channels.n_u, N_TOLD=channels.n_v, N_IN=n_in, DELAY=delay)
    data.array("u_op", u_op)
    data.array("moved", channels.moved.astype(int))
    if not channels.n_v:
        data.alias("in_op", "u_op")
    elif recalls:
        data.array("in_op", channels.join(u_op, v_op))
    if channels.n_v:
        data.array("told", channels.told.astype(int))
        data.array("told_op", v_op)
    state.doubles(
        line=(delay + 1) * channels.n_u, acted=n_in, told=(law.problem.horizon + delay) * channels.n_v
    )
    state.integers(has_told=0)


def add_step(state: StateLayout, n_u: int, horizon: int, n_v: int, n_rows: int, n_soft: int) -> None:
    """Memory that all predictive controllers have: the last plan, the QP and its two working sets."""
    size = n_v + n_soft
    n_c = size + n_rows + n_soft
    state.doubles(
        plan=horizon * n_u, g=size, lo=n_c, hi=n_c, lam=size, qp_d=size, r=size, work=size,
        value=n_c, hard_x=n_v, hard_Jt=n_v * n_v, hard_R=n_v * (n_v + 1) // 2,
    )  # fmt: skip
    state.integers(has_input=0, started=0, age=0, rejected=0, n_rejected=0)
    state.integers(hard_k=0, hard_changes=0, soft_k=0, soft_changes=0)
    state.integers(hard_active=n_v, hard_side=n_v + n_rows, saved=2 * size)
    if n_soft:
        state.doubles(soft_x=size, soft_Jt=size * size, soft_R=size * (size + 1) // 2)
        state.integers(soft_active=size, soft_side=n_c)


@dataclass(frozen=True)
class Parts:
    """What one kind of controller contributes to its files.

    Attributes
    ----------
    data : DataSets
    state : StateLayout
    templates : tuple of str
        C files, in their order in the source.
    summary, diagnostics : str
        A sentence, and declarations, for the header.
    measured, outputs, inputs, told : tuple of str
        Names of what is measured, referred to and actuated, and of measured disturbances.
    horizon : int
    dt : float
    fall_back : str
        What follows when the shifted plan is used up.
    untracked : bool
        Whether references may leave outputs out.
    tunings : tuple of str
        Sets of weights and bounds, the controller's own first.
    rounding : float
        What floats cost; see `koopctrl.export.c.single`.
    """

    data: DataSets
    state: StateLayout
    templates: tuple[str, ...]
    summary: str
    diagnostics: str
    measured: tuple[str, ...]
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    told: tuple[str, ...]
    horizon: int
    dt: float
    fall_back: str
    untracked: bool = False
    tunings: tuple[str, ...] = ("base",)
    rounding: float = 0.0
