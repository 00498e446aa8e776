"""Experiments, one group a file; `all_experiments` lists them."""

from benchmarks.experiments.data import chaotic, measured, simple, weather
from benchmarks.experiments.problem import Experiment


def all_experiments() -> dict[str, Experiment]:
    """Every experiment by name."""
    return {e.name: e for group in (simple, chaotic, weather, measured) for e in group.EXPERIMENTS}
