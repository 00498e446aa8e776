"""Builds the site and checks it: `python docs/site/make.py` from the repository's root.

Pages are those of `docs`, with the outputs that `docs/build.py` wrote into them; the reference is made from
the docstrings of every public name, the gallery by running `examples`. Nothing is fetched. The result is in
`docs/_build/html`; whatever Sphinx or the check complains of is an error.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
HERE, BUILD = ROOT / "docs" / "site", ROOT / "docs" / "_build"
# Members that other packages document.
_FOREIGN = (
    "BaseEstimator, RegressorMixin, ClassifierMixin, Env, VectorEnv, Wrapper, Exception, tuple, Sequence, Protocol, "
    "Generic"
)


def load(path: Path) -> ModuleType:
    """A script of `docs` as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def public_names() -> dict[str, list[str]]:
    """Names of the reference, by module."""
    found = {}
    for module_name, names in load(ROOT / "docs" / "build.py").API.items():
        module = importlib.import_module(module_name)
        chosen = [n for n in module.__all__ if n != "__version__"] if names is None else names
        found[module_name] = [n for n in chosen if not inspect.ismodule(getattr(module, n))]
    return found


def write_reference(folder: Path) -> None:
    """A page for each public name, and tables of them."""
    folder.mkdir()
    tables = ["API", "===", "", "Every public name, from its docstring.", ""]
    pages = []
    for module_name, names in public_names().items():
        module = importlib.import_module(module_name)
        tables += [f"``{module_name}``", "-" * (len(module_name) + 4), ""]
        tables += [".. autosummary::", "   :nosignatures:", ""]
        tables += [f"   {module_name}.{name}" for name in names] + [""]
        for name in names:
            full = f"{module_name}.{name}"
            pages.append(full)
            value = getattr(module, name)
            if inspect.isclass(value):
                routing = [m for m in dir(value) if m.startswith("set_") and m.endswith("_request")]
                kind = [
                    "autoclass",
                    "   :members:",
                    f"   :inherited-members: {_FOREIGN}",
                    f"   :exclude-members: {', '.join([*routing, 'get_metadata_routing'])}",
                ]
            else:
                kind = ["autofunction"]
            lines = [name, "=" * len(name), "", f".. {kind[0]}:: {full}", *kind[1:], ""]
            (folder / f"{full}.rst").write_text("\n".join(lines))
    tables += [".. toctree::", "   :hidden:", "", *(f"   {page}" for page in pages), ""]
    (folder / "index.rst").write_text("\n".join(tables))


def prepare() -> Path:
    """Fresh copy of the pages and of what they show."""
    source = BUILD / "source"
    shutil.rmtree(BUILD, ignore_errors=True)
    source.mkdir(parents=True)
    for page in (ROOT / "docs").glob("*.md"):
        if page.name != "api.md":  # the same docstrings as text, for readers of the repository
            shutil.copy(page, source)
    shutil.copytree(ROOT / "docs" / "figures", source / "figures", ignore=shutil.ignore_patterns("*.npz"))
    for name in ("conf.py", "favicon.svg"):
        shutil.copy(HERE / name, source)
    write_reference(source / "reference-api")
    return source


def main() -> None:
    """Build, then check."""
    source, html = prepare(), BUILD / "html"
    environment = {
        **os.environ,
        "KOOPCTRL_ROOT": str(ROOT),
        "MPLBACKEND": "Agg",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "envs"), os.environ.get("PYTHONPATH", "")]),
    }
    options = ["-q", "-W", "--keep-going", "-j", "auto", "-b", "html"]
    command = [sys.executable, "-m", "sphinx", *options, str(source), str(html)]
    done = subprocess.run(command, env=environment, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    expected = [f"{module}.{name}" for module, names in public_names().items() for name in names]
    problems = load(HERE / "check.py").problems(html, expected)
    for problem in problems:
        print(problem)
    print(f"{len(list(html.rglob('*.html')))} pages in {html}, {len(problems)} problems")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
