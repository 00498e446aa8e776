"""Responses of a network: exact on a grid, or neuron by neuron."""
