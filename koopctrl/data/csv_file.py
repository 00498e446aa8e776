"""Columns of a CSV file as loggers and spreadsheets write them.

What stands between cells, the decimal mark, comment lines, text above the header and units below it are
recognised where they are not given. What was recognised and is not as in a plain CSV file (a header, rows
below it, commas between cells, decimal points) is told, with the options that say it in advance.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np

from koopctrl._paths import file_path
from koopctrl._validation import check_integer
from koopctrl.data.csv_layout import (
    DELIMITERS,
    Lines,
    Rows,
    is_comma_number,
    n_rows_of_words,
    recognise_decimal,
    recognise_header,
    rows_below,
)
from koopctrl.errors import DataError, OptionError

_NAMES = {";": "semicolons", "\t": "tabs", " ": "blanks"}
_COMMENTS = ("#", "%", "//")
_MARKS = (b"\xff\xfe", b"\xfe\xff")  # byte-order marks of UTF-16
_SHOWN = 40  # characters of a row of units in a message


@dataclass(frozen=True)
class Dialect:
    """How CSV files are to be read; None is recognised. Line numbers are those that an editor shows."""

    delimiter: str | None = None
    decimal: str | None = None
    comment: str | None = None
    header_line: int | None = None
    data_line: int | None = None

    def checked(self) -> Dialect:
        """Itself, if the options are such.

        Raises
        ------
        OptionError
            If one is of the wrong kind, or two contradict each other.
        """
        for name, value in (("header_line", self.header_line), ("data_line", self.data_line)):
            if value is not None:
                check_integer(value, name, low=1)
        if self.header_line is not None and self.data_line is not None and self.data_line <= self.header_line:
            raise OptionError(
                f"data_line is {self.data_line} and header_line {self.header_line}; expected the numbers to "
                "begin below the header"
            )
        delimiter, decimal, comment = self.delimiter, self.decimal, self.comment
        if delimiter is not None and (
            not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n'
        ):
            raise OptionError(
                f"delimiter is {delimiter!r}; expected one character, or None to have it recognised"
            )
        if decimal is not None and (not isinstance(decimal, str) or decimal not in (".", ",")):
            raise OptionError(f"decimal is {decimal!r}; expected '.' or ',', or None to have it recognised")
        if decimal == "," and delimiter == ",":
            raise OptionError("delimiter and decimal are both ','; expected another delimiter, e.g. ';'")
        if comment is not None and (not isinstance(comment, str) or not comment.strip()):
            raise OptionError(f"comment is {comment!r}; expected what begins a comment line, e.g. '#'")
        return self


@dataclass(frozen=True)
class Table:
    """Columns of a file (numbers, empty cells NaN; text where a cell is no number), the line of its header,
    and what was recognised: words, and options that say the same.
    """

    columns: dict[str, np.ndarray]
    header_line: int
    recognised: tuple[tuple[str, str], ...]


def read_csv(
    path: str | PathLike[str],
    wanted: Collection[str],
    text_columns: Collection[str] = (),
    dialect: Dialect | None = None,
) -> Table:
    """Read the columns of a CSV file with a header.

    Parameters
    ----------
    path : path-like
        File in UTF-8, or in UTF-16 with a byte-order mark.
    wanted : collection of str
        Columns that will be used: they tell the delimiter and the header.
    text_columns : collection of str
        Columns among them that may hold anything.
    dialect : Dialect, optional
        What is known in advance.

    Raises
    ------
    DataError
        If the file cannot be read or has no header line, or its lines have different numbers of cells.
    """
    given = (dialect or Dialect()).checked()
    everything = _lines(path)
    lines, header_comment, mark, n_comments = _without_comments(everything, given.comment)
    if not lines:
        raise DataError(f"{path} is empty; expected a header line and one row a sample")
    delimiters = [given.delimiter] if given.delimiter else [d for d in DELIMITERS if d != given.decimal]
    if given.header_line is None:
        table_lines: Lines = lines
        header = recognise_header(lines, header_comment, wanted, delimiters)
    else:
        named = _line_named(path, everything, given.header_line, mark)
        table_lines = [named, *(line for line in lines if line[0] > named[0])]
        header = recognise_header(table_lines, None, wanted, delimiters, only_first=True)
    found = []
    if given.header_line is None and header.line > lines[0][0]:
        found.append((f"its header in line {header.line}", f"header_line={header.line}"))
    rows = rows_below(path, table_lines, header, given.data_line)
    numeric = [name for name in wanted if name not in text_columns and name in header.names]
    if given.data_line is None:
        n = n_rows_of_words(rows, [header.names.index(name) for name in numeric])
        if n:
            rows, words = rows[n:], _quoted(rows[:n])
            found.append((f"no samples in {words} below it", f"data_line={rows[0][0]}"))
    columns = {name: [row[j] for _, row in rows] for j, name in enumerate(header.names)}
    point = given.decimal or recognise_decimal(path, [columns[name] for name in numeric])
    if given.delimiter is None and header.delimiter != ",":
        between = _NAMES.get(header.delimiter, repr(header.delimiter))
        found.append((f"{between} between cells", f"delimiter={header.delimiter!r}"))
    if given.decimal is None and point != ".":
        found.append(("decimal commas", "decimal=','"))
    if given.comment is None and n_comments:
        found.append((f"{n_comments} comment lines", f"comment={mark!r}"))
    return Table(
        {name: np.array(c) if name in text_columns else _numbers(c, point) for name, c in columns.items()},
        header.line,
        tuple(found),
    )


def _line_named(path: str | PathLike[str], lines: Lines, number: int, mark: str | None) -> tuple[int, str]:
    """The line with a number, which may be a comment."""
    text = next((text for at, text in lines if at == number), None)
    if text is None:
        raise DataError(
            f"{path} has nothing in line {number}, of {lines[-1][0]}; header_line={number} is expected to "
            "be the line of the header"
        )
    return number, text if mark is None else text.lstrip().removeprefix(mark)


def _lines(path: str | PathLike[str]) -> list[tuple[int, str]]:
    """Numbered lines that are not empty."""
    data = file_path(path, "a CSV file, or a list of those").read_bytes()
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


def _quoted(rows: Rows) -> str:
    """Lines of a file and what they hold, shortened."""
    first, last = rows[0][0], rows[-1][0]
    words = ", ".join(cell for _, row in rows for cell in row if cell)
    words = words if len(words) <= _SHOWN else f"{words[:_SHOWN]}.."
    return f"line {first} ({words})" if first == last else f"lines {first} to {last} ({words})"


def _numbers(cells: Sequence[str], decimal: str) -> np.ndarray:
    """Numbers; text where a cell is none: an unused column may hold anything, a used one is refused later."""
    if decimal == ",":
        if not all(is_comma_number(cell) for cell in cells):
            return np.array(cells)
        cells = [cell.replace(",", ".") for cell in cells]
    try:
        return np.array([float(c) if c else np.nan for c in cells])
    except ValueError:
        return np.array(cells)
