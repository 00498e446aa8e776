"""Third part: the swing-up controller as C, compiled and run in place of the Python one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np

from koopctrl.controllers import RNNMPC, run_closed_loop
from koopctrl.demo.part import Part
from koopctrl.demo.pendulum import HANGING, PLANT, STEPS, UPRIGHT
from koopctrl.export.c.sil import CompiledMPC


def controller_in_c(out: Path, mpc: RNNMPC, progress: Callable[[str], None]) -> Part:
    """Write a controller as C, compile it where there is a compiler, and swing the pendulum up with it.

    Parameters
    ----------
    out : Path
        Existing folder; the C goes to `pendulum-c` in it.
    mpc : RNNMPC
    progress : callable
        Told what is being done.
    """
    progress("C: writing the controller")
    mpc.reset()
    code = mpc.to_c(out / "pendulum-c", "pendulum")
    files = {f"pendulum-c/{name}": text for name, text in zip(code.files, _WHAT, strict=True)}
    title = "The same controller as C code"
    lines = sum(len((out / "pendulum-c" / name).read_text().splitlines()) for name in code.files[:2])
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        rows = [{"controller": "C", "lines of C": lines, "data, kB": code.data_bytes / 1e3}]
        return Part(title, rows, "There is no C compiler here, so that it was written but not run.", files)
    progress("C: compiling it, and swinging the pendulum up with it")
    env = gymnasium.make(PLANT, max_episode_steps=200)
    runs = {
        name: run_closed_loop(env, controller, STEPS, UPRIGHT, x0=HANGING, dt=mpc.dt)
        for name, controller in (("Python", mpc), ("C", CompiledMPC(code, compiler)))
    }
    rows = [
        {
            "controller": name,
            "cosine at the end": float(run.outputs[-1, 0]),
            "median step, ms": 1e3 * float(np.median(run.solve_times)),
        }
        for name, run in runs.items()
    ]
    apart = float(np.abs(runs["C"].inputs - runs["Python"].inputs).max())
    finding = (
        f"{lines} lines of C, which need no library but libm and allocate nothing, decide as Python does: "
        f"over {STEPS} steps no torque differs by more than {apart:.0e} N m."
    )
    return Part(title, rows, finding, files, {"largest_difference": apart, "lines_of_c": lines})


_WHAT = ("what to include", "the controller", "an example that calls it", "how to use it")
