"""The built site in a browser: no page complains, every picture and every formula is there.

`make site` builds the site and then runs this file.
"""

from pathlib import Path

import pytest
from browser import Browser, executable, served

HTML = Path(__file__).resolve().parent.parent / "docs" / "_build" / "html"
EVERY = 16  # of the pages of the reference, one in so many is opened
# What a reader would see: pictures without pixels, formulas without extent or with LaTeX in them, raw LaTeX.
LOOK = r"""(() => {
  const found = [];
  for (const i of document.images)
    if (!i.complete || !i.naturalWidth) found.push("picture " + i.src);
  for (const m of document.querySelectorAll("math")) {
    const box = m.getBoundingClientRect(), shown = m.checkVisibility();
    if (shown && (box.width < 2 || box.height < 2)) found.push("formula without extent " + m.textContent);
    if (m.textContent.includes("\\") || m.querySelector("merror")) found.push("formula " + m.textContent);
  }
  const main = document.querySelector("main").cloneNode(true);
  for (const e of main.querySelectorAll("pre, code, script, style, math")) e.remove();
  const raw = main.textContent.match(/\$\$|\\\(|\\\[|\\(frac|dot|begin|mathrm|sum|partial|psi|theta)\b/);
  if (raw) found.push("raw LaTeX " + main.textContent.slice(raw.index, raw.index + 40));
  return found;
})()"""
BAD_PAGE = r"""<!doctype html><title>x</title><link rel="icon" href="data:,"><main><img src="gone.png">
<math></math><math><mi>\oops</mi></math><p>so \frac{a}{b}</p><img src="http://127.0.0.1:9/a.png">
<script>console.error("boo"); setTimeout(() => { throw new Error("thrown") })</script></main>"""

needs_browser = pytest.mark.skipif(executable() is None, reason="no browser: apt install chromium")
needs_site = pytest.mark.skipif(not (HTML / "index.html").exists(), reason="no built site: make site")
pytestmark = [pytest.mark.slow, needs_browser]


@pytest.fixture(scope="module")
def browser():
    with Browser() as one:
        yield one


def problems(browser, home, path):
    browser.open(home + path)
    # Pictures further down are loaded lazily.
    browser.evaluate("for (const i of document.images) i.loading = 'eager'")
    browser.evaluate(
        "Promise.allSettled([...document.images].map(i => i.decode())).then(() => "
        "new Promise(r => requestAnimationFrame(() => setTimeout(r))))"
    )
    return browser.complaints(home) + browser.evaluate(LOOK)


def test_a_page_with_every_fault_is_seen_through(browser, tmp_path):
    (tmp_path / "bad.html").write_text(BAD_PAGE)
    with served(tmp_path) as home:
        found = " | ".join(problems(browser, home, "bad.html"))
    for said in (
        "picture", "gone.png", "formula without extent", r"formula \oops", r"raw LaTeX \frac", "boo",
        "thrown", "fetches http://127.0.0.1:9/a.png", "404",
    ):  # fmt: skip
        assert said in found, (said, found)


@needs_site
def test_no_page_of_the_site_complains(browser):
    pages = sorted(p.relative_to(HTML).as_posix() for p in HTML.rglob("*.html") if "_static" not in p.parts)
    reference = [p for p in pages if p.startswith("reference-api/koopctrl")]
    chosen = [p for p in pages if p not in reference] + reference[::EVERY]
    assert len(chosen) > 30
    found, formulas = [], 0
    with served(HTML) as home:
        for page in chosen:
            found += [f"{page}: {p}" for p in problems(browser, home, page)]
            formulas += browser.evaluate("document.querySelectorAll('math').length")
    assert found == []
    assert formulas > 50


@needs_site
def test_the_search_finds_a_name(browser):
    with served(HTML) as home:
        browser.open(f"{home}search.html?q=KoopmanRNN")
        browser.wait_for("document.querySelectorAll('#search-results ul.search li').length > 3")
        assert browser.complaints(home) == []
