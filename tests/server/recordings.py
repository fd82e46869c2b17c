"""Recorded exchanges with real servers, from tests/data/exchanges/ (its README.md describes the files)."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Server = Literal["ollama", "llama-server"]
End = Literal["complete", "closed by the client", "closed by the server in the middle of the body"]

FOLDER = Path(__file__).parents[1] / "data" / "exchanges"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One chunk of a body, and when it came, in seconds since the request."""

    at: float
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked; HEADERS holds only those that made a difference."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:  # noqa: ANN401 - what a server is sent may be anything
        """The body, parsed; None where it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What the server answered, as it came."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    head_at: float
    is_chunked: bool
    frames: tuple[Frame, ...]
    end: End

    @property
    def body(self) -> bytes:
        """All frames in one."""
        return b"".join(frame.data for frame in self.frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request and its response."""

    request: Request
    response: Response


def names(server: Server) -> list[str]:
    """What was recorded of SERVER."""
    return sorted(path.stem for path in (FOLDER / server).glob("*.json"))


def load(server: Server, name: str) -> list[Exchange]:
    """A recording, in the order of its requests."""
    entries = json.loads((FOLDER / server / f"{name}.json").read_text("utf-8"))
    return [Exchange(request=_request(entry["request"]), response=_response(entry["response"])) for entry in entries]


def _request(entry: dict[str, Any]) -> Request:
    raw = json.dumps(entry["body"]) if "body" in entry else entry.get("raw_body", "")
    return Request(method=entry["method"], path=entry["path"], body=raw.encode(), headers=entry.get("headers", {}))


def _response(entry: dict[str, Any]) -> Response:
    return Response(
        status=entry["status"],
        reason=entry["reason"],
        headers=tuple((name, value) for name, value in entry["headers"]),
        head_at=entry["head_t"],
        is_chunked=entry["chunked"],
        frames=tuple(Frame(at=frame["t"], data=_data(frame)) for frame in entry["frames"]),
        end=entry["end"],
    )


def _data(frame: dict[str, Any]) -> bytes:
    return base64.b64decode(frame["base64"]) if "base64" in frame else frame["text"].encode()
