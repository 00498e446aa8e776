"""Constant data of generated code: one set of numbers, or several of the same sizes to switch between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from koopctrl.errors import DataError, OptionError
from koopctrl.export.c.scalar import BYTES, check_range, number

_PER_LINE = 4


def comment(text: str) -> str:
    """Text that may stand in a C comment: one line of plain characters that cannot end it."""
    plain = "".join(c if " " <= c <= "~" else "?" for c in text)
    return plain.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?").rstrip("\\")


@dataclass
class DataSection:
    """Constants of a controller: arrays become `static const` data, sizes become macros.

    Attributes
    ----------
    scalar : str
        Type of the numbers.
    macros, aliases : dict
        What is written as `#define`s.
    arrays : dict
        Flat arrays by name.
    fixed : set of str
        Arrays in which sections for one source do not differ.
    wide : set of str
        Arrays that are doubles whatever the type of the others.
    """

    scalar: str = "double"
    macros: dict[str, int | str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    wide: set[str] = field(default_factory=set)

    def fix(self) -> None:
        """All arrays so far belong to model and estimator, which sets of numbers have in common."""
        self.fixed = set(self.arrays)

    def define(self, **macros: int | str) -> None:
        """Macros `KC_<name>`."""
        self.macros.update(macros)

    def alias(self, name: str, other: str) -> None:
        """One array under a second name."""
        self.aliases[name] = other

    def array(self, name: str, values: ArrayLike, *, wide: bool = False) -> None:
        """Data `kc_<name>`, row by row; an empty array becomes one unused zero, C having none.

        With `wide` they are doubles.

        Raises
        ------
        DataError
            If it has NaN.
        OptionError
            If its numbers are beyond the scalar type.
        """
        flat = np.asarray(values).ravel()
        integer = flat.dtype.kind in "iu"
        if not integer:
            if np.isnan(flat).any():
                raise DataError(
                    f"the controller's {name} has NaN; expected numbers. Check the model it was built on"
                )
            check_range(flat, name, "double" if wide else self.scalar)
            if wide:
                self.wide.add(name)
        self.arrays[name] = flat if flat.size else np.zeros(1, dtype=flat.dtype)

    @property
    def bytes(self) -> int:
        """Of the arrays."""
        return sum(self._size(name) for name in self.arrays)

    def _size(self, name: str) -> int:
        kind = self._kind(name)
        return self.arrays[name].size * (4 if kind == "int" else BYTES[kind])

    def _values(self, name: str, indent: str = "    ") -> str:
        kind = self._kind(name)
        text = [str(int(v)) if kind == "int" else number(float(v), kind) for v in self.arrays[name]]
        rows = [", ".join(text[i : i + _PER_LINE]) for i in range(0, len(text), _PER_LINE)]
        return f"\n{indent}" + f",\n{indent}".join(rows)

    def _kind(self, name: str) -> str:
        if self.arrays[name].dtype.kind in "iu":
            return "int"
        return "double" if name in self.wide else self.scalar

    def _lines(self, skip: frozenset[str] = frozenset()) -> list[str]:
        lines = [f"#define KC_{name} {value}" for name, value in self.macros.items()]
        lines += [f"#define kc_{name} kc_{other}" for name, other in self.aliases.items()]
        return lines + [
            f"static const {self._kind(name)} kc_{name}[{flat.size}] = {{{self._values(name)}}};"
            for name, flat in self.arrays.items()
            if name not in skip
        ]

    def text(self) -> str:
        """The section, marked as generated."""
        return _marked(self._lines())


@dataclass
class DataSets:
    """Several sections of the same sizes, the first one the base.

    What they have in common is written once; the rest stands in an array of structures, of which `s->set`
    says
    which one is in force.

    Attributes
    ----------
    sections : list of DataSection
    names : list of str
        For messages.
    """

    sections: list[DataSection]
    names: Sequence[str]
    differing: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Resolve aliases that not all sections have, and find what differs."""
        base = self.sections[0]
        for section in self.sections:
            for name in [n for n, other in section.aliases.items() if base.aliases.get(n) != other or any(
                s.aliases.get(n) != other for s in self.sections
            )]:  # fmt: skip
                section.arrays[name] = section.arrays[section.aliases.pop(name)]
        for section, name in zip(self.sections, self.names, strict=True):
            self._check(section, name)
        self.differing = [
            name
            for name, flat in base.arrays.items()
            if any(not np.array_equal(flat, s.arrays[name]) for s in self.sections[1:])
        ]
        self._refuse_other_models()

    def _refuse_other_models(self) -> None:
        base = self.sections[0]
        for name in sorted(base.fixed.intersection(self.differing)):
            other = next(
                n for n, s in zip(self.names, self.sections, strict=True)
                if not np.array_equal(base.arrays[name], s.arrays[name])
            )  # fmt: skip
            raise OptionError(
                f"{other} has another model or estimator than the controller that is exported ({name} "
                f"differs); "
                "expected mpc.with_(...) with other weights or bounds"
            )

    def _check(self, section: DataSection, name: str) -> None:
        base = self.sections[0]
        for key in base.macros.keys() | section.macros.keys():
            ours, theirs = base.macros.get(key), section.macros.get(key)
            if ours != theirs:
                raise OptionError(
                    f"{name} does not fit the controller that is exported: its {key} is {theirs}, and there "
                    f"it is {ours}. Generated code switches between data of the same sizes: give both "
                    f"the same "
                    "kinds of bounds (wide ones where there are none), weights, horizon and blocks"
                )
        sizes = {k: v.size for k, v in section.arrays.items()}
        expected = {k: v.size for k, v in base.arrays.items()}
        if sizes != expected:
            other = sorted(k for k in sizes.keys() | expected.keys() if sizes.get(k) != expected.get(k))
            raise OptionError(
                f"{name} does not fit the controller that is exported: {', '.join(other)} have other sizes; "
                "expected the same horizon, model, bounds and blocks"
            )

    @property
    def bytes(self) -> int:
        """Of all arrays."""
        base = self.sections[0]
        own = sum(base._size(name) for name in self.differing)
        return base.bytes + (len(self.sections) - 1) * own

    def text(self) -> str:
        """The section, marked as generated."""
        base = self.sections[0]
        if len(self.sections) == 1 or not self.differing:
            return base.text()
        lines = base._lines(frozenset(self.differing))
        # Integers last, so that there is no padding.
        order = sorted(self.differing, key=lambda n: base.arrays[n].dtype.kind in "iu")
        lines += ["typedef struct {"]
        lines += [f"    {base._kind(n)} {n}[{base.arrays[n].size}];" for n in order]
        lines += ["} kc_set;", f"static const kc_set kc_sets[{len(self.sections)}] = {{"]
        for section, name in zip(self.sections, self.names, strict=True):
            body = ",\n".join(f"    {{{section._values(n, '        ')}}}" for n in order)
            lines += [f"  {{ /* {comment(name)} */\n{body}}},"]
        lines += ["};"] + [f"#define kc_{n} (kc_sets[s->set].{n})" for n in order]
        return _marked(lines)


def _marked(lines: list[str]) -> str:
    begin, end = "/* ---- begin generated data ---- */\n", "\n/* ---- end generated data ---- */\n"
    return begin + "\n".join(lines) + end
