import gzip
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from localllm_magics.core.errors import (
    DaemonError,
    DaemonNotReachable,
    LocalLLMError,
    StreamBroken,
)
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.server.connection import Exchange, Limits
from tests.engines.server.connecting import FINE, KEY, TEXT, IPv6Server, failure, to
from tests.server.conftest import MakeFaultServer
from tests.server.faults import Close, Drip, Flood, Hold, Reset, Send, Steps, Wait
from tests.server.http_bytes import chunk, chunked, chunked_head, head, http_response
from tests.server.waiting import PATIENCE

BOMB = gzip.compress(bytes(2**23))

pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.fixture
def ipv6_server() -> Iterator[IPv6Server]:
    try:
        server = IPv6Server()
    except OSError:
        pytest.skip("this machine has no IPv6")
    server.start()
    yield server
    server.join(PATIENCE)


def test_a_question_gets_its_answer(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/base/a": [FINE]})

    reply = to(f"{server.address}/base", KEY).ask("POST", "/a", {"text": "ü\ud83d☃"})

    assert (reply.status, reply.to_dict()) == (200, {"is": "fine"})
    request = server.requests[0]
    assert request.json == {"text": "ü\ud83d☃"}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["user-agent"].startswith("localllm-magics/")
    assert "origin" not in request.headers


def test_a_question_without_a_body_sends_none(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [FINE]})

    to(server).ask("GET", "/a")

    assert (server.requests[0].method, server.requests[0].body) == ("GET", b"")
    assert not {"content-type", "authorization"} & set(server.requests[0].headers)


def test_an_answer_is_read_once(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [FINE]})

    with Exchange(to(server), "GET", "/a") as exchange:
        assert exchange.wait(PATIENCE)
        assert exchange.read_all() is exchange.read_all()


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        pytest.param("gzip", gzip.compress(b'{"is": "fine"}'), id="gzip"),
        pytest.param("deflate", zlib.compress(b'{"is": "fine"}'), id="deflate"),
        pytest.param("identity", b'{"is": "fine"}', id="identity"),
        pytest.param("x-unknown", b'{"is": "fine"}', id="unknown"),
    ],
)
def test_a_compressed_answer_is_decompressed(encoding: str, data: bytes, fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Send(http_response(200, {"Content-Encoding": encoding}, data))]})

    assert to(server).ask("GET", "/a").to_dict() == {"is": "fine"}


def test_an_answer_that_is_compressed_wrongly_is_broken(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Send(http_response(200, {"Content-Encoding": "gzip"}, b"no gzip"))]})

    error = failure(to(server))

    assert (type(error), "compressed wrongly" in error.message) == (StreamBroken, True)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(
            [Send(http_response(200, {"Content-Encoding": "gzip"}, BOMB)), Hold()],
            id="compressed",
        ),
        pytest.param([Send(TEXT), Flood(chunk(b"x" * 65536))], id="without end"),
    ],
)
def test_an_answer_of_any_size_is_limited(steps: Steps, fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": steps})

    error = failure(to(server, limits=Limits(body_bytes=2**20)))

    assert error.message == f"{server.address} sends more than 1 MB in one answer."
    assert server.client_left.wait(PATIENCE)


def test_of_an_error_without_end_the_start_is_read(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Send(chunked_head("text/plain", 500)), Flood(chunk(b"x" * 65536))]})

    reply = to(server).ask("GET", "/a")

    assert (reply.status, set(reply.body)) == (500, set(b"x"))
    assert len(reply.body) < 2**20
    assert server.client_left.wait(PATIENCE)


@pytest.mark.parametrize("end", [Reset(), Close()])
def test_of_an_error_that_breaks_off_the_start_is_read(end: Reset | Close, fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Send(chunked_head("text/plain", 500) + chunk(b"why")), end]})

    assert to(server).ask("GET", "/a").status == 500


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int, fault_server: MakeFaultServer) -> None:
    other = fault_server({"*": [FINE]})
    server = fault_server({"/a": [Send(http_response(status, {"Location": f"{other.address}/a"}))]})

    reply = to(server, KEY).ask("POST", "/a", {})

    assert (reply.status, reply.headers["location"]) == (status, f"{other.address}/a")
    assert other.requests == []


def test_cookies_are_not_stored(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Send(http_response(200, {"Set-Cookie": "a=b"}))]})
    connection = to(server)

    connection.ask("GET", "/a")
    connection.ask("GET", "/a")

    assert "cookie" not in server.requests[1].headers


@pytest.mark.parametrize(
    ("steps", "kind", "words"),
    [
        pytest.param([Reset()], StreamBroken, "closed the connection before it answered", id="reset"),
        pytest.param([Close()], StreamBroken, "closed the connection before it answered", id="closed"),
        pytest.param([Send(b"HTTP/1.1 200"), Close()], StreamBroken, "closed the connection", id="closed in the head"),
        pytest.param([Send(TEXT + b"5\r\nab"), Reset()], StreamBroken, "broke the connection", id="reset in the body"),
        pytest.param([Send(TEXT + chunk(b"a")), Close()], StreamBroken, "broke the connection", id="closed in it"),
        pytest.param([Send(TEXT + b"zz\r\n"), Hold()], StreamBroken, "broke the connection", id="no length of a chunk"),
        pytest.param([Send(b"SSH-2.0-x\r\n\r\n"), Hold()], DaemonNotReachable, "does not speak HTTP", id="no HTTP"),
        pytest.param(
            [Send(head(200, {"X": "x" * 200_000})), Hold()],
            DaemonNotReachable,
            "does not speak HTTP",
            id="huge headers",
        ),
        pytest.param(
            [Send(b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 40_000), Hold()],
            DaemonNotReachable,
            "does not speak HTTP",
            id="many headers",
        ),
        pytest.param(
            [Send(b"HTTP/1.1 200 OK\r\nno header\r\n\r\n"), Hold()],
            DaemonNotReachable,
            "does not speak HTTP",
            id="illegal headers",
        ),
        pytest.param(
            [Send(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), Hold()],
            DaemonNotReachable,
            "does not speak HTTP",
            id="illegal length",
        ),
    ],
)
def test_what_a_server_does_to_a_request_is_reported(
    steps: Steps, kind: type[LocalLLMError], words: str, fault_server: MakeFaultServer
) -> None:
    server = fault_server({"/a": steps})

    error = failure(to(server))

    assert type(error) is kind
    assert words in error.message
    assert server.address in error.message


def test_a_reset_before_the_request_is_reported(fault_server: MakeFaultServer) -> None:
    server = fault_server({}, on_connect=[Reset()])

    assert isinstance(failure(to(server)), DaemonError)


def test_a_silent_server_is_given_up(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Hold()]})

    assert failure(to(server), seconds=0.1).message == f"{server.address} accepts connections but does not answer."


def test_a_server_that_drips_its_head_is_given_up(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Drip(b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 9999, 0.02)]})

    error = failure(to(server, limits=Limits(connect_seconds=0.3)), seconds=0.3)

    assert error.message == f"{server.address} accepts connections but does not answer."


def test_a_server_that_drips_its_answer_is_given_up(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Send(TEXT), Drip(chunk(b"x") * 9999, 0.01)]})

    with Exchange(to(server), "GET", "/a") as exchange:
        assert exchange.wait(PATIENCE)
        with pytest.raises(DaemonNotReachable) as caught:
            exchange.read_all(until=0.0)

    assert caught.value.message == f"{server.address} answers too slowly."


@pytest.mark.parametrize("status", [200, 500])
def test_headers_that_are_repeated_count_together(status: int, fault_server: MakeFaultServer) -> None:
    response = b"HTTP/1.1 %d X\r\nX-A: one\r\nx-a: tw\xc3\xb6\r\nContent-Length: 0\r\n\r\n" % status
    server = fault_server({"/a": [Send(response)]})

    assert to(server).ask("GET", "/a").headers["x-a"] == "one, twö"


def test_a_dripped_answer_is_read(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Drip(FINE.data, 0.001)]})

    assert to(server).ask("GET", "/a").to_dict() == {"is": "fine"}


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    error = failure(to(f"http://localhost:{port}"))

    assert (type(error), error.message) == (DaemonNotReachable, f"Nothing listens at http://localhost:{port}.")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70])
def test_a_name_that_is_not_found(host: str) -> None:
    error = failure(to(f"http://{host}:1"))

    assert (type(error), error.message) == (DaemonNotReachable, f"There is no host {host}.")


def test_a_black_hole_is_given_up(black_hole: int) -> None:
    connection = to(f"http://127.0.0.1:{black_hole}", limits=Limits(connect_seconds=0.2))

    assert "no connection in time" in failure(connection).message


def test_ipv6_is_spoken(ipv6_server: IPv6Server) -> None:
    reply = to(f"http://[::1]:{ipv6_server.port}").ask("GET", "/a")

    assert reply.to_dict() == {"is": "fine"}


def test_this_machine_is_tried_with_ipv6_too(ipv6_server: IPv6Server) -> None:
    reply = to(f"http://localhost:{ipv6_server.port}").ask("GET", "/a")

    assert reply.to_dict() == {"is": "fine"}
    assert f"Host: localhost:{ipv6_server.port}\r\n".encode() in ipv6_server.head


def test_an_address_in_numbers_is_tried_alone(ipv6_server: IPv6Server) -> None:
    error = failure(to(f"http://127.0.0.1:{ipv6_server.port}"))

    assert isinstance(error, DaemonNotReachable)
    to(f"http://[::1]:{ipv6_server.port}").ask("GET", "/a")  # which is the one visit that it waits for


def test_questions_are_asked_at_once(fault_server: MakeFaultServer) -> None:
    all_came = threading.Event()
    server = fault_server({path: [Wait(all_came), FINE] for path in ("/a", "/b", "/c")})

    with ThreadPoolExecutor() as pool:
        asked = pool.submit(to(server).ask_all, ["/a", "/b", "/c"], seconds=PATIENCE)
        server.wait_for_requests(3)
        all_came.set()
        replies = asked.result(PATIENCE)

    assert {path: reply.to_dict() for path, reply in replies.items()} == {p: {"is": "fine"} for p in ("/a", "/b", "/c")}


def test_of_questions_asked_at_once_no_answer_waits_for_another(fault_server: MakeFaultServer) -> None:
    other_left = threading.Event()
    server = fault_server({"/a": [Wait(other_left), FINE], "/b": [FINE, Hold()]})

    with ThreadPoolExecutor() as pool:
        asked = pool.submit(to(server).ask_all, ["/a", "/b"], seconds=PATIENCE)
        assert server.client_left.wait(PATIENCE)  # a server that takes one visitor at a time goes on
        other_left.set()
        replies = asked.result(PATIENCE)

    assert list(replies) == ["/a", "/b"]


def test_one_failure_ends_all_questions(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Reset()], "/b": [Hold()]})

    with pytest.raises(StreamBroken):
        to(server).ask_all(["/b", "/a"], seconds=PATIENCE)
    assert server.client_left.wait(PATIENCE)


def test_a_stream_comes_as_it_is_sent(fault_server: MakeFaultServer) -> None:
    lines = [json.dumps({"n": n}).encode() + b"\n" for n in range(3)]
    server = fault_server({"/a": [Send(TEXT + chunked(*lines))]})

    with Exchange(to(server), "POST", "/a", {}) as exchange:
        assert exchange.wait(PATIENCE)
        assert b"".join(exchange.chunks()) == b"".join(lines)


def test_a_post_is_cancelled_by_its_stop(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Send(TEXT), Hold()]})
    stop = Stop()

    with to(server).post("/a", {"is": "asked"}, stop) as exchange:
        assert exchange.wait(PATIENCE)
        assert (exchange.head.status, exchange.head.body) == (200, b"")
        stop.set()
        with pytest.raises(Stopped):
            list(exchange.chunks())

    assert (server.requests[0].method, server.requests[0].json) == ("POST", {"is": "asked"})
    assert server.client_left.wait(PATIENCE)


@pytest.mark.parametrize(
    ("steps", "is_loading"),
    [
        pytest.param([Send(http_response(503, {}, b'{"error":{"message":"Loading model"}}'))], True, id="loading"),
        pytest.param([Send(http_response(503, {}, b"busy"))], False, id="busy"),
        pytest.param([Send(TEXT), Hold()], False, id="an answer, which is not read"),
    ],
)
def test_a_server_that_loads_is_recognized(steps: Steps, is_loading: bool, fault_server: MakeFaultServer) -> None:
    with Exchange(to(fault_server({"/a": steps})), "POST", "/a", {}) as exchange:
        assert exchange.is_loading is is_loading
