import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import MakeFaultServer
from tests.server.faults import Close, Drip, Flood, Hold, InTurn, Reset, Send, Wait
from tests.server.http_bytes import chunked, chunked_head, http_response

OK = Send(http_response(200, {"Content-Type": "text/plain"}, b"fine"))


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=60) as client:
        yield client


def test_a_path_gets_its_steps_and_others_are_not_found(http: httpx.Client, fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [OK]})

    assert http.post(f"{server.address}/a", json={"x": 1}).text == "fine"
    assert http.get(f"{server.address}/b").status_code == 404
    assert [(request.method, request.path) for request in server.requests] == [("POST", "/a"), ("GET", "/b")]
    assert server.requests[0].json == {"x": 1}


def test_a_connection_stays_open_for_the_next_request(http: httpx.Client, fault_server: MakeFaultServer) -> None:
    server = fault_server({"*": [OK]})

    ports = {http.get(f"{server.address}/{n}").extensions["network_stream"].get_extra_info("client_addr") for n in "ab"}

    assert len(ports) == 1


def test_each_visit_has_its_own_steps(http: httpx.Client, fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": InTurn([[Send(http_response(503))], [OK]])})

    assert [http.get(f"{server.address}/a").status_code for _ in range(3)] == [503, 200, 200]


def test_a_stream_waits_for_its_event(http: httpx.Client, fault_server: MakeFaultServer) -> None:
    event = threading.Event()
    start = chunked_head("text/plain") + chunked(b"one", ends=False)
    server = fault_server({"/a": [Send(start), Wait(event), Send(chunked(b"two"))]})

    with http.stream("GET", f"{server.address}/a") as response:
        pieces = response.iter_raw()
        first = next(pieces)
        event.set()
        rest = b"".join(pieces)

    assert (first, rest) == (b"one", b"two")


def test_dripped_bytes_make_the_same_answer(http: httpx.Client, fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Drip(OK.data, 0.0001)]})

    assert http.get(f"{server.address}/a").text == "fine"


@pytest.mark.parametrize(
    ("step", "error"),
    [
        pytest.param(Reset(), httpx.ReadError, id="reset"),
        pytest.param(Close(), httpx.RemoteProtocolError, id="closed"),
    ],
)
@pytest.mark.parametrize("start", [b"", chunked_head("text/plain"), chunked_head("text/plain") + b"5\r\nab"])
def test_a_connection_ends_where_the_script_says(
    step: Reset | Close,
    error: type[Exception],
    start: bytes,
    http: httpx.Client,
    fault_server: MakeFaultServer,
) -> None:
    server = fault_server({"/a": [Send(start), step]})

    with pytest.raises(error):
        http.get(f"{server.address}/a")


def test_a_connection_can_end_before_its_request_is_read(http: httpx.Client, fault_server: MakeFaultServer) -> None:
    server = fault_server({}, on_connect=[Reset()])

    with pytest.raises(httpx.NetworkError):
        http.get(f"{server.address}/a")
    assert server.requests == []


def test_an_answer_that_never_comes_is_given_up_with_the_client(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Hold()]})

    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{server.address}/a", timeout=httpx.Timeout(60, read=0.1), trust_env=False)
    assert server.client_left.wait(60)


def test_a_flood_ends_with_the_client(http: httpx.Client, fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Send(chunked_head("text/plain")), Flood(chunked(b"x" * 1000, ends=False))]})

    with http.stream("GET", f"{server.address}/a") as response:
        assert b"\n" not in next(response.iter_raw(100_000))
    assert server.client_left.wait(60)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([Hold()], id="held"),
        pytest.param([Flood(b"x")], id="blocked in a send"),
        pytest.param([Wait(threading.Event())], id="waiting"),
    ],
)
def test_a_server_ends_while_a_client_waits(steps: list[Hold | Flood | Wait], fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": steps})

    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_for_requests(1)
        server.__exit__()

    assert [thread for thread in threading.enumerate() if thread.name.startswith("FaultServer")] == []
    assert not server.client_left.is_set()


def test_tls_is_spoken_with_the_certificate(
    fault_server: MakeFaultServer, tls: ssl.SSLContext, authority_file: Path
) -> None:
    server = fault_server({"/a": [OK]}, tls=tls)

    trusting = ssl.create_default_context(cafile=str(authority_file))
    with httpx.Client(trust_env=False, verify=trusting) as http:
        assert http.get(f"{server.address}/a").text == "fine"


@pytest.mark.parametrize(
    ("speaks_tls", "scheme"),
    [pytest.param(True, "http", id="http to https"), pytest.param(False, "https", id="https to http")],
)
def test_the_wrong_scheme_gets_no_answer(
    speaks_tls: bool, scheme: str, http: httpx.Client, fault_server: MakeFaultServer, tls: ssl.SSLContext
) -> None:
    server = fault_server({"/a": [OK]}, tls=tls if speaks_tls else None)

    with pytest.raises(httpx.TransportError):
        http.get(f"{scheme}://127.0.0.1:{server.port}/a")
    assert server.requests == []


def test_an_unknown_authority_is_not_trusted(
    http: httpx.Client, fault_server: MakeFaultServer, tls: ssl.SSLContext
) -> None:
    server = fault_server({"/a": [OK]}, tls=tls)

    with pytest.raises(httpx.ConnectError):
        http.get(f"{server.address}/a")
