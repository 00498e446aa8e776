"""The check of the site finds what it looks for, and formulas are drawn without a script."""

import importlib.util
import sys
from pathlib import Path

import pytest

SITE = Path(__file__).resolve().parent.parent / "docs" / "site"


def load(name):
    spec = importlib.util.spec_from_file_location(f"site_{name}", SITE / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = load("check")
GOOD = (
    '<h1 id="top">Title</h1><a href="other.html#place">x</a><a href="https://example.org">y</a>'
    '<img src="a.png"><p>text</p><math><mi>x</mi></math><code>\\frac</code>'
)


def problems(folder, text, expected=()):
    (folder / "index.html").write_text(text)
    (folder / "other.html").write_text('<p id="place">here</p>')
    (folder / "a.png").write_bytes(b"\x89PNG")
    (folder / "empty.png").write_bytes(b"")
    return check.problems(folder, expected)


def test_a_page_without_fault_has_no_problems(tmp_path):
    assert problems(tmp_path, GOOD, ["top", "place"]) == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ('<img src="b.png">', "picture 'b.png' is missing"),
        ('<img src="empty.png">', "picture 'empty.png' is missing"),
        ('<img src="https://example.org/a.png">', "is missing"),
        ('<a href="nowhere.html">x</a>', "'nowhere.html' leads nowhere"),
        ('<a href="other.html#gone">x</a>', "no such place"),
        ('<a href="#gone">x</a>', "no such place"),
        ("<p>so \\(x^2\\)</p>", "a formula is not drawn"),
        ("<p>$$x^2$$</p>", "a formula is not drawn"),
        ("<p>\\frac{a}{b}</p>", "a formula is not drawn"),
        ("<math></math>", "1 formulas are empty"),
        ('<script src="https://cdn.example.org/mathjax.js"></script>', "comes from the network"),
        ('<script src="gone.js"></script>', "'gone.js' is missing"),
        ('<link rel="stylesheet" href="https://fonts.example.org/a.css">', "comes from the network"),
    ],
)
def test_each_fault_is_found(tmp_path, fault, said):
    (found,) = problems(tmp_path, GOOD + fault)
    assert said in found


def test_names_that_are_not_in_the_reference_and_empty_folders_are_found(tmp_path):
    assert problems(tmp_path, GOOD, ["koopctrl.Missing"]) == ["koopctrl.Missing is not in the reference"]
    (tmp_path / "void").mkdir()
    assert check.problems(tmp_path / "void") == ["there are no pages"]
