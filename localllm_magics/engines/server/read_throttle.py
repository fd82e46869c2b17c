"""Reading an answer at a walking pace.

A server on the same machine needs its cores: a reader that wakes for each token takes them from
it a thousand times a second, and the answer comes a quarter slower. So what a server has to say
gathers between two reads, once the first words are there.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeAlias

_LEAST_SECONDS = 0.02
_MOST_SECONDS = 0.08
_GATHERED = 3
_PROMPT_READS = 12
_MEASURED_READS = 8
_LARGE = 32 * 2**10

Read: TypeAlias = Callable[..., bytes]


class ReadThrottle:
    """Spaces the reads of one answer, once it has begun, so that about three tokens gather between two of them.

    Args:
        seconds: Between the end of a read and the next; by default as fast as the first words came, within bounds
            that nobody who reads along notices.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._reads: int | None = None
        self._since = 0.0
        self._next = 0.0
        self._is_over = threading.Event()

    def begin(self) -> None:
        """What is read from now on is an answer."""
        self._reads = 0

    def end(self) -> None:
        """Wait no more."""
        self._is_over.set()

    def spaced(self, read: Read) -> Read:
        """READ of a network stream at this pace: the first reads at once, and so those that follow much data."""

        def spaced_read(max_bytes: int, timeout: float | None = None) -> bytes:
            self._is_over.wait(max(self._next - time.monotonic(), 0.0))
            data = read(max_bytes, timeout=timeout)
            if self._reads is not None:
                self._reads += 1
                self._next = self._next_read(self._reads, time.monotonic()) if len(data) < _LARGE else 0.0
            return data

        return spaced_read

    def _next_read(self, reads: int, now: float) -> float:
        """When to read again after so many READS."""
        if reads <= _PROMPT_READS - _MEASURED_READS:
            self._since = now
        if reads <= _PROMPT_READS:
            return 0.0
        if self._seconds is None:
            interval = (now - self._since) / (_MEASURED_READS + 1)
            self._seconds = min(max(_GATHERED * interval, _LEAST_SECONDS), _MOST_SECONDS)
        return now + self._seconds
