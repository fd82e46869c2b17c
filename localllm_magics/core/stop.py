"""A wish to stop, which any thread may utter."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stop:
    """Set once, from any thread; tells those who asked to be told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._callbacks: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<Stop {'set' if self.is_set() else 'not set'}>"

    def is_set(self) -> bool:
        """Whether somebody wants to stop."""
        return self._event.is_set()

    def set(self) -> None:
        """Ask to stop; asking again does nothing."""
        with self._lock:
            self._event.set()
            # Under the lock: once `telling` has ended, its callback is never called again. What an
            # interrupt keeps from being called stays in the list, for whoever asks next.
            while self._callbacks:
                self._callbacks[-1]()
                self._callbacks.pop()

    def wait(self, seconds: float | None) -> bool:
        """Wait, at most SECONDS; whether somebody wants to stop."""
        return self._event.wait(seconds)

    @contextmanager
    def telling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call CALLBACK once on a stop inside the block, at once if it is set already."""
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
