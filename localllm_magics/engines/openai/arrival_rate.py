"""How fast pieces of an answer arrive, for servers that send no timings."""

import time
from collections.abc import Callable

_SAME_READ_SECONDS = 0.002  # what arrives within them came with one read


class ArrivalRate:
    """Counts and times pieces between the first read and the last but one.

    The data of a read has arrived at any time since the read before, and more was on its way; only after the last
    read was it not, so the last one may be late. An answer that comes in one read has no rate.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.pieces = 0
        self.timed_pieces = 0
        """Pieces that arrived within `seconds`."""
        self.seconds = 0.0
        self._clock = clock
        self._read = self._last = clock()
        self._first: tuple[float, int] | None = None

    def note_read(self) -> None:
        """A record was read, which need not be a piece."""
        now = self._clock()
        if now - self._last > _SAME_READ_SECONDS:
            self._close_read()
            self._read = now
        self._last = now

    def count_piece(self) -> None:
        """The record was a piece."""
        self.pieces += 1

    def _close_read(self) -> None:
        """The read before this one was not the last."""
        if not self.pieces:
            return
        if self._first is None:
            self._first = (self._read, self.pieces)
        start, pieces = self._first
        self.seconds, self.timed_pieces = self._read - start, self.pieces - pieces
