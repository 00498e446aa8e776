"""Each plant's page: docstrings say everything, and the page that is made from them is current."""

import dataclasses
import importlib.util
import re
from pathlib import Path

import gymnasium
import pytest

import koopctrl_envs  # noqa: F401

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
    if env.default_R:
        assert f"{env.default_R:g}" in doc


@pytest.mark.parametrize("name", DOCUMENTED)
def test_pictures_are_committed(name):
    picture = ROOT / "docs" / "figures" / f"plant-{plants._stem(name)}.png"
    assert picture.stat().st_size > 5_000
