"""The demo that `koopctrl demo` runs: four parts, each one file, each returns a `Part`."""

from koopctrl.demo.part import Part

__all__ = ["Part"]
