"""Sampled networks beyond recurrent ones: supervised, Hamiltonian and port-Hamiltonian models."""

from koopctrl.sampled.classifier import SampledNetworkClassifier
from koopctrl.sampled.hamiltonian import HamiltonianNetwork, MechanicalNetwork
from koopctrl.sampled.regressor import SampledNetworkRegressor

__all__ = ["HamiltonianNetwork", "MechanicalNetwork", "SampledNetworkClassifier", "SampledNetworkRegressor"]
