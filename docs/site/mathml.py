"""Formulas as MathML, which browsers draw by themselves: no script, and no network."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

_ROWS = re.compile(r"\\\\(?:\[[^\]]*\])?")


def _inline(translator: Any, node: nodes.Element) -> None:
    translator.body.append(to_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _display(translator: Any, node: nodes.Element) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    translator.body.append(to_mathml(node.astext(), "block"))
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def to_mathml(latex: str, display: str) -> str:
    """MathML of a formula; several lines, with or without `&`, are aligned as Sphinx's own renderers do."""
    text = latex.strip()
    if display == "block" and (_ROWS.search(text) or "&" in text) and r"\begin{" not in text:
        text = rf"\begin{{aligned}}{text}\end{{aligned}}"
    return convert(text, display=display)


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer and choose it."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
