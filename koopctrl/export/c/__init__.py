"""Self-contained C99 of a controller."""
