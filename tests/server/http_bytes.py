"""HTTP/1.1 responses as bytes, for servers that decide themselves what is sent when."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus

Headers = Mapping[str, str] | Iterable[tuple[str, str]]

LAST_CHUNK = b"0\r\n\r\n"


def http_response(status: int = 200, headers: Headers = (), body: bytes = b"") -> bytes:
    """A whole response, with the length of BODY unless HEADERS say otherwise."""
    pairs = _pairs(headers)
    if not {"content-length", "transfer-encoding"} & {name.lower() for name, _ in pairs}:
        pairs.append(("Content-Length", str(len(body))))
    return head(status, pairs) + body


def head(status: int, headers: Headers = (), reason: str | None = None) -> bytes:
    """The status line and HEADERS, with the empty line after them."""
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase if reason is None else reason}"
    lines = [line, *(f"{name}: {value}" for name, value in _pairs(headers)), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def chunked_head(content_type: str, status: int = 200) -> bytes:
    """The head of a response whose body comes in chunks."""
    return head(status, {"Content-Type": content_type, "Transfer-Encoding": "chunked"})


def chunk(data: bytes) -> bytes:
    """DATA as one chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunked(*frames: bytes, ends: bool = True) -> bytes:
    """A body of one chunk for each of FRAMES; without its last, empty chunk unless it ENDS."""
    return b"".join(map(chunk, frames)) + (LAST_CHUNK if ends else b"")


def _pairs(headers: Headers) -> list[tuple[str, str]]:
    return list(headers.items() if isinstance(headers, Mapping) else headers)
