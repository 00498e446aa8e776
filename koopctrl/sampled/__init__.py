"""Sampled networks beyond recurrent models: supervised, differential equations, Hamiltonian."""
