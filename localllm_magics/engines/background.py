"""Work in a thread that may be left behind."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

_THREAD = 24 << 20  # bytes: its stack, which is 8 MB, and what it allocates first
_Result = TypeVar("_Result")


def in_background(
    work: Callable[[], _Result], name: str, *, then: Callable[[], None] = lambda: None
) -> "Future[_Result]":
    """Start WORK in a thread of this NAME.

    The end of the process does not wait for it, as it would for an executor's threads; those it joins before anybody
    is asked to stop.

    Args:
        work: What is done.
        name: Of the thread.
        then: Called in the thread once the result is there, unless WORK has failed.

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
            then()

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def require_room_for_thread(statm: Path = Path("/proc/self/statm")) -> None:
    """Raise what `Thread.start` would, where a limit of this process leaves no room for another thread.

    A thread that finds no memory for its first steps ends, and `Thread.start` waits for it for ever.

    Args:
        statm: The file in which the system says what this process uses, on Linux.

    Raises:
        RuntimeError: There is no room.
    """
    try:
        pages = [int(word) for word in statm.read_text().split()]
    except OSError:
        return  # elsewhere such limits do not hold
    import resource

    for limit, used in ((resource.RLIMIT_AS, pages[0]), (resource.RLIMIT_DATA, pages[5])):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY and soft - used * resource.getpagesize() < _THREAD:
            raise RuntimeError("can't start new thread")
