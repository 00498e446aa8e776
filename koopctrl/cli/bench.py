"""`koopctrl bench`: controllers on tasks, ranked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from koopctrl.cli.output import said
from koopctrl.cli.records import Json, Plot, check_figure, check_folder, save_figure


def bench(
    plants: Annotated[
        str | None, typer.Option(help="Plants, such as VanDerPol,Pendulum; all of them by default.")
    ] = None,
    controllers: Annotated[
        str,
        typer.Option(
            help="lqr, linear_mpc, rnn_mpc, dmdc, deepc, nmpc, or import paths module:maker of your own, "
            "which are looked for in this folder too."
        ),
    ] = "lqr,linear_mpc,rnn_mpc,dmdc",
    tasks: Annotated[
        str | None,
        typer.Option(help="regulation, setpoints, tracking, disturbed; all of each plant by default."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds of records and networks, from 0 on.")] = 1,
    steps: Annotated[
        int | None, typer.Option(help="Cut episodes short, for a quick look without comparison.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Where to write all figures (.json).")] = None,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Run controllers on the tasks of the plants, and rank them by cost over NMPC with the true model."""
    said.begin(json)
    check_figure(plot)
    check_folder(save, "--save")
    for name, value in (("--seeds", seeds), ("--steps", steps)):
        if value is not None and value < 1:
            raise typer.BadParameter(f"{name} is {value}; expected at least 1")
    names = _names(controllers, "--controllers")
    if not names:
        raise typer.BadParameter("--controllers is empty; expected at least one")
    # A user's own module lies in the folder that the command is given in.
    sys.path.insert(0, str(Path.cwd()))
    try:
        from koopctrl.benchmark.run import bench as run

        with said.busy("making the tasks") as update:
            result = run(
                _labelled(names), _names(plants, "--plants"), _names(tasks, "--tasks"), seeds=range(seeds),
                n_steps=steps, progress=lambda text: update(what=text),
            )  # fmt: skip
    finally:
        sys.path.remove(str(Path.cwd()))
    rows = result.rows()
    for plant in dict.fromkeys(row["plant"] for row in rows):
        said.table(f"{plant}, the true plant", [_short(row, seeds) for row in rows if row["plant"] == plant])
    if len(names) > 1:
        said.table("controllers, the best first", result.ranking())
    for message in result.messages():
        said.say(f"{message}")
    said.keep(**result.to_dict(), ranking=result.ranking(), messages=result.messages())
    if save is not None:
        result.save(save)
        said.say(f"figures written to {save}")
        said.keep(file=str(save))
    if plot is not None:
        save_figure(result.plot(), plot)
        said.say(f"figure written to {plot}")
        said.keep(figure=str(plot))
    said.finish()


def _short(row: dict[str, Any], seeds: int) -> dict[str, Any]:
    """A row of one plant's table; `worst` has nothing to say of one seed."""
    left_out = ("plant", "worst") if seeds == 1 else ("plant",)
    return {name: value for name, value in row.items() if name not in left_out}


def _labelled(names: list[str]) -> dict[str, str]:
    """Controllers by short names: of `module:maker` the latter, unless two would have the same."""
    short = [name.rpartition(":")[2] for name in names]
    return {s if short.count(s) == 1 else name: name for s, name in zip(short, names, strict=True)}


def _names(text: str | None, option: str) -> list[str] | None:
    """Names between commas."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter(f"{option} is empty; expected names separated by commas")
    return names
