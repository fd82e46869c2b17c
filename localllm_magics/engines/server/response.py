"""From the bytes of a server's response to the events of a generation."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from localllm_magics.core.completion import FinishReason
from localllm_magics.core.errors import DaemonError, DaemonNotReachable, StreamBroken
from localllm_magics.core.events import Loading, ProgressEvent
from localllm_magics.core.generation import Counts, Generation
from localllm_magics.core.stop import Stop, Stopped, poll
from localllm_magics.engines.server.connection import Connection, Exchange
from localllm_magics.engines.server.content_encoding import SUPPORTED, content_encodings
from localllm_magics.engines.server.server_error import ErrorContext, raise_for_status
from localllm_magics.engines.server.settings import Limits
from localllm_magics.engines.wire.ndjson import NDJSON, Malformed, Record

_LONGEST_ENCODING = 40
_Event = TypeVar("_Event", bound=ProgressEvent)


class ResponseParser(Protocol):
    """Parses the records of one answer; pure."""

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the answer ended, once it has."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing worth waiting for can follow."""

    @property
    def counts(self) -> Counts:
        """What the server counted, once the answer has ended."""

    def feed(self, record: Record) -> Sequence[ProgressEvent]:
        """The events in RECORD.

        Raises:
            LocalLLMError: The record is an error.
        """


def ndjson_records(chunks: Iterator[bytes]) -> Iterator[Record | Malformed]:
    """The records in CHUNKS, as they become whole."""
    decoder = NDJSON()
    for chunk in chunks:
        yield from decoder.feed(chunk)
    yield from decoder.close()


def wait_for_head(exchange: Exchange, stop: Stop, probe: Callable[[], _Event | None]) -> Iterator[_Event]:
    """Wait until the response begins, asking PROBE now and then how far the server is.

    A server that loads a model or processes a prompt sends nothing, and neither does one that hangs; but the first
    still answers other requests.

    Raises:
        DaemonNotReachable: For too long PROBE has got no answer.
        Stopped: STOP was set.
    """
    liveness = _Liveness(probe, exchange.limits)
    last: _Event | None = None
    for waited in poll(exchange.wait, stop):
        event = liveness.check(waited)
        is_backwards = isinstance(event, Loading) and not isinstance(last, Loading | None)
        if event is not None and event != last and not is_backwards:
            yield event
            last = event


class _Liveness(Generic[_Event]):
    """Probes a server less and less often, and gives up one that answers no probe."""

    def __init__(self, probe: Callable[[], _Event | None], limits: Limits) -> None:
        self._probe = probe
        self._limits = limits
        self._next_probe = limits.probe_seconds
        self._silent_since: float | None = None

    def check(self, waited: float) -> _Event | None:
        """What the probe reports after so many seconds; None where it is not time for one yet."""
        if waited < self._next_probe:
            return None
        try:
            event = self._probe()
        except DaemonError as exc:
            self._silent_since = waited if self._silent_since is None else self._silent_since
            if waited - self._silent_since > self._limits.silent_seconds:
                hint = "Start it again, or look into its log."
                raise DaemonNotReachable(f"The server has stopped answering: {exc.message}", hint) from exc
            self._next_probe = waited + 2 * self._limits.probe_seconds
            return None
        self._silent_since = None
        self._next_probe = waited + max(self._limits.probe_seconds, waited / 4)
        return event


def read_answer(
    records: Iterator[Record | Malformed], parser: ResponseParser, generation: Generation, connection: Connection
) -> Iterator[ProgressEvent]:
    """The events of an answer whose head has come.

    Args:
        records: The answer.
        parser: Of its records.
        generation: Gets the counts.
        connection: To the server.

    Raises:
        LocalLLMError: The answer broke off.
        Stopped: The exchange was cancelled.
    """
    url = connection.address.url
    try:
        for record in _until_end(records, parser):
            if isinstance(record, Malformed):
                excerpt = record.excerpt(connection.redact)
                message = f"{url} sent what cannot be parsed: {record.reason}: {excerpt!r}"
                raise StreamBroken(message, "Is it a model server?")
            yield from parser.feed(record)
            if parser.is_complete:
                break
    finally:
        _add_counts(parser.counts, generation)
    if parser.finish_reason is None:
        raise StreamBroken(f"{url} ended its answer too early.", "The text so far is kept. Ask again.")


def require_answer(exchange: Exchange, context: ErrorContext) -> None:
    """Raise the error that the head of a response means, unless an answer follows.

    Raises:
        LocalLLMError: The server refused, or is none.
        Stopped: The exchange was cancelled.
    """
    head = exchange.head
    is_success = 200 <= head.status < 300 and head.status != 204  # which has no body
    if not is_success or head.is_html:
        raise_for_status(exchange.read_all(), context)
    unsupported = sorted(set(content_encodings(head.headers)) - SUPPORTED)
    if unsupported:
        encoding = context.redact(unsupported[0])[:_LONGEST_ENCODING]
        raise StreamBroken(
            f"{context.address.url} compressed its answer as {encoding!r}, which was not asked for.",
            "Is a proxy in between? It has to leave answers as they are.",
        )


@contextmanager
def chunks_with_drain_timeout(exchange: Exchange, parser: ResponseParser) -> Iterator[Iterator[bytes]]:
    """The chunks of an answer; once PARSER has its end, counts that may follow are waited for only a short time."""
    timer = threading.Timer(exchange.limits.drain_seconds, exchange.cancel)
    timer.daemon = True

    def chunks() -> Iterator[bytes]:
        for chunk in exchange.chunks():
            yield chunk
            if parser.finish_reason is not None and timer.ident is None:
                timer.start()

    try:
        yield chunks()
    finally:
        timer.cancel()


def _until_end(records: Iterator[Record | Malformed], parser: ResponseParser) -> Iterator[Record | Malformed]:
    """RECORDS; how a connection breaks after the end of the answer does not matter."""
    try:
        for record in records:
            if isinstance(record, Malformed) and parser.finish_reason is not None:
                return
            yield record
    except (StreamBroken, Stopped):
        if parser.finish_reason is None:
            raise


def _add_counts(counts: Counts, generation: Generation) -> None:
    """Prefer the server's COUNTS to our own, as far as they go."""
    if counts.timed_tokens is None:
        counts = replace(counts, timed_tokens=max(generation.tokens - 1, 0))  # our clock starts at the first
    generation.counts = counts
