"""One output that is updated in place, within the bytes and the messages that a front end should get."""

import json
import math
import time
import uuid
from collections.abc import Callable, Mapping

from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.notebook.interrupts import uninterrupted

_SECONDS = 0.1  # between two updates; each takes a core from the model
# What all messages of an answer may cost: so many bytes at once, for each second, and for each byte of its text.
_ONCE, _PER_SECOND, _PER_BYTE = 20_000, 4_000, 6
_ENVELOPE = 150  # bytes of an update beside its bundle
_DOCUMENT = 3_000  # bytes of the final bundle, beside the text


class Display:
    """One output that is updated in place; nothing where there is no shell.

    Args:
        shell: Where it is displayed, if anywhere.
        is_live: Whether it takes updates; without them it has no id either.
        clock: Seconds on a clock that does not jump.
    """

    def __init__(
        self, shell: InteractiveShell | None, *, is_live: bool = True, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.is_shown = False
        self._shell = shell
        self._transient = {"display_id": uuid.uuid4().hex} if is_live else {}
        self._clock = clock
        self._start = clock()
        self._next = self._start if is_live else math.inf
        self._sent = self._size = self._text_size = 0
        self._read = self._read_size = self._read_bytes = 0  # of the text, so that each character is counted once

    def is_due(self, text: str = "") -> bool:
        """Whether the time and the traffic allow an update, now that TEXT is the answer so far."""
        now = self._clock()
        if now < self._next:
            return False
        text_size = self._size_of(text)
        update = self._size + text_size - self._text_size
        # The final bundle has the text as it is twice, and as Markdown, which is as long as in an update.
        final = update + 2 * text_size + _DOCUMENT
        allowed = _ONCE + _PER_SECOND * (now - self._start) + _PER_BYTE * self._read_bytes
        return self._sent + update + final <= allowed

    def update(self, bundle: Mapping[str, object], text: str = "") -> None:
        """Show BUNDLE, if it is due."""
        if self.is_due(text):
            self.publish(bundle)
            self._text_size, self._size = self._read_size, _size(bundle) + _ENVELOPE
            self._sent += self._size
            self._next = self._clock() + _SECONDS

    def _size_of(self, text: str) -> int:
        """Bytes of TEXT, which goes on with the one before, in a message."""
        new, self._read = text[self._read :], len(text)
        self._read_bytes += len(new.encode("utf-8", "replace"))
        self._read_size += _size(new) - _size("")
        return self._read_size

    def publish(self, bundle: Mapping[str, object]) -> None:
        """Show BUNDLE."""
        if self._shell is None:
            return
        with uninterrupted():
            self._shell.display_pub.publish(bundle, metadata={}, transient=self._transient, update=self.is_shown)
            self.is_shown = True


def _size(value: object) -> int:
    """Bytes of VALUE in a message."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
