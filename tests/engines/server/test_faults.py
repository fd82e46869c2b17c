"""What a server can do to a generation, through both engines: one end, the text so far, the right error."""

import gzip
import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial

import pytest

from localllm_magics.core.address import Address
from localllm_magics.core.completion import ModelUsed
from localllm_magics.core.errors import (
    AccessDenied,
    DaemonBusy,
    DaemonError,
    DaemonNotReachable,
    LocalLLMError,
    ModelNotInDaemon,
    StreamBroken,
)
from localllm_magics.core.events import Done, Failed, Terminal, TextDelta
from localllm_magics.core.generation import Generation
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import Request
from localllm_magics.core.stop import Stop
from localllm_magics.engines.ollama.response_parser import OllamaResponseParser
from localllm_magics.engines.openai.records import RecordDecoder
from localllm_magics.engines.openai.response_parser import OpenAIResponseParser
from localllm_magics.engines.server.connection import Connection
from localllm_magics.engines.server.response import ndjson_records, read_response
from localllm_magics.engines.server.server_error import ErrorContext
from tests.engines.server.asking import JSON, OLLAMA, OPENAI, Wire, ending, outcome, sent
from tests.server.conftest import MakeFaultServer
from tests.server.faults import Close, Drip, FaultServer, Flood, Hold, InTurn, Reset, Send, Step, Steps, Wait
from tests.server.http_bytes import LAST_CHUNK, chunk, chunked, head, http_response
from tests.server.waiting import PATIENCE, wait_until

pytestmark = [
    pytest.mark.usefixtures("nothing_is_left"),
    pytest.mark.parametrize("wire", [pytest.param(wire, id=wire.engine) for wire in (OLLAMA, OPENAI)]),
]

Chat = Callable[[Wire], Steps | InTurn]
MOST_BYTES = 2**16
"""In a line, where that is tried."""
PAGE = b"<!doctype html><title>Log in</title>"
HTML = {"Content-Type": "text/html; charset=utf-8"}


def refused(status: int, body: bytes = b"", headers: Mapping[str, str] = JSON) -> Chat:
    return lambda _: [Send(http_response(status, headers, body))]


def after_the_first(*steps: Step) -> Chat:
    """A first piece, then STEPS."""
    return lambda wire: [Send(wire.head), sent(wire.piece("a")), *steps]


def then(data: bytes) -> Chat:
    """A first piece, then a record with DATA, then the end of the body."""
    return lambda wire: [Send(wire.head), sent(wire.piece("a"), wire.record(data)), Send(LAST_CHUNK)]


def whole(wire: Wire) -> Steps:
    return [Send(wire.head + chunked(*wire.answer("a", "b")))]


@pytest.mark.parametrize(
    ("chat", "kind", "text"),
    [
        pytest.param(refused(301, b"", {"Location": "http://h.invalid/"}), DaemonError, "", id="301"),
        pytest.param(refused(302, PAGE, {**HTML, "Location": "/login"}), DaemonError, "", id="302 with a page"),
        pytest.param(refused(401, b'{"detail":"Invalid API key"}'), AccessDenied, "", id="401"),
        pytest.param(refused(403), AccessDenied, "", id="403 without a word"),
        pytest.param(refused(404, b'{"error":"model \'m\' not found"}'), ModelNotInDaemon, "", id="no such model"),
        pytest.param(refused(404, PAGE, HTML), DaemonError, "", id="404 with a page"),
        pytest.param(refused(405, b"405 method not allowed"), DaemonError, "", id="405"),
        pytest.param(refused(429, b"", {"Retry-After": "3"}), DaemonBusy, "", id="429"),
        pytest.param(refused(500, b'{"error":{"message":"boom"}}'), DaemonError, "", id="500"),
        pytest.param(refused(500, b"\xff\x00\x1b[31m"), DaemonError, "", id="500 with rubbish"),
        pytest.param(refused(503, b'{"error":"server busy"}'), DaemonBusy, "", id="503"),
        pytest.param(refused(200, PAGE, HTML), DaemonError, "", id="a login with status 200"),
        pytest.param(refused(200), StreamBroken, "", id="nothing with status 200"),
        pytest.param(refused(200, b"fine", {"Content-Type": "text/plain"}), StreamBroken, "", id="text"),
        pytest.param(refused(200, b"[1]"), StreamBroken, "", id="JSON that is no object"),
        pytest.param(refused(200, b'{"error":"why"}'), StreamBroken, "", id="an error with status 200"),
        pytest.param(lambda _: [Reset()], StreamBroken, "", id="reset before the head"),
        pytest.param(lambda _: [Close()], StreamBroken, "", id="closed before the head"),
        pytest.param(lambda wire: [Send(wire.head), Reset()], StreamBroken, "", id="reset before the first token"),
        pytest.param(lambda wire: [Send(wire.head + LAST_CHUNK)], StreamBroken, "", id="an end before it"),
        pytest.param(after_the_first(Reset()), StreamBroken, "a", id="reset after the first token"),
        pytest.param(after_the_first(Close()), StreamBroken, "a", id="closed after it"),
        pytest.param(after_the_first(Send(LAST_CHUNK)), StreamBroken, "a", id="an end after it"),
        pytest.param(after_the_first(Send(b"zz\r\n")), StreamBroken, "a", id="no chunk after it"),
        pytest.param(then(b'{"error":"boom"}'), StreamBroken, "a", id="an error as a string"),
        pytest.param(then(b'{"error":{"code":500,"message":"boom"}}'), StreamBroken, "a", id="as an object"),
        pytest.param(then(rb'{"error":"{\"error\":{\"message\":\"boom\"}}"}'), StreamBroken, "a", id="as JSON in one"),
        pytest.param(then(b'{"no JSON'), StreamBroken, "a", id="no JSON"),
        pytest.param(then(b"[" * 99_999), StreamBroken, "a", id="no end of brackets"),
        pytest.param(then(b"9" * 9999), StreamBroken, "a", id="a number"),
    ],
)
def test_a_fault_ends_the_answer_with_its_error(
    chat: Chat, kind: type[LocalLLMError], text: str, wire: Wire, fault_server: MakeFaultServer
) -> None:
    server = fault_server(wire.script(chat(wire)))

    last = outcome(wire.model(server.address))

    check_failed(last, server, kind, text)


@pytest.mark.parametrize(
    "chat",
    [
        pytest.param(then(b'"' + b"x" * 3 * MOST_BYTES + b'"'), id="with an end"),
        pytest.param(after_the_first(Flood(chunk(b"x" * 4096))), id="without end"),
    ],
)
def test_a_line_that_is_too_long_ends_the_answer(chat: Chat, wire: Wire, fault_server: MakeFaultServer) -> None:
    address = Address.from_text(fault_server(wire.script(chat(wire))).address)
    context = ErrorContext(address=address, model="m", to_get_model="")
    generation = Generation(Request(messages=to_messages("Hi")), ModelUsed(reference="m"))
    is_ollama = wire is OLLAMA
    records = partial(ndjson_records, limit=MOST_BYTES) if is_ollama else RecordDecoder(MOST_BYTES).records
    parser = OllamaResponseParser(context) if is_ollama else OpenAIResponseParser(context)

    with Connection(address).post(wire.path, {}, Stop()) as exchange:
        assert exchange.wait(PATIENCE)
        events = read_response(exchange, records, parser, generation, context)
        first = next(events)
        with pytest.raises(StreamBroken, match=f"a line is longer than the size limit of {MOST_BYTES:,} bytes"):
            next(events)

    assert first == TextDelta("a", estimated=True)


def check_failed(last: Terminal, server: FaultServer, kind: type[LocalLLMError], text: str) -> None:
    assert isinstance(last, Failed)
    assert (type(last.error), last.completion.text) == (kind, text)
    assert server.address in last.error.message
    assert len(last.error.message) < 500
    assert last.error.message.isprintable()


@pytest.mark.parametrize(
    ("chat", "text"),
    [
        pytest.param(whole, "ab", id="as it should be"),
        pytest.param(
            lambda wire: [Send(http_response(200, {"Content-Type": "text/plain"}, b"".join(wire.answer("ab"))))],
            "ab",
            id="another type",
        ),
        pytest.param(lambda wire: [Send(http_response(200, {}, b"".join(wire.answer("ab"))))], "ab", id="no type"),
        pytest.param(
            lambda wire: [Send(head(200, {"Content-Type": wire.content_type}) + b"".join(wire.answer("ab"))), Close()],
            "ab",
            id="no length",
        ),
        pytest.param(
            lambda wire: [
                Send(
                    http_response(
                        200,
                        {"Content-Type": wire.content_type, "Content-Encoding": "gzip"},
                        gzip.compress(b"".join(wire.answer("ab"))),
                    )
                )
            ],
            "ab",
            id="gzip",
        ),
        pytest.param(lambda wire: [Send(wire.head + chunked(*wire.answer("<thi")))], "<thi", id="half a mark"),
        pytest.param(lambda wire: [Drip(wire.head + chunked(*wire.answer("a", "b")), 0.0002)], "ab", id="drips"),
        pytest.param(lambda wire: [Send(wire.head), sent(*wire.answer("ab")), Reset()], "ab", id="reset after the end"),
        pytest.param(lambda wire: [Send(wire.head), sent(*wire.answer("ab")), Close()], "ab", id="closed after it"),
        pytest.param(
            lambda wire: [Send(wire.head + chunked(wire.piece_of(b'"\xff\xfe"'), wire.last))], "��", id="no UTF-8"
        ),
        pytest.param(
            lambda wire: [
                Send(wire.head + chunked(wire.piece_of(rb'"a\ud83d"'), wire.piece_of(rb'"\ude00b"'), wire.last))
            ],
            "a😀b",
            id="halves of a character",
        ),
        pytest.param(
            lambda wire: [Send(wire.head + chunked(wire.piece("a\u2028\u0085\x0b\rb\x00"), wire.last))],
            "a\u2028\u0085\x0b\rb\x00",
            id="all ends of lines",
        ),
        pytest.param(
            lambda wire: [
                Send(
                    wire.head
                    + chunked(
                        *(
                            wire.record(odd)
                            for odd in (b"{}", b'{"message":5,"choices":7}', b'{"choices":[[],{"delta":1}]}')
                        ),
                        *(wire.piece_of(odd) for odd in (b"null", b"5", b"{}", b"[1]", b"true")),
                        *wire.answer("ab"),
                    )
                )
            ],
            "ab",
            id="other types everywhere",
        ),
    ],
)
def test_what_is_no_fault_ends_well(chat: Chat, text: str, wire: Wire, fault_server: MakeFaultServer) -> None:
    server = fault_server(wire.script(chat(wire)))

    last = outcome(wire.model(server.address))

    assert isinstance(last, Done), last
    assert (last.completion.finish_reason, last.completion.text) == ("stop", text)
    last.completion.text.encode()


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        pytest.param([Send(http_response(301, {"Location": "http://h.invalid/"}))], DaemonError, id="301"),
        pytest.param([Send(http_response(401, JSON, b'{"error":"Unauthorized"}'))], AccessDenied, id="401"),
        pytest.param([Send(http_response(403))], AccessDenied, id="403"),
        pytest.param([Send(http_response(404, HTML, PAGE))], DaemonError, id="404"),
        pytest.param([Send(http_response(429))], DaemonBusy, id="429"),
        pytest.param([Send(http_response(500))], DaemonError, id="500"),
        pytest.param([Send(http_response(502, HTML, PAGE))], DaemonError, id="502"),
        pytest.param([Send(http_response(503, JSON, b'{"error":"busy"}'))], DaemonBusy, id="503"),
        pytest.param([Send(http_response(200, HTML, PAGE))], DaemonError, id="a login"),
        pytest.param([Send(b"SSH-2.0-x\r\n\r\n"), Close()], DaemonNotReachable, id="no HTTP"),
        pytest.param([Send(b"\x15\x03\x03\x00\x02\x02\x46"), Close()], DaemonNotReachable, id="TLS"),
        pytest.param([Reset()], StreamBroken, id="reset"),
        pytest.param([Close()], StreamBroken, id="closed"),
    ],
)
def test_a_server_that_does_the_same_to_every_question_is_named(
    steps: Steps, kind: type[LocalLLMError], wire: Wire, fault_server: MakeFaultServer
) -> None:
    server = fault_server({"*": steps})

    last = outcome(wire.model(server.address))

    assert isinstance(last, Failed)
    assert isinstance(last.error, kind)
    assert server.address in last.error.message


def test_nothing_listens(wire: Wire) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"

    last = outcome(wire.model(address))

    assert isinstance(last, Failed)
    assert (type(last.error), last.error.message) == (DaemonNotReachable, f"Nothing listens at {address}.")


def test_there_is_no_such_host(wire: Wire) -> None:
    last = outcome(wire.model("http://no-such-host.invalid:1"))

    assert isinstance(last, Failed)
    assert (type(last.error), last.error.message) == (DaemonNotReachable, "There is no host no-such-host.invalid.")


def test_a_server_may_end_and_come_back(wire: Wire, fault_server: MakeFaultServer) -> None:
    first = fault_server(wire.script(whole(wire)))
    model, port = wire.model(first.address), first.port

    before = outcome(model)
    first.__exit__()
    between = outcome(model)
    with AtPort(wire.script(whole(wire)), port):
        after = outcome(model)

    assert isinstance(before, Done)
    assert isinstance(between, Failed)
    assert type(between.error) is DaemonNotReachable
    assert isinstance(after, Done)


class AtPort(FaultServer):
    """A server at a port that was free a moment ago."""

    def __init__(self, script: Mapping[str, Steps | InTurn], port: int) -> None:
        super().__init__(script)
        self._listener.close()
        self._listener = socket.create_server(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("chat", "text"),
    [
        pytest.param(lambda _: [Hold()], "", id="before the head"),
        pytest.param(lambda wire: [Send(wire.head), Hold()], "", id="before the first token"),
        pytest.param(after_the_first(Hold()), "a", id="after it"),
        pytest.param(after_the_first(Send(b"5\r\n{")), "a", id="in a record"),
    ],
)
def test_a_stop_keeps_the_text(chat: Chat, text: str, wire: Wire, fault_server: MakeFaultServer) -> None:
    steps = chat(wire)
    assert not isinstance(steps, InTurn)
    server = fault_server(wire.script([*steps, Hold()]))

    with wire.model(server.address).stream("Hi") as stream:
        server_has_been_asked(server, wire)
        if text:
            wait_until(lambda: any(isinstance(event, TextDelta) for event in stream.since(0)), "text")
        stream.stop()
        last = ending(stream)

    assert isinstance(last, Done)
    assert (last.completion.finish_reason, last.completion.text) == ("stopped", text)
    assert server.client_left.wait(PATIENCE)


def server_has_been_asked(server: FaultServer, wire: Wire) -> None:
    wait_until(lambda: any(request.path == wire.path for request in server.requests), "the question")


def test_a_stop_comes_before_the_server_is_known(wire: Wire, fault_server: MakeFaultServer) -> None:
    server = fault_server({"*": [Hold()]})

    with wire.model(server.address).stream("Hi") as stream:
        server.wait_for_requests(1)
        stream.stop()
        last = ending(stream)

    assert isinstance(last, Done)
    assert last.completion.finish_reason == "stopped"


def test_a_stop_after_the_end_does_nothing(wire: Wire, fault_server: MakeFaultServer) -> None:
    server = fault_server(wire.script(whole(wire)))

    with wire.model(server.address).stream("Hi") as stream:
        stream.wait()
        stream.stop()
        last = ending(stream)

    assert isinstance(last, Done)
    assert last.completion.finish_reason == "stop"


def test_an_answer_is_stopped_by_unloading_its_model(wire: Wire, fault_server: MakeFaultServer) -> None:
    server = fault_server({**wire.script(after_the_first(Hold())(wire)), "/api/generate": [Send(http_response())]})
    model = wire.model(server.address)

    with model.stream("Hi") as stream:
        wait_until(lambda: any(isinstance(event, TextDelta) for event in stream.since(0)), "text")
        model.unload()
        last = ending(stream)

    assert (last.completion.finish_reason, last.completion.text) == ("stopped", "a")


def test_text_comes_when_it_is_sent(wire: Wire, fault_server: MakeFaultServer) -> None:
    event = threading.Event()
    server = fault_server(
        wire.script([Send(wire.head), sent(wire.piece("a")), Wait(event), sent(*wire.answer("b")), Send(LAST_CHUNK)])
    )

    with wire.model(server.address).stream("Hi") as stream:
        wait_until(lambda: any(isinstance(event, TextDelta) for event in stream.since(0)), "text")
        event.set()
        last = ending(stream)

    assert (last.completion.finish_reason, last.completion.text) == ("stop", "ab")
