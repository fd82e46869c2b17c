"""Lines out of bytes: only LF ends one, for JSON strings may hold every other line end of Unicode."""

import codecs
from typing import Final

LIMIT: Final = 16 * 2**20
_LONGEST_START = 1024


class LineTooLong(ValueError):
    """A line has more bytes than LIMIT; it begins with START; the lines BEFORE it were whole."""

    def __init__(self, limit: int, start: bytes, before: list[bytes]) -> None:
        super().__init__(f"a line is longer than the size limit of {limit:,} bytes")
        self.start = start
        self.before = before


class Lines:
    """Splits bytes into lines; a CR before the LF, and a BOM at the start, are no part of them but count for LIMIT."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._is_at_start = True
        self._is_broken = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end in DATA, without their ends.

        Raises:
            LineTooLong: Once; whatever is fed later is ignored.
        """
        if self._is_broken:
            return []
        if b"\n" in data:
            *lines, rest = b"".join((self._rest, data)).split(b"\n")
            self._rest = bytearray(rest)
        else:
            lines = []
            self._rest += data
        if max(map(len, (*lines, self._rest))) > self._limit:
            raise self._break(lines)
        return self._strip(lines)

    def close(self) -> bytes:
        """What came after the last LF; a CR at its end has lost its LF and is left out."""
        (rest,) = self._strip([bytes(self._rest)])
        self._rest.clear()
        return rest

    def _break(self, lines: list[bytes]) -> LineTooLong:
        lines = [*lines, bytes(self._rest)]
        self._is_broken = True
        self._rest.clear()
        position = next(position for position, line in enumerate(lines) if len(line) > self._limit)
        start = lines[position][: min(self._limit, _LONGEST_START)]
        return LineTooLong(self._limit, start, self._strip(lines[:position]))

    def _strip(self, lines: list[bytes]) -> list[bytes]:
        if self._is_at_start and lines:
            self._is_at_start = False
            lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
        return [line.removesuffix(b"\r") for line in lines]
