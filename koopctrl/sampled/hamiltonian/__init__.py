"""Hamiltonian and port-Hamiltonian models whose energy is a sampled network."""

from koopctrl.sampled.hamiltonian.mechanical import MechanicalNetwork
from koopctrl.sampled.hamiltonian.network import HamiltonianNetwork

__all__ = ["HamiltonianNetwork", "MechanicalNetwork"]
