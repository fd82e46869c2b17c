"""Tries files that are no whole models."""
