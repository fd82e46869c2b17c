"""Asking one server on behalf of the client of another."""

import json
import select
import socket
from collections.abc import Iterator
from typing import Any

import h11
from typing_extensions import Self

from tests.server.http_server import Connection
from tests.server.waiting import PATIENCE

_DATA = b"data: "


class UpstreamDied(Exception):
    """The server ended in the middle of its answer."""


class Upstream:
    """One request, open inside `with`; it ends early when CLIENT leaves, by ConnectionAbortedError."""

    def __init__(self, port: int, path: str, body: object, client: Connection) -> None:
        self._client = client
        self._parser = h11.Connection(h11.CLIENT)
        try:
            self._sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        except OSError as exc:
            raise UpstreamDied from exc
        self._post(path, json.dumps(body).encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def status(self) -> int:
        """Wait for the head of the answer."""
        event = self._next()
        assert isinstance(event, h11.Response)
        return event.status_code

    def body(self) -> Iterator[bytes]:
        """The pieces of the body, as they come."""
        while isinstance(event := self._next(), h11.Data):
            yield bytes(event.data)

    def events(self) -> Iterator[dict[str, Any]]:
        """The body as server-sent events with JSON in them."""
        unread = b""
        for piece in self.body():
            *lines, unread = (unread + piece).split(b"\n")
            yield from (json.loads(line.removeprefix(_DATA)) for line in lines if line.startswith(_DATA))

    def _post(self, path: str, body: bytes) -> None:
        headers = [("Host", "127.0.0.1"), ("Content-Length", str(len(body)))]
        head = self._parser.send(h11.Request(method="POST", target=path, headers=headers))
        data = self._parser.send(h11.Data(data=body))
        end = self._parser.send(h11.EndOfMessage())
        self._sock.sendall(b"".join(filter(None, (head, data, end))))

    def _next(self) -> h11.Event:
        try:
            while (event := self._parser.next_event()) is h11.NEED_DATA:
                self._parser.receive_data(self._read())
        except (ConnectionResetError, h11.RemoteProtocolError) as exc:
            raise UpstreamDied from exc
        assert isinstance(event, h11.Event)
        return event

    def _read(self) -> bytes:
        while True:
            ready, _, _ = select.select([self._sock.fileno(), self._client.fileno()], [], [])
            if self._client.client_has_left():
                raise ConnectionAbortedError
            if self._sock.fileno() in ready:
                return self._sock.recv(65536)


def ask(port: int, path: str, body: object, client: Connection) -> Any:  # noqa: ANN401 - JSON
    """A whole answer, parsed."""
    with Upstream(port, path, body, client) as upstream:
        upstream.status()
        return json.loads(b"".join(upstream.body()))
