import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import pytest

from localllm_magics.core.completion import FinishReason, ModelUsed
from localllm_magics.core.errors import DaemonError, DaemonNotReachable, LocalLLMError, StreamBroken
from localllm_magics.core.events import Event, Loading, ProgressEvent, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.generation import Counts, Generation
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import Request
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.server.address import Address
from localllm_magics.engines.server.connection import Connection, Exchange
from localllm_magics.engines.server.response import (
    chunks_with_drain_timeout,
    ndjson_records,
    read_answer,
    require_answer,
    wait_for_head,
)
from localllm_magics.engines.server.server_error import ErrorContext
from localllm_magics.engines.server.settings import Limits
from localllm_magics.engines.wire.ndjson import Malformed, Record
from tests.server.conftest import MakeFaultServer
from tests.server.faults import Hold, Send, Wait
from tests.server.http_bytes import chunk, chunked_head, http_response
from tests.server.waiting import PATIENCE

URL = "http://127.0.0.1:1"
TO_IT = Connection(Address.from_text(URL), key="key")
IMPATIENT = Limits(probe_seconds=0.0, silent_seconds=PATIENCE)
Records = Iterator[Record | Malformed]

pytestmark = pytest.mark.usefixtures("nothing_is_left")


class Parser:
    """Parses `step`, `text`, `thought`, `reason` and `complete` of a record."""

    def __init__(self, counts: Counts | None = None) -> None:
        self.finish_reason: FinishReason | None = None
        self.is_complete = False
        self.counts = counts or Counts()

    def feed(self, record: Record) -> Sequence[ProgressEvent]:
        if "error" in record:
            raise StreamBroken("It broke.", "Mend it.")
        self.finish_reason = "stop" if "reason" in record else self.finish_reason
        self.is_complete = "complete" in record
        if "step" in record:
            return [Reading(1, 2)]
        events: list[ProgressEvent] = [ReasoningDelta(str(record["thought"]))] if "thought" in record else []
        return [*events, TextDelta(str(record["text"]))] if "text" in record else events


def generation() -> Generation:
    return Generation(Request(messages=to_messages("Hi")), ModelUsed(reference="m"))


def feed(records: Records, parser: Parser, one: Generation, events: list[Event]) -> None:
    """Feed ONE as a stream does, and put its events into EVENTS."""
    for event in read_answer(records, parser, one, TO_IT):
        one.feed(event)
        events.append(event)


def broken(*records: Record | Malformed, error: Exception | None = None) -> Records:
    yield from records
    raise error or StreamBroken("The line went dead.", "Ask again.")


def to(server: str, limits: Limits | None = None) -> Exchange:
    return Exchange(Connection(Address.from_text(server), limits=limits or Limits()), "GET", "/a")


def waiting(
    server: str, probes: Sequence[ProgressEvent | LocalLLMError], release: threading.Event, limits: Limits
) -> list[ProgressEvent]:
    """The events while one waits for SERVER, which RELEASE lets answer after the last of PROBES."""
    answers = iter(probes)

    def probe() -> ProgressEvent | None:
        answer = next(answers, None)
        if answer is None:
            release.set()
        if isinstance(answer, LocalLLMError):
            raise answer
        return answer

    with to(server, limits) as exchange:
        return list(wait_for_head(exchange, Stop(), probe))


@pytest.mark.parametrize(
    ("probes", "events"),
    [
        pytest.param([], [], id="nothing"),
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
def test_who_waits_learns_how_far_the_server_is(
    probes: list[ProgressEvent | LocalLLMError], events: list[ProgressEvent], fault_server: MakeFaultServer
) -> None:
    release = threading.Event()
    server = fault_server({"/a": [Wait(release), Send(http_response())]})

    assert waiting(server.address, probes, release, IMPATIENT) == events


class SetInTime(Stop):
    """Is set after two checks."""

    def __init__(self) -> None:
        super().__init__()
        self._checks = iter([None, None])

    def check(self) -> None:
        if next(self._checks, "set") == "set":
            raise Stopped


def test_at_first_the_server_is_not_probed(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Hold()]})

    with to(server.address, Limits(probe_seconds=PATIENCE)) as exchange, pytest.raises(Stopped):
        list(wait_for_head(exchange, SetInTime(), lambda: pytest.fail("it was probed")))


def test_a_server_that_answers_nothing_any_more_is_given_up(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Hold()]})
    probes = [DaemonNotReachable("No word.")] * 3

    with pytest.raises(DaemonNotReachable, match="has stopped answering: No word") as caught:
        waiting(server.address, probes, threading.Event(), Limits(probe_seconds=0.0, silent_seconds=0.0))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        pytest.param(200, {}, None, id="plain"),
        pytest.param(201, {}, None, id="created"),
        pytest.param(206, {}, None, id="a part"),
        pytest.param(200, {"Content-Encoding": "Identity"}, None, id="identity"),
        pytest.param(200, {"Content-Encoding": "gzip, deflate"}, None, id="supported"),
        pytest.param(
            200, {"Content-Encoding": "br"}, "compressed its answer as 'br', which was not", id="not supported"
        ),
        pytest.param(200, {"Content-Encoding": "key"}, "compressed its answer as '…'", id="our key"),
        pytest.param(204, {}, "failed \\(status 204\\)", id="no body"),
        pytest.param(500, {}, "failed \\(status 500\\)", id="refused"),
        pytest.param(201, {"Content-Type": "text/html"}, "answered with a web page", id="a page"),
    ],
)
def test_a_head_promises_an_answer_or_tells_why_not(
    status: int, headers: dict[str, str], words: str | None, fault_server: MakeFaultServer
) -> None:
    server = fault_server({"/a": [Send(http_response(status, headers))]})
    address = Address.from_text(server.address)
    context = ErrorContext(address=address, model="m", to_get_model="", redact=lambda text: text.replace("key", "…"))

    with Exchange(Connection(address), "GET", "/a") as exchange:
        assert exchange.wait(PATIENCE)
        with pytest.raises(DaemonError, match=words) if words else nullcontext():
            require_answer(exchange, context)


def test_after_the_end_of_an_answer_little_is_waited_for(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Send(chunked_head("") + chunk(b'{"text":"a","reason":1}\n')), Hold()]})
    parser, events = Parser(), list[Event]()

    with to(server.address, Limits(drain_seconds=0.0)) as exchange:
        assert exchange.wait(PATIENCE)
        with chunks_with_drain_timeout(exchange, parser) as chunks:
            feed(ndjson_records(chunks), parser, generation(), events)

    assert events == [TextDelta("a")]


def test_a_stop_ends_the_waiting(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Hold()]})
    stop = Stop()

    with to(server.address) as exchange:
        server.wait_for_requests(1)
        stop.set()
        with pytest.raises(Stopped):
            list(wait_for_head(exchange, stop, lambda: None))


def test_an_answer_is_read_to_its_end_and_no_further() -> None:
    one, events = generation(), list[Event]()
    records: Records = iter(
        [{"step": 1}, {"thought": "Hm"}, {"text": "a"}, {"reason": 1, "complete": 1}, {"text": "b"}]
    )

    feed(records, Parser(Counts(completion_tokens=7, timed_tokens=5)), one, events)

    assert events == [Reading(1, 2), ReasoningDelta("Hm"), TextDelta("a")]
    assert one.counts == Counts(completion_tokens=7, timed_tokens=5)
    assert next(records) == {"text": "b"}


def test_where_the_server_times_no_tokens_ours_count() -> None:
    one = generation()

    feed(iter([{"text": "a"}, {"text": "b"}, {"text": "c", "reason": 1}]), Parser(), one, [])

    assert one.counts == Counts(timed_tokens=2)


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(lambda: broken({"text": "a", "reason": 1}), id="a broken connection"),
        pytest.param(lambda: broken({"text": "a", "reason": 1}, error=Stopped()), id="a connection that we broke"),
        pytest.param(lambda: iter([{"text": "a", "reason": 1}, Malformed("cut off", "x")]), id="half a record"),
    ],
)
def test_what_breaks_after_the_end_does_not_matter(after: Callable[[], Records]) -> None:
    events = list[Event]()

    feed(after(), Parser(), generation(), events)

    assert events == [TextDelta("a")]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        pytest.param(lambda: iter([{"text": "a"}]), f"{URL} ended its answer too early.", id="no end"),
        pytest.param(lambda: broken({"text": "a"}), "The line went dead.", id="a broken connection"),
        pytest.param(lambda: iter([{"text": "a"}, {"error": 1}]), "It broke.", id="an error"),
        pytest.param(
            lambda: iter([{"text": "a", "reason": 1}, {"error": 1}]), "It broke.", id="an error after the end"
        ),
        pytest.param(
            lambda: iter([{"text": "a"}, Malformed("no JSON", "x key y")]),
            f"{URL} sent what cannot be parsed: no JSON: 'x … y'",
            id="half a record",
        ),
    ],
)
def test_what_breaks_before_the_end_is_raised(records: Callable[[], Records], message: str) -> None:
    one, events = generation(), list[Event]()

    with pytest.raises(StreamBroken) as caught:
        feed(records(), Parser(Counts(prompt_tokens=3)), one, events)

    assert (caught.value.message, bool(caught.value.hint)) == (message, True)
    assert events == [TextDelta("a")]
    assert one.counts.prompt_tokens == 3


def test_a_stop_in_an_answer_is_raised() -> None:
    with pytest.raises(Stopped):
        feed(broken({"text": "a"}, error=Stopped()), Parser(), generation(), [])


def test_records_come_as_they_become_whole() -> None:
    records = ndjson_records(iter([b'{"a":1}\n{"b"', b':2}\n{"c":3}']))

    assert list(records) == [{"a": 1}, {"b": 2}, {"c": 3}]
