"""Work in a thread that may be left behind."""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

_THREAD = 24 << 20  # bytes: its stack, which is 8 MB, and what it allocates first
_Result = TypeVar("_Result")


def in_background(
    work: Callable[[], _Result], name: str, *, until: threading.Event | None = None
) -> "Future[_Result]":
    """Start WORK in a thread of this NAME.

    The end of the process does not wait for it, as it would for an executor's threads; those it joins before anybody
    is asked to stop.

    Args:
        work: What is done.
        name: Of the thread.
        until: The thread stays until this is set, where WORK has not failed.

    Raises:
        RuntimeError: The system allows no more threads.
    """
    require_room_for_thread()
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as exc:  # noqa: BLE001 - raised again where the result is awaited
            future.set_exception(exc)
        else:
            if until is not None:
                threading.current_thread().name = f"{name}-kept"
                until.wait()

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def require_room_for_thread() -> None:
    """Raise what `Thread.start` would, where a limit of this process leaves no room for another thread.

    A thread that finds no memory for its first steps ends, and `Thread.start` waits for it for ever.

    Raises:
        RuntimeError: There is no room.
    """
    if sys.platform != "linux":  # pragma: no cover - elsewhere threads are the system's matter
        return
    import resource

    pages = [int(word) for word in Path("/proc/self/statm").read_text().split()]
    for limit, used in ((resource.RLIMIT_AS, pages[0]), (resource.RLIMIT_DATA, pages[5])):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY and soft - used * resource.getpagesize() < _THREAD:
            raise RuntimeError("can't start new thread")
