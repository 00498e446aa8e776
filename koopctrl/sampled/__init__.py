"""Sampled networks beyond recurrent ones: supervised, differential equations, Hamiltonian models."""

from koopctrl.sampled.classifier import SampledNetworkClassifier
from koopctrl.sampled.hamiltonian import HamiltonianNetwork, MechanicalNetwork
from koopctrl.sampled.regressor import SampledNetworkRegressor

__all__ = ["HamiltonianNetwork", "MechanicalNetwork", "SampledNetworkClassifier", "SampledNetworkRegressor"]
