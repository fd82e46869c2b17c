"""Records out of newline-delimited JSON, as Ollama streams them; a line that is `null` is none."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from localllm_magics.engines.wire.lines import LIMIT, Lines, LineTooLong

Record: TypeAlias = dict[str, object]

_TRUNCATED: Final = "the last record is truncated"
_LONGEST_EXCERPT = 80
_LONGEST_START = 1024  # far more than is shown, so that no secret is split at the end of an excerpt
_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes that are no record: REASON is a clause, and START how the text begins."""

    reason: str
    start: str

    @classmethod
    def of(cls, reason: str, data: str | bytes | bytearray) -> "Malformed":
        """The error that DATA is."""
        start = data[:_LONGEST_START]
        return cls(reason, start if isinstance(start, str) else decode(start))

    def excerpt(self, redact: Callable[[str], str] = str) -> str:
        """The start of the text, fit for a terminal; REDACT removes secrets before it is shortened."""
        text = redact(self.start)
        short = text if len(text) <= _LONGEST_EXCERPT else text[: _LONGEST_EXCERPT - 1] + "…"
        return "".join(character if character.isprintable() else " " for character in short)


class NDJSON:
    """One JSON object on each line that is not empty; LIMIT is the most bytes of a line."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._lines = Lines(limit)

    def feed(self, data: bytes) -> list[Record | Malformed]:
        """The records whose lines end in DATA; after a line that is too long there are none."""
        try:
            return _parse_lines(self._lines.feed(data))
        except LineTooLong as error:
            return [*_parse_lines(error.before), Malformed.of(str(error), error.start)]

    def close(self) -> list[Record | Malformed]:
        """The record whose line end is missing, if there is one."""
        text = decode(self._lines.close()).strip(_SPACE)
        return [] if text in ("", "null") else [parse_last(text)]


def decode(data: bytes | bytearray) -> str:
    """The text in DATA; bytes that are no UTF-8 become U+FFFD."""
    return data.decode("utf-8", "replace")


def parse(data: bytes | str) -> Record | Malformed:
    """The JSON object in DATA; NaN and Infinity are numbers."""
    text = (data if isinstance(data, str) else decode(data)).strip(_SPACE)
    try:
        value, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError:
        return Malformed.of("a record is not JSON", text)
    except ValueError:
        return Malformed.of("a record has a number with too many digits", text)
    except RecursionError:
        return Malformed.of("a record is nested too deeply", text)
    if end < len(text):
        return Malformed.of("a record has more text after its JSON", text)
    return value if isinstance(value, dict) else Malformed.of("a record is JSON, but not an object", text)


def parse_last(text: str) -> Record | Malformed:
    """The JSON object in TEXT, which may be truncated."""
    record = parse(text)
    return replace(record, reason=_TRUNCATED) if isinstance(record, Malformed) else record


def _parse_lines(lines: list[bytes]) -> list[Record | Malformed]:
    return [parse(line) for line in lines if line.strip() not in (b"", b"null")]
