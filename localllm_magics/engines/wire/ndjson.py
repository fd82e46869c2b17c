"""Records out of newline-delimited JSON, as Ollama streams them."""

import json
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import orjson

from localllm_magics.engines.wire.lines import LIMIT, Lines, LineTooLong

Record: TypeAlias = dict[str, object]

_CUT_OFF: Final = "the last record is cut off"
_NO_OBJECT: Final = "a record is JSON, but not an object"
_LONGEST_EXCERPT = 80
_SPACE = b" \t\r\n"
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes that are no record: REASON is a clause, and EXCERPT, the start of the text, is fit for a terminal."""

    reason: str
    excerpt: str

    @classmethod
    def of(cls, reason: str, text: str) -> "Malformed":
        """One with an excerpt of TEXT."""
        excerpt = text if len(text) <= _LONGEST_EXCERPT else text[: _LONGEST_EXCERPT - 1] + "…"
        return cls(reason, "".join(sign if sign.isprintable() else " " for sign in excerpt))


class NDJSON:
    """One JSON object on each line that is not empty; LIMIT is the most bytes of a line."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._lines = Lines(limit)

    def feed(self, data: bytes) -> list[Record | Malformed]:
        """The records whose lines end in DATA; after a line that is too long there are none."""
        try:
            return _parse_lines(self._lines.feed(data))
        except LineTooLong as error:
            return [*_parse_lines(error.before), Malformed.of(str(error), decode(error.start))]

    def close(self) -> list[Record | Malformed]:
        """The record whose line end is missing, if there is one."""
        last = self._lines.close()
        return [parse_last(decode(last))] if last.strip(_SPACE) else []


def decode(data: bytes | bytearray) -> str:
    """The text in DATA; bytes that are no UTF-8 become U+FFFD."""
    return data.decode("utf-8", "replace")


def parse(data: bytes | str) -> Record | Malformed:
    """The JSON object in DATA; NaN and Infinity are numbers, and whole numbers past 64 bits become floats."""
    try:
        value = orjson.loads(data)
    except ValueError:
        # Much slower, and takes more: bytes that are no UTF-8, halves of characters, large numbers, NaN.
        return _parse_loosely(data if isinstance(data, str) else decode(data))
    return (
        value if isinstance(value, dict) else Malformed.of(_NO_OBJECT, data if isinstance(data, str) else decode(data))
    )


def _parse_loosely(text: str) -> Record | Malformed:
    text = text.strip(" \t\r\n")
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
    return value if isinstance(value, dict) else Malformed.of(_NO_OBJECT, text)


def parse_last(text: str) -> Record | Malformed:
    """The JSON object in TEXT, which may have lost its end."""
    record = parse(text)
    return replace(record, reason=_CUT_OFF) if isinstance(record, Malformed) else record


def _parse_lines(lines: list[bytes]) -> list[Record | Malformed]:
    return [parse(line) for line in lines if line and not line.isspace()]
