"""`koopctrl fit`: from a CSV file to a judged model in a file."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from koopctrl.cli.choose import choose
from koopctrl.cli.output import said
from koopctrl.cli.records import (
    DataFiles,
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
    check_folder,
    columns,
    save_figure,
)
from koopctrl.cli.words import in_own_words
from koopctrl.errors import KoopctrlWarning

_AUTO = "auto"


def fit(
    data: DataFiles,
    outputs: Annotated[list[str], typer.Option(help="Output columns, by commas or one each time.")],
    inputs: Annotated[
        list[str] | None, typer.Option(help="Input columns likewise; none if left out.")
    ] = None,
    dt: Annotated[float | None, typer.Option(help="Sample time in seconds.")] = None,
    time: Time = None,
    episode: Episode = None,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    header_line: HeaderLine = None,
    data_line: DataLine = None,
    gaps: Gaps = "refuse",
    resample: Resample = False,
    test_fraction: Annotated[float, typer.Option(help="Held out: episodes, or the record's end.")] = 0.3,
    output_lags: Annotated[int, typer.Option(help="Past outputs that act on the next one.")] = 1,
    input_lags: Annotated[int, typer.Option(help="Past inputs that act on the next output.")] = 1,
    states: Annotated[int | None, typer.Option(help="Order of a hidden state, instead of lags.")] = None,
    feedthrough: Annotated[bool, typer.Option("--feedthrough", help=r"Whether u\[k] acts on y\[k].")] = False,
    features: Annotated[
        int | None,
        typer.Option(
            help="Hidden neurons; by default a tenth of the samples, at most 300 (20 with --states)."
        ),
    ] = None,
    coupling: Annotated[str, typer.Option(help="bilinear, linear, quadratic or network.")] = "bilinear",
    sampler: Annotated[str, typer.Option(help="swim, uniform or elm.")] = "swim",
    feature_scale: Annotated[float, typer.Option(help="Width scale of the neurons.")] = 0.3,
    ridge: Annotated[str, typer.Option(help="Relative penalty on outer weights; auto by evidence.")] = _AUTO,
    budget: Annotated[
        float | None,
        typer.Option(help="Seconds in which to choose all settings by free run on held-out blocks."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampler.")] = 0,
    save: Annotated[
        Path | None, typer.Option(help="Where to write the model (.npz), fitted to all rows.")
    ] = None,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Fit a model to a CSV file and report on the part held out; what is saved is fitted to all rows."""
    from koopctrl.koopman_rnn import KoopmanRNN

    said.begin(json)
    check_folder(save, "--save")
    check_figure(plot)
    if not 0.0 < test_fraction < 1.0:
        raise typer.BadParameter(
            f"--test-fraction is {test_fraction:g}; expected more than 0 and less than 1: the part of the "
            "rows that is held out"
        )
    reading = Reading(time, episode, delimiter, decimal, gaps, resample, header_line, data_line)
    records = reading.read(data, columns(outputs), columns(inputs or []), dt)
    train, test = records.split(
        test_fraction, by="episode" if len(records) > 1 else "time", random_state=seed
    )
    if budget is not None:
        said.say(f"{records!r}\ntrain: {train.n_steps} steps, test: {test.n_steps} steps")
        said.keep(train_steps=train.n_steps, test_steps=test.n_steps)
        chosen = choose(records, train, test, budget, seed, save)
        if plot is not None:
            draw(chosen, test, None, f"{called(data)}, held out", plot)
        said.finish()
        return
    _check_lags(train, test, output_lags, input_lags)
    settings: dict[str, Any] = {
        "sampler": sampler, "feature_scale": feature_scale, "input_coupling": coupling,
        "output_lags": output_lags, "input_lags": input_lags, "feedthrough": feedthrough,
        "ridge": ridge if ridge == _AUTO else _number(ridge), "random_state": seed, "n_states": states,
    }  # fmt: skip
    model = KoopmanRNN(features, **settings)
    with said.busy("fitting"):
        model.fit(train)
    said.say(f"{records!r}\ntrain: {train.n_steps} steps, test: {test.n_steps} steps")
    said.keep(train_steps=train.n_steps, test_steps=test.n_steps, settings=model.get_params())
    with said.busy("reporting on the part held out"):
        result = model.report(test)
        print_report(result)
        _print_baseline(result, train, test, output_lags, input_lags, feedthrough)
    print_hint(result)
    if plot is not None:
        draw(model, test, None, f"{called(data)}, held out", plot)
    if save is not None:
        with said.busy("fitting to all rows"):
            KoopmanRNN(features, **settings).fit(records).save(save)
        said.say(
            f"model written to {save}: fitted once more, to all {records.n_steps} steps. The figures above "
            "are of the one that had not seen the part held out"
        )
        said.keep(model=str(save))
    said.finish()


def draw(model: Any, records: Any, n_init: int | None, name: str, path: Path) -> None:
    """Figure of the free run of the first episode."""
    from koopctrl.plotting import plot_free_run

    shaded = model._n_init(records, n_init)
    run = model.predict(records[:1], n_init=shaded)[0]
    which = f", episode {records[0].label}" if len(records) > 1 else ""
    title = f"{name}{which}: free run from {shaded} samples"
    save_figure(plot_free_run(records[0], {"KoopmanRNN": run}, n_init=shaded, title=title), path)
    said.say(f"figure written to {path}")
    said.keep(figure=str(path))


def print_report(result: Any) -> None:
    """A report, with its hint in the command's own words."""
    said.say(str(replace(result, hint=None)))
    said.keep(report=replace(result, hint=None).to_dict())


def print_hint(result: Any) -> None:
    """What to try where the free run is poor."""
    if result.hint:
        text = in_own_words(result.hint)
        said.say(f"The free run is poor: {text}")
        said.keep(hint=text)


def _check_lags(train: Any, test: Any, output_lags: int, input_lags: int) -> None:
    """Refuse windows that are longer than any record, in the command's own words."""
    needed = max(output_lags, input_lags) + 1
    for part, name, advice in ((train, "training part", "smaller"), (test, "part held out", "larger")):
        longest = max(len(e) for e in part)
        if longest < needed:
            raise typer.BadParameter(
                f"--output-lags {output_lags} and --input-lags {input_lags} take {needed} samples in a row; "
                f"the longest record of the {name} has {longest}. Take fewer lags or a {advice} "
                "--test-fraction"
            )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"--ridge is {text!r}; expected a number or auto") from error


def _print_baseline(
    result: Any, train: Any, test: Any, output_lags: int, input_lags: int, feedthrough: bool
) -> None:
    """What a least-squares ARX model with the same lags reaches, beside the model's figures."""
    from koopctrl.identification.advice import POOR
    from koopctrl.koopman_rnn import KoopmanRNN

    lags: dict[str, Any] = {"output_lags": output_lags, "input_lags": input_lags}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KoopctrlWarning)  # it is the model that is asked about
        arx = KoopmanRNN(0, input_coupling="linear", feedthrough=feedthrough, ridge=0.0, **lags).fit(train)
        base = arx.report(test)
    rows = [
        {"free run": name, "R2": r.score, **{f"NRMSE {h.horizon} ahead": h.rnn_nrmse for h in r.horizons}}
        for name, r in (("this model", result), ("ARX, same lags", base))
    ]
    said.table("beside a linear model", rows)
    said.keep(baseline=base.to_dict())
    if base.score >= max(result.score, POOR) and result.sizes["n_features"]:
        said.say(
            "The linear ARX model is as good: the record shows no nonlinearity that the neurons caught. Try "
            "other lags or --coupling, or take the linear one: --features 0 --coupling linear."
        )
