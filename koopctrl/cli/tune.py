"""`koopctrl tune`: a page with sliders for a controller on a saved model, and a loop that follows them."""

from __future__ import annotations

import webbrowser
from typing import Annotated

import typer

from koopctrl.cli.output import said
from koopctrl.cli.report import ModelFile, load_network


def tune(
    model_file: ModelFile,
    plant: Annotated[
        str | None,
        typer.Option(
            help="Gymnasium's name of a plant to run on, as koopctrl_envs:koopctrl/TwoTanks-v0; by default "
            "the model itself."
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the page; by default any that is free.")] = 0,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Whether to open a browser.")] = True,
) -> None:
    """Tune a predictive controller by hand: a page with sliders, and the closed loop that they give."""
    from koopctrl.tune import serve

    if not 0 <= port < 2**16:
        raise typer.BadParameter(f"--port is {port}; expected 0 to {2**16 - 1}")
    said.begin(False)
    model = load_network(model_file)
    with serve(model, str(model_file), plant=plant, port=port) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        said.say(f"{address}  (end with Ctrl-C)")
        if open_page:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            said.say("ended")
