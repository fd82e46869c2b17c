"""Pure values: standard library only, no threads, no I/O."""
