"""Contenders, one family a file; `all_contenders` lists them."""

from benchmarks.experiments.models import (
    encoder,
    gradient,
    koopman,
    linear,
    nonlinear_lags,
    peers,
    reservoir,
    ring,
    state_space,
    trivial,
)
from benchmarks.experiments.models.contender import Contender

FAMILIES = (
    koopman, linear, trivial, reservoir, ring, nonlinear_lags, peers, gradient, encoder, state_space
)  # fmt: skip


def all_contenders() -> dict[str, Contender]:
    """Every contender by name."""
    return {c.name: c for family in FAMILIES for c in family.CONTENDERS}
