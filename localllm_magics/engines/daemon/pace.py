"""Reading an answer at a walking pace.

A server on the same machine needs its cores: a reader that wakes for each token takes them from
it a thousand times a second, and the answer comes a quarter slower. So what a server has to say
gathers between two reads, once the first words are there.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeAlias

SECONDS = 0.04
"""Between two reads: half the time between two looks of a card."""
_PROMPT_READS = 12
_LARGE = 32 * 2**10

Read: TypeAlias = Callable[..., bytes]


class Pace:
    """Spaces the reads of one answer, once it has begun.

    Args:
        seconds: Between the end of a read and the next.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._reads: int | None = None
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
                if self._reads > _PROMPT_READS and len(data) < _LARGE:
                    self._next = time.monotonic() + self._seconds
            return data

        return spaced_read
