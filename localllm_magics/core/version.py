"""The version of this package, here once."""

VERSION = "0.1.0"
