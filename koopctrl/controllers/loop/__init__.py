"""The closed loop and what is seen of it."""
