"""An FMU: description, sources, and the binary of this platform, in one file."""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

from koopctrl._paths import file_path
from koopctrl._validation import check_choice
from koopctrl.errors import OptionError, SolverError
from koopctrl.export.c.compiled import find_compiler
from koopctrl.export.fmu.blocks import block_of
from koopctrl.export.fmu.description import description
from koopctrl.export.fmu.signals import Block, c_array, check_units

_STAMP = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class GeneratedFMU:
    """What was written.

    Attributes
    ----------
    path : Path
    fmi : str
    name : str
        Model name and identifier.
    inputs, outputs, parameters : tuple of str
        Names of variables; a signal that an input and an output share has a prefix in one of them.
    dt : float
        Sample time in seconds.
    platform : str
        Folder of the binary.
    """

    path: Path
    fmi: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: tuple[str, ...]
    dt: float
    platform: str


def to_fmu(
    given: Any,
    path: str | PathLike[str],
    *,
    fmi: str = "3.0",
    units: Mapping[str, str] | None = None,
    compiler: str | None = None,
    **options: Any,
) -> GeneratedFMU:
    """Write a co-simulation FMU: the generated C, compiled for this platform, with its sources.

    Inputs count as they are at the beginning of a sample, which is every `dt` seconds from the start time
    on. A
    controller or an estimator answers there: its outputs at the end of a communication step of `dt` belong to
    its beginning. A model moves on, as Python's `x_next = f(x, u)` does. Nothing of Python is needed where
    the FMU is imported.

    Parameters
    ----------
    given : LinearMPC, RNNMPC, KalmanFilter, ExtendedKalmanFilter, KoopmanRNN, LiftedModel or LTINetwork
    path : path
        File to write; its name without the ending is the model's name.
    fmi : {"3.0", "2.0"}
    units : mapping, optional
        Unit of a signal by its name, as `{"level": "m"}`; set-points and start values have their signal's.
    compiler : str, optional
        By default the first of `cc`, `gcc` and `clang` on the PATH.
    **options
        Of controllers `tunings`, as in `to_c`: the parameter `tuning` switches; of models `x0`, the state
        at the start (else a
        parameter's default at the training mean or the operating point); of networks `dt`.

    Raises
    ------
    OptionError
        If the object has no C code, the name is no identifier, or there is no compiler.
    SolverError
        If the code does not compile, with the compiler's words.
    """
    check_choice(fmi, "fmi", ("3.0", "2.0"))
    target = file_path(path)
    if target.suffix != ".fmu":
        raise OptionError(f"path is {str(target)!r}; expected a name that ends in .fmu")
    name = target.stem
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise OptionError(
            f"path has the name {name!r}, which is the model's too; expected an identifier: letters, digits "
            "and underscores"
        )
    tool = find_compiler(compiler, "to_fmu()")
    block = block_of(given, **options)
    known = check_units(units, block)
    with tempfile.TemporaryDirectory() as made:
        sources = Path(made)
        block.write(sources)
        texts = {f.name: f.read_text(encoding="utf-8") for f in sorted(sources.glob("block.[ch]"))}
        token = "{" + _digest(block, name, fmi, texts) + "}"
        for file in ("component.c", f"fmi{fmi[0]}.c"):
            texts[file] = (resources.files("koopctrl.export.fmu") / "templates" / file).read_text("utf-8")
        texts["fmu.c"] = _source(block, token, fmi)
        for file, text in texts.items():
            (sources / file).write_text(text, encoding="utf-8", newline="\n")
        folder, ending = _platform(fmi)
        binary = sources / f"{name}{ending}"
        _compile(tool, sources, binary)
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            _add(archive, "modelDescription.xml", description(block, name, token, fmi, known).encode())
            for file, text in texts.items():
                _add(archive, f"sources/{file}", text.encode())
            if fmi == "3.0":
                _add(archive, "sources/buildDescription.xml", _build(name).encode())
            _add(archive, f"binaries/{folder}/{name}{ending}", binary.read_bytes())
    names = [tuple(v.name for v in group) for group in (block.inputs, block.outputs, block.parameters)]
    return GeneratedFMU(target, fmi, name, names[0], names[1], names[2], block.dt, folder)


def _source(block: Block, token: str, fmi: str) -> str:
    """What is compiled beside the block: constants, the adapter, the interface."""
    from koopctrl.export.c.scalar import number

    starts = [0.0] + [v.start for v in block.inputs] + [0.0] * len(block.outputs)
    starts += [v.start for v in block.parameters]
    n_whole = len(block.wholes) + bool(block.tunings)
    return f"""/* Generated by koopctrl: {block.title.replace("*/", "")} */

#define FMU_TOKEN "{token}"
#define FMU_DT {number(block.dt)}
#define FMU_N_IN {len(block.inputs)}
#define FMU_N_OUT {len(block.outputs)}
#define FMU_N_REAL {block.n_real} /* time, inputs, outputs, parameters */
#define FMU_N_WHOLE {n_whole}
#define FMU_TUNED {len(block.tunings)}

#include <math.h>
#include <string.h>

#include "block.h"

static const double fmu_start[FMU_N_REAL] = {c_array(starts)};
static const int fmu_whole_start[FMU_N_WHOLE > 0 ? FMU_N_WHOLE : 1];
{block.adapter}
#include "component.c"
#include "fmi{fmi[0]}.c"
"""


def _compile(compiler: str, sources: Path, binary: Path) -> None:
    command = [
        compiler, "-std=c99", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-I", str(sources),
        str(sources / "fmu.c"), str(sources / "block.c"), "-o", str(binary), "-lm",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SolverError(f"{' '.join(command)} gave {done.returncode}: {done.stderr[-2000:]}")


def _platform(fmi: str) -> tuple[str, str]:
    """Folder and ending of this platform's binaries."""
    machine = platform.machine().lower()
    is_64 = sys.maxsize > 2**32
    system, ending = {
        "linux": ("linux", ".so"),
        "darwin": ("darwin", ".dylib"),
        "win32": ("windows", ".dll"),
    }.get(sys.platform, ("linux", ".so"))
    if fmi == "2.0":
        return {"linux": "linux", "darwin": "darwin", "windows": "win"}[system] + (
            "64" if is_64 else "32"
        ), ending
    processor = "aarch64" if machine in ("arm64", "aarch64") else ("x86_64" if is_64 else "x86")
    return f"{processor}-{system}", ending


def _build(name: str) -> str:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<fmiBuildDescription fmiVersion="3.0">
  <BuildConfiguration modelIdentifier="{name}">
    <SourceFileSet language="C99">
      <SourceFile name="fmu.c"/>
      <SourceFile name="block.c"/>
    </SourceFileSet>
    <Library name="m"/>
  </BuildConfiguration>
</fmiBuildDescription>
"""


def _digest(block: Block, name: str, fmi: str, texts: Mapping[str, str]) -> str:
    """The same token for the same FMU."""
    told = repr((name, fmi, block.inputs, block.outputs, block.parameters, block.dt, sorted(texts.items())))
    h = hashlib.sha256(told.encode()).hexdigest()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:32]}"


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, _STAMP)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, content)
