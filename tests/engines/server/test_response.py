import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import pytest

from localllm_magics.core.completion import FinishReason, ModelUsed
from localllm_magics.core.errors import DaemonError, DaemonNotReachable, LocalLLMError, StreamBroken
from localllm_magics.core.events import Done, Event, Failed, Loading, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.generation import Counts
from localllm_magics.core.recorder import Recorder
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import Request
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.server import response
from localllm_magics.engines.server.address import Address
from localllm_magics.engines.server.connection import Connection, Exchange
from localllm_magics.engines.server.response import (
    ending_soon,
    ending_well,
    ndjson_records,
    read_answer,
    require_answer,
    wait_for_head,
)
from localllm_magics.engines.server.server_error import ErrorContext
from localllm_magics.engines.wire.ndjson import Malformed, Record
from tests.server.conftest import MakeFaultServer
from tests.server.faults import Hold, Send, Wait
from tests.server.http_bytes import chunk, chunked_head, http_response
from tests.server.waiting import PATIENCE

pytestmark = pytest.mark.usefixtures("nothing_is_left")


class Understood:
    """Reads `step`, `text`, `thought`, `reason` and `complete` of a record, and counts nothing unless told."""

    def __init__(self, counts: Counts | None = None) -> None:
        self.reason: FinishReason | None = None
        self.is_complete = False
        self.counts = counts or Counts()

    def feed(self, record: Record) -> Sequence[Event]:
        if "error" in record:
            raise StreamBroken("It broke.", "Mend it.")
        self.reason = "stop" if "reason" in record else self.reason
        self.is_complete = "complete" in record
        if "step" in record:
            return [Reading(1, 2)]
        events: list[Event] = [ReasoningDelta(str(record["thought"]))] if "thought" in record else []
        return [*events, TextDelta(str(record["text"]))] if "text" in record else events


def recorder() -> Recorder:
    return Recorder(Request(messages=to_messages("Hi")), ModelUsed(reference="m"))


def broken(*records: Record | Malformed, error: Exception | None = None) -> Iterator[Record | Malformed]:
    yield from records
    raise error or StreamBroken("The line went dead.", "Ask again.")


def waiting(server: str, look: Sequence[Event | LocalLLMError | None], release: threading.Event) -> list[Event]:
    """The events while one waits for SERVER, which RELEASE lets answer after the last LOOK."""
    looks = iter(look)

    def next_look() -> Event | None:
        seen = next(looks, None)
        if seen is None:
            release.set()
        if isinstance(seen, LocalLLMError):
            raise seen
        return seen

    with Exchange(Connection(Address.from_text(server)), "GET", "/a") as exchange:
        return list(wait_for_head(exchange, Stop(), next_look))


@pytest.fixture
def _without_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response, "_FIRST_LOOK", 0.0)
    monkeypatch.setattr(response, "_TICK", 0.001)
    monkeypatch.setattr(response, "_SILENT_LOOK", 0.0)


@pytest.mark.usefixtures("_without_patience")
@pytest.mark.parametrize(
    ("looks", "events"),
    [
        pytest.param([], [], id="nothing seen"),
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
def test_who_waits_is_told_what_takes_so_long(
    looks: list[Event | LocalLLMError], events: list[Event], fault_server: MakeFaultServer
) -> None:
    release = threading.Event()
    server = fault_server({"/a": [Wait(release), Send(http_response())]})

    assert waiting(server.address, looks, release) == events


class SetInTime(Stop):
    """Is not set at the first look, and is at the second."""

    def __init__(self) -> None:
        super().__init__()
        self._looks = iter([False])

    def is_set(self) -> bool:
        return next(self._looks, True)


@pytest.mark.usefixtures("_without_patience")
def test_at_first_nobody_asks_what_takes_so_long(
    fault_server: MakeFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response, "_FIRST_LOOK", PATIENCE)
    server = fault_server({"/a": [Hold()]})

    with Exchange(Connection(Address.from_text(server.address)), "GET", "/a") as exchange, pytest.raises(Stopped):
        list(wait_for_head(exchange, SetInTime(), lambda: pytest.fail("it was asked")))


@pytest.mark.usefixtures("_without_patience")
def test_a_server_that_answers_nothing_any_more_is_given_up(
    fault_server: MakeFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response, "_MOST_SILENT_SECONDS", 0.0)
    server = fault_server({"/a": [Hold()]})

    with pytest.raises(DaemonNotReachable, match="has stopped answering: No word") as caught:
        waiting(server.address, [DaemonNotReachable("No word.")] * 10_000, threading.Event())
    assert caught.value.hint


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        pytest.param(200, {}, None, id="plain"),
        pytest.param(201, {}, None, id="created"),
        pytest.param(206, {}, None, id="a part"),
        pytest.param(200, {"Content-Encoding": "Identity"}, None, id="unpacked"),
        pytest.param(200, {"Content-Encoding": "gzip, deflate"}, None, id="packed as all know it"),
        pytest.param(200, {"Content-Encoding": "br"}, "packed its answer as 'br', which was not", id="packed"),
        pytest.param(200, {"Content-Encoding": "key"}, "packed its answer as '…'", id="packed as our key"),
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
    asked = ErrorContext(address=address, model="m", to_get_model="", redact=lambda text: text.replace("key", "…"))

    with Exchange(Connection(address), "GET", "/a") as exchange:
        assert exchange.wait(PATIENCE)
        with pytest.raises(DaemonError, match=words) if words else nullcontext():
            require_answer(exchange, asked)


def test_after_the_end_of_an_answer_little_is_waited_for(
    fault_server: MakeFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response, "_LAST_SECONDS", 0.0)
    server = fault_server({"/a": [Send(chunked_head("") + chunk(b'{"text":"a","reason":1}\n')), Hold()]})
    reading, taken = Understood(), recorder()

    with Exchange(Connection(Address.from_text(server.address)), "GET", "/a") as exchange:
        assert exchange.wait(PATIENCE)
        with ending_soon(exchange, reading) as chunks:
            events = list(read_answer(ndjson_records(chunks), reading, taken, "It"))

    assert events == [TextDelta("a")]


def test_a_stop_ends_the_waiting(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Hold()]})
    stop = Stop()

    with Exchange(Connection(Address.from_text(server.address)), "GET", "/a") as exchange:
        server.wait_for_requests(1)
        stop.set()
        with pytest.raises(Stopped):
            list(wait_for_head(exchange, stop, lambda: None))


def test_an_answer_is_read_to_its_end_and_no_further() -> None:
    reading, taken = Understood(Counts(completion_tokens=7)), recorder()
    records: Iterator[Record | Malformed] = iter(
        [{"step": 1}, {"thought": "Hm"}, {"text": "a"}, {"reason": 1, "complete": 1}, {"text": "b"}]
    )

    events = list(read_answer(records, reading, taken, "It"))

    assert events == [Reading(1, 2), ReasoningDelta("Hm"), TextDelta("a")]
    completion = taken.completion("stop")
    assert (completion.text, completion.reasoning) == ("a", "Hm")
    assert (completion.stats.completion_tokens, completion.stats.estimated) == (7, False)
    assert next(records) == {"text": "b"}


def test_tokens_that_the_server_does_not_count_are_estimated() -> None:
    taken = recorder()

    list(read_answer(iter([{"text": "a", "reason": 1}]), Understood(), taken, "It"))

    assert taken.completion("stop").stats.estimated


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(lambda: broken({"text": "a", "reason": 1}), id="a broken connection"),
        pytest.param(lambda: broken({"text": "a", "reason": 1}, error=Stopped()), id="a connection that we broke"),
        pytest.param(lambda: iter([{"text": "a", "reason": 1}, Malformed("cut off", "x")]), id="half a record"),
    ],
)
def test_what_breaks_after_the_end_does_not_matter(after: Callable[[], Iterator[Record | Malformed]]) -> None:
    taken = recorder()

    assert list(read_answer(after(), Understood(), taken, "It")) == [TextDelta("a")]


@pytest.mark.parametrize(
    ("records", "words"),
    [
        pytest.param(lambda: iter([{"text": "a"}]), "It ended its answer too early.", id="no end"),
        pytest.param(lambda: broken({"text": "a"}), "The line went dead.", id="a broken connection"),
        pytest.param(lambda: iter([{"text": "a"}, {"error": 1}]), "It broke.", id="an error"),
        pytest.param(
            lambda: iter([{"text": "a", "reason": 1}, {"error": 1}]), "It broke.", id="an error after the end"
        ),
        pytest.param(
            lambda: iter([{"text": "a"}, Malformed("no JSON", "x key y")]),
            "It sent what cannot be read: no JSON: 'x … y'",
            id="half a record",
        ),
    ],
)
def test_what_breaks_before_the_end_is_raised_with_the_text_kept(
    records: Callable[[], Iterator[Record | Malformed]], words: str
) -> None:
    taken = recorder()

    events = list(
        ending_well(
            read_answer(records(), Understood(), taken, "It", lambda text: text.replace("key", "…")), taken, Stop()
        )
    )

    last = events[-1]
    assert events[:-1] == [TextDelta("a")]
    assert isinstance(last, Failed)
    assert (last.error.message, last.completion.text, last.completion.finish_reason) == (words, "a", "error")
    assert last.error.hint
    assert last.completion.error is not None
    assert last.completion.stats.estimated


@pytest.mark.parametrize("error", [Stopped(), StreamBroken("The line went dead.")])
def test_what_a_stop_breaks_is_stopped_and_no_failure(error: Exception) -> None:
    stop, taken = Stop(), recorder()

    def events() -> Iterator[Event]:
        taken.add("a", 1)
        yield TextDelta("a")
        stop.set()
        raise error

    *_, last = ending_well(events(), taken, stop)

    assert isinstance(last, Done)
    assert (last.completion.finish_reason, last.completion.text) == ("stopped", "a")


def test_records_come_as_they_become_whole() -> None:
    records = ndjson_records(iter([b'{"a":1}\n{"b"', b':2}\n{"c":3}']))

    assert list(records) == [{"a": 1}, {"b": 2}, {"c": 3}]
