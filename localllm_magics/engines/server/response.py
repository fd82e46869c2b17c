"""From the bytes of a server's response to the events of a generation."""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Protocol, TypeAlias, TypeVar

from localllm_magics.core.completion import FinishReason
from localllm_magics.core.errors import DaemonError, DaemonNotReachable, LocalLLMError, StreamBroken
from localllm_magics.core.events import Loading, ProgressEvent, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.generation import Counts, Generation
from localllm_magics.core.stop import Stop, Stopped, poll
from localllm_magics.engines.background import in_background
from localllm_magics.engines.server.connection import Exchange
from localllm_magics.engines.server.content_encoding import SUPPORTED, content_encodings
from localllm_magics.engines.server.server_error import ErrorContext, raise_for_status
from localllm_magics.engines.server.transport_errors import drop_frames
from localllm_magics.engines.wire.lines import LIMIT
from localllm_magics.engines.wire.ndjson import NDJSON, Malformed, Record

_PROBE_SECONDS = 0.5  # before the first probe; later ones are less frequent
_NEVER = float("inf")
_RETRY_SECONDS = 1.0  # between probes that get no answer
_LENGTH_REASONS = frozenset({"length", "max_tokens", "max_output_tokens", "max_length", "model_length", "limit"})
DRAIN_SECONDS = 10.0
"""For the next bytes, once the answer has a finish reason."""
_COUNTED_DRAIN_SECONDS = 2.0  # once the counts have come too, which most servers send last
_MOST_DRAINS = 6  # so many times as long is a record waited for where only keep-alive bytes come
_Event = TypeVar("_Event", bound=ProgressEvent)
Records: TypeAlias = Generator[Record | Malformed, None, None]


class ResponseParser(Protocol):
    """Parses the records of one answer; pure."""

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the answer ended, as far as the server says; text may follow, as some proxies give each record one."""

    @property
    def is_complete(self) -> bool:
        """Whether no record of interest can follow."""

    @property
    def has_counts(self) -> bool:
        """Whether the last record was counts alone, behind which text is rare."""

    @property
    def counts(self) -> Counts:
        """What the server has counted so far."""

    def feed(self, record: Record) -> Sequence[ProgressEvent]:
        """The events in RECORD.

        Raises:
            LocalLLMError: The record is an error.
        """

    def close(self) -> Sequence[ProgressEvent]:
        """The events that were held back, once no record follows."""


def to_finish_reason(reason: str) -> FinishReason:
    """Ours for REASON in the words of a server."""
    return "length" if reason.lower() in _LENGTH_REASONS else "stop"


def ndjson_records(chunks: Iterable[bytes], limit: int = LIMIT) -> Records:
    """The records in CHUNKS, each as soon as it is complete; LIMIT is the most bytes of a line."""
    decoder = NDJSON(limit)
    for chunk in chunks:
        yield from decoder.feed(chunk)
    yield from decoder.close()


def wait_for_head(
    exchange: Exchange,
    stop: Stop,
    probe: Callable[[], _Event | None],
    *,
    probe_seconds: float = _PROBE_SECONDS,
    max_silent_seconds: float = 60.0,
) -> Iterator[_Event]:
    """Wait for the head of the response, and yield what PROBE finds out meanwhile.

    A server that loads or prefills is silent, and so is one that hangs; the first still answers other requests.

    The first PROBE is after PROBE_SECONDS, and for MAX_SILENT_SECONDS none may get an answer.

    Raises:
        DaemonNotReachable: The server does not answer any more.
        Stopped: STOP was set.
    """
    next_probe, silent_since = probe_seconds, _NEVER
    last: _Event | None = None
    for waited in poll(exchange.wait, stop):
        if waited < next_probe:
            continue
        start = time.monotonic()
        try:
            event = probe()
        except DaemonError as exc:
            silent_since = min(silent_since, start)
            if time.monotonic() - silent_since > max_silent_seconds:
                hint = "Restart it, or check its log."
                raise DaemonNotReachable(f"The server has stopped answering: {exc.message}", hint) from exc
            next_probe = waited + min(_RETRY_SECONDS, probe_seconds)
            continue
        next_probe, silent_since = waited + max(probe_seconds, waited / 4), _NEVER
        goes_back = isinstance(last, Reading) and isinstance(event, Loading)  # which no generation may
        if event is not None and event != last and not goes_back:
            yield event
            last = event


def read_response(
    exchange: Exchange,
    decode: Callable[[Iterator[bytes]], Records],
    parser: ResponseParser,
    generation: Generation,
    context: ErrorContext,
) -> Generator[ProgressEvent, None, FinishReason]:
    """The events of a response whose head has arrived, and its finish reason; GENERATION gets its counts.

    Raises:
        LocalLLMError: The server refused, or the answer broke off.
        Stopped: The exchange was cancelled.
    """
    require_stream(exchange, context)
    drain = Drain(exchange, parser, DRAIN_SECONDS)
    try:
        with closing(drain.records(decode(drain.chunks(exchange.chunks())))) as records:
            yield from _noting_text(exchange.redact_events(parse(records, parser, context)))
    except LocalLLMError as exc:
        drop_frames(exc)
        raise
    finally:
        generation.counts = parser.counts
    assert parser.finish_reason is not None  # noqa: S101 - else it broke off
    if drain.is_over and not parser.has_counts:
        generation.notices.append(f"{context.address.url} did not close its answer: what came later is not in it.")
    return parser.finish_reason


def require_stream(exchange: Exchange, context: ErrorContext) -> None:
    """Raise the error that the head of a response stands for, unless an answer follows.

    Raises:
        LocalLLMError: The server refused, or is not a model server.
        Stopped: The exchange was cancelled.
    """
    head = exchange.head
    has_body = 200 <= head.status < 300 and head.status != 204
    if not has_body or head.is_html:
        raise_for_status(exchange.read_all(), context)
    unsupported = set(content_encodings(head.headers)) - SUPPORTED
    if unsupported:
        name = context.redact(min(unsupported))[:40]
        raise StreamBroken(
            f"{context.address.url} sent its answer with the content encoding {name!r}, which was not asked for.",
            "Is a proxy in between? It has to leave answers as they are.",
        )


def parse(
    records: Iterator[Record | Malformed], parser: ResponseParser, context: ErrorContext
) -> Iterator[ProgressEvent]:
    """The events of RECORDS; what breaks after the finish reason does not matter, unless text came after it, too.

    Raises:
        LocalLLMError: The answer broke off, or a record is an error.
        Stopped: The exchange was cancelled.
    """
    has_reason = goes_on = False
    try:
        while not parser.is_complete:
            record = _next(records, context, may_break=has_reason and not goes_on)
            if record is None:
                break
            events = parser.feed(record)
            goes_on = goes_on or (has_reason and bool(events))
            has_reason = parser.finish_reason is not None
            yield from events
    except (LocalLLMError, Stopped):
        yield from parser.close()
        raise
    yield from parser.close()
    if parser.finish_reason is None:
        raise StreamBroken(f"{context.address.url} ended its answer too early.", "Ask again.")


def _next(records: Iterator[Record | Malformed], context: ErrorContext, *, may_break: bool) -> Record | None:
    """The next record; None at the end, and where they break off and may."""
    try:
        record = next(records, None)
        if not isinstance(record, Malformed):
            return record
        excerpt = f"{record.reason}: {record.excerpt(context.redact)!r}"
        message, hint = f"{context.address.url} sent what cannot be parsed: {excerpt}", "Is it a model server?"
    except StreamBroken as exc:
        message, hint = exc.message, exc.hint
    if may_break:
        return None
    raise StreamBroken(message, hint)


def _noting_text(events: Iterable[ProgressEvent]) -> Iterator[ProgressEvent]:
    """EVENTS; where they break off after some text, the error says that it is kept."""
    has_text = False
    try:
        for event in events:
            has_text = has_text or isinstance(event, TextDelta | ReasoningDelta)
            yield event
    except StreamBroken as exc:
        hint = f"The text so far is kept. {exc.hint}" if has_text else exc.hint
        raise StreamBroken(exc.message, hint) from exc


class Drain:
    """Ends EXCHANGE where a server leaves it open: SECONDS after the last bytes, once PARSER has a finish reason.

    Bytes that are no record restart the wait, as a gateway sends them while more text is on its way; but some servers
    send them for ever, so that there is a bound.
    """

    def __init__(self, exchange: Exchange, parser: ResponseParser, seconds: float) -> None:
        self.is_over = False
        """Whether it has ended the exchange."""
        self._exchange = exchange
        self._parser = parser
        self._seconds = seconds
        self._last_bytes = 0.0
        self._waiting_since = _NEVER
        self._has_ended = threading.Event()

    def chunks(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """CHUNKS, each of which restarts the wait."""
        for chunk in chunks:
            self._last_bytes = time.monotonic()
            yield chunk

    def records(self, records: Records) -> Records:
        """RECORDS, each of which was parsed when the next one is asked for."""
        is_watched = False
        try:
            for record in records:
                self._waiting_since = _NEVER  # whoever shows its text may take long
                yield record
                self._waiting_since = time.monotonic()
                if self._parser.finish_reason is not None and not is_watched:
                    is_watched = True
                    in_background(self._watch, "localllm-drain")
        except Stopped:
            if not self.is_over:
                raise
        finally:
            self._has_ended.set()

    def _watch(self) -> None:
        while (left := self._left()) > 0:
            if self._has_ended.wait(min(left, 1.0)):
                return
        self.is_over = True
        self._exchange.cancel()

    def _left(self) -> float:
        """The seconds until it is over, as far as known now."""
        seconds = min(self._seconds, _COUNTED_DRAIN_SECONDS) if self._parser.has_counts else self._seconds
        since = self._waiting_since
        return min(max(since, self._last_bytes), since + (_MOST_DRAINS - 1) * seconds) + seconds - time.monotonic()
