"""From a model to the blocks of a network."""
