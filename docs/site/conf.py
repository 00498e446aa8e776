"""Sphinx's settings. The source is a copy of the pages that `docs/site/make.py` prepared."""

import os
import sys
import warnings
from pathlib import Path

import numpydoc
import numpydoc.docscrape_sphinx
from jinja2 import FileSystemLoader
from jinja2.sandbox import SandboxedEnvironment
from pygments.lexers.special import TextLexer
from sphinx_gallery.sorting import FileNameSortKey

ROOT = Path(os.environ["KOOPCTRL_ROOT"])
sys.path[:0] = [str(ROOT / "docs" / "site"), str(ROOT / "envs"), str(ROOT)]

import koopctrl  # noqa: E402

warnings.filterwarnings("ignore", message=".*cannot show the figure.*")

project = "koopctrl"
author = "The koopctrl authors"
copyright = author
release = version = koopctrl.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "mathml",
]
exclude_patterns = ["gallery/*.ipynb", "gallery/*.py", "gallery/*.zip", "**/sg_execution_times.rst"]
suppress_warnings = ["config.cache"]

myst_enable_extensions = ["dollarmath", "html_image", "deflist"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3

autosummary_generate = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
# numpydoc compiles its template anew for every docstring: an eighth of the build.
_templates = Path(numpydoc.__file__).parent / "templates"
_environment = SandboxedEnvironment(loader=FileSystemLoader(_templates))
numpydoc.docscrape_sphinx.SandboxedEnvironment = lambda loader: _environment
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
default_role = "literal"

sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": FileNameSortKey,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "abort_on_example_error": True,
}

html_theme = "pydata_sphinx_theme"
html_title = f"koopctrl {release}"
html_favicon = "favicon.svg"
html_context = {"default_mode": "auto"}
html_theme_options = {
    "show_prev_next": False,
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "tango",
}
html_sidebars = {"index": []}
html_show_sourcelink = False
html_copy_source = False
templates_path: list[str] = []


def setup(app):
    """Blocks of printed output are text."""
    app.add_lexer("output", TextLexer)
