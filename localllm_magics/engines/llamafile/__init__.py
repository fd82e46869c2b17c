"""Runs a llamafile as a server in a child process that never outlives this one."""
