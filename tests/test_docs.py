"""README and docs: code runs, figures shown are made by the code on the page, the API page is current."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)

QUICK = ("README", "records", "conventions")  # pages that run in a second or two; the others are long
CODE_PAGES = [
    pytest.param(page, id=page.stem, marks=[] if page.stem in QUICK else pytest.mark.slow)
    for page in build.PAGES
    if build.blocks(page)
]


@pytest.mark.parametrize("page", CODE_PAGES)
def test_page_runs_and_makes_its_figures(page, tmp_path):
    build.run_page(page, tmp_path)
    for figure in build.figures(page):
        made = tmp_path / "figures" / Path(figure).name
        committed = page.parent / figure
        assert committed.exists(), f"{figure} is shown but not committed; run make docs"
        assert made.exists(), f"{figure} is shown but not made by the page"
        assert made.stat().st_size > 5_000


SECTIONS = {"index", "tutorials", "how-to", "reference", "explanation"}  # of the site


def test_every_page_is_reached_from_the_readme():
    links = set(re.findall(r"\]\((docs/[^)#]+\.md)", (ROOT / "README.md").read_text()))
    pages = {f"docs/{p.name}" for p in build.PAGES if p.stem not in SECTIONS | {"README"}}
    assert pages == links


def test_every_page_stands_in_one_section_of_the_site():
    entries = []
    for section in SECTIONS:
        (tree,) = re.findall(
            r"```{toctree}\n(.*?)```", (ROOT / "docs" / f"{section}.md").read_text(), re.DOTALL
        )
        entries += [line for line in tree.splitlines() if line and not line.startswith(":")]
    generated = {"gallery/index", "reference-api/index"}
    pages = {p.stem for p in build.PAGES} - {"README", "index", "api"}
    assert sorted(entries) == sorted(pages | generated)


def test_links_point_to_files():
    for page in build.PAGES:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", build.PAGES, ids=lambda p: p.stem)
def test_tables_are_those_of_the_results(page):
    assert build.with_tables(page.read_text()) == page.read_text(), f"{page.name} is stale; run make docs"


def test_outputs_stand_below_the_code_that_printed_them():
    text = "```python\na\n```\n\n```python\nb\n```\n\n```output\nold\n```\n\n```python\nc\n```\n"
    filled = build.with_outputs(text, ["1\n", "2\n", "3\n"])
    assert filled == text.replace("old\n", "1\n2\n")


def test_api_page_is_current():
    assert (ROOT / "docs" / "api.md").read_text() == build.api_page(), "docs/api.md is stale; run make docs"
