import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.server.connection import Exchange, Limits
from tests.engines.server.conftest import own_threads
from tests.engines.server.connecting import FINE, TEXT, to
from tests.server.conftest import MakeFaultServer
from tests.server.faults import Flood, Hold, Send, Steps
from tests.server.http_bytes import chunk, chunked_head, head
from tests.server.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def test_a_stop_ends_a_connecting(black_hole: int) -> None:
    connection = to(f"http://127.0.0.1:{black_hole}", limits=Limits(connect_seconds=PATIENCE))
    stop = Stop()

    with ThreadPoolExecutor() as pool:
        asked = pool.submit(connection.ask, "GET", "/a", stop=stop)
        wait_until(lambda: bool(own_threads()), "connecting")
        stop.set()
        error = asked.exception(PATIENCE)

    assert isinstance(error, Stopped)
    assert own_threads()  # it did not wait for the thread that still connects


def test_a_stop_before_the_connection_stands_breaks_it_then(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Hold()]})
    exchange = Exchange(to(server), "GET", "/a")
    exchange.cancel()

    with exchange:
        assert exchange.wait(PATIENCE)
        with pytest.raises(Stopped):
            exchange.read_all()


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(TEXT + chunk(b"x"), id="with chunks"),
        pytest.param(head(200) + b"x", id="that ends with the connection"),
    ],
)
def test_a_stop_ends_a_body_that_has_begun(start: bytes, fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Send(start), Hold()]})

    with Exchange(to(server), "GET", "/a") as exchange:
        assert exchange.wait(PATIENCE)
        chunks = exchange.chunks()
        assert next(chunks) == b"x"
        exchange.cancel()

        with pytest.raises(Stopped):
            list(chunks)


@pytest.mark.parametrize(
    ("scheme", "steps"),
    [
        pytest.param("https", [], id="in the handshake"),
        pytest.param("http", [Hold()], id="before the head"),
        pytest.param("http", [Send(b"HTTP/1.1 200 OK\r\nX:"), Hold()], id="in the head"),
        pytest.param("http", [Send(TEXT), Hold()], id="before the body"),
        pytest.param("http", [Send(TEXT + chunk(b"x")), Hold()], id="in the body"),
        pytest.param("http", [Send(head(200) + b"x"), Hold()], id="in a body that ends with the connection"),
        pytest.param("http", [Send(chunked_head("text/plain", 500) + chunk(b"x")), Hold()], id="in a refusal"),
    ],
)
def test_a_stop_ends_a_question(scheme: str, steps: Steps, fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": steps}, on_connect=[Hold()] if scheme == "https" else [])
    stop = Stop()

    with ThreadPoolExecutor() as pool:
        connection = to(f"{scheme}://127.0.0.1:{server.port}", limits=Limits(connect_seconds=600.0))
        asked = pool.submit(connection.ask, "GET", "/a", stop=stop, seconds=600.0)
        if scheme == "https":
            wait_until(lambda: any("answers" in thread.name for thread in threading.enumerate()), "a visitor")
        else:
            server.wait_for_requests(1)
        stop.set()
        error = asked.exception(PATIENCE)

    assert isinstance(error, Stopped)


def test_a_stop_ends_an_answer_over_tls(
    fault_server: MakeFaultServer, tls: ssl.SSLContext, authority_file: Path
) -> None:
    server = fault_server({"/a": [Send(TEXT + chunk(b"x")), Hold()]}, tls=tls)

    with Exchange(to(server, ca_file=str(authority_file)), "GET", "/a") as exchange, ThreadPoolExecutor() as pool:
        assert exchange.wait(PATIENCE)
        chunks = exchange.chunks()
        assert next(chunks) == b"x"
        rest = pool.submit(list, chunks)
        exchange.cancel()
        error = rest.exception(PATIENCE)

    assert isinstance(error, Stopped)


def test_a_stop_ends_the_making_of_a_tunnel(fault_server: MakeFaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = fault_server({"*": [Hold()]})
    monkeypatch.setenv("HTTPS_PROXY", proxy.address)
    stop = Stop()

    with ThreadPoolExecutor() as pool:
        asked = pool.submit(to("https://models.invalid").ask, "GET", "/a", stop=stop, seconds=600.0)
        proxy.wait_for_requests(1)
        stop.set()
        error = asked.exception(PATIENCE)

    assert isinstance(error, Stopped)
    assert proxy.requests[0].method == "CONNECT"


def test_a_stop_that_came_before_is_heeded(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Hold()]})
    stop = Stop()
    stop.set()

    with pytest.raises(Stopped):
        to(server).ask("GET", "/a", stop=stop)


def test_cancelling_twice_or_after_the_end_does_nothing(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [FINE]})

    with Exchange(to(server), "GET", "/a") as exchange:
        assert exchange.wait(PATIENCE)
        reply = exchange.read_all()
        exchange.cancel()
    exchange.cancel()

    assert exchange.read_all() == reply


def test_an_exchange_that_nobody_reads_is_given_up(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Send(TEXT), Flood(chunk(b"x"))]})

    with Exchange(to(server), "GET", "/a") as exchange:
        assert exchange.wait(PATIENCE)

    assert server.client_left.wait(PATIENCE)


def test_an_exchange_that_nobody_waits_for_is_given_up(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Hold()]})

    with Exchange(to(server), "GET", "/a"):
        server.wait_for_requests(1)

    assert server.client_left.wait(PATIENCE)
