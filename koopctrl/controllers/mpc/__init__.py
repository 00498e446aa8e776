"""Predictive controllers: the problem, what is asked of it, and its solution on either face of a model."""
