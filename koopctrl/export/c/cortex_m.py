"""Processor in the loop: a generated controller on an emulated Cortex-M4, its instructions counted."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray
from koopctrl.errors import OptionError, ShapeError, SolverError
from koopctrl.export.c.code import GeneratedCode
from koopctrl.export.c.footprint import CORTEX_M4
from koopctrl.export.c.scalar import number
from koopctrl.export.c.sil import STATUS
from koopctrl.export.c.writer import template

COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
# With icount an instruction is a nanosecond, and the board's timer has 25 MHz.
_INSTRUCTIONS_PER_TICK = 40


@dataclass(frozen=True)
class Emulated:
    """What a controller did on the processor.

    Attributes
    ----------
    inputs : (n, n_u) array
    statuses : tuple of str
    instructions : (n,) int array
        Of each step, to the 40 of the board's timer.
    """

    inputs: FloatArray
    statuses: tuple[str, ...]
    instructions: np.ndarray


def missing_tools() -> list[str]:
    """Which of the two programs are not on the PATH."""
    return [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]


def run_on_cortex_m4(code: GeneratedCode, measurements: ArrayLike, references: ArrayLike) -> Emulated:
    """Run a controller from its reset on given signals.

    Parameters
    ----------
    code : GeneratedCode
        From `mpc.to_c(...)`, without measured disturbances.
    measurements : (n, n_measured) array_like
    references : (n, n_y) array_like

    Raises
    ------
    OptionError
        If the cross-compiler or the emulator is not there, or the controller is told disturbances.
    SolverError
        If the code does not compile, or the emulator fails, with its words.
    """
    missing = missing_tools()
    if missing:
        raise OptionError(
            f"{' and '.join(missing)} not on the PATH; on Debian: apt install gcc-arm-none-eabi "
            "libnewlib-arm-none-eabi qemu-system-arm"
        )
    if code.n_disturbances:
        raise OptionError("the controller is told disturbances; expected one without")
    y = np.atleast_2d(np.asarray(measurements, dtype=float))
    if y.shape != (len(y), code.n_measured):
        raise ShapeError(f"measurements has shape {y.shape}; expected (n, {code.n_measured})")
    r = np.broadcast_to(np.asarray(references, dtype=float), (len(y), code.n_outputs))
    signals = np.hstack([y, r])
    rows = ["{" + ", ".join(_literal(v, code.scalar) for v in row) + "}" for row in signals]
    values = {
        "name": code.name, "scalar": code.scalar, "rows": len(signals), "columns": signals.shape[1],
        "n_u": code.n_inputs, "n_measured": code.n_measured, "signals": ", ".join(rows),
    }  # fmt: skip
    text = template("cortex_m.c")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    with tempfile.TemporaryDirectory() as folder:
        driver, script, program = (Path(folder) / f for f in ("driver.c", "memory.ld", "program.elf"))
        driver.write_text(text, encoding="utf-8")
        script.write_text(template("cortex_m.ld"), encoding="utf-8")
        _run(
            [COMPILER, "-std=gnu99", "-O2", *CORTEX_M4, "-ffreestanding", "-nostartfiles", "-I",
             str(code.folder), str(driver), str(code.folder / f"{code.name}.c"), "-T", str(script), "-o",
             str(program), "-specs=nosys.specs", "-lm"]
        )  # fmt: skip
        said = _run(
            [EMULATOR, "-M", "mps2-an386", "-icount", "shift=0", "-nographic", "-monitor", "none", "-serial",
             "none", "-semihosting-config", "enable=on,target=native", "-kernel", str(program)]
        )  # fmt: skip
    lines = [line.split() for line in said.splitlines() if line.strip()]
    if len(lines) != len(signals) or any(line == ["fault"] for line in lines):
        raise SolverError(f"the emulated processor gave {len(lines)} lines of {len(signals)}: {said[-200:]}")
    words = np.array([[int(w, 16) for w in line] for line in lines], dtype=np.uint32)
    kind = np.float32 if code.scalar == "float" else np.float64
    inputs = np.ascontiguousarray(words[:, 2:]).view(kind).astype(float)
    statuses = tuple(STATUS[k] for k in words[:, 1])
    return Emulated(inputs, statuses, words[:, 0].astype(int) * _INSTRUCTIONS_PER_TICK)


def _literal(value: float, scalar: str) -> str:
    return '__builtin_nan("")' if np.isnan(value) else number(value, scalar)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    except subprocess.TimeoutExpired as error:
        raise SolverError(f"{command[0]} took more than five minutes") from error
    if done.returncode:
        raise SolverError(f"{' '.join(command[:8])} .. gave {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout + done.stderr
