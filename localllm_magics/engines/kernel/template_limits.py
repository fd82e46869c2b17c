"""Resource limits for programs that come with a model file, and may never come to an end."""

import threading
from collections.abc import Callable
from concurrent.futures import wait as wait_for
from typing import TypeVar

from localllm_magics.core.stop import Stop, poll
from localllm_magics.core.table import to_size
from localllm_magics.engines.background import in_background
from localllm_magics.engines.kernel.machine import private_memory

MOST_SECONDS = 10.0
MOST_BYTES = 1 << 30
_Result = TypeVar("_Result")
_thread = threading.local()


class LimitExceeded(Exception):
    """The work was ended; the message says which limit it exceeded."""


class _Ended(BaseException):
    """Ends the work; no error of its own, so that nothing takes it for one."""


def run_limited(
    work: Callable[[], _Result], stop: Stop, *, seconds: float = MOST_SECONDS, memory_bytes: int = MOST_BYTES
) -> _Result:
    """What WORK returns or raises; it runs in a thread of its own, and has to call `check_limits` at each step.

    It is ended nowhere else: an error that Python raises anywhere in a thread may leave a lock held for ever.

    Raises:
        LimitExceeded: It took more than SECONDS, or MEMORY_BYTES.
        Stopped: STOP was set.
    """
    ended, before = threading.Event(), 0

    def run() -> _Result:
        _thread.ended = ended
        check_limits()
        return work()

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


def check_limits() -> None:
    """End the work of this thread, if `run_limited` has given it up."""
    ended: threading.Event | None = getattr(_thread, "ended", None)
    if ended is not None and ended.is_set():
        raise _Ended
