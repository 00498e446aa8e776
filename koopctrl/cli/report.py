"""`koopctrl report`: a saved model on another record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from koopctrl.cli.fit import draw, print_hint, print_report
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
    called,
    check_figure,
)

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A model that `fit --save` wrote.")]


def report(
    model_file: ModelFile,
    data_files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DATA", help="CSV file with the model's signals as columns, or several."),
    ] = None,
    data: Annotated[list[Path] | None, typer.Option(help="Another way to name such a file.")] = None,
    time: Time = None,
    episode: Episode = None,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    header_line: HeaderLine = None,
    data_line: DataLine = None,
    gaps: Gaps = "refuse",
    resample: Resample = False,
    n_init: Annotated[
        int | None, typer.Option(help="Samples that initialise each free run; all figures begin after them.")
    ] = None,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Report on a saved model: sizes, conditioning, errors by horizon of both faces."""
    said.begin(json)
    check_figure(plot)
    files = named_data(data_files, data)
    model = load_network(model_file)
    reading = Reading(time, episode, delimiter, decimal, gaps, resample, header_line, data_line)
    records = reading.read(files, model.output_names_, model.input_names_, None if time else model.dt_)
    if n_init is not None:
        longest = max(len(e) for e in records)
        if not 1 <= n_init < longest:
            raise typer.BadParameter(
                f"--n-init is {n_init}; expected 1 to {longest - 1}: the longest record has {longest} samples"
            )
    said.say(repr(records))
    with said.busy("reporting"):
        result = model.report(records, n_init=n_init)
    print_report(result)
    said.keep(n_init=model._n_init(records, n_init))
    print_hint(result)
    if plot is not None:
        draw(model, records, n_init, f"{called(files)}, {model_file.name}", plot)
    said.finish()


def named_data(*lists: list[Path] | None) -> list[Path]:
    """Data files, wherever they were named."""
    files = [path for paths in lists for path in paths or ()]
    if not files:
        raise typer.BadParameter("there is no data file; expected a CSV file after the model, or --data FILE")
    return files


def load_network(path: Path) -> Any:
    """The network in a file; of an ensemble its best member."""
    from koopctrl.ensemble import KoopmanEnsemble
    from koopctrl.koopman_rnn import KoopmanRNN
    from koopctrl.storage import load

    model = load(path)
    if isinstance(model, KoopmanEnsemble):
        model = model.best_
    if not isinstance(model, KoopmanRNN):
        raise typer.BadParameter(f"{path} holds a {type(model).__name__}; expected a KoopmanRNN")
    return model
