"""Shows the package at work in a terminal."""
