"""Widgets: the model picker."""
