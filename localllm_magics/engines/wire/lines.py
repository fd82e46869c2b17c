"""Lines out of bytes: only LF ends one, for JSON strings may hold every other line end of Unicode."""

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
    """Splits bytes into lines; a CR before the LF is no part of a line, but counts as one of its LIMIT bytes."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._rest = bytearray()
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
        return _without_cr(lines)

    def close(self) -> bytes:
        """What came after the last LF; a CR at its end has lost its LF and is left out."""
        rest = bytes(self._rest).removesuffix(b"\r")
        self._rest.clear()
        return rest

    def _break(self, lines: list[bytes]) -> LineTooLong:
        lines = [*lines, bytes(self._rest)]
        self._is_broken = True
        self._rest.clear()
        position = next(position for position, line in enumerate(lines) if len(line) > self._limit)
        start = lines[position][: min(self._limit, _LONGEST_START)]
        return LineTooLong(self._limit, start, _without_cr(lines[:position]))


def _without_cr(lines: list[bytes]) -> list[bytes]:
    return [line.removesuffix(b"\r") for line in lines]
