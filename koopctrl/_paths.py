"""Paths that callers name: of files to read or write, and of folders to fill."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from typing import Any

from koopctrl.errors import OptionError


def file_path(path: Any, what: str = "a file") -> Path:
    """Path of a file, which may or may not be there yet.

    Raises
    ------
    OptionError
        If it is no path, or a folder's.
    """
    if not isinstance(path, (str, PathLike)) or isinstance(os.fspath(path), bytes) or "\0" in os.fspath(path):
        raise OptionError(f"path is {path!r}; expected the path of {what}")
    if os.path.isdir(path):
        raise OptionError(f"path is {str(path)!r}, a folder; expected the path of {what} in it")
    return Path(path)


def folder_path(folder: Any, *, make: bool = True) -> Path:
    """Path of a folder, made where there is none unless `make` says otherwise.

    Raises
    ------
    OptionError
        If it is no path, or a file stands there or on the way to it.
    """
    if not isinstance(folder, (str, PathLike)) or isinstance(os.fspath(folder), bytes) or "\0" in str(folder):
        raise OptionError(f"folder is {folder!r}; expected the path of a folder")
    target = Path(folder)
    if not make:
        return target
    try:
        target.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OptionError(
            f"folder is {str(folder)!r}, which is a file or lies under one; expected a folder"
        ) from error
    return target
