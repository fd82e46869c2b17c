"""A server that says again what a real one said, cut into pieces as a test wants them."""

import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from tests.server.http_bytes import LAST_CHUNK, chunk, head, http_response
from tests.server.http_server import Connection, HttpServer, Received
from tests.server.recordings import Exchange, Frame, Request, Response

Cutting = Literal["as recorded", "bytes", "whole", "random"]
"""How a body is cut: in frames as it came, each byte for itself, in one piece, or anyhow."""

_LONGEST_RANDOM_PIECE = 40


class ReplayServer(HttpServer):
    """Answers from EXCHANGES: what fits a request best, each exchange once while unused ones fit.

    Args:
        seed: Of the random cutting.
        speed: How much faster than recorded to send; None does not wait.
        resets: End a body that was not sent whole with RST.
    """

    def __init__(
        self,
        exchanges: Sequence[Exchange],
        cutting: Cutting = "as recorded",
        *,
        seed: int = 0,
        speed: float | None = None,
        resets: bool = False,
    ) -> None:
        super().__init__()
        self._exchanges = exchanges
        self._cutting = cutting
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._speed = speed
        self._resets = resets
        self._used: set[int] = set()
        self._choosing = threading.Lock()

    def answer(self, request: Received, connection: Connection) -> None:
        response = self._choose(request)
        if response is None:
            connection.send(self._unknown(request))
            return
        self._say(response, connection)
        if response.end == "complete":
            connection.close()  # as the recorded header says
        elif response.end == "closed by the client":
            connection.wait()
        elif self._resets:
            connection.reset()
        else:
            connection.close()

    def _choose(self, request: Received) -> Response | None:
        with self._choosing:
            fitting = [i for i, exchange in enumerate(self._exchanges) if _fits(exchange.request, request)]
            if not fitting:
                return None
            best = min(fitting, key=lambda i: self._distance(i, request))
            self._used.add(best)
            return self._exchanges[best].response

    def _distance(self, index: int, request: Received) -> tuple[bool, bool, int]:
        """Small for the exchange to take: same headers, unused, next (the last, if all are used)."""
        used = index in self._used
        is_other = _credentials(self._exchanges[index].request.headers) != _credentials(request.headers)
        return is_other, used, -index if used else index

    def _unknown(self, request: Received) -> bytes:
        if any(e.request.method == request.method and e.request.path == request.path for e in self._exchanges):
            return http_response(500, {"Content-Type": "text/plain"}, b"no recorded exchange fits this request")
        if any(
            name == "Server" and value == "llama.cpp" for e in self._exchanges for name, value in e.response.headers
        ):
            body = b'{"error":{"message":"File Not Found","type":"not_found_error","code":404}}'
            return http_response(404, {"Server": "llama.cpp", "Content-Type": "application/json; charset=utf-8"}, body)
        return http_response(404, {"Content-Type": "text/plain"}, b"404 page not found")

    def _say(self, response: Response, connection: Connection) -> None:
        start = head(response.status, _true_headers(response), response.reason)
        frames = list(self.cut(response))
        pieces = [chunk(frame.data) if response.is_chunked else frame.data for frame in frames]
        last = LAST_CHUNK if response.is_chunked and response.end == "complete" else b""
        if self._cutting == "whole":
            connection.send(b"".join([start, *pieces, last]))
            return
        self._pass(response.head_at, connection)
        connection.send(start)
        now = response.head_at
        for frame, piece in zip(frames, pieces, strict=True):
            self._pass(frame.at - now, connection)
            now = frame.at
            connection.send(piece)
        connection.send(last)

    def _pass(self, seconds: float, connection: Connection) -> None:
        if self._speed is not None:
            connection.wait(seconds=seconds / self._speed)

    def cut(self, response: Response) -> Iterator[Frame]:
        """The frames in which RESPONSE is sent."""
        if self._cutting == "as recorded":
            yield from response.frames
            return
        at, rest = response.head_at, response.body
        while rest:
            size = self._size(len(rest))
            yield Frame(at=at, data=rest[:size])
            rest = rest[size:]

    def _size(self, available: int) -> int:
        if self._cutting == "whole":
            return available
        return 1 if self._cutting == "bytes" else self._random.randint(1, _LONGEST_RANDOM_PIECE)


def _true_headers(response: Response) -> list[tuple[str, str]]:
    # Paths in recorded bodies were made neutral, which changed the lengths of some.
    lengths = {"Content-Length": str(len(response.body))} if response.frames else {}
    return [(name, lengths.get(name, value)) for name, value in response.headers]


def _fits(recorded: Request, request: Received) -> bool:
    if (recorded.method, recorded.path) != (request.method, request.path):
        return False
    wanted, given = recorded.json, _parsed(request)
    if not isinstance(wanted, dict) or not isinstance(given, dict):
        return recorded.body == request.body
    names_model = "model" in wanted  # one that serves a single model is not told which
    return _kind(wanted, request.path) == _kind(given, request.path) and (
        not names_model or _model(wanted) == _model(given)
    )


def _parsed(request: Received) -> object:
    try:
        return request.json
    except ValueError:
        return None


def _model(body: dict[str, Any]) -> str:
    return str(body.get("model", "")).removesuffix(":latest")


def _kind(body: dict[str, Any], path: str) -> list[bool]:
    """What decides about the kind of answer, whatever else a client sends."""
    streams = body.get("stream", path.startswith("/api/"))  # Ollama's own default
    return [bool(streams), *(bool(body.get(key)) for key in ("messages", "prompt", "raw")), body.get("keep_alive") == 0]


def _credentials(headers: Mapping[str, str]) -> list[str | None]:
    lower = {name.lower(): value for name, value in headers.items()}
    return [lower.get(name) for name in ("authorization", "origin")]
