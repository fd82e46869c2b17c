"""How fast pieces come, for servers that do not tell."""

import time
from collections.abc import Callable

_MOMENT = 0.002  # seconds: what comes within them came with one read


class ArrivalRate:
    """Times pieces between the first read and the last but one.

    What a read brings has come at any time since the read before, and more was on its way; only after the last read
    was it not, and so the last may be late. An answer that comes in one read has no tempo.

    Args:
        clock: Seconds on a clock that does not jump.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.pieces = 0
        self.timed = 0
        """Pieces that came within `seconds`."""
        self.seconds = 0.0
        self._clock = clock
        self._read = self._last = clock()
        self._first: tuple[float, int] | None = None

    def look(self) -> None:
        """Something was read, which need not be a piece."""
        now = self._clock()
        if now - self._last > _MOMENT:
            self._settle()
            self._read = now
        self._last = now

    def add(self) -> None:
        """It was a piece."""
        self.pieces += 1

    def _settle(self) -> None:
        """The read before this one was not the last."""
        if not self.pieces:
            return
        if self._first is None:
            self._first = (self._read, self.pieces)
        start, pieces = self._first
        self.seconds, self.timed = self._read - start, self.pieces - pieces
