"""`koopctrl control`: design a predictive controller on a saved model, and run it on that model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from koopctrl.cli.output import said
from koopctrl.cli.records import Json, Plot, check_figure, check_folder, numbers, save_figure
from koopctrl.cli.report import ModelFile, load_network

_KINDS = ("auto", "linear", "nonlinear")


def control(
    model_file: ModelFile,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Set-points of the outputs, as 1.5,- (- for none), several after each other with / between. "
            "By default the first output half a standard deviation above its mean, then below."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Samples to run.")] = 200,
    horizon: Annotated[int, typer.Option(help="Samples that the controller looks ahead.")] = 20,
    q: Annotated[
        str | None, typer.Option("--q", help="Weights on outputs; by default 1 / variance of the data.")
    ] = None,
    r: Annotated[
        str | None, typer.Option("--r", help="Weights on inputs; by default 0.1 / variance of the data.")
    ] = None,
    u_min: Annotated[str | None, typer.Option(help="Bounds on inputs; by default the data's range.")] = None,
    u_max: Annotated[str | None, typer.Option(help="Bounds on inputs; by default the data's range.")] = None,
    y_min: Annotated[str | None, typer.Option(help="Soft bounds on outputs.")] = None,
    y_max: Annotated[str | None, typer.Option(help="Soft bounds on outputs.")] = None,
    kind: Annotated[str, typer.Option(help="auto, linear (LinearMPC) or nonlinear (RNNMPC).")] = "auto",
    save: Annotated[Path | None, typer.Option(help="Where to write the controller (.npz).")] = None,
    c_code: Annotated[Path | None, typer.Option("--c", help="Folder for the controller in C.")] = None,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Design a predictive controller on a saved model, run it with the model as the plant, and draw it."""
    import numpy as np

    from koopctrl.cli.design import Task, design_controller
    from koopctrl.controllers import run_closed_loop

    said.begin(json)
    check_figure(plot)
    check_folder(save, "--save")
    for name, value in (("--steps", steps), ("--horizon", horizon)):
        if value < 1:
            raise typer.BadParameter(f"{name} is {value}; expected at least 1")
    if kind not in _KINDS:
        raise typer.BadParameter(f"--kind is {kind!r}; expected one of {', '.join(_KINDS)}")
    model = load_network(model_file)
    if not model.n_u:
        raise typer.BadParameter(f"{model_file} holds a model without inputs; expected one with inputs")
    goals = _goals(reference, model)
    references = goals[np.minimum(np.arange(steps + 1) * len(goals) // steps, len(goals) - 1)]
    scaling, inputs = model.network_.scaling, model.snapshots_.u
    task = Task(
        horizon,
        np.diag(_or(numbers(q, "--q", model.n_y), 1.0 / scaling.y_scale**2)),
        np.diag(_or(numbers(r, "--r", model.n_u), 0.1 / scaling.u_scale**2)),
        _or(numbers(u_min, "--u-min", model.n_u), inputs.min(axis=0)),
        _or(numbers(u_max, "--u-max", model.n_u), inputs.max(axis=0)),
        goals,
        numbers(y_min, "--y-min", model.n_y),
        numbers(y_max, "--y-max", model.n_y),
    )
    with said.busy("designing the controller"):
        controller, text = design_controller(model, task, kind)
    said.say(f"{text}\n{controller!r}")
    x0 = np.zeros(model.n_x) if model.hidden else model.network_.x_mean
    with said.busy("running it on the model"):
        result = run_closed_loop(model.to_nlsys(), controller, steps, references, x0=x0)
    metrics = result.metrics()
    last = result.outputs[-1] - references[-1]
    rows = [
        {"output": name, "set-point": float(wanted), "reached": float(value), "error": float(error)}
        for name, wanted, value, error in zip(
            model.output_names_, references[-1], result.outputs[-1], last, strict=True
        )
    ]
    said.table(f"after {result.n_steps} steps of {result.dt:g} s, on the model itself", rows)
    said.say(
        f"cost {result.cost:.4g}; steps without a solution: {metrics['n_fallbacks']} of {result.n_steps}; "
        f"median step {1e3 * metrics['solve_time_median']:.2g} ms"
    )
    said.keep(
        controller=type(controller).__name__, design=text, cost=result.cost, outputs=rows,
        inputs={
            n: [float(c.min()), float(c.max())]
            for n, c in zip(model.input_names_, result.inputs.T, strict=True)
        },
        fallbacks=metrics["n_fallbacks"], median_step_s=metrics["solve_time_median"],
    )  # fmt: skip
    if plot is not None:
        save_figure(result.plot(title=f"{text}: cost {result.cost:.4g}"), plot)
        said.say(f"figure written to {plot}")
        said.keep(figure=str(plot))
    if save is not None:
        controller.reset()
        controller.save(save)
        said.say(f"controller written to {save}")
        said.keep(saved=str(save))
    if c_code is not None:
        code = controller.to_c(c_code)
        said.say(f"C written to {c_code}: {', '.join(code.files)}")
        said.keep(c=[str(c_code / file) for file in code.files])
    said.finish()


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _goals(text: str | None, model: Any) -> Any:
    """Set-points, one a row; NaN for outputs without one."""
    import numpy as np

    if text is None:
        wanted = np.full((2, model.n_y), np.nan)
        scaling = model.network_.scaling
        wanted[:, 0] = scaling.y_mean[0] + np.array([0.5, -0.5]) * scaling.y_scale[0]
    else:
        rows = [numbers(part, "--reference", model.n_y, unset=True) for part in text.split("/")]
        if any(len(row) != model.n_y for row in rows):
            raise typer.BadParameter(
                f"--reference is {text!r}; expected {model.n_y} numbers for "
                f"{', '.join(model.output_names_)}, separated by commas (- for none)"
            )
        wanted = np.array(rows)
        if np.isnan(wanted).all():
            raise typer.BadParameter(f"--reference is {text!r}; expected one number at least")
    return wanted
