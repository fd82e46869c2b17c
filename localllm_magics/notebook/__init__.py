"""The magics and their cards; only this layer and those above it know IPython."""
