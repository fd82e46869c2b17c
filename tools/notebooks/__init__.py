"""The tutorials: run, and stored with their outputs."""
