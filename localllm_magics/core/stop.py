"""Stopping work from another thread: the flag, the exception, and waits that watch the flag."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

POLL_SECONDS = 0.05


class Stopped(Exception):
    """Work ended because its `Stop` was set; nothing failed."""


class Stop:
    """A flag that any thread sets once, and that calls back those who asked for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._callbacks: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<Stop {'set' if self.is_set() else 'not set'}>"

    def is_set(self) -> bool:
        """Whether the work should stop."""
        return self._event.is_set()

    def set(self) -> None:
        """Ask to stop; asking again does nothing."""
        with self._lock:
            self._event.set()
            # Under the lock: once `calling` has ended, its callback is never called again. What an
            # interrupt keeps from being called stays in the list, for whoever asks next.
            while self._callbacks:
                self._callbacks[-1]()
                self._callbacks.pop()

    def wait(self, seconds: float | None) -> bool:
        """Wait until it is set, at most SECONDS; whether it is."""
        return self._event.wait(seconds)

    def check(self) -> None:
        """Raise `Stopped` if it is set."""
        if self._event.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Wait SECONDS.

        Raises:
            Stopped: It was set meanwhile.
        """
        if self._event.wait(seconds):
            raise Stopped

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call CALLBACK once when it is set inside the block, immediately if it is set already."""
        with self._lock:
            self._callbacks.append(callback)
        try:
            if self._event.is_set():
                self.set()
            yield
        finally:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)


def poll(wait: Callable[[float], bool], stop: Stop) -> Iterator[float]:
    """Wait until WAIT, which takes the seconds of one step, returns True.

    WAIT is such as `Event.wait`, `Exchange.wait`, or an acquire of a lock.

    Yields:
        After each step without success the seconds since the start.

    Raises:
        Stopped: STOP was set.
    """
    start = time.monotonic()
    while True:
        stop.check()
        if wait(POLL_SECONDS):
            return
        yield time.monotonic() - start
