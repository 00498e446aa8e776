"""Options that say how a CSV file is to be read, and reading it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

FIGURES = (".png", ".pdf", ".svg", ".jpg")

DataFiles = Annotated[
    list[Path], typer.Argument(metavar="DATA", help="CSV file with one header line, or several.")
]
Time = Annotated[str | None, typer.Option(help="Column of sample times: seconds, dates or durations.")]
Episode = Annotated[str | None, typer.Option(help="Column that tells episodes apart.")]
Delimiter = Annotated[str | None, typer.Option(help="Between cells; recognised if left out.")]
Decimal = Annotated[str | None, typer.Option(help="Decimal mark, . or ,; recognised if left out.")]
HeaderLine = Annotated[int | None, typer.Option(help="Line of the header, from 1; recognised if left out.")]
DataLine = Annotated[int | None, typer.Option(help="Line in which samples begin; recognised if left out.")]
Gaps = Annotated[str, typer.Option(help="refuse missing samples, split there, or keep (outputs).")]
Resample = Annotated[bool, typer.Option("--resample", help="Bring uneven sample times onto an even grid.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Plot = Annotated[Path | None, typer.Option(help=f"Write a figure: {', '.join(FIGURES)}.")]


@dataclass(frozen=True)
class Reading:
    """How a CSV file is to be read."""

    time: str | None = None
    episode: str | None = None
    delimiter: str | None = None
    decimal: str | None = None
    gaps: str = "refuse"
    resample: bool = False
    header_line: int | None = None
    data_line: int | None = None

    def read(
        self, paths: Sequence[Path], outputs: Sequence[str], inputs: Sequence[str], dt: float | None
    ) -> Any:
        """Trajectories of the columns of a file, or of several: an episode each."""
        from koopctrl.data.trajectories import Trajectories

        delimiter = {r"\t": "\t", "tab": "\t"}.get(self.delimiter or "", self.delimiter)
        return Trajectories.from_csv(
            paths[0] if len(paths) == 1 else paths,
            outputs=outputs, inputs=inputs, dt=dt, time=self.time, episode=self.episode,
            delimiter=delimiter, decimal=self.decimal, gaps=self.gaps, resample=self.resample,
            header_line=self.header_line, data_line=self.data_line,
        )  # fmt: skip


def called(paths: Sequence[Path]) -> str:
    """What a figure calls the records."""
    return paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"


def columns(texts: Sequence[str]) -> list[str]:
    """Names in lists with commas; a name that holds a comma is put between double quotes."""
    import csv

    names: list[str] = []
    for text in texts:
        try:
            for row in csv.reader([text], skipinitialspace=True, strict=True):
                names += [name.strip() for name in row if name.strip()]
        except csv.Error as error:
            raise typer.BadParameter(f"{text!r} cannot be read as column names: {error}") from error
    return names


def numbers(text: str | None, name: str, size: int, *, unset: bool = False) -> Any:
    """Numbers in a list with commas, one for all where there is but one; `-` for none where `unset`."""
    import numpy as np

    if text is None:
        return None
    try:
        values = [float("nan") if unset and t.strip() == "-" else float(t) for t in text.split(",")]
    except ValueError as error:
        also = ", or - for none" if unset else ""
        raise typer.BadParameter(
            f"{name} is {text!r}; expected {size} numbers separated by commas{also}"
        ) from error
    if len(values) not in (1, size):
        raise typer.BadParameter(f"{name} has {len(values)} numbers; expected {size}")
    return np.array(values * size if len(values) == 1 and not unset else values)


def check_folder(path: Path | None, name: str) -> None:
    """Refuse a file whose folder does not exist, before the work that would be lost."""
    if path is not None and not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"{name} is {str(path)!r}, whose folder does not exist; make it first")


def check_figure(path: Path | None) -> None:
    """Refuse a figure that could not be written at the end."""
    check_folder(path, "--plot")
    if path is not None and path.suffix.lower() not in FIGURES:
        raise typer.BadParameter(
            f"--plot is {str(path)!r}; expected a name that ends in {', '.join(FIGURES)}"
        )


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure and let pyplot forget it."""
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=150)
    plt.close(figure)
