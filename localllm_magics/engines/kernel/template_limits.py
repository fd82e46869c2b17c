"""Resource limits for programs that come with a model file, and may never come to an end."""

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import TypeVar

from localllm_magics.core.stop import Stop, poll
from localllm_magics.core.table import to_size
from localllm_magics.engines.background import in_background
from localllm_magics.engines.kernel.machine import private_memory

MOST_SECONDS = 10.0
MOST_BYTES = 1 << 30
_GRACE = 0.5  # seconds in which work that is given up may come to its next check
_Result = TypeVar("_Result")
_current = threading.local()


class LimitExceeded(Exception):
    """The work was ended; the message says which limit it exceeded."""


def run_limited(
    work: Callable[[], _Result], stop: Stop, *, seconds: float = MOST_SECONDS, memory_bytes: int = MOST_BYTES
) -> _Result:
    """What WORK returns or raises; it runs in a thread of its own, and should call `check_limits` at each step.

    Work that comes to no check is ended at its next step in Python. That is the last resort: where a tool traces
    Python, as coverage.py does, the error may come while the tool holds a lock, which then stays held.

    Raises:
        LimitExceeded: It took more than SECONDS, or MEMORY_BYTES.
        Stopped: STOP was set.
    """
    ended, before = threading.Event(), 0
    lock, running = threading.Lock(), list[int]()

    def run() -> _Result:
        _current.ended = ended
        running.append(threading.get_ident())
        try:
            check_limits()
            return work()
        finally:
            with lock:
                running.clear()

    future = in_background(run, "localllm-limited")
    try:
        for elapsed in poll(lambda step: not wait_for([future], timeout=step).not_done, stop):
            before = before or private_memory()
            if elapsed > seconds:
                raise LimitExceeded(f"did not come to an end within {seconds:g} seconds")
            if private_memory() - before > memory_bytes:
                raise LimitExceeded(f"took more than {to_size(memory_bytes)} of memory")
        return future.result()
    finally:
        ended.set()
        if wait_for([future], timeout=_GRACE).not_done:
            _interrupt(future, running, lock)


def check_limits() -> None:
    """End the work of this thread, if `run_limited` has given it up."""
    ended: threading.Event | None = getattr(_current, "ended", None)
    if ended is not None and ended.is_set():
        raise SystemExit  # which nothing takes for an error of the work


def _interrupt(future: "Future[_Result]", running: list[int], lock: threading.Lock) -> None:
    """End the thread that is RUNNING, at its next step in Python."""
    tries = 10  # it may be in a callback, where Python ignores errors
    while tries and wait_for([future], timeout=0.05).not_done:
        tries -= 1
        with lock:  # or else the number might be another thread's already
            for thread in running:
                # This error, for nobody reports it where nobody catches it.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(SystemExit))
