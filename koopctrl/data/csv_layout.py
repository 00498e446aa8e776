"""Where things stand in a CSV file: what is between cells, the header, the numbers below it, decimal marks.

All of it is recognised by what the caller will use: the header is the line that names the columns in use and
has as many cells as the lines below it, and the numbers begin where those columns begin to hold numbers.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike

from koopctrl.errors import DataError

Lines = Sequence[tuple[int, str]]
Rows = list[tuple[int, list[str]]]

DELIMITERS = (",", ";", "\t", "|", " ")
_PREAMBLE = 200  # lines in which a header is looked for
_UNDER_HEADER = 5  # rows of units, descriptions and the like
_QUOTED_OVER = 20  # lines over which a quoted name may go
_COMMA_NUMBER = re.compile(r"[+-]?(\d+,\d*|,\d+|\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Header:
    """Names of the columns, the number of their line (0 for a comment), and the index of the line below."""

    names: list[str]
    delimiter: str
    line: int
    below: int


def recognise_header(
    lines: Lines,
    header_comment: str | None,
    wanted: Collection[str],
    delimiters: Sequence[str],
    *,
    only_first: bool = False,
) -> Header:
    """The header that names most of the wanted columns, and fits most of the lines below it.

    A comment line is one where the first line below it holds numbers only, as numpy.savetxt writes it. Of
    equals the first is taken.
    """
    asked = len(set(wanted))
    best, merit = header_at(lines, 0, delimiters[0]), (False, -1, 0, 0)
    candidates = [_commented(lines, header_comment, d) for d in delimiters if header_comment is not None]
    for i in range(1 if only_first else min(len(lines), _PREAMBLE)):
        for header in (*candidates, *(header_at(lines, i, d) for d in delimiters)):
            if header is None:
                continue
            n = len(header.names)
            sample = sorted({header.below, (header.below + len(lines)) // 2, len(lines) - 1})
            texts = [lines[k][1] for k in sample if header.below <= k < len(lines)]
            fitting = sum(_fits(cells_of(text, header.delimiter), n) for text in texts)
            found = sum(name in header.names for name in wanted)
            # One cell fits one cell whatever stands between cells, and so do numbers numbers.
            words = not all(is_number(name) for name in header.names)
            own = (found == asked and fitting > 0, fitting if n > 1 and words else 0, found, n)
            if own > merit:
                best, merit = header, own
        if merit[0]:  # no line further down is likelier
            break
        candidates = []
    return best


def _commented(lines: Lines, comment: str, delimiter: str) -> Header | None:
    """A comment as the header of lines that hold numbers from the first on."""
    first, names = cells_of(lines[0][1], delimiter), cells_of(comment, delimiter)
    whole = len(names) == len(first) and all(is_number(cell) for cell in first)
    return Header(names, delimiter, 0, 0) if whole else None


def header_at(lines: Lines, i: int, delimiter: str) -> Header:
    """Line `i` as the header; a quoted name may go over several lines."""
    reader = csv.reader(_even(lines[i : i + _QUOTED_OVER], delimiter), delimiter=delimiter)
    try:
        names = [cell.strip() for cell in next(reader, [])]
        used = max(reader.line_num, 1)
    except csv.Error:  # a cell beyond csv's limit, which is no name
        names, used = [], 1
    return Header(names, delimiter, lines[i][0], i + used)


def rows_below(path: str | PathLike[str], lines: Lines, header: Header, data_line: int | None = None) -> Rows:
    """Numbered rows of cells from `data_line` on, as many in each as the header has.

    Raises
    ------
    DataError
        If the header holds numbers only or names a column twice, or a row has another number of cells.
    """
    names, where = header.names, f"line {header.line}"
    if header.line and all(is_number(name) for name in names):
        raise DataError(
            f"{path} has no header line ({where} holds numbers only); expected one with the names of the "
            "columns. Add it"
        )
    if len(set(names)) != len(names):
        raise DataError(f"{path} repeats a column name in {where}: {names}; expected distinct names")
    below = [line for line in lines[header.below :] if data_line is None or line[0] >= data_line]
    try:
        reader = csv.reader(_even(below, header.delimiter), delimiter=header.delimiter)
        rows = [(below[reader.line_num - 1][0], row) for row in reader]
    except csv.Error as error:
        raise DataError(f"{path} cannot be read ({error}); expected a CSV file in UTF-8") from error
    for line, row in rows:
        if not _fits(row, len(names)):
            hint = "Pass header_line and data_line if the header or the numbers begin elsewhere"
            if len(row) == 2 * len(names) and header.delimiter == ",":
                hint = "Commas between cells and in numbers cannot be told apart: export with semicolons"
            of = f"the header, {where}" if header.line else "the header in a comment"
            raise DataError(
                f"{path}, line {line} has {len(row)} cells; expected {len(names)} as in {of}. {hint}"
            )
    return [(line, [cell.strip() for cell in row[: len(names)]]) for line, row in rows]


def n_rows_of_words(rows: Rows, columns: Sequence[int]) -> int:
    """How many rows below the header hold words (units, descriptions) in all `columns` that hold numbers
    from there on.
    """
    for n, (_, row) in enumerate(rows[: _UNDER_HEADER + 1]):
        cells = [row[j] for j in columns]
        if any(_is_any_number(cell) for cell in cells):
            return n
        if not any(cells):  # nothing at all is a sample that is missing
            break
    return 0


def recognise_decimal(path: str | PathLike[str], columns: Sequence[Sequence[str]]) -> str:
    """The decimal mark of the used columns, which must not mix both."""
    texts = [cell for cells in columns for cell in cells if cell and not is_number(cell)]
    with_comma = [cell for cell in texts if _COMMA_NUMBER.fullmatch(cell)]
    if not with_comma:
        return "."
    with_point = [cell for cells in columns for cell in cells if "." in cell and is_number(cell)]
    if with_point:
        raise DataError(
            f"{path} has decimal commas and decimal points, e.g. {with_comma[0]!r} and {with_point[0]!r}; "
            "expected one of them. Pass decimal=',' or decimal='.' if it is known, and clean the file"
        )
    return ","


def cells_of(line: str, delimiter: str) -> list[str]:
    """Cells of one line by itself."""
    reader = csv.reader(_even([(0, line)], delimiter), delimiter=delimiter)
    try:
        return [cell.strip() for cell in next(reader, [])]
    except csv.Error:
        return []


def is_number(cell: str) -> bool:
    """Whether it is one with a decimal point, NaN or infinity."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def is_comma_number(cell: str) -> bool:
    """Whether it is one with a decimal comma, NaN, infinity or nothing."""
    special = is_number(cell) and not any(c.isdigit() for c in cell)
    return not cell or special or _COMMA_NUMBER.fullmatch(cell) is not None


def _is_any_number(cell: str) -> bool:
    return bool(cell) and (is_number(cell) or is_comma_number(cell))


def _fits(row: Sequence[str], n: int) -> bool:
    """Whether a row has `n` cells; empty ones after them are what a mark at the end of the line leaves."""
    return len(row) >= n and not any(cell.strip() for cell in row[n:])


def _even(lines: Lines, delimiter: str) -> Iterator[str]:
    """Lines in which one blank stands for many, where blanks stand between cells."""
    return (" ".join(line.split()) if delimiter == " " else line for _, line in lines)
