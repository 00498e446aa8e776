"""`koopctrl compare`: several saved models on one record."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Annotated

import typer

from koopctrl.cli.output import said
from koopctrl.cli.records import (
    DataLine,
    Decimal,
    Delimiter,
    Episode,
    Gaps,
    HeaderLine,
    Json,
    Plot,
    Reading,
    Resample,
    Time,
    check_figure,
    save_figure,
)
from koopctrl.cli.report import load_network, named_data


def compare(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL|DATA",
            help="Models that `fit --save` wrote, of the same signals, and CSV files with those as columns.",
        ),
    ],
    data: Annotated[list[Path] | None, typer.Option(help="Another way to name a CSV file.")] = None,
    time: Time = None,
    episode: Episode = None,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    header_line: HeaderLine = None,
    data_line: DataLine = None,
    gaps: Gaps = "refuse",
    resample: Resample = False,
    n_init: Annotated[int | None, typer.Option(help="Samples that initialise all of them.")] = None,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Compare free runs of saved models on the same samples of a record."""
    from koopctrl.identification.comparison import compare as compared

    said.begin(json)
    check_figure(plot)
    missing = next((path for path in files if not path.exists()), None)
    if missing is not None:
        raise typer.BadParameter(f"there is no file {str(missing)!r}")
    # Where none is named as such, what is no model is data.
    data_files = data or [path for path in files if path.is_file() and not zipfile.is_zipfile(path)]
    model_files = [path for path in files if data or path not in data_files]
    data_files = named_data(data_files)
    if not model_files:
        raise typer.BadParameter(
            f"none of {', '.join(map(str, files))} is a model; expected what `fit --save` wrote"
        )
    if len({str(path) for path in model_files}) < len(model_files):
        raise typer.BadParameter("a model is named twice; expected different files")
    models = {str(path): load_network(path) for path in model_files}
    one = next(iter(models.values()))
    reading = Reading(time, episode, delimiter, decimal, gaps, resample, header_line, data_line)
    records = reading.read(data_files, one.output_names_, one.input_names_, None if time else one.dt_)
    first = max(m._n_init(records, n_init) for m in models.values())
    result = compared(models, records, n_init=first)
    said.say(f"{records!r}\nafter {first} samples that initialise")
    said.table("free runs", result.rows)
    said.keep(compared=result.rows, n_init=first)
    if plot is not None:
        save_figure(result.plot(), plot)
        said.say(f"figure written to {plot}")
        said.keep(figure=str(plot))
    said.finish()
