"""Sets that robust and explicit control compute with: zonotopes, polyhedra, invariant sets."""
