"""Questions to servers, how they fail, and a server on ::1."""

import socket
import threading

import pytest

from localllm_magics.core.address import Address
from localllm_magics.core.errors import (
    LocalLLMError,
)
from localllm_magics.engines.server.connection import Connection, Limits
from tests.server.faults import FaultServer, Send
from tests.server.http_bytes import chunked_head, http_response
from tests.server.waiting import PATIENCE

LIMITS = Limits()
KEY = "sk-very-secret"
FINE = Send(http_response(200, {"Content-Type": "application/json"}, b'{"is": "fine"}'))
TEXT = chunked_head("text/plain")


def to(
    server: FaultServer | str, key: str | None = None, ca_file: str | None = None, limits: Limits = LIMITS
) -> Connection:
    address = Address.from_text(server if isinstance(server, str) else server.address)
    return Connection(address, key, ca_file, limits=limits)


def failure(connection: Connection, *, seconds: float = PATIENCE) -> LocalLLMError:
    """What a question fails with."""
    with pytest.raises(LocalLLMError) as caught:
        connection.ask("GET", "/a", seconds=seconds)
    assert caught.value.message
    assert caught.value.hint
    return caught.value


class IPv6Server(threading.Thread):
    """Answers one request on ::1, and keeps its head."""

    def __init__(self) -> None:
        super().__init__(name="IPv6Server")
        self.head = b""
        self._listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self.port: int = self._listener.getsockname()[1]

    def run(self) -> None:
        with self._listener, self._listener.accept()[0] as visitor:
            while b"\r\n\r\n" not in self.head:
                self.head += visitor.recv(65536)
            visitor.sendall(FINE.data)
