"""Runs the pages and writes those of the API and of the plants: `python docs/build.py` from the repository's root.

`run_page` executes the Python blocks of one Markdown page in order, in one namespace; the tests do the same.
Blocks fenced as ```python are run, all others are not. What is printed before an ```output block is written into it,
and `<!-- table NAME -->` ... `<!-- end -->` is filled from `benchmarks/results` by `docs/tables.py` and
`docs/experiments.py`.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import re
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STEP = re.compile(r"^```(python|output)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TABLE = re.compile(r"(<!-- table (\w+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
_FIGURE = re.compile(r"!\[[^\]]*\]\(([^)]+\.png)\)")

API = {
    "koopctrl": None,  # the public names
    "koopctrl.ltinet": ["ErrorBound", "LTIResponse", "Reduction", "Truncation", "ParameterNetwork", "ScheduledLQR", "block_form"],
    "koopctrl.data.datasets": ["hair_dryer", "robot_arm"],
    "koopctrl.data.excitation": [
        "ExcitationPolicy",
        "multilevel",
        "prbs",
        "multisine",
        "chirp",
        "filtered_noise",
        "staircase",
    ],
    "koopctrl.data.resampling": ["resample"],
    "koopctrl.controllers": [
        "ClosedLoopResult",
        "DesignReport",
        "Controller",
        "ControllerPolicy",
        "EnergyShaping",
        "ExplicitMPC",
        "NMPC",
        "FieldMPC",
        "LiftedMeasurement",
        "LagWindow",
        "Estimator",
        "LinearEstimator",
        "NetworkEstimator",
        "check_controller",
        "find_steady_state",
        "SteadyState",
    ],
    "koopctrl.sampled": [
        "SampledNetworkRegressor",
        "SampledNetworkClassifier",
        "HamiltonianNetwork",
        "MechanicalNetwork",
    ],
    "koopctrl.sampled.hamiltonian.faces": ["PortHamiltonian"],
    "koopctrl.export.c.compiled": ["CompiledController"],
    "koopctrl.export.c.code": ["GeneratedCode", "mpc_to_c"],
    "koopctrl.export.c.model": ["GeneratedPart"],
    "koopctrl.export.c.footprint": ["Footprint", "footprint"],
    "koopctrl.export.c.cortex_m": ["Emulated", "run_on_cortex_m4"],
    "koopctrl.export.fmu.archive": ["GeneratedFMU", "to_fmu"],
    "koopctrl.export.structured_text": ["StructuredText", "to_structured_text"],
    "koopctrl.export.ros2": ["ROS2Package", "controller_to_ros2"],
    "koopctrl.selection": ["Selection", "Trial"],
    "koopctrl.lifted.choice": ["LiftChoice", "Tried"],
    "koopctrl.lifted.spectrum": ["Spectrum"],
    "koopctrl.identification.prediction_bands": ["PredictionBands"],
    "koopctrl.identification.report": ["Report", "HorizonError", "make_report"],
    "koopctrl.identification.residuals": ["ResidualAnalysis"],
    "koopctrl.identification.comparison": ["Comparison"],
    "koopctrl.identification.structure": ["DelaySuggestion", "OrderSuggestion"],
    "koopctrl.identification.uncertainty": ["LinearUncertainty"],
    "koopctrl.data.spectrum": ["RecordSpectrum"],
    "koopctrl.data.detrend": ["Detrended", "Trend"],
    "koopctrl.identification.linear_model": ["InnovationModel"],
    "koopctrl.identification.refinement": ["History", "RefineOptions"],
    "koopctrl.identification.grey_box": ["GreyBoxFit"],
    "koopctrl.network.recurrent": ["RecurrentNetwork"],
    "koopctrl.network.hidden_state": ["HiddenNetwork", "Readout"],
    "koopctrl.identification.least_squares": ["LeastSquares"],
    "koopctrl.tune": ["Disturbed", "Settings", "serve"],
    "koopctrl.benchmark.result": ["BenchResult", "Run"],
    "koopctrl.benchmark.case": ["Case"],
    "koopctrl.plotting": [
        "animate_closed_loop",
        "plot_benchmark",
        "plot_free_run",
        "plot_step_and_bode",
        "plot_horizon_errors",
        "plot_residual_analysis",
        "plot_spectrum",
        "plot_closed_loop",
        "plot_closed_loops",
        "plot_design",
        "plot_records",
        "plot_record_spectrum",
        "plot_delays",
        "plot_orders",
        "plot_uncertainty",
        "plot_directions",
    ],
    "koopctrl.sampled.pde": None,
    "koopctrl_envs.tasks": ["Task", "TaskEnv", "TaskSettings", "ReferenceScore", "make_tasks", "plant_ids", "reference_score"],
    "koopctrl_envs.wrappers": [
        "MeasurementNoise",
        "Quantisation",
        "PartialObservation",
        "ActuatorSaturation",
        "RateLimit",
        "DeadZone",
        "InputDelay",
        "LoadDisturbance",
        "ParameterRandomisation",
        "ParameterDrift",
    ],
    "koopctrl_envs": [
        "Plant",
        "PlantEnv",
        "PlantVectorEnv",
        "LTIEnv",
        "ModelEnv",
        "SystemEnv",
        "AcrobotEnv",
        "ArmEnv",
        "BallAndBeamEnv",
        "BurgersEnv",
        "CartPoleEnv",
        "CSTREnv",
        "DCMotorEnv",
        "DuffingEnv",
        "FieldEnv",
        "FermenterEnv",
        "HeatedPlateEnv",
        "LorenzEnv",
        "LTINetworkEnv",
        "PHNeutralizationEnv",
        "PendulumEnv",
        "QuadrotorEnv",
        "QuadrupleTankEnv",
        "ThermalZoneEnv",
        "TwoTanksEnv",
        "VanDerPolEnv",
        "ZoneUnderWeather",
    ],
}


def blocks(page: Path) -> list[str]:
    """Python blocks of a page."""
    return _BLOCK.findall(page.read_text())


def figures(page: Path) -> list[str]:
    """Paths of the figures a page shows, relative to the page."""
    return _FIGURE.findall(page.read_text())


def run_page(page: Path, folder: Path) -> list[str]:
    """Execute a page's blocks with `folder` as working directory; returns what each prints."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    printed, before = [], Path.cwd()
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    try:
        for i, block in enumerate(blocks(page)):
            _close_figures()
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(block, f"{page.name}, block {i + 1}", "exec"), namespace)
            printed.append(out.getvalue())
    finally:
        os.chdir(before)
    return printed


def _close_figures() -> None:
    """Figures are pyplot's, which keeps them until they are closed."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")


def with_outputs(text: str, printed: list[str]) -> str:
    """A page's text with its output blocks filled from what its Python blocks `printed` since the last one."""
    waiting, left = "", iter(printed)

    def fill(match: re.Match[str]) -> str:
        nonlocal waiting
        if match[1] == "python":
            waiting += next(left)
            return match[0]
        shown, waiting = waiting, ""
        return f"```output\n{shown}```"

    return _STEP.sub(fill, text)


def with_tables(text: str) -> str:
    """A page's text with its tables made from the benchmarks' results."""
    tables = {}
    for script in ("tables", "experiments"):
        tables |= runpy.run_path(str(ROOT / "docs" / f"{script}.py"))["TABLES"]
    return _TABLE.sub(lambda match: f"{match[1]}\n{tables[match[2]](ROOT / 'benchmarks' / 'results')}\n", text)


def api_page() -> str:
    """Markdown of every public name, from signatures and docstrings."""
    parts = ["# API\n\nMade from the docstrings by `make docs`; do not edit.\n"]
    for module_name, names in API.items():
        module = importlib.import_module(module_name)
        public = [n for n in module.__all__ if n != "__version__"] if names is None else names
        chosen = [n for n in public if not inspect.ismodule(getattr(module, n))]
        parts.append(f"\n## {module_name}\n")
        for name in chosen:
            parts.append(_entry(name, getattr(module, name)))
    return "\n".join(parts)


def _entry(name: str, value: object) -> str:
    lines = [f"### {name}\n", f"```text\n{name}{_signature(value)}\n\n{inspect.getdoc(value)}\n```\n"]
    if inspect.isclass(value):
        # A class split over files.
        own = [value, *(b for b in value.__mro__[1:] if b.__name__ in ("Faces", "Runs", "Episodes"))]
        for attribute, member in (item for part in own for item in vars(part).items()):
            function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if attribute.startswith("_") or not inspect.isfunction(function):
                continue
            lines.append(f"```text\n{name}.{attribute}{_signature(function)}\n\n{inspect.getdoc(function)}\n```\n")
    return "\n".join(lines)


def _signature(value: object) -> str:
    signature = inspect.signature(value)  # type: ignore[arg-type]
    parameters = [
        p.replace(annotation=inspect.Parameter.empty, default=_shown(p.default))
        for n, p in signature.parameters.items()
        if not n.startswith("_") and n != "self"
    ]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


class _Module(str):
    """Name of a module that is a default: its own representation holds the path of this installation."""

    __repr__ = str.__str__


def _shown(default: object) -> object:
    return _Module(default.__name__) if inspect.ismodule(default) else default


def main() -> None:
    """Regenerate figures, printed outputs, tables, and the pages of the API and of the plants."""
    (ROOT / "docs" / "api.md").write_text(api_page())
    plants = runpy.run_path(str(ROOT / "docs" / "plants.py"))
    (ROOT / "docs" / "plants.md").write_text(plants["page"]())
    plants["draw"](ROOT / "docs" / "figures")
    experiments = runpy.run_path(str(ROOT / "docs" / "experiments.py"))
    experiments["draw"](ROOT / "benchmarks" / "results", ROOT / "docs" / "figures")
    for page in PAGES:
        text = with_tables(page.read_text())
        if blocks(page) and (len(sys.argv) == 1 or page.name in sys.argv[1:]):
            print(f"== {page.name}")
            printed = run_page(page, ROOT / "docs")
            print("".join(printed))
            text = with_outputs(text, printed)
        if text != page.read_text():
            page.write_text(text)


if __name__ == "__main__":
    main()
