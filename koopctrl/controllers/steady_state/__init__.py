"""Steady targets: from a set-point to the state and input that hold it."""
