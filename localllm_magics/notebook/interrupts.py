"""The user's interrupt: deferred where it must not come, and shown in one line."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Defer an interrupt to the end of the block, which is short.

    Between a message to the front end and the note that it was sent, a `KeyboardInterrupt` would leave a card that
    nobody ends.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield  # only the main thread is interrupted, and only by Python's own handlers
        return
    held: list[object] = []
    signal.signal(signal.SIGINT, lambda _number, frame: held.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            before(signal.SIGINT, None)


def shorten(exc: KeyboardInterrupt, text: str) -> None:
    """Have IPython show EXC as one line with TEXT, unless it has a line already."""
    if not hasattr(exc, "_render_traceback_"):
        exc._render_traceback_ = lambda: [f"KeyboardInterrupt: {text}"]  # type: ignore[attr-defined] # IPython's own protocol
