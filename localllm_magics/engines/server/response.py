"""From the bytes of a server's answer to the events of a generation."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from localllm_magics.core.completion import FinishReason
from localllm_magics.core.errors import DaemonError, DaemonNotReachable, StreamBroken
from localllm_magics.core.events import Loading, ProgressEvent
from localllm_magics.core.generation import Counts, Generation
from localllm_magics.core.stop import Stop, Stopped, poll
from localllm_magics.engines.server.connection import Exchange
from localllm_magics.engines.server.server_error import ErrorContext, raise_for_status
from localllm_magics.engines.wire.ndjson import NDJSON, Malformed, Record

_FIRST_LOOK = 0.5  # seconds before anybody asks what takes so long
_SILENT_LOOK = 1.0  # seconds between looks at a server that does not answer them
_MOST_SILENT_SECONDS = 30.0
_LAST_SECONDS = 2.0  # for counts and the mark at the end, once an answer has ended
_LONGEST_WORD = 40
_Event = TypeVar("_Event", bound=ProgressEvent)
_PACKINGS = {"", "identity", "gzip", "x-gzip", "deflate"}


class Reading(Protocol):
    """Understands the records of one answer; pure."""

    @property
    def reason(self) -> FinishReason | None:
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


def wait_for_head(exchange: Exchange, stop: Stop, look: Callable[[], _Event | None]) -> Iterator[_Event]:
    """Wait until the answer begins, asking LOOK now and then what takes so long.

    A server that loads or reads is silent, and so is one that hangs; the first still answers other questions.

    Raises:
        DaemonNotReachable: LOOK has got no answer for half a minute.
        Stopped: STOP was set.
    """
    watch = _Watch(look)
    next_look = _FIRST_LOOK
    last: _Event | None = None
    for waited in poll(exchange.wait, stop):
        if waited < next_look:
            continue
        event = watch.look()
        next_look = waited + (_SILENT_LOOK if watch.is_silent else max(_FIRST_LOOK, waited / 4))
        has_gone_back = isinstance(event, Loading) and not isinstance(last, Loading | None)  # which no generation does
        if event is not None and event != last and not has_gone_back:
            yield event
            last = event


class _Watch(Generic[_Event]):
    """Asks LOOK, and loses its patience with a server that does not answer."""

    def __init__(self, look: Callable[[], _Event | None]) -> None:
        self._look = look
        self._silent_since: float | None = None

    @property
    def is_silent(self) -> bool:
        return self._silent_since is not None

    def look(self) -> _Event | None:
        asked = time.monotonic()
        try:
            event = self._look()
        except DaemonError as exc:
            self._silent_since = asked if self._silent_since is None else self._silent_since
            if time.monotonic() - self._silent_since > _MOST_SILENT_SECONDS:
                hint = "Start it again, or look into its log."
                raise DaemonNotReachable(f"The server has stopped answering: {exc.message}", hint) from exc
            return None
        self._silent_since = None
        return event


def read_answer(
    records: Iterator[Record | Malformed],
    reading: Reading,
    generation: Generation,
    where: str,
    redact: Callable[[str], str] = str,
) -> Iterator[ProgressEvent]:
    """The events of an answer whose head is there, without the terminal one; what broke it off is raised.

    Args:
        records: The answer.
        reading: Understands it.
        generation: Gets the counts.
        where: The server.
        redact: Takes secrets out of a text.

    Raises:
        LocalLLMError: It broke off.
        Stopped: Somebody stopped it.
    """
    try:
        for record in _until_end(records, reading):
            if isinstance(record, Malformed):
                what = f"{record.reason}: {record.excerpt(redact)!r}"
                raise StreamBroken(f"{where} sent what cannot be read: {what}", "Is it a model server?")
            yield from reading.feed(record)
            if reading.is_complete:
                break
    finally:
        _take_counts(reading.counts, generation)
    if reading.reason is None:
        raise StreamBroken(f"{where} ended its answer too early.", "The text so far is kept. Ask again.")


def require_answer(exchange: Exchange, asked: ErrorContext) -> None:
    """Raise what the head of an answer means, unless an answer follows.

    Raises:
        LocalLLMError: The server refused, or is none.
        Stopped: Somebody stopped it.
    """
    response = exchange.response
    is_answer = response.is_success and response.status_code != 204  # which has no body
    if not is_answer or "html" in response.headers.get("content-type", "").lower():
        raise_for_status(response.status_code, response.headers, exchange.read_all().body, asked)
    packings = {word.strip() for word in response.headers.get("content-encoding", "").lower().split(",")}
    if packings - _PACKINGS:
        what = asked.redact(min(packings - _PACKINGS))[:_LONGEST_WORD]
        raise StreamBroken(
            f"{asked.address.url} packed its answer as {what!r}, which was not asked for.",
            "Is a proxy in between? It has to leave answers as they are.",
        )


@contextmanager
def ending_soon(exchange: Exchange, reading: Reading) -> Iterator[Iterator[bytes]]:
    """The chunks of an answer; once READING has its end, what may follow is waited for only a short time."""
    timer = threading.Timer(_LAST_SECONDS, exchange.cancel)
    timer.daemon = True

    def chunks() -> Iterator[bytes]:
        for chunk in exchange.chunks():
            yield chunk
            if reading.reason is not None and timer.ident is None:
                timer.start()

    try:
        yield chunks()
    finally:
        timer.cancel()


def _until_end(records: Iterator[Record | Malformed], reading: Reading) -> Iterator[Record | Malformed]:
    """RECORDS; how a connection breaks after the end of the answer does not matter."""
    try:
        for record in records:
            if isinstance(record, Malformed) and reading.reason is not None:
                return
            yield record
    except (StreamBroken, Stopped):
        if reading.reason is None:
            raise


def _take_counts(counts: Counts, generation: Generation) -> None:
    """Prefer the server's COUNTS, as far as they go, to our own."""
    if counts.timed_tokens is None:
        counts = replace(counts, timed_tokens=max(generation.tokens - 1, 0))  # our clock starts at the first
    generation.counts = counts
