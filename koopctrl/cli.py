"""Command line: `koopctrl demo | fit | report`."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from koopctrl.errors import KoopctrlError, KoopctrlWarning

app = typer.Typer(
    help="Gradient-free recurrent networks read as Koopman models, for predictive control.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(soft_wrap=True)

_FIGURES = (".png", ".pdf", ".svg", ".jpg")
_PAIRS_PER_FEATURE = 10
# A free run with a lower R2 than this gets a hint.
_POOR = 0.9
AUTO = "auto"


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for figures and figures.json.")] = Path("koopctrl-demo"),
) -> None:
    """Run the main job on real input: a measured record, then a plant in closed loop."""
    from koopctrl.demo.hair_dryer import run_hair_dryer
    from koopctrl.demo.van_der_pol import run_van_der_pol

    out.mkdir(parents=True, exist_ok=True)
    with console.status("hair dryer: measured record, split, fit, free run, export"):
        dryer = run_hair_dryer(out)
    _print_rows("1. Hair dryer, unseen half: free run from 20 samples", dryer["free_run"])
    console.print(
        f"as control.StateSpace: {dryer['statespace_states']} states, DC gain {dryer['dc_gain']:.3f} "
        f"(ARX {dryer['arx_dc_gain']:.3f})\n"
    )
    with console.status("Van der Pol: starting") as status:
        plant = run_van_der_pol(out, progress=lambda text: status.update(f"Van der Pol: {text}"))
    _print_rows(
        "2. Forced Van der Pol: errors by horizon on unseen episodes, relative to spread", plant["horizons"]
    )
    _print_rows("   Closed loop on the env, set-point sequence", plant["closed_loop"])
    figures = out / "figures.json"
    figures.write_text(json.dumps({"hair_dryer": dryer, "van_der_pol": plant}, indent=2) + "\n")
    console.print(f"figures and every number above: {out}/")


@app.command()
def fit(
    data: Annotated[Path, typer.Argument(help="CSV file with one header line.")],
    outputs: Annotated[str, typer.Option(help="Output columns, separated by commas.")],
    inputs: Annotated[str, typer.Option(help="Input columns, separated by commas; none if left out.")] = "",
    dt: Annotated[float | None, typer.Option(help="Sample time in seconds.")] = None,
    time: Annotated[str | None, typer.Option(help="Column of sample times, instead of --dt.")] = None,
    episode: Annotated[str | None, typer.Option(help="Column that tells episodes apart.")] = None,
    test_fraction: Annotated[float, typer.Option(help="Held out: episodes, or the record's end.")] = 0.3,
    output_lags: Annotated[int, typer.Option(help="Past outputs that act on the next one.")] = 1,
    input_lags: Annotated[int, typer.Option(help="Past inputs that act on the next output.")] = 1,
    feedthrough: Annotated[bool, typer.Option(help="Whether u[k] acts on y[k].")] = False,
    features: Annotated[int | None, typer.Option(help="Hidden neurons; at most 300 by default.")] = None,
    coupling: Annotated[str, typer.Option(help="linear, bilinear, quadratic or network.")] = "network",
    sampler: Annotated[str, typer.Option(help="swim, uniform or elm.")] = "swim",
    feature_scale: Annotated[float, typer.Option(help="Width scale of the neurons.")] = 0.3,
    ridge: Annotated[str, typer.Option(help="Relative penalty on outer weights; auto by evidence.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the sampler.")] = 0,
    save: Annotated[Path | None, typer.Option(help="Where to write the model (.npz).")] = None,
) -> None:
    """Fit a model to a CSV file and report on the part held out."""
    from koopctrl.data.trajectories import Trajectories
    from koopctrl.koopman_rnn import KoopmanRNN

    _check_folder(save, "--save")
    records = Trajectories.from_csv(
        data, outputs=_columns(outputs), inputs=_columns(inputs), dt=dt, time=time, episode=episode
    )
    train, test = records.split(
        test_fraction, by="episode" if len(records) > 1 else "time", random_state=seed
    )
    if features is None:
        features = min(300, train.n_steps // _PAIRS_PER_FEATURE)
    model = KoopmanRNN(
        features,
        sampler=sampler,
        feature_scale=feature_scale,
        input_coupling=coupling,
        output_lags=output_lags,
        input_lags=input_lags,
        feedthrough=feedthrough,
        ridge=ridge if ridge == AUTO else _number(ridge),
        random_state=seed,
    )
    with console.status("fitting"):
        model.fit(train)
    console.print(f"{records!r}\ntrain: {train.n_steps} steps, test: {test.n_steps} steps")
    with console.status("reporting on the part held out"):
        result = _print_report(model, test)
        _print_baseline(result, train, test, output_lags, input_lags, feedthrough)
    _print_hint(result, model)
    if save is not None:
        model.save(save)
        console.print(f"model written to {save}")


@app.command()
def report(
    model_file: Annotated[Path, typer.Argument(metavar="MODEL", help="A model that `fit --save` wrote.")],
    data: Annotated[Path, typer.Option(help="CSV file with the model's signals as columns.")],
    time: Annotated[
        str | None, typer.Option(help="Column of sample times; checked against the model's.")
    ] = None,
    episode: Annotated[str | None, typer.Option(help="Column that tells episodes apart.")] = None,
    n_init: Annotated[int | None, typer.Option(help="Samples that initialise each free run.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a figure of the first episode's free run.")] = None,
) -> None:
    """Report on a saved model: sizes, conditioning, errors by horizon of both faces."""
    from koopctrl.data.trajectories import Trajectories
    from koopctrl.koopman_rnn import KoopmanRNN
    from koopctrl.storage import load

    _check_folder(plot, "--plot")
    if plot is not None and plot.suffix.lower() not in _FIGURES:
        raise typer.BadParameter(
            f"--plot is {str(plot)!r}; expected a name that ends in {', '.join(_FIGURES)}"
        )
    model = load(model_file)
    if not isinstance(model, KoopmanRNN):
        raise typer.BadParameter(f"{model_file} holds a {type(model).__name__}; expected a KoopmanRNN")
    records = Trajectories.from_csv(
        data,
        outputs=model.output_names_,
        inputs=model.input_names_,
        dt=None if time else model.dt_,
        time=time,
        episode=episode,
    )
    console.print(repr(records))
    _print_hint(_print_report(model, records), model)
    if plot is not None:
        from koopctrl.plotting import plot_free_run

        run = model.predict(records[:1], n_init=n_init)[0]
        shaded = n_init or model.network_.window.n_samples
        episode_name = f", episode {records[0].label}" if len(records) > 1 else ""
        title = f"{data.name}{episode_name}: free run of {model_file.name} from {shaded} samples"
        plot_free_run(records[0], {"KoopmanRNN": run}, n_init=shaded, title=title).savefig(plot, dpi=150)
        console.print(f"figure written to {plot}")


def _check_folder(path: Path | None, name: str) -> None:
    """Refuse a file whose folder does not exist, before the work that would be lost."""
    if path is not None and not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"{name} is {str(path)!r}, whose folder does not exist; make it first")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"--ridge is {text!r}; expected a number or auto") from error


def _columns(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _print_report(model: Any, records: Any) -> Any:
    result = model.report(records)
    console.print(str(result), highlight=False, markup=False)
    return result


def _print_baseline(
    result: Any, train: Any, test: Any, output_lags: int, input_lags: int, feedthrough: bool
) -> None:
    """What a least-squares ARX model with the same lags reaches, beside the model's figures."""
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
    _print_rows("beside a linear model", rows)
    if base.score >= max(result.score, _POOR) and result.sizes["n_features"]:
        console.print(
            "The linear ARX model is as good: the record shows no nonlinearity that the neurons caught. Try "
            "other lags or --coupling, or take the linear one: --features 0 --coupling linear."
        )


def _print_hint(result: Any, model: Any) -> None:
    if result.score >= _POOR:
        return
    p, q = model.output_lags, model.input_lags
    if p == q == 1:
        text = "if the columns are not the full state, try more --output-lags and --input-lags."
    elif result.horizons[0].rnn_nrmse < 0.3:
        text = (
            f"one step ahead is good, so with {p} output and {q} input lags errors pile up. Try other lags, "
            "another --coupling, a larger --ridge, or look for an input that is missing."
        )
    else:
        text = (
            f"{p} output and {q} input lags do not explain the next sample either. Try more lags, "
            "--feedthrough, or look for an input that is missing."
        )
    console.print(f"The free run is poor: {text}", highlight=False)


def _print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="right" if name != next(iter(rows[0])) else "left")
    for row in rows:
        table.add_row(*(_cell(v) for v in row.values()))
    console.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if not np.isfinite(value) else f"{value:.4g}"
    return str(value)


def main() -> None:
    """Entry point: the package's own errors and warnings are one line, not a traceback."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", KoopctrlWarning)
        warnings.showwarning = lambda message, *_args, **_kw: console.print(f"[yellow]warning:[/] {message}")
        try:
            app()
        except (KoopctrlError, FileNotFoundError, PermissionError, IsADirectoryError) as error:
            Console(stderr=True, soft_wrap=True).print(f"[red]error:[/] {error}", highlight=False)
            sys.exit(1)
