"""Runs the Python that the page shows, and turns the closed loop into what the page draws."""

from __future__ import annotations

import importlib
import warnings
from threading import Lock
from typing import Any

import numpy as np

from koopctrl.errors import KoopctrlError, OptionError, ShapeError
from koopctrl.tune.settings import Settings, program


class Bench:
    """A model, perhaps a plant, and closed loops on them.

    What is drawn comes from executing the very text that is shown; its first part (model, lift, plant) is
    executed once for each of its versions.

    Parameters
    ----------
    model : KoopmanRNN
        Fitted.
    path : str
        File of the model, as the shown program loads it.
    plant : str, optional
        Gymnasium's name of a plant; the model itself by default.

    Raises
    ------
    OptionError, ShapeError
        If there is no such plant, or it measures other signals than the model.
    """

    def __init__(self, model: Any, path: str, plant: str | None = None) -> None:
        if plant is not None:
            _check_plant(plant, model)
        self.model, self.path, self.plant = model, path, plant
        self._made: dict[str, dict[str, Any]] = {}
        self._lock = Lock()

    def run(self, settings: Settings) -> dict[str, Any]:
        """One closed loop: signals, figures of merit, warnings, and the program.

        What goes wrong with the settings is told under `error`, beside the program.
        """
        once, then = program(settings, self.model, self.path, self.plant)
        code = f"{once}\n{then}print(result.cost)\nresult.plot()\n"
        with self._lock, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                if once not in self._made:
                    space: dict[str, Any] = {"__name__": "koopctrl_tune"}
                    exec(compile(once, "<tune>", "exec"), space)
                    self._made[once] = space
                space = dict(self._made[once])
                exec(compile(then, "<tune>", "exec"), space)
            except (KoopctrlError, OSError) as error:  # the file may have been moved since
                return {"error": str(error), "code": code, "warnings": []}
        said = list(dict.fromkeys(str(w.message) for w in caught))
        return {"code": code, "warnings": said, **_drawn(space["result"])}


def _check_plant(plant: str, model: Any) -> None:
    try:
        # As the program does that is shown: this package itself has no gymnasium.
        env = importlib.import_module("gymnasium").make(plant)
        n_y = np.size(env.reset(seed=0)[0])
    except Exception as error:  # a registry's errors, and whatever a plant raises
        raise OptionError(
            f"plant is {plant!r}, which gymnasium cannot make ({type(error).__name__}: {error}); expected a "
            "registered name, as koopctrl_envs:koopctrl/TwoTanks-v0"
        ) from error
    if n_y != len(model.output_names_):
        raise ShapeError(
            f"the plant {plant!r} measures {n_y} signals; expected the model's {len(model.output_names_)}: "
            f"{', '.join(model.output_names_)}"
        )


def _drawn(result: Any) -> dict[str, Any]:
    """Signals in lists, numbers that are not finite as None."""
    metrics = result.metrics()
    panels = []
    for kind, names, values in (
        ("output", result.output_names, result.outputs), ("input", result.input_names, result.inputs),
    ):  # fmt: skip
        letter = "y" if kind == "output" else "u"
        for i, name in enumerate(names):
            bounds = [np.ravel(result.bounds[f"{letter}_{side}"])[i] if f"{letter}_{side}" in result.bounds
                      else np.nan for side in ("min", "max")]  # fmt: skip
            panels.append(
                {
                    "kind": kind, "name": name, "unit": result.units.get(name, ""),
                    "values": _plain(values[:, i]), "bounds": _plain(bounds),
                    "reference": _plain(result.references[: len(result.time), i]) if kind == "output" else [],
                }
            )  # fmt: skip
    beyond = sum(int(found["count"]) for found in metrics["violations"].values())
    return {
        "time": _plain(result.time), "panels": panels, "cost": _plain([result.cost])[0],
        "violations": beyond, "fallbacks": metrics["n_fallbacks"], "steps": result.n_steps,
        "step_ms": 1e3 * metrics["solve_time_median"],
    }  # fmt: skip


def _plain(values: Any) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in np.asarray(values, dtype=float)]
