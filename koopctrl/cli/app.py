"""The commands under one roof, and how their errors and warnings are told."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer

import koopctrl
from koopctrl.cli.bench import bench
from koopctrl.cli.compare import compare
from koopctrl.cli.control import control
from koopctrl.cli.demo import demo
from koopctrl.cli.fit import fit
from koopctrl.cli.output import said, told
from koopctrl.cli.report import report
from koopctrl.cli.tune import tune
from koopctrl.cli.words import in_own_words
from koopctrl.errors import KoopctrlError, KoopctrlWarning

app = typer.Typer(
    help="Gradient-free recurrent networks read as Koopman models, for predictive control.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (demo, fit, report, compare, control, tune, bench):
    app.command()(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"koopctrl {koopctrl.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point: the package's own errors and warnings are one line on stderr, not a traceback."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", KoopctrlWarning)
        warnings.showwarning = lambda message, *_args, **_kw: told("warning", in_own_words(str(message)))
        try:
            app()
        except (KoopctrlError, OSError) as error:
            said.stop()
            told("error", in_own_words(str(error)))
            sys.exit(1)
