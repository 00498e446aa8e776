"""Functional mock-up units: generated C behind the interface of FMI 2.0 and 3.0."""
