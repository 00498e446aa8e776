"""The command `koopctrl`, run in this process: a new one for each would take the time."""

import contextlib
import io
import subprocess
import sys

from koopctrl.cli import main


def run(folder, *arguments):
    """What the command does, in this process: a new one for each would take the time."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv, sys.argv = sys.argv, ["koopctrl", *map(str, arguments)]
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
        finally:
            sys.argv = argv
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
