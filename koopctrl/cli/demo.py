"""`koopctrl demo`."""

from __future__ import annotations

import json as json_module
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

from koopctrl.cli.output import said
from koopctrl.cli.records import Json

_WIDTH = 78


def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures, models and figures.json.")] = Path(
        "koopctrl-demo"
    ),
    json: Json = False,
) -> None:
    """Show what the package does: a swing-up, a measured record, C code, a linear network."""
    from koopctrl.demo.in_c import controller_in_c
    from koopctrl.demo.lti_network import linear_network
    from koopctrl.demo.pendulum import swing_up
    from koopctrl.demo.robot_arm import measured_record

    said.begin(json)
    out.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, Any] = {}
    files: dict[str, str] = {}

    def show(key: str, part: Any) -> None:
        said.table(f"{len(numbers) + 1}. {part.title}", part.rows)
        said.say(textwrap.fill(part.finding, _WIDTH) + "\n")
        numbers[key] = part.to_dict()
        files.update(part.files)

    with said.busy("pendulum") as update:

        def progress(text: str) -> None:
            update(what=text)

        part, mpc = swing_up(out, progress)
        show("pendulum", part)
        show("robot_arm", measured_record(out, progress))
        show("c_code", controller_in_c(out, mpc, progress))
        show("lti_network", linear_network(out, progress))
    files["figures.json"] = "every number above"
    (out / "figures.json").write_text(json_module.dumps(numbers, indent=2) + "\n")
    said.say(f"Written to {out}/:")
    width = max(len(name) for name in files)
    for name, what in files.items():
        said.say(f"  {name:{width}s}  {what}")
    said.keep(folder=str(out), files=files, **numbers)
    said.finish()
