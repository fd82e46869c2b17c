"""The version of this package, here once."""

__version__ = "0.1.0"
