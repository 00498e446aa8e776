"""Looks for what a reader of the site would stumble over: missing pictures, dead links, raw formulas, gaps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOCAL = ("", "file")
# LaTeX that was left as text.
_RAW_MATHS = re.compile(r"\$\$|\\\(|\\\[|\\(?:frac|dot|begin|mathrm|sum|partial|psi|theta)\b")
_UNSEEN = {"script", "style", "code", "pre", "annotation", "title"}


@dataclass
class Page(HTMLParser):
    """What is on one page."""

    links: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    text: list[str] = field(default_factory=list)
    empty_formulas: int = 0
    _open: list[str] = field(default_factory=list)
    _formula: list[str] | None = None

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect links, pictures and anchors."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "img":
            self.pictures.append(given.get("src", ""))
        if tag in ("script", "iframe") and "src" in given:
            self.fetched.append(given["src"])
        if tag == "link" and "stylesheet" in given.get("rel", ""):
            self.fetched.append(given.get("href", ""))
        if tag in _UNSEEN:
            self._open.append(tag)
        if tag == "math":
            self._formula = []

    def handle_endtag(self, tag: str) -> None:
        """Leave what is not shown as text, and formulas."""
        if tag in self._open:
            self._open.remove(tag)
        if tag == "math" and self._formula is not None:
            self.empty_formulas += not "".join(self._formula).strip()
            self._formula = None

    def handle_data(self, data: str) -> None:
        """Collect text that is shown."""
        if self._formula is not None:
            self._formula.append(data)
        if not self._open:
            self.text.append(data)


def problems(folder: Path, expected: Iterable[str] = ()) -> list[str]:
    """What is wrong with the pages in a folder; `expected` are anchors that some page has to have."""
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        if "_static" in path.parts:  # the theme's own templates
            continue
        page = Page()
        page.feed(path.read_text(encoding="utf-8"))
        pages[path] = page
    found = []
    by_file = {path.resolve(): page for path, page in pages.items()}
    for path, page in pages.items():
        name = path.relative_to(folder)
        for picture in page.pictures:
            if urlsplit(picture).scheme == "data":
                continue
            target = _file(path, picture)
            if target is None or not target.is_file() or not target.stat().st_size:
                found.append(f"{name}: the picture {picture!r} is missing")
        for source in page.fetched:
            target = _file(path, source)
            if target is None:
                found.append(f"{name}: {source!r} comes from the network")
            elif not target.is_file():
                found.append(f"{name}: {source!r} is missing")
        for link in page.links:
            found += _dead(path, link, by_file, name)
        shown = " ".join(page.text)
        if match := _RAW_MATHS.search(shown):
            found.append(f"{name}: a formula is not drawn: {shown[match.start() :][:40]!r}")
        if page.empty_formulas:
            found.append(f"{name}: {page.empty_formulas} formulas are empty")
    known = set().union(*(page.anchors for page in pages.values())) if pages else set()
    found += [f"{name} is not in the reference" for name in expected if name not in known]
    return found if pages else ["there are no pages"]


def _file(page: Path, link: str) -> Path | None:
    """Where a link points to; None for the network."""
    parts = urlsplit(link)
    if parts.scheme not in _LOCAL or parts.netloc:
        return None
    return (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()


def _dead(path: Path, link: str, by_file: dict[Path, Page], name: Path) -> list[str]:
    target = _file(path, link)
    if target is None or link.startswith("#") and len(link) == 1:
        return []
    if target.is_dir():
        target = target / "index.html"
    if not target.is_file():
        return [f"{name}: the link {link!r} leads nowhere"]
    anchor = unquote(urlsplit(link).fragment)
    if anchor and target in by_file and anchor not in by_file[target].anchors:
        return [f"{name}: the link {link!r} has no such place on its page"]
    return []
