"""The records in the body of an answer."""

import codecs
from collections.abc import Iterator
from itertools import chain

from localllm_magics.engines.wire import sse
from localllm_magics.engines.wire.lines import LIMIT
from localllm_magics.engines.wire.ndjson import Malformed, Record, parse

END: Record = {"object": "[DONE]"}
"""Stands for the mark at the end of a stream."""
_WHOLE = (b"{", b"<")


class Body:
    """A stream of events, or one JSON object from a server that does not stream: told by how it begins.

    What the server calls it does not matter: some call everything JSON, and some say nothing.
    """

    def __init__(self) -> None:
        self.was_empty = False
        """Whether it ended in good order without a single byte."""

    def records(self, chunks: Iterator[bytes]) -> Iterator[Record | Malformed]:
        """The records in CHUNKS, as they become whole; the mark at the end is `END`."""
        start, was_empty = b"", True
        for chunk in chunks:
            was_empty = was_empty and not chunk
            start = (start + chunk).lstrip().removeprefix(codecs.BOM_UTF8).lstrip()
            if not codecs.BOM_UTF8.startswith(start):
                break
        self.was_empty = was_empty
        rest = chain([start], chunks)
        if start.startswith(_WHOLE):
            yield _whole(rest)
        else:
            yield from _events(rest)


def _whole(chunks: Iterator[bytes]) -> Record | Malformed:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > LIMIT:
            return Malformed.of(f"an answer is longer than the size limit of {LIMIT:,} bytes", body)
    return parse(bytes(body)) if body.startswith(b"{") else Malformed.of("it is a web page", body)


def _events(chunks: Iterator[bytes]) -> Iterator[Record | Malformed]:
    decoder = sse.SSE()
    for chunk in chunks:
        yield from _to_records(decoder.feed(chunk))
    yield from _to_records(decoder.close())


def _to_records(events: list[sse.Event | Malformed]) -> Iterator[Record | Malformed]:
    for event in events:
        record = event if isinstance(event, Malformed) else sse.to_record(event)
        yield END if record is None else record
