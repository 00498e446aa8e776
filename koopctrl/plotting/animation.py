"""Closed-loop runs as moving pictures: GIF by Pillow, MP4 by ffmpeg."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from koopctrl._validation import check_integer, check_number
from koopctrl.errors import OptionError
from koopctrl.plotting.closed_loop import plot_closed_loop

SUFFIXES = (".gif", ".mp4")
_SLOW, _FAST, _USUAL = 10.0, 30.0, 20.0  # pictures a second
_LINE = 90  # grey


def animate_closed_loop(
    result: Any,
    path: str | PathLike[str],
    *,
    fps: float | None = None,
    max_frames: int = 300,
    env: Any = None,
) -> Path:
    """Write a closed-loop run as a moving picture.

    A plant that draws itself (those of `koopctrl_envs`) moves as it did; of others the signals are shown with
    a line that runs along.

    Parameters
    ----------
    result : ClosedLoopResult
        As `run_closed_loop` returns it.
    path : str or path
        File to write, `.gif` or `.mp4`; the latter needs ffmpeg.
    fps : float, optional
        Pictures a second. By default real time, samples left out where they come faster than 30 a second;
        20 a second where they come slower than 10.
    max_frames : int
        Samples are left out, evenly, beyond so many pictures.
    env : gymnasium.Env, optional
        Whose pictures are shown: of a result that was read from a file, or of a plant whose states were
        recorded otherwise.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    OptionError
        If the name ends otherwise, its folder does not exist, or there is no ffmpeg.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise OptionError(f"path is {str(path)!r}; expected a name that ends in {' or '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise OptionError(f"path is {str(path)!r}, whose folder does not exist; make it first")
    program = _ffmpeg(path) if path.suffix.lower() == ".mp4" else ""
    max_frames = check_integer(max_frames, "max_frames", low=1)
    stride, rate = _pace(result.dt, len(result.time), max_frames)
    if fps is not None:
        rate = check_number(fps, "fps", low=0.0, strict=True)
    chosen = list(range(0, len(result.time), stride))
    if chosen[-1] != len(result.time) - 1:
        chosen.append(len(result.time) - 1)
    artist = _artist(result, env)
    frames = _signals(result, chosen) if artist is None else artist.frames(
        result.time, result.states, result.references, result.inputs, chosen
    )  # fmt: skip
    if program:
        _write_mp4(frames, path, rate, program)
    else:
        _write_gif(frames, path, rate)
    return path


def _pace(dt: float, n_samples: int, max_frames: int) -> tuple[int, float]:
    """Samples from one picture to the next, and pictures a second."""
    rate, stride = 1.0 / dt, 1
    if rate > _FAST:
        stride = int(np.ceil(rate / _FAST))
    rate = rate / stride if rate >= _SLOW else _USUAL
    return max(stride, int(np.ceil((n_samples - 1) / max_frames))), rate


def _artist(result: Any, env: Any) -> Any:
    """What draws the plant, if its states are there."""
    made = getattr(getattr(env, "unwrapped", env), "artist", None)
    if env is not None and not callable(made):
        raise OptionError(
            f"env is a {type(env).__name__} that has no artist(); expected one of koopctrl_envs, or None for "
            "the signals alone"
        )
    artist: Any = made() if callable(made) else getattr(result, "artist", None)
    if artist is None or artist.fits(result.states, result.inputs):
        return artist
    if env is not None:
        raise OptionError(
            f"env draws {artist.plant.n_x} states, and the result has {result.states.shape[1]}; expected the "
            "env that the run was made with"
        )
    return None


def _signals(result: Any, chosen: list[int]) -> Iterator[np.ndarray]:
    """The figure of the run, with a line at the time of each picture."""
    figure = plot_closed_loop(result)
    canvas: Any = figure.canvas
    canvas.draw()
    # The figure is drawn once, and the line painted over it: drawing takes a tenth of a second each time.
    still = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
    height = len(still)
    boxes = [(axis, axis.get_window_extent()) for axis in figure.axes]
    for k in chosen:
        pixels = still.copy()
        for axis, box in boxes:
            column = round(float(axis.transData.transform((result.time[k], 0.0))[0]))
            column = min(max(column, 0), pixels.shape[1] - 1)
            pixels[height - round(box.y1) : height - round(box.y0), column] = _LINE
        # Videos take even numbers of pixels alone.
        yield pixels[: height // 2 * 2, : pixels.shape[1] // 2 * 2].copy()
    plt.close(figure)


def _write_gif(frames: Iterator[np.ndarray], path: Path, rate: float) -> None:
    from PIL import Image

    pictures = [Image.fromarray(frame).quantize(128) for frame in frames]
    # The format counts hundredths of a second, and viewers slow down below two of them.
    duration = max(20, 10 * round(100.0 / rate))
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=duration, loop=0)


def _write_mp4(frames: Iterator[np.ndarray], path: Path, rate: float, program: str) -> None:
    first = next(frames)
    command = [
        program, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-s", f"{first.shape[1]}x{first.shape[0]}", "-r", f"{rate:.6g}", "-i", "-", "-an",
        "-pix_fmt", "yuv420p", str(path),
    ]  # fmt: skip
    pixels = b"".join([first.tobytes(), *(frame.tobytes() for frame in frames)])
    done = subprocess.run(command, input=pixels, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise OptionError(
            f"ffmpeg could not write {str(path)!r}: {said[-1] if said else f'exit code {done.returncode}'}. "
            "Write a .gif instead"
        )


def _ffmpeg(path: Path) -> str:
    """The program: on the path, or in the package that moviepy brings along."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    try:
        bundled: Any = importlib.import_module("imageio_ffmpeg")
        return str(bundled.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise OptionError(
            f"path is {str(path)!r}, and there is no ffmpeg to write it; install ffmpeg or "
            "`pip install imageio-ffmpeg`, or write a .gif"
        ) from None
