"""The page of the plants, from their docstrings, parameters and pictures: `docs/build.py` writes it."""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from matplotlib.image import imsave

from koopctrl_envs import Plant
from koopctrl_envs.tasks import make_tasks, plant_ids, reference_score

_HEAD = """# Plants

Made from docstrings, parameters and pictures by `make docs`; do not edit.

Each plant is one file in `envs/koopctrl_envs`: parameters, pure dynamics, and a thin gymnasium env. The dynamics run
on floats, arrays of any batch shape and CasADi symbols, and as a block of python-control:

    env = gymnasium.make("koopctrl_envs:koopctrl/CSTR-v0", render_mode="rgb_array")
    plant = env.unwrapped.plant
    plant.step(x, u)                       # one sample, NumPy; leading axes are a batch
    plant.step_components(x, u, casadi)    # the same formulas on symbols
    plant.jacobians(x, u, dt=plant.dt)     # A, B, exact to rounding
    plant.linearize(x, u, dt=plant.dt)     # control.StateSpace of deviations, with names
    plant.steady_state(y)                  # state and input at rest with given outputs
    plant.to_nlsys()                       # control.NonlinearIOSystem; plant.dt for the sampled one
    plant.to_casadi()                      # casadi.Function (x, u) -> (x_next, y); plant.to_do_mpc() for do-mpc

One sample is `n_substeps` steps of Runge-Kutta, or exact where it says so; "step error" is the largest error of a sample
from the starts on under any input, over the width of the box of starts (`integrator="solve_ivp"`, `"cvodes"`: next to none).
Episodes end when the state leaves its limits, and `info["failure"]` says where. Actions beyond their limits are clipped,
which `info["clipped"]` tells, or refused with `out_of_bounds="refuse"`. Tasks (`koopctrl_envs.tasks.make_tasks`) are listed
with the cost of NMPC that has the true model and state and is told loads and drifts, summed over starts and steps: what
[`koopctrl bench`](testing-controllers.md) divides by. Pictures show runs under random held inputs; red is
the set-point.

Any `control.StateSpace` is a plant too (`LTIEnv`), so is a fitted model in place of what it was learned from (`ModelEnv`)
and a linear network (`LTINetworkEnv`): see [with other tools](other-tools.md).
"""

_RUNS = {"Burgers": (6, 0.5, 10), "Quadrotor": (40, 0.01, 3), "CartPole": (22, 0.25, 3), "BallAndBeam": (14, 0.25, 3), "Arm": (45, 0.25, 3)}
"""Steps, part of the inputs' range, and seed, where the usual ones show a plant that is at rest or has failed."""


def registered() -> dict[str, Any]:
    """Envs by id, each plant once: variants follow their first id."""
    ids = sorted(name for name in gymnasium.registry if name.startswith("koopctrl/"))
    return {name: gymnasium.make(name, render_mode="rgb_array").unwrapped for name in ids}


def page() -> str:
    """Markdown of all plants."""
    envs = registered()
    documented = [name for name, env in envs.items() if _has_page(env)]
    rows = ["| | id | states | inputs | outputs | sample time |\n|---|---|---|---|---|---|"]
    for name in documented:
        plant, stem = envs[name].plant, _stem(name)
        picture = f'<img src="figures/plant-{stem}.png" width="160" alt="{stem}">'
        rows.append(
            f"| {picture} | [{name}](#{stem.lower()}) | {plant.n_x} | {plant.n_u} | {plant.n_y} | {plant.dt:g} s |"
        )
    parts = [_HEAD, "\n".join(rows) + "\n"]
    for name in documented:
        variants = [n for n, e in envs.items() if n != name and type(e).__mro__[1] is type(envs[name])]
        parts.append(_entry(name, envs[name], variants))
    return "\n".join(parts)


def draw(folder: Path) -> None:
    """Pictures of all documented plants."""
    for name, env in registered().items():
        if _has_page(env):
            imsave(folder / f"plant-{_stem(name)}.png", picture(env))


def picture(env: Any) -> np.ndarray:
    """A plant after some steps under random held inputs around those of its set-point."""
    rng, plant = np.random.default_rng(0), env.plant
    n_steps, part, seed = _RUNS.get(type(plant).__name__, (70, 0.25, 3))
    env.reset(seed=seed)
    u = env.input_reference
    for k in range(n_steps):
        if k % 6 == 0:
            u = env.input_reference + part * rng.uniform(-1, 1, plant.n_u) * np.subtract(
                plant.u_max, plant.u_min
            )
        if env.step(u)[2]:
            break
    return env.render()


def _has_page(env: Any) -> bool:
    return ".. math::" in (type(env).__doc__ or "")


def _stem(name: str) -> str:
    return name.split("/")[1].removesuffix("-v0")


def _entry(name: str, env: Any, variants: list[str]) -> str:
    doc, plant, stem = inspect.getdoc(type(env)) or "", env.plant, _stem(name)
    lines = [f"\n## {stem}\n", _plain(doc.split("\n\n")[0]) + "\n", f"![{stem}](figures/plant-{stem}.png)\n"]
    lines += [_equations(doc)]
    rows = [
        [n, "state", unit, f"{_ends(a, b)}", f"{_ends(c, d)}"]
        for n, unit, a, b, c, d in zip(
            _names(plant.state_names), _names(plant.state_units), _names(plant.x_min), _names(plant.x_max),
            _names(plant.x0_low), _names(plant.x0_high), strict=True,
        )
    ]  # fmt: skip
    rows += [
        [n, "input", unit, _ends(a, b), ""]
        for n, unit, a, b in zip(plant.input_names, plant.input_units, plant.u_min, plant.u_max, strict=True)
    ]
    lines += [_table(["signal", "kind", "unit", "limits", "starts"], rows), _parameters(doc)]
    point = zip(_names(plant.output_names), _names(env.reference.tolist()), strict=True)
    holding = ", ".join(f"{n} = {v:.4g}" for n, v in zip(plant.input_names, env.input_reference, strict=True))
    exact = type(plant).step_components is not Plant.step_components
    method = "steps exact" if exact else f"{plant.n_substeps} steps of Runge-Kutta"
    lines += [
        f"Measured: {', '.join(_names(plant.output_names))}. Set-point by default "
        f"{', '.join(f'{n} = {v:.4g}' if isinstance(v, float) else '..' for n, v in point)}, held by {holding}. "
        f"Sample time {plant.dt:g} s, {method}, step error {plant.step_error:.0e}.\n"
    ]
    if plant.energy_drift is not None:
        lines += [
            f"Without friction and input its energy drifts by less than {plant.energy_drift:.0e} of what lies between "
            "the lowest and the highest state at rest, in 10,000 steps.\n"
        ]
    lines += [_at_rest(plant), _tasks([name, *variants]), _plain(doc[doc.index("**Observation**") :].split("\n\n")[0]) + "\n"]
    if variants:
        docs = [
            _plain((inspect.getdoc(gymnasium.make(v).unwrapped.__class__) or "").split("\n\n")[0])
            for v in variants
        ]
        lines += ["".join(f"- {d}\n" for d in docs)]
    lines += [_plain(doc[doc.index("Source:") :].split("\n\n")[0]) + "\n"]
    return "\n".join(lines)


def _tasks(names: list[str]) -> str:
    """Tasks of a plant and its variants, with what NMPC with the true model pays for them."""
    rows = []
    for name in names:
        for task in make_tasks(name).values() if name in plant_ids() else ():
            score = reference_score(task)
            who = task.name if name == names[0] else f"{_stem(name)}: {task.name}"
            told = ", previewed" if task.preview else ""
            cost = "none yet" if score is None else f"{score.cost:.4g}"
            rows.append([who, f"{task.n_steps}{told}", f"{task.horizon}", f"{len(task.starts)}", cost])
    return _table(["task", "steps", "horizon", "starts", "cost of NMPC"], rows) if rows else ""


def _at_rest(plant: Any) -> str:
    """The equilibria that the plant names, with what holds them and whether they hold by themselves."""
    text = "At rest: "
    points = []
    for x, u in zip(plant.equilibria, plant.equilibrium_inputs, strict=True):
        shown = [v if isinstance(v, str) else f"{v:.4g}" for v in _names(x.tolist())]
        slowest = np.linalg.eigvals(plant.jacobians(x, u)[0]).real.max()
        # Rounding makes a pole at zero anything below this: four in a chain move by the fourth root of it.
        kind = "stable" if slowest < 0.0 else "unstable"
        if abs(slowest) * plant.dt < 1e-6:
            kind, slowest = "a pole on the imaginary axis", 0.0
        held = ", ".join(f"{v + 0.0:.4g}" for v in u)
        largest = f", slowest pole {slowest:.2g} 1/s" if slowest < 0.0 else f", pole {slowest:.2g} 1/s" if slowest else ""
        points.append(f"({', '.join(shown)}) under ({held}), {kind}{largest}")
    return text + "; ".join(points) + ".\n"


def _parameters(doc: str) -> str:
    """The docstring's table of parameters, as Markdown has it."""
    lines = doc.splitlines()
    rules = [i for i, line in enumerate(lines) if re.fullmatch(r"=+( +=+)+", line)]
    spans = [m.span() for m in re.finditer("=+", lines[rules[0]])]
    ends = [start for start, _ in spans[1:]] + [None]
    rows: list[list[str]] = []
    for line in lines[rules[1] + 1 : rules[2]]:
        cells = [line[a:b].strip() for (a, _), b in zip(spans, ends, strict=True)]
        if cells[0]:
            rows.append(cells)
        else:
            rows[-1] = [" ".join((old, new)).strip() for old, new in zip(rows[-1], cells, strict=True)]
    return _table(["parameter", "meaning", "default", "unit"], rows)


def _names(values: Any) -> list[Any]:
    """Values, those between the first two and the last left out where there are many."""
    values = list(values)
    return values if len(values) <= 10 else [values[0], "..", values[-1]]


def _ends(low: Any, high: Any) -> str:
    return ".." if isinstance(low, str) else f"{low:.4g} to {high:.4g}"


def _equations(doc: str) -> str:
    """The math blocks, as Markdown has them."""
    blocks = re.findall(r"\.\. math::\n\n((?:    .*\n|\n)+)", doc)
    parts = []
    for block in blocks:
        body = textwrap.dedent(block).strip()
        # Matrices align by themselves.
        bare = re.sub(r"\\begin\{bmatrix\}.*?\\end\{bmatrix\}", "", body, flags=re.DOTALL)
        parts.append(
            "```math\n"
            + (f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}" if "&" in bare else body)
            + "\n```\n"
        )
    return "\n".join(parts)


def _plain(text: str) -> str:
    """A paragraph on one line, with Markdown's marks."""
    return " ".join(re.sub(r":math:`([^`]*)`", r"$\1$", text).split())


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
