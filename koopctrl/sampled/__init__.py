"""Sampled networks beyond recurrent ones: supervised, Hamiltonian and port-Hamiltonian models."""

from koopctrl.sampled.classifier import SampledNetworkClassifier
from koopctrl.sampled.regressor import SampledNetworkRegressor

__all__ = ["SampledNetworkClassifier", "SampledNetworkRegressor"]
