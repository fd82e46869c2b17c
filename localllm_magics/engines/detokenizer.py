"""Bytes of tokens to text: incremental UTF-8 and stop strings, pure."""

import codecs


class Detokenizer:
    """Turns the bytes of one token after another into text that is safe to show.

    A character is returned with its last byte, and not at all if the answer ends inside it. Text that may be the start
    of a stop string is held back until that is decided, so no part of a stop string is ever returned.

    Args:
        stop: Strings that end the answer.
    """

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self.stopped = False
        self._stop_strings = stop
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes) -> str:
        """The text that DATA completes; nothing once a stop string was seen."""
        return self._until_stop(self._utf8.decode(data))

    def close(self) -> str:
        """What was held back, at the end."""
        self._utf8.reset()
        text, self._held = self._held, ""
        return text

    def _until_stop(self, text: str) -> str:
        if not self._stop_strings or self.stopped:
            return "" if self.stopped else text
        text = self._held + text
        found = [(at + len(stop), at) for stop in self._stop_strings if (at := text.find(stop)) >= 0]
        if found:
            # The one that is complete first, so that the tokens' boundaries do not matter.
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        held = max(overlap(text, stop) for stop in self._stop_strings)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of TEXT that STOP starts with, without all of STOP."""
    sizes = range(min(len(text), len(stop) - 1), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)
