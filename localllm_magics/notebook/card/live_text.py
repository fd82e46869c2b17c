"""Text that is printed as it comes, in a terminal above one line that is rewritten in place."""

import os
import shutil
from typing import TextIO

from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.core.table import to_width

_ECHO = len("^C")  # a terminal shows the key of the interrupt behind the status, which must not wrap
_NARROWEST = 8  # columns in which a status says anything
_ERASED = "\r\x1b[K"
_UP = "\x1b[A"
_TAB = 8


class LiveText:
    """A text on STREAM that grows, and a status if that is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._has_status = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._printed = 0  # characters of the text
        self._column = 0  # of the end of the text
        self._erase = ""  # what takes the status away, and the cursor back to the end of the text

    def write(self, text: str, status: str) -> None:
        """Print what TEXT has more than before, and STATUS below it."""
        # Blank lines at the end may be the last.
        fresh = strip_control(text[self._printed :]).rstrip()
        self._printed = len(text.rstrip())
        if self._has_status:
            columns = shutil.get_terminal_size().columns
            fresh = self._erase + self._placed(fresh, columns) + self._below(status, columns)
        if fresh:
            self._stream.write(fresh)
            self._stream.flush()

    def end(self, text: str) -> None:
        """Print the rest of TEXT, and go where something else can follow it."""
        self.write(text, "")
        if self._printed:
            self._stream.write("\n\n")
        self._stream.flush()

    def _placed(self, fresh: str, columns: int) -> str:
        """FRESH, after which the column is known."""
        for char in fresh:
            if char == "\n":
                self._column = 0
            elif char == "\t":
                self._column = min(columns - 1, (self._column // _TAB + 1) * _TAB)
            else:
                width = to_width(char)
                self._column = width if self._column + width > columns else self._column + width
        return fresh

    def _below(self, status: str, columns: int) -> str:
        """STATUS in a line of its own, dimmed."""
        if not status or columns < _NARROWEST:
            self._erase = ""
            return ""
        while to_width(status) + _ECHO >= columns:
            status = f"…{status[2:]}"  # the numbers stand at its end
        below = "\n" if self._column else ""
        self._erase = _ERASED
        if self._column >= columns:
            self._column = 0  # text would go on in the line of the status anyway
        elif self._column:
            self._erase += f"{_UP}\x1b[{self._column}C"
        return f"{below}\x1b[2m{status}\x1b[0m"
