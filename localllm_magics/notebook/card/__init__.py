"""The output of one generation."""
