"""Every public name exists, is documented, and every parameter stands in its docstring."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys

import pytest

import koopctrl
from koopctrl import errors

DESIGN_SECTION_5 = {
    "Trajectory", "Trajectories", "collect", "datasets", "excitation", "KoopmanRNN", "LiftedModel",
    "LTINetwork", "LQR", "KalmanFilter", "LinearMPC", "run_closed_loop", "load", "KoopmanEnsemble", "select",
}  # fmt: skip
NAMES = sorted(set(koopctrl.__all__) - {"__version__"})
MODULES = sorted(m.name for m in pkgutil.walk_packages(koopctrl.__path__, "koopctrl."))


def test_the_names_of_the_design_are_public():
    assert set(NAMES) >= DESIGN_SECTION_5


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_can_be_imported_and_listed(name):
    assert getattr(koopctrl, name) is not None
    assert name in dir(koopctrl)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Koopman'"):
        koopctrl.Koopman  # noqa: B018
    with pytest.raises(ImportError):
        from koopctrl import Koopman  # noqa: F401


def test_a_star_import_works():
    code = "from koopctrl import *; KoopmanRNN, Trajectories, load"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert koopctrl.__version__ == version("koopctrl")


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module):
    assert (importlib.import_module(module).__doc__ or "").strip(), module


def public_callables():
    """`(label, callable, docstring that must name its parameters)` of the public surface."""
    found = []
    for name in NAMES:
        value = getattr(koopctrl, name)
        if inspect.ismodule(value):
            found += [
                (f"{name}.{n}", getattr(value, n), inspect.getdoc(getattr(value, n))) for n in value.__all__
            ]
        elif inspect.isclass(value):
            found.append((name, value, inspect.getdoc(value)))
            for member, raw in vars(value).items():
                if member.startswith("_"):
                    continue
                function = raw.__func__ if isinstance(raw, (classmethod, staticmethod)) else raw
                if isinstance(function, property):
                    function = function.fget
                if inspect.isfunction(function):
                    found.append((f"{name}.{member}", function, inspect.getdoc(function)))
        else:
            found.append((name, value, inspect.getdoc(value)))
    return found


def names_of_the_plants_package():
    """Wrappers and tasks, and what `bench` gives and takes, with their own methods."""
    found = []
    for module_name, names in BESIDE.items():
        module = importlib.import_module(module_name)
        for name in names or module.__all__:
            value = getattr(module, name)
            found.append((f"{module_name}.{name}", value, inspect.getdoc(value)))
            members = vars(value).items() if inspect.isclass(value) else ()
            for member, function in members:
                if inspect.isfunction(function) and not member.startswith("_"):
                    found.append((f"{name}.{member}", function, inspect.getdoc(function)))
    return found


BESIDE = {
    "koopctrl_envs.wrappers": None, "koopctrl_envs.tasks": None, "koopctrl.benchmark.case": ["Case"],
    "koopctrl.benchmark.result": ["BenchResult", "Run"],
}  # fmt: skip
CALLABLES = public_callables()
DESCRIBED = names_of_the_plants_package()


@pytest.mark.parametrize(("label", "value", "doc"), CALLABLES, ids=[label for label, _, _ in CALLABLES])
def test_every_public_callable_has_a_docstring_that_names_its_parameters(label, value, doc):
    assert doc, f"{label} has no docstring"
    if inspect.isclass(value) and value.__init__ is object.__init__:
        return
    # A delegate may send the reader on to the function that it calls.
    for name in re.findall(r"see `(koopctrl(?:\.\w+)+)`", doc):
        doc += inspect.getdoc(pkgutil.resolve_name(name)) or ""
    skipped = ("self", "cls")
    parameters = [
        p for p in inspect.signature(value).parameters if p not in skipped and not p.startswith("_")
    ]
    missing = [p for p in parameters if not re.search(rf"(?<![\w.]){re.escape(p)}(?!\w)", doc)]
    assert not missing, f"{label} does not document {missing}"


@pytest.mark.parametrize(("label", "value", "doc"), DESCRIBED, ids=[label for label, _, _ in DESCRIBED])
def test_everything_beside_has_a_docstring_that_names_the_parameters_of_classes(label, value, doc):
    assert doc, f"{label} has no docstring"
    if inspect.isclass(value):
        parameters = [p for p in inspect.signature(value).parameters if p != "self"]
        missing = [p for p in parameters if not re.search(rf"(?<![\w.]){re.escape(p)}(?!\w)", doc)]
        assert not missing, f"{label} does not document {missing}"


def test_every_error_is_documented():
    for name, value in vars(errors).items():
        if inspect.isclass(value):
            assert (value.__doc__ or "").strip(), name
