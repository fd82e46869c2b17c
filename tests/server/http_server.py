"""An HTTP/1.1 server on a real socket whose subclasses decide which bytes are sent, and when."""

import json
import select
import socket
import ssl
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import h11
from typing_extensions import Self

from tests.server.waiting import PATIENCE, wait_until

_LOOK = 0.01
_RESET = struct.pack("ii", 1, 0)  # linger for no time: closing sends RST


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request, as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    """The names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - what a client sends may be anything
        """The body, parsed."""
        return json.loads(self.body)


class Connection:
    """One client's connection, used by one thread; the server may cut it from another."""

    def __init__(self, sock: socket.socket, closing: threading.Event) -> None:
        self.is_open = True
        self._closing = closing
        self._sock = sock
        self._unread = b""

    def send(self, data: bytes) -> None:
        """Give DATA to the network at once.

        Raises:
            OSError: The client has gone.
        """
        self._sock.sendall(data)

    def receive(self) -> Received | None:
        """The next request, or None when the client has no more."""
        parser = h11.Connection(h11.SERVER)
        request: h11.Request | None = None
        body = b""
        if self._unread:
            parser.receive_data(self._unread)
        while not isinstance(event := parser.next_event(), h11.EndOfMessage | h11.ConnectionClosed):
            if event is h11.NEED_DATA:
                parser.receive_data(self._sock.recv(65536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
        self._unread = parser.trailing_data[0]
        return None if request is None else _received(request, body)

    def client_has_left(self) -> bool:
        """Whether the client closed its side; never true over TLS, where one cannot look ahead."""
        if isinstance(self._sock, ssl.SSLSocket) or not select.select([self._sock], [], [], 0)[0]:
            return False
        try:
            return not self._sock.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def wait(self, event: threading.Event | None = None, *, seconds: float = float("inf")) -> None:
        """Wait for EVENT, at most SECONDS; without either, for ever.

        Raises:
            ConnectionAbortedError: The client left, or the server stops.
        """
        awaited = threading.Event() if event is None else event
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not awaited.wait(min(_LOOK, left)):
            if self._closing.is_set() or self.client_has_left():
                raise ConnectionAbortedError

    def secure(self, tls: ssl.SSLContext) -> None:
        """Speak TLS from here on."""
        # The handshake comes after the assignment, so that `cut` can end it.
        secured = tls.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
        self._sock = secured
        secured.do_handshake()

    def close(self) -> None:
        """Close in good order."""
        self.is_open = False
        self._sock.close()

    def reset(self) -> None:
        """Close with RST, which the client sees as "connection reset by peer"."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()

    def cut(self) -> None:
        """End what another thread does with this connection."""
        with suppress(OSError):
            # An SSLSocket's own method would pull the TLS state from under the thread that reads.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def fileno(self) -> int:
        """For `select`."""
        return self._sock.fileno()


class HttpServer(ABC):
    """A server on a free port of 127.0.0.1, from `with` on; each connection has a thread.

    Args:
        tls: Speak TLS with this certificate.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Received] = []
        """All that came, oldest first."""
        self.client_left = threading.Event()
        """Set when a client went away before its answer was sent whole."""
        self._tls = tls
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: dict[threading.Thread, Connection] = {}
        self._lock = threading.Lock()
        self._acceptor = threading.Thread(target=self._accept, name=f"{type(self).__name__} accepts")

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def address(self) -> str:
        """The base URL, without a slash at its end."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._closing.is_set():
            return
        self._closing.set()
        # Closing a listening socket does not wake the thread that accepts; a visitor does.
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._acceptor.join()
        self._listener.close()
        self.drop_clients()

    def drop_clients(self) -> None:
        """Cut every connection, and wait until nobody works on an answer."""
        with self._lock:
            connections = list(self._connections.items())
        for thread, connection in connections:
            connection.cut()
            thread.join(PATIENCE)
            assert not thread.is_alive(), f"{thread.name} does not end"

    def wait_for_requests(self, count: int) -> None:
        """Wait until COUNT requests have come in all."""
        wait_until(lambda: len(self.requests) >= count, f"{count} requests, after {len(self.requests)}")

    @abstractmethod
    def answer(self, request: Received, connection: Connection) -> None:
        """Send what REQUEST gets; an OSError means that the client has gone."""

    def greet(self, connection: Connection) -> None:  # noqa: B027 - few have to say something first
        """Do something before the first request of CONNECTION is read."""

    def _accept(self) -> None:
        while not self._closing.is_set():
            sock, _ = self._listener.accept()
            connection = Connection(sock, self._closing)
            thread = threading.Thread(target=self._serve, args=(connection,), name=f"{type(self).__name__} answers")
            with self._lock:
                self._connections = {t: c for t, c in self._connections.items() if t.is_alive()}
                self._connections[thread] = connection
                thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            if self._tls is not None:
                connection.secure(self._tls)
            self.greet(connection)
            while connection.is_open and (request := connection.receive()) is not None:
                self.requests.append(request)
                self._answer(request, connection)
        except (OSError, h11.RemoteProtocolError):
            pass  # the client went away, or speaks something else
        finally:
            connection.close()

    def _answer(self, request: Received, connection: Connection) -> None:
        try:
            self.answer(request, connection)
        except OSError:
            if not self._closing.is_set():
                self.client_left.set()
            raise


def _received(request: h11.Request, body: bytes) -> Received:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
    return Received(
        method=request.method.decode("ascii"), path=request.target.decode("ascii"), headers=headers, body=body
    )
