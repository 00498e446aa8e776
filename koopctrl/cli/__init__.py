"""Command line: `koopctrl demo | fit | report | control`, and `koopctrl --version`."""

from koopctrl.cli.app import app, main

__all__ = ["app", "main"]
