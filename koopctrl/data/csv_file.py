"""Columns of a CSV file as loggers and spreadsheets write them.

What stands between cells, the decimal mark and comment lines are recognised where they are not given. What
was recognised and is not as in a plain CSV file (commas between cells, decimal points) is said in a warning,
with the options that say it in advance.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from koopctrl._warnings import warn
from koopctrl.errors import DataError, OptionError

_DELIMITERS = (",", ";", "\t", "|", " ")
_NAMES = {";": "semicolons", "\t": "tabs", " ": "blanks"}
_COMMENTS = ("#", "%", "//")
_COMMA_NUMBER = re.compile(r"[+-]?(\d+,\d*|,\d+|\d+)([eE][+-]?\d+)?")
_MARKS = (b"\xff\xfe", b"\xfe\xff")  # byte-order marks of UTF-16


def read_csv(
    path: str | PathLike[str],
    wanted: Collection[str],
    text_columns: Collection[str] = (),
    *,
    delimiter: str | None = None,
    decimal: str | None = None,
    comment: str | None = None,
) -> dict[str, np.ndarray]:
    """Read the columns of a CSV file with one header line.

    Parameters
    ----------
    path : path-like
        File in UTF-8, or in UTF-16 with a byte-order mark.
    wanted : collection of str
        Columns that will be used: they tell which delimiter is meant.
    text_columns : collection of str
        Columns that may hold anything.
    delimiter, decimal, comment : str, optional
        Recognised by default.

    Returns
    -------
    dict
        Arrays of numbers, empty cells NaN; arrays of text where a cell is no number.

    Raises
    ------
    DataError
        If the file cannot be read or has no header line, or its lines have different numbers of cells.

    Warns
    -----
    KoopctrlWarning
        If anything but commas between cells, decimal points and no comments was recognised.
    """
    _check_options(delimiter, decimal, comment)
    lines = _lines(path)
    lines, header_comment, mark, n_comments = _without_comments(lines, comment)
    if not lines:
        raise DataError(f"{path} is empty; expected a header line and one row a sample")
    between = delimiter
    if between is None:
        between = _recognise_delimiter(header_comment, lines, wanted, decimal)
    header, rows = _cells(path, lines, header_comment, between)
    _check_table(path, header, rows, between)
    columns = {name: [row[j].strip() for _, row in rows] for j, name in enumerate(header)}
    used = [cells for name, cells in columns.items() if name in wanted and name not in text_columns]
    point = decimal
    if point is None:
        point = _recognise_decimal(path, used)
    found = []
    if delimiter is None and between != ",":
        found.append((f"{_NAMES.get(between, repr(between))} between cells", f"delimiter={between!r}"))
    if decimal is None and point != ".":
        found.append(("decimal commas", "decimal=','"))
    if comment is None and n_comments:
        found.append((f"{n_comments} comment lines", f"comment={mark!r}"))
    if found:
        said, options = (", ".join(texts) for texts in zip(*found, strict=True))
        warn(f"{path} was read with {said}; pass {options} to say so in advance")
    return {
        name: np.array(cells) if name in text_columns else _numbers(cells, point)
        for name, cells in columns.items()
    }


def _check_options(delimiter: str | None, decimal: str | None, comment: str | None) -> None:
    if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter == '"'):
        raise OptionError(
            f"delimiter is {delimiter!r}; expected one character, or None to have it recognised"
        )
    if decimal is not None and (not isinstance(decimal, str) or decimal not in (".", ",")):
        raise OptionError(f"decimal is {decimal!r}; expected '.' or ',', or None to have it recognised")
    if decimal == "," and delimiter == ",":
        raise OptionError("delimiter and decimal are both ','; expected another delimiter, e.g. ';'")
    if comment is not None and (not isinstance(comment, str) or not comment.strip()):
        raise OptionError(f"comment is {comment!r}; expected what begins a comment line, e.g. '#'")


def _lines(path: str | PathLike[str]) -> list[tuple[int, str]]:
    """Numbered lines that are not empty."""
    try:
        data = Path(path).read_bytes()
    except TypeError as error:
        raise OptionError(f"path is {path!r}; expected the path of a CSV file") from error
    try:
        text = data.decode("utf-16" if data.startswith(_MARKS) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} cannot be read ({error}); expected a CSV file in UTF-8. Save it as UTF-8, or read it "
            "with pandas.read_csv(path, encoding=...) and use from_dataframe"
        ) from error
    if "\0" in text:
        raise DataError(f"{path} cannot be read (it has null bytes); expected a CSV file in UTF-8")
    numbered = enumerate(re.split(r"\r\n|\r|\n", text), start=1)
    return [(number, line) for number, line in numbered if line.strip()]


def _without_comments(
    lines: list[tuple[int, str]], comment: str | None
) -> tuple[list[tuple[int, str]], str | None, str | None, int]:
    """Lines that are no comments; the last comment before them, the mark of comments and their number."""
    marks = _COMMENTS if comment is None else (comment,)
    kept: list[tuple[int, str]] = []
    before, used, count = None, None, 0
    for number, line in lines:
        mark = next((m for m in marks if line.lstrip().startswith(m)), None)
        if mark is None:
            kept.append((number, line))
            continue
        used, count = mark, count + 1
        if not kept:
            before = line.lstrip().removeprefix(mark)
    return kept, before, used, count


def _recognise_delimiter(
    header_comment: str | None,
    lines: Sequence[tuple[int, str]],
    wanted: Collection[str],
    decimal: str | None,
) -> str:
    """The delimiter that finds most of the wanted names in a header that fits the rows, and most cells."""
    sample = [lines[i][1] for i in {min(1, len(lines) - 1), len(lines) - 1}]

    def merit(delimiter: str) -> tuple[int, bool, int]:
        headers = [_split(line, delimiter) for line in (lines[0][1], header_comment) if line is not None]
        header = max(headers, key=lambda names: sum(name in names for name in wanted))
        fits = all(len(_split(line, delimiter)) == len(header) for line in sample)
        return sum(name in header for name in wanted), fits, len(header)

    return max((d for d in _DELIMITERS if d != decimal), key=merit)


def _split(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([_even(line, delimiter)], delimiter=delimiter), [])]


def _even(line: str, delimiter: str) -> str:
    """A line in which one blank stands for many, where blanks stand between cells."""
    return " ".join(line.split()) if delimiter == " " else line


def _cells(
    path: str | PathLike[str], lines: list[tuple[int, str]], header_comment: str | None, delimiter: str
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        reader = csv.reader((_even(line, delimiter) for _, line in lines), delimiter=delimiter)
        table = [(lines[reader.line_num - 1][0], row) for row in reader]
    except csv.Error as error:
        raise DataError(f"{path} cannot be read ({error}); expected a CSV file in UTF-8") from error
    first = [cell.strip() for cell in table[0][1]]
    if all(_is_number(cell) for cell in first):
        commented = _split(header_comment, delimiter) if header_comment is not None else []
        if len(commented) == len(first):  # as numpy.savetxt writes it
            return commented, table
        raise DataError(
            f"{path} has no header line (line {table[0][0]} holds numbers only); expected one with the names "
            "of the columns. Add it"
        )
    return first, table[1:]


def _check_table(
    path: str | PathLike[str], header: list[str], rows: Sequence[tuple[int, list[str]]], delimiter: str
) -> None:
    if len(set(header)) != len(header):
        raise DataError(f"{path} repeats a column name: {header}; expected distinct names")
    for line, row in rows:
        if len(row) != len(header):
            hint = ""
            if len(row) == 2 * len(header) and delimiter == ",":
                hint = ". Commas between cells and in numbers cannot be told apart: export with semicolons"
            raise DataError(
                f"{path}, line {line} has {len(row)} cells; expected {len(header)} as in the header{hint}"
            )


def _recognise_decimal(path: str | PathLike[str], columns: Sequence[Sequence[str]]) -> str:
    """The decimal mark of the used columns, which must not mix both."""
    texts = [cell for cells in columns for cell in cells if cell and not _is_number(cell)]
    with_comma = [cell for cell in texts if _COMMA_NUMBER.fullmatch(cell)]
    if not with_comma:
        return "."
    with_point = [cell for cells in columns for cell in cells if "." in cell and _is_number(cell)]
    if with_point:
        raise DataError(
            f"{path} has decimal commas and decimal points, e.g. {with_comma[0]!r} and {with_point[0]!r}; "
            "expected one of them. Pass decimal=',' or decimal='.' if it is known, and clean the file"
        )
    return ","


def _numbers(cells: Sequence[str], decimal: str) -> np.ndarray:
    """Numbers; text where a cell is none: an unused column may hold anything, a used one is refused later."""
    if decimal == ",":
        if not all(not cell or _COMMA_NUMBER.fullmatch(cell) or _is_special(cell) for cell in cells):
            return np.array(cells)
        cells = [cell.replace(",", ".") for cell in cells]
    try:
        return np.array([float(c) if c else np.nan for c in cells])
    except ValueError:
        return np.array(cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_special(cell: str) -> bool:
    return _is_number(cell) and not any(c.isdigit() for c in cell)
