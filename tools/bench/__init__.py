"""Measures speed, memory and traffic against what else there is: `python -m tools.bench`.

Everything is compared inside one run: contenders take turns, each in a process
of its own, and a ratio is the median over the rounds. So the tables stay true
on a busy machine, where absolute rates do not.
"""
