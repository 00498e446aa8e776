"""`koopctrl compare`: several saved models on one record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from koopctrl.cli.output import said
from koopctrl.cli.records import (
    Decimal,
    Delimiter,
    Episode,
    Gaps,
    Json,
    Plot,
    Reading,
    Resample,
    Time,
    check_figure,
    save_figure,
)
from koopctrl.cli.report import load_network


def compare(
    model_files: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL...", help="Models that `fit --save` wrote, of the same signals."),
    ],
    data: Annotated[Path, typer.Option(help="CSV file with the models' signals as columns.")],
    time: Time = None,
    episode: Episode = None,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
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
    if len({str(path) for path in model_files}) < len(model_files):
        raise typer.BadParameter("a model is named twice; expected different files")
    models = {str(path): load_network(path) for path in model_files}
    one = next(iter(models.values()))
    reading = Reading(time, episode, delimiter, decimal, gaps, resample)
    records = reading.read(data, one.output_names_, one.input_names_, None if time else one.dt_)
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
