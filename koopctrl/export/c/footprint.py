"""What generated code takes on a processor: flash and memory, by section, from a cross-compiler."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from koopctrl.errors import OptionError, SolverError

# A Cortex-M4 has floats in hardware, doubles in software.
CORTEX_M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")


class Generated(Protocol):
    """What was written: the folder and the name of the source."""

    @property
    def folder(self) -> Path: ...
    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Footprint:
    """Bytes of one compiled source.

    Attributes
    ----------
    code, constants : int
        Flash: instructions, and constant data.
    memory : int
        RAM that the source itself has: none, for all of it is in the state that the caller owns.
    state : int
        One state, as this compiler lays it out; 0 where there is none.
    stack : int
        Largest frame of one function.
    """

    code: int
    constants: int
    memory: int
    state: int
    stack: int


def footprint(
    generated: Generated,
    compiler: str = "arm-none-eabi-gcc",
    flags: Sequence[str] = ("-std=c99", "-O2", *CORTEX_M4),
) -> Footprint:
    """Compile a source and look at its sections.

    Parameters
    ----------
    generated : GeneratedCode or GeneratedPart
        From `to_c(...)`.
    compiler : str
        A gcc, for the processor; its `size` has to be beside it.
    flags : sequence of str

    Raises
    ------
    OptionError
        If there is no such compiler.
    SolverError
        If the code does not compile, with the compiler's words.
    """
    path = shutil.which(compiler)
    tool = shutil.which(re.sub(r"g?cc$", "size", compiler)) or shutil.which("size")
    if path is None or tool is None:
        raise OptionError(
            f"compiler is {compiler!r}, which is not on the PATH with its `size`; expected a gcc (Debian has "
            "gcc-arm-none-eabi with libnewlib-arm-none-eabi)"
        )
    name = generated.name
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.c"
        header = (generated.folder / f"{name}.h").read_text(encoding="utf-8")
        has_state = f"}} {name}_state;" in header
        kind = f"{name}_state" if has_state else "char"
        probe.write_text(f'#include "{name}.h"\nchar kc_probe_state[sizeof({kind})];\n', encoding="utf-8")
        sizes = []
        for source in (generated.folder / f"{name}.c", probe):
            target = Path(folder) / f"{source.stem}.o"
            command = [path, *flags, "-fstack-usage", "-I", str(generated.folder), "-c", str(source), "-o"]
            _run([*command, str(target)])
            sizes.append(_sections(_run([tool, "-A", str(target)])))
        frames = (Path(folder) / f"{name}.su").read_text(encoding="utf-8").splitlines()
    main, state = sizes
    stack = max((int(line.split("\t")[1]) for line in frames), default=0)
    held = state.get(".bss", 0) if has_state else 0
    return Footprint(
        _total(main, ".text"),
        _total(main, ".rodata"),
        _total(main, ".data") + _total(main, ".bss"),
        held,
        stack,
    )


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SolverError(f"{' '.join(command)} gave {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def _sections(listing: str) -> dict[str, int]:
    lines = (line.split() for line in listing.splitlines())
    return {parts[0]: int(parts[1]) for parts in lines if len(parts) == 3 and parts[0].startswith(".")}


def _total(sections: dict[str, int], prefix: str) -> int:
    return sum(size for name, size in sections.items() if name.startswith(prefix))
