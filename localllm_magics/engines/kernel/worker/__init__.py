"""A process of its own for what may end the process that does it."""
