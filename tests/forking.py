"""Forks of the process that runs the tests, which has threads, as a kernel has."""

import os
import signal
import threading
import warnings
from collections.abc import Callable

_SECONDS = 60


def in_forked_process(check: Callable[[], bool]) -> bool:
    """Whether CHECK is true in a process forked from here; one that hangs is ended, and it is not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks where threads run
        process = os.fork()
    if not process:
        os._exit(_status(check))
    too_long = threading.Timer(_SECONDS, os.kill, (process, signal.SIGKILL))
    too_long.start()
    try:
        return os.waitpid(process, 0)[1] == 0
    finally:
        too_long.cancel()


def _status(check: Callable[[], bool]) -> int:
    try:
        return 0 if check() else 1
    except BaseException:  # noqa: BLE001 - pytest must not go on in this process
        return 2
