"""What memory a model needs, and what fits."""
