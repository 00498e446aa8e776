"""Pictures of plants: a drawing of the body or of the phase plane beside traces of outputs and inputs."""
