"""The records in the body of a response."""

import codecs
from collections.abc import Generator, Iterator
from itertools import chain

from localllm_magics.engines.wire import sse
from localllm_magics.engines.wire.lines import LIMIT
from localllm_magics.engines.wire.ndjson import Malformed, Record, parse

END_OF_STREAM: Record = {"object": "[DONE]"}
"""The record for `data: [DONE]`."""


class RecordDecoder:
    """Decodes a stream of events, or one JSON object from a server that does not stream: its first byte decides.

    The content type does not matter: some servers call everything JSON, and some send none. LIMIT is the most bytes of
    an object, or of an event.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.was_empty = False
        """Whether the body ended without an error and without a single byte."""
        self._limit = limit

    def records(self, chunks: Iterator[bytes]) -> Generator[Record | Malformed, None, None]:
        """The records in CHUNKS, each as soon as it is complete."""
        start, was_empty = b"", True
        for chunk in chunks:
            was_empty = was_empty and not chunk
            start = (start + chunk).lstrip().removeprefix(codecs.BOM_UTF8).lstrip()
            if not codecs.BOM_UTF8.startswith(start):
                break
        self.was_empty = was_empty
        rest = chain([start], chunks)
        if start.startswith((b"{", b"<")):
            yield self._object(rest)
        else:
            yield from self._events(rest)

    def _object(self, chunks: Iterator[bytes]) -> Record | Malformed:
        body = bytearray()
        for chunk in chunks:
            body += chunk
            if len(body) > self._limit:
                return Malformed.of(f"an answer is longer than the size limit of {self._limit:,} bytes", body)
        return parse(bytes(body)) if body.startswith(b"{") else Malformed.of("it is a web page", body)

    def _events(self, chunks: Iterator[bytes]) -> Iterator[Record | Malformed]:
        decoder = sse.SSE(self._limit)
        for chunk in chunks:
            yield from _to_records(decoder.feed(chunk))
        yield from _to_records(decoder.close())


def _to_records(events: list[sse.Event | Malformed]) -> Iterator[Record | Malformed]:
    for event in events:
        record = event if isinstance(event, Malformed) else sse.to_record(event)
        if isinstance(event, Malformed) or not (isinstance(record, Malformed) and sse.is_keep_alive(event)):
            yield END_OF_STREAM if record is None else record
