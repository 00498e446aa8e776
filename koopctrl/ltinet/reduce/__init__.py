"""Fewer neurons for nearly the same outputs."""
