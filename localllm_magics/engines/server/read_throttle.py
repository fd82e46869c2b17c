"""Reads an answer less often than its tokens come.

A server on the same machine needs its cores: a reader that wakes for each token interrupts it a thousand times a
second, and the answer comes a quarter slower. So tokens gather between two reads, once the first have come.
"""

import threading
import time

_LEAST_SECONDS = 0.02
_MOST_SECONDS = 0.08
_TOKENS_PER_READ = 3
_UNTHROTTLED_READS = 12
_MEASURED_READS = 8
_LARGE_BYTES = 32 * 2**10


class ReadThrottle:
    """Spaces the reads of one answer so that about three tokens gather between two of them.

    The first reads follow each other directly, and so do those after much data.

    Args:
        seconds: Between the end of a read and the next; by default measured from the first tokens, within bounds that
            nobody who reads along notices.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._reads: int | None = None
        self._measured_since = 0.0
        self._next_read = 0.0
        self._has_ended = threading.Event()

    def begin(self) -> None:
        """What is read from now on is the answer."""
        self._reads = 0

    def end(self) -> None:
        """Wait no more."""
        self._has_ended.set()

    def wait(self) -> None:
        """Wait until the next read is due."""
        self._has_ended.wait(max(self._next_read - time.monotonic(), 0.0))

    def record(self, size: int) -> None:
        """Plan the next read after one of SIZE bytes."""
        if self._reads is not None:
            self._reads += 1
            self._next_read = 0.0 if size >= _LARGE_BYTES else self._due(self._reads, time.monotonic())

    def _due(self, reads: int, now: float) -> float:
        if reads <= _UNTHROTTLED_READS - _MEASURED_READS:
            self._measured_since = now
        if reads <= _UNTHROTTLED_READS:
            return 0.0
        if self._seconds is None:
            interval = (now - self._measured_since) / (_MEASURED_READS + 1)
            self._seconds = min(max(_TOKENS_PER_READ * interval, _LEAST_SECONDS), _MOST_SECONDS)
        return now + self._seconds
