"""The engine that runs a llamafile as a process of its own, which ends with this one."""
