"""Each plant's page: docstrings say everything, and the page that is made from them is current."""

import dataclasses
import importlib.util
import re
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from matplotlib.image import imread

import koopctrl_envs  # noqa: F401
from koopctrl_envs.tasks import make_tasks, reference_score

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("docs_plants", ROOT / "docs" / "plants.py")
assert _spec is not None
assert _spec.loader is not None
plants = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(plants)

ENVS = plants.registered()
DOCUMENTED = {name: env for name, env in ENVS.items() if plants._has_page(env)}


def test_the_page_is_current():
    assert (ROOT / "docs" / "plants.md").read_text() == plants.page(), (
        "docs/plants.md is stale; run make docs"
    )


@pytest.mark.parametrize("name", ENVS)
def test_every_id_is_on_the_page_and_in_its_own_docstring(name):
    assert f"`{name}`" in type(ENVS[name]).__doc__
    assert name in (ROOT / "docs" / "plants.md").read_text()
    assert gymnasium.spec(name).max_episode_steps


@pytest.mark.parametrize("name", DOCUMENTED)
def test_docstrings_have_equation_parameters_with_units_and_source(name):
    env = DOCUMENTED[name]
    doc = type(env).__doc__
    for part in (
        ".. math::",
        "**Observation**",
        "**Action**",
        "**Reward**",
        "**Start**",
        "**End**",
        "Source: ",
    ):
        assert part in doc, part
    table = doc[doc.index("=====") : doc.rindex("=====")]
    listed = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", table))))
    assert {field.name for field in dataclasses.fields(env.plant)} <= listed
    for field in ("dt", "n_substeps"):
        row = next(line for line in table.splitlines() if f"`{field}`" in line)
        assert f"{getattr(env.plant, field):g}" in row.split()
    for name, weight in (("Q", env.default_Q), ("R", env.default_R)):
        shown = f"diag({', '.join(f'{w:g}' for w in weight)})" if np.ndim(weight) else f"{weight:g}"
        assert f"`{name} = {shown}`" in doc


@pytest.mark.parametrize("name", DOCUMENTED)
def test_pictures_are_committed_as_the_renderer_makes_them(name):
    picture = imread(ROOT / "docs" / "figures" / f"plant-{plants._stem(name)}.png")[:, :, :3]
    assert picture.shape == (360, 640, 3)
    fresh = plants.picture(DOCUMENTED[name]) / 255.0
    # Fonts and the edges of lines may differ from machine to machine, the drawing may not.
    assert (np.abs(picture - fresh).max(axis=2) > 0.1).mean() < 0.03


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_part_of_the_page_lacks_nothing(name):
    page, stem, plant = (ROOT / "docs" / "plants.md").read_text(), plants._stem(name), DOCUMENTED[name].plant
    assert (
        f'<img src="figures/plant-{stem}.png" width="160" alt="{stem}"> | [{name}](#{stem.lower()})' in page
    )
    part = page[page.index(f"\n## {stem}\n") :].split("\n## ")[1]
    assert f"![{stem}](figures/plant-{stem}.png)" in part
    assert "```math\n" in part
    assert "Source: " in part
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if line[:1] == "|"]
    for task in make_tasks(name).values():
        score = reference_score(task)
        assert score is not None
        told = ", previewed" if task.preview else ""
        shown = [task.name, f"{task.n_steps}{told}", f"{task.horizon}", f"{len(task.starts)}"]
        assert [*shown, f"{score.cost:.4g}"] in rows
    signals = {row[0]: row for row in rows if len(row) == 5}
    some = plants._names(list(range(plant.n_x)))
    for i in (i for i in some if i != ".."):
        assert signals[plant.state_names[i]][1:4] == [
            "state", plant.state_units[i], plants._ends(plant.x_min[i], plant.x_max[i])
        ]  # fmt: skip
    for i, input_name in enumerate(plant.input_names):
        assert signals[input_name][1:4] == [
            "input", plant.input_units[i], plants._ends(plant.u_min[i], plant.u_max[i])
        ]  # fmt: skip
    listed = set(re.findall(r"\w+", " ".join(row[0] for row in rows if len(row) == 4)))
    assert {field.name for field in dataclasses.fields(plant)} <= listed
    rest = next(line for line in part.splitlines() if line.startswith("At rest: "))
    assert rest.count(" under (") == len(plant.equilibria) >= 1
