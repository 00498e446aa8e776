"""Every example runs, warns of nothing, prints what it found, and draws it."""

import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))
QUICK = ("csv_to_statespace",)  # the others are long
RUN = [
    pytest.param(script, id=script.stem, marks=[] if script.stem in QUICK else pytest.mark.slow)
    for script in EXAMPLES
]


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive:UserWarning")
@pytest.mark.parametrize("script", RUN)
def test_example_runs(script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script)])
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.strip(), "an example should print its result"
    assert plt.get_fignums(), "an example should draw its result, for the gallery"


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda p: p.stem)
def test_example_has_a_title_for_the_gallery(script):
    title, line = script.read_text().splitlines()[:2]
    assert title.startswith('"""')
    assert line == "=" * (len(title) - 3)
