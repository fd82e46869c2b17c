"""Expressions in prompts."""
