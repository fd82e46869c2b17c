import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import pytest

from localllm_magics.core.address import Address
from localllm_magics.core.completion import FinishReason, ModelUsed
from localllm_magics.core.errors import DaemonError, DaemonNotReachable, LocalLLMError, StreamBroken
from localllm_magics.core.events import Loading, ProgressEvent, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.generation import Counts, Generation
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import Request
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.server import response
from localllm_magics.engines.server.connection import Connection, Exchange
from localllm_magics.engines.server.response import (
    Drain,
    ndjson_records,
    parse,
    read_response,
    require_stream,
    wait_for_head,
)
from localllm_magics.engines.server.server_error import ErrorContext
from localllm_magics.engines.wire.ndjson import Malformed, Record
from tests.server.conftest import MakeFaultServer
from tests.server.faults import Flood, Hold, Send, Steps, Wait
from tests.server.http_bytes import LAST_CHUNK, chunk, chunked_head, http_response
from tests.server.waiting import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_is_left")

CONTEXT = ErrorContext(
    address=Address.from_text("http://127.0.0.1:9"),
    model="m",
    to_get_model="",
    redact=lambda text: text.replace("key", "…"),
)


class SimpleParser:
    """Parses the fields `step`, `text`, `reasoning`, `reason`, `counts` and `complete`; COUNTS are the server's."""

    def __init__(self, counts: Counts | None = None) -> None:
        self.finish_reason: FinishReason | None = None
        self.is_complete = self.has_counts = False
        self.counts = counts or Counts()

    def feed(self, record: Record) -> Sequence[ProgressEvent]:
        if "error" in record:
            raise StreamBroken("It broke.", "Mend it.")
        self.finish_reason = "stop" if "reason" in record else self.finish_reason
        self.is_complete, self.has_counts = "complete" in record, "counts" in record
        if "step" in record:
            return [Reading(1, 2)]
        events: list[ProgressEvent] = [ReasoningDelta(str(record["reasoning"]))] if "reasoning" in record else []
        return [*events, TextDelta(str(record["text"]))] if "text" in record else events

    def close(self) -> Sequence[ProgressEvent]:
        return ()


def connection(server: str) -> Connection:
    return Connection(Address.from_text(server))


def broken(*records: Record | Malformed, error: Exception | None = None) -> Iterator[Record | Malformed]:
    yield from records
    raise error or StreamBroken("The line went dead.", "Ask again.")


def events_while_waiting(
    server: str,
    probes: Sequence[ProgressEvent | LocalLLMError | None],
    release: threading.Event,
    max_silent_seconds: float = PATIENCE,
) -> list[ProgressEvent]:
    """The events while SERVER is waited for, which RELEASE lets answer after the last of PROBES."""
    results = iter(probes)

    def probe() -> ProgressEvent | None:
        result = next(results, None)
        if result is None:
            release.set()
        if isinstance(result, LocalLLMError):
            raise result
        return result

    with Exchange(connection(server), "GET", "/a") as exchange:
        waiting = wait_for_head(exchange, Stop(), probe, probe_seconds=0.0, max_silent_seconds=max_silent_seconds)
        return list(waiting)


@pytest.mark.parametrize(
    ("probes", "events"),
    [
        pytest.param([], [], id="no event"),
        pytest.param([Loading(0.0), Loading(0.0), Loading(1.0)], [Loading(0.0), Loading(1.0)], id="once each"),
        pytest.param([Loading(0.0), Reading(0, 0), Reading(0, 0)], [Loading(0.0), Reading(0, 0)], id="forwards"),
        pytest.param([Reading(0, 0), Loading(0.0), Reading(1, 1)], [Reading(0, 0), Reading(1, 1)], id="never back"),
        pytest.param(
            [*[DaemonNotReachable("x")] * 2, Loading(0.0), *[DaemonNotReachable("x")] * 2],
            [Loading(0.0)],
            id="silent at times",
        ),
    ],
)
def test_the_progress_of_a_silent_server_is_reported(
    probes: list[ProgressEvent | LocalLLMError], events: list[ProgressEvent], fault_server: MakeFaultServer
) -> None:
    release = threading.Event()
    server = fault_server({"/a": [Wait(release), Send(http_response())]})

    assert events_while_waiting(server.address, probes, release) == events


class SetInTime(Stop):
    """Is not set at the first check, and is at the second."""

    def __init__(self) -> None:
        super().__init__()
        self._checks = iter([None])

    def check(self) -> None:
        if next(self._checks, 1):
            raise Stopped


def test_a_fast_server_is_not_probed(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Hold()]})

    with Exchange(connection(server.address), "GET", "/a") as exchange, pytest.raises(Stopped):
        list(wait_for_head(exchange, SetInTime(), lambda: pytest.fail("it was probed"), probe_seconds=PATIENCE))


def test_a_server_that_answers_nothing_any_more_is_given_up(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Hold()]})

    with pytest.raises(DaemonNotReachable, match="has stopped answering: No word") as caught:
        events_while_waiting(
            server.address, [DaemonNotReachable("No word.")] * 10_000, threading.Event(), max_silent_seconds=0.0
        )
    assert caught.value.hint


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        pytest.param(200, {}, None, id="plain"),
        pytest.param(201, {}, None, id="created"),
        pytest.param(206, {}, None, id="a part"),
        pytest.param(200, {"Content-Encoding": "Identity"}, None, id="not compressed"),
        pytest.param(200, {"Content-Encoding": "gzip, deflate"}, None, id="compressed as all know it"),
        pytest.param(200, {"Content-Encoding": "br"}, "with the content encoding 'br', which was not", id="brotli"),
        pytest.param(200, {"Content-Encoding": "key"}, "with the content encoding '…'", id="named as our key"),
        pytest.param(204, {}, "failed \\(status 204\\)", id="no body"),
        pytest.param(500, {}, "failed \\(status 500\\)", id="refused"),
        pytest.param(201, {"Content-Type": "text/html"}, "answered with a web page", id="a page"),
    ],
)
def test_a_head_promises_an_answer_or_is_an_error(
    status: int, headers: dict[str, str], words: str | None, fault_server: MakeFaultServer
) -> None:
    server = fault_server({"/a": [Send(http_response(status, headers))]})

    with Exchange(connection(server.address), "GET", "/a") as exchange:
        assert exchange.wait(PATIENCE)
        with pytest.raises(DaemonError, match=words) if words else nullcontext():
            require_stream(exchange, CONTEXT)


def test_a_server_that_leaves_its_answer_open_is_left_after_a_while(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Send(chunked_head("") + chunk(b'{"text":"a","reason":1}\n')), Hold()]})
    parser = SimpleParser()

    with Exchange(connection(server.address), "GET", "/a") as exchange:
        assert exchange.wait(PATIENCE)
        drain = Drain(exchange, parser, seconds=0.0)
        events = list(parse(drain.records(ndjson_records(exchange.chunks())), parser, CONTEXT))

    assert events == [TextDelta("a")]
    assert drain.is_over


def seconds_to_drain(server: str, seconds: float) -> float:
    """How long it takes after the first byte until an answer of SERVER is over."""
    parser = SimpleParser()
    with Exchange(connection(server), "GET", "/a") as exchange:
        assert exchange.wait(PATIENCE)
        start = time.monotonic()
        drain = Drain(exchange, parser, seconds)
        events = list(parse(drain.records(ndjson_records(drain.chunks(exchange.chunks()))), parser, CONTEXT))
    assert events == [TextDelta("a")]
    assert drain.is_over
    return time.monotonic() - start


def test_keep_alive_bytes_restart_the_wait_for_a_while(fault_server: MakeFaultServer) -> None:
    start = chunked_head("") + chunk(b'{"text":"a","reason":1}\n')
    server = fault_server({"/a": [Send(start), Flood(chunk(b"\n"))]})

    assert seconds_to_drain(server.address, 0.3) > 0.6


def test_little_is_waited_for_where_the_counts_have_come(
    fault_server: MakeFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = fault_server({"/a": [Send(chunked_head("") + chunk(b'{"text":"a","reason":1,"counts":1}\n')), Hold()]})
    monkeypatch.setattr(response, "_COUNTED_DRAIN_SECONDS", 0.0)

    assert seconds_to_drain(server.address, 10 * PATIENCE) < PATIENCE


def test_an_answer_that_was_left_open_says_so(fault_server: MakeFaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server = fault_server({"/a": [Send(chunked_head("") + chunk(b'{"text":"a","reason":1}\n')), Hold()]})
    monkeypatch.setattr(response, "DRAIN_SECONDS", 0.0)
    generation = Generation(Request(messages=to_messages("Hi")), ModelUsed(reference="m"))

    with Exchange(connection(server.address), "GET", "/a") as exchange:
        assert exchange.wait(PATIENCE)
        list(read_response(exchange, ndjson_records, SimpleParser(), generation, CONTEXT))

    assert generation.notices == ["http://127.0.0.1:9 did not close its answer: what came later is not in it."]


def test_text_after_a_finish_reason_belongs_to_the_answer(fault_server: MakeFaultServer) -> None:
    goes_on = threading.Event()
    first, second = b'{"text":"Hello","reason":1}\n', b'{"text":" world","reason":1}\n'
    steps: Steps = [Send(chunked_head("") + chunk(first)), Wait(goes_on), Send(chunk(second) + LAST_CHUNK)]
    server = fault_server({"/a": steps})
    generation = Generation(Request(messages=to_messages("Hi")), ModelUsed(reference="m"))
    events: list[ProgressEvent] = []

    with Exchange(connection(server.address), "GET", "/a") as exchange:
        assert exchange.wait(PATIENCE)
        for event in read_response(exchange, ndjson_records, SimpleParser(), generation, CONTEXT):
            events.append(event)
            goes_on.set()

    assert events == [TextDelta("Hello"), TextDelta(" world")]
    assert generation.notices == []


def test_a_stop_after_a_finish_reason_is_a_stop(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Send(chunked_head("") + chunk(b'{"text":"a","reason":1}\n')), Hold()]})
    generation = Generation(Request(messages=to_messages("Hi")), ModelUsed(reference="m"))

    with Exchange(connection(server.address), "GET", "/a") as exchange:
        assert exchange.wait(PATIENCE)
        events = read_response(exchange, ndjson_records, SimpleParser(), generation, CONTEXT)
        assert next(events) == TextDelta("a")
        exchange.cancel()
        with pytest.raises(Stopped):
            next(events)


def test_a_stop_ends_the_wait(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Hold()]})
    stop = Stop()

    with Exchange(connection(server.address), "GET", "/a") as exchange:
        server.wait_for_requests(1)
        stop.set()
        with pytest.raises(Stopped):
            list(wait_for_head(exchange, stop, lambda: None))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b'{"text":"a","reason":1}\n', None, id="whole"),
        pytest.param(b'{"text":"a"}\n', "ended its answer too early", id="without an end"),
        pytest.param(b'{"text":"a"}\n{"error":1}\n', "It broke", id="with an error"),
    ],
)
def test_a_response_has_events_and_counts_and_a_finish_reason(
    body: bytes, words: str | None, fault_server: MakeFaultServer
) -> None:
    server = fault_server({"/a": [Send(http_response(200, {}, body))]})
    generation = Generation(Request(messages=to_messages("Hi")), ModelUsed(reference="m"))
    counts = Counts(completion_tokens=7)
    events: list[ProgressEvent] = []
    reasons: list[FinishReason] = []

    def read(exchange: Exchange) -> Iterator[ProgressEvent]:
        reasons.append((yield from read_response(exchange, ndjson_records, SimpleParser(counts), generation, CONTEXT)))

    with Exchange(connection(server.address), "GET", "/a") as exchange:
        assert exchange.wait(PATIENCE)
        with pytest.raises(StreamBroken, match=words) if words else nullcontext() as caught:
            for event in read(exchange):
                events.append(event)  # noqa: PERF402 - those before an error count too

    assert events[0] == TextDelta("a")
    assert caught is None or caught.value.hint.startswith("The text so far is kept. ")
    assert generation.counts == counts
    assert reasons == ([] if words else ["stop"])


def test_where_no_text_came_none_is_kept(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Send(http_response(200, {}, b'{"step":1}\n'))]})
    generation = Generation(Request(messages=to_messages("Hi")), ModelUsed(reference="m"))

    with Exchange(connection(server.address), "GET", "/a") as exchange:
        assert exchange.wait(PATIENCE)
        with pytest.raises(StreamBroken) as caught:
            list(read_response(exchange, ndjson_records, SimpleParser(), generation, CONTEXT))

    assert caught.value.hint == "Ask again."


def test_an_answer_is_parsed_to_its_end_and_no_further() -> None:
    records: Iterator[Record | Malformed] = iter(
        [{"step": 1}, {"reasoning": "Hm"}, {"text": "a"}, {"reason": 1, "complete": 1}, {"text": "b"}]
    )

    events = list(parse(records, SimpleParser(), CONTEXT))

    assert events == [Reading(1, 2), ReasoningDelta("Hm"), TextDelta("a")]
    assert next(records) == {"text": "b"}


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(lambda: broken({"text": "a", "reason": 1}), id="a broken connection"),
        pytest.param(lambda: iter([{"text": "a", "reason": 1}, Malformed("cut off", "x")]), id="half a record"),
    ],
)
def test_what_breaks_after_the_end_does_not_matter(after: Callable[[], Iterator[Record | Malformed]]) -> None:
    assert list(parse(after(), SimpleParser(), CONTEXT)) == [TextDelta("a")]


@pytest.mark.parametrize(
    ("records", "words"),
    [
        pytest.param(lambda: broken({"text": "a"}), "The line went dead.", id="a broken connection"),
        pytest.param(
            lambda: broken({"reason": 1}, {"text": "a", "reason": 1}),
            "The line went dead.",
            id="a reason in each record",
        ),
        pytest.param(lambda: iter([{"text": "a"}, {"error": 1}]), "It broke.", id="an error"),
        pytest.param(
            lambda: iter([{"text": "a", "reason": 1}, {"error": 1}]), "It broke.", id="an error after the end"
        ),
        pytest.param(
            lambda: iter([{"text": "a"}, Malformed("no JSON", "x key y")]),
            "http://127.0.0.1:9 sent what cannot be parsed: no JSON: 'x … y'",
            id="half a record",
        ),
    ],
)
def test_what_breaks_before_the_end_is_raised_after_the_text(
    records: Callable[[], Iterator[Record | Malformed]], words: str
) -> None:
    events = parse(records(), SimpleParser(), CONTEXT)

    assert next(events) == TextDelta("a")
    with pytest.raises(StreamBroken) as caught:
        next(events)
    assert caught.value.message == words
    assert caught.value.hint


def test_a_stop_before_the_end_is_raised() -> None:
    with pytest.raises(Stopped):
        list(parse(broken({"text": "a"}, error=Stopped()), SimpleParser(), CONTEXT))


def test_records_come_as_they_become_complete() -> None:
    records = ndjson_records(iter([b'{"a":1}\n{"b"', b':2}\n{"c":3}']))

    assert list(records) == [{"a": 1}, {"b": 2}, {"c": 3}]
