"""Finding model files and reading what they say of themselves."""
