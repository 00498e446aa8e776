"""Estimates of state and disturbances from measurements."""
