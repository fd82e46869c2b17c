"""A server that does to its client exactly what a test wrote down."""

import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from typing_extensions import assert_never

from tests.server.http_bytes import http_response
from tests.server.http_server import Connection, HttpServer, Received


@dataclass(frozen=True, slots=True)
class Send:
    """Send DATA in one piece."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Drip:
    """Send DATA byte by byte, SECONDS apart."""

    data: bytes
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Flood:
    """Send DATA over and over until the client leaves: a line without end, say."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until EVENT is set."""

    event: threading.Event


@dataclass(frozen=True, slots=True)
class Hold:
    """Do nothing until the client leaves: never answer."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection in good order."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Close the connection with RST."""


Step = Send | Drip | Flood | Wait | Hold | Close | Reset
Steps = Sequence[Step]


@dataclass(frozen=True, slots=True)
class InTurn:
    """Other steps for each visit; the last ones again for all later visits."""

    visits: Sequence[Steps]


class FaultServer(HttpServer):
    """Takes the steps of SCRIPT for a request's path, or those for `*`; 404 where there are none.

    After the last step the connection stays open for another request, as `Send(http_response(…))` promises; where that
    is not wanted, the last step is `Close()`.

    Args:
        on_connect: Steps before a request is read.
        tls: Speak TLS with this certificate.
    """

    def __init__(
        self,
        script: Mapping[str, Steps | InTurn],
        *,
        on_connect: Steps = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(tls)
        self._script = script
        self._on_connect = on_connect

    def greet(self, connection: Connection) -> None:
        _take(self._on_connect, connection)

    def answer(self, request: Received, connection: Connection) -> None:
        _take(self._steps(request), connection)

    def _steps(self, request: Received) -> Steps:
        steps = self._script.get(request.path, self._script.get("*", [Send(http_response(404))]))
        if isinstance(steps, InTurn):
            visits = sum(earlier.path == request.path for earlier in self.requests)
            return steps.visits[min(visits, len(steps.visits)) - 1]
        return steps


def _take(steps: Steps, connection: Connection) -> None:
    for step in steps:
        _take_one(step, connection)


def _take_one(step: Step, connection: Connection) -> None:
    match step:
        case Send(data):
            connection.send(data)
        case Drip(data, seconds):
            _drip(data, seconds, connection)
        case Flood(data):
            while True:
                connection.send(data)
        case Wait(event):
            connection.wait(event)
        case Hold():
            connection.wait()
        case Close():
            connection.close()
        case Reset():
            connection.reset()
        case _:
            assert_never(step)


def _drip(data: bytes, seconds: float, connection: Connection) -> None:
    for index in range(len(data)):
        connection.send(data[index : index + 1])
        connection.wait(seconds=seconds)
