"""Events out of a `text/event-stream`, as the servers that speak OpenAI's API stream them.

The rules are those of https://html.spec.whatwg.org/multipage/server-sent-events.html, but for these: a lone CR ends no
line; `id` and `retry` mean nothing; `error` lines, of old llama.cpp servers, are data of an event of that name; the
last event may lack its blank line; and an event whose data is blank or `null`, with which gateways keep a stream alive,
is none.
"""

import json
from contextlib import suppress
from typing import NamedTuple

from localllm_magics.engines.wire.lines import LIMIT, Lines, LineTooLong
from localllm_magics.engines.wire.ndjson import Malformed, Record, decode, parse, parse_last


class Event(NamedTuple):
    """An event; NAME is `message` unless the server gave another."""

    name: str
    data: str


class SSE:
    """Fields on lines, and an event at each blank line; LIMIT is the most bytes of a line, and of an event's data."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._lines = Lines(limit)
        self._limit = limit
        self._is_broken = False
        self._name = b""
        self._data: list[bytes] = []  # its lines
        self._size = 0

    def feed(self, data: bytes) -> list[Event | Malformed]:
        """The events whose blank lines are in DATA; after a line or an event that is too long there are none."""
        try:
            return self._read(self._lines.feed(data))
        except LineTooLong as error:
            events = self._read(error.before)
            return events if self._is_broken else [*events, self._break(str(error), error.start)]

    def close(self) -> list[Event | Malformed]:
        """The event whose blank line is missing; where its last line may be truncated, only if its data is whole."""
        rest = self._lines.close()
        events = self._read([rest]) if rest else []
        for event in self._dispatch():
            record = parse_last(event.data) if rest and not _is_done(event) else None
            events.append(record if isinstance(record, Malformed) else event)
        return events

    def _read(self, lines: list[bytes]) -> list[Event | Malformed]:
        events: list[Event | Malformed] = []
        for line in lines if not self._is_broken else ():
            if line:
                self._parse_field(line)
            else:
                events += self._dispatch()
            if self._size > self._limit:
                reason = f"an event is longer than the size limit of {self._limit:,} bytes"
                return [*events, self._break(reason, b"\n".join(self._data)[: self._limit])]
        return events

    def _parse_field(self, line: bytes) -> None:
        if line.startswith(b"data: "):  # almost every line
            self._add(line[6:])
            return
        field, _, value = line.partition(b":")
        match field:
            case b"data":
                self._add(value)
            case b"event":
                self._name = value.removeprefix(b" ")
            case b"error":
                self._name = b"error"
                self._add(value.removeprefix(b" "))

    def _add(self, value: bytes) -> None:
        self._data.append(value)
        self._size += len(value) + 1  # with its line end: there may be many empty ones

    def _dispatch(self) -> list[Event]:
        """The event that a blank line ends, unless it has no data."""
        name, data = self._name, self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._clear()
        if data.strip() in (b"", b"null"):
            return []
        return [Event(decode(name) if name else "message", decode(data))]

    def _break(self, reason: str, start: bytes) -> Malformed:
        self._is_broken = True
        self._clear()
        return Malformed.of(reason, start)

    def _clear(self) -> None:
        self._name, self._data, self._size = b"", [], 0


def to_record(event: Event) -> Record | Malformed | None:
    """The record in EVENT, or None for the `[DONE]` at the end; that of an error is under the key `error`."""
    if _is_done(event):
        return None
    if event.name != "error":
        return parse(event.data)
    error: object = event.data
    with suppress(ValueError, RecursionError):
        error = json.loads(event.data)
    return error if isinstance(error, dict) and "error" in error else {"error": error}


def is_keep_alive(event: Event) -> bool:
    """Whether EVENT, which is no record, is none of an answer either: another JSON value, or words under a name."""
    if event.name != "message":
        return not event.data.lstrip().startswith("{")
    try:
        return not isinstance(json.loads(event.data), dict)
    except (ValueError, RecursionError):
        return False


def _is_done(event: Event) -> bool:
    return event.data.strip() == "[DONE]"
