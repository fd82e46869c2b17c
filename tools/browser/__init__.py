"""JupyterLab in a real browser, for the tests and for pictures."""
