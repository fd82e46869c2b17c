"""Work in a thread that may be left behind."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

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
    """
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
