"""Waiting for what another process or thread does."""

import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds that are enough for anything in these tests, on a machine that does other things too."""
_PAUSE = 0.01


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Look again and again until IS_SO; WHAT names it if it never is."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(_PAUSE)
