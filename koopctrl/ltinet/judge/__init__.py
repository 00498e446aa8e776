"""How far a network can be from its model."""
