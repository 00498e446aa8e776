"""`koopctrl demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from koopctrl.cli.output import said
from koopctrl.cli.records import Json


def demo(
    out: Annotated[Path, typer.Option(help="Folder for figures and figures.json.")] = Path("koopctrl-demo"),
    json: Json = False,
) -> None:
    """Show what the package does, from data to controllers, with figures."""
    from koopctrl.demo.van_der_pol import run_van_der_pol

    said.as_json = json
    out.mkdir(parents=True, exist_ok=True)
    run_van_der_pol(out)
    said.finish()
