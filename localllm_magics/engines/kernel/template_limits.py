"""Resource limits for Python code that comes with a model file, and may never come to an end."""

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import wait as wait_for
from typing import Generic, TypeVar

from localllm_magics.core.stop import Stop, poll
from localllm_magics.core.table import to_size
from localllm_magics.engines.background import in_background
from localllm_magics.engines.kernel.machine import private_memory

MOST_SECONDS = 10.0
MOST_BYTES = 1 << 30
_Result = TypeVar("_Result")


class LimitExceeded(Exception):
    """The work was ended; the message says which limit it exceeded."""


def run_limited(
    work: Callable[[], _Result], stop: Stop, *, seconds: float = MOST_SECONDS, memory_bytes: int = MOST_BYTES
) -> _Result:
    """What WORK returns or raises; it runs in a thread of its own, which can be ended.

    Raises:
        LimitExceeded: It took more than SECONDS, or MEMORY_BYTES.
        Stopped: STOP was set.
    """
    thread = _Endable(work)
    future = in_background(thread.run, "localllm-limited")
    before = 0
    try:
        for elapsed in poll(lambda step: not wait_for([future], timeout=step).not_done, stop):
            before = before or private_memory()
            if elapsed > seconds:
                raise LimitExceeded(f"did not come to an end within {seconds:g} seconds")
            if private_memory() - before > memory_bytes:
                raise LimitExceeded(f"took more than {to_size(memory_bytes)} of memory")
        return future.result()
    finally:
        thread.end()


class _Endable(Generic[_Result]):
    """Work that another thread can end; it goes on up to its next step in Python."""

    def __init__(self, work: Callable[[], _Result]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._thread: int | None = None

    def run(self) -> _Result:
        self._thread = threading.get_ident()
        try:
            return self._work()
        finally:
            with self._lock:
                self._thread = None

    def end(self) -> None:
        with self._lock:  # or else the number might be another thread's already
            if self._thread is not None:
                # This error, for nobody reports it where nobody catches it.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(SystemExit))
