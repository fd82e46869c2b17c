"""Programs that stand for a llamafile where no server is needed."""

import threading
from collections.abc import Callable
from pathlib import Path

_TICK = threading.Event()


def write_program(path: Path, deed: str) -> Path:
    """A script that does DEED when it is started as a server."""
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit\n{deed}\n')
    path.chmod(0o755)
    return path


def wait_until(question: Callable[[], bool]) -> None:
    """Ask until the answer is yes; the test's own timeout ends it otherwise."""
    while not question():
        _TICK.wait(0.01)
