"""Identification: from snapshots to outer weights by linear least squares, and the report on a model."""
