"""Quadratic programmes: solvers, certificates, soft constraints."""
