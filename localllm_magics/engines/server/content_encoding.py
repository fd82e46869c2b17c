"""Decompresses a body that a server compressed although it was asked not to."""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

SUPPORTED = frozenset({"gzip", "x-gzip", "deflate"})
_FREE_BYTES = 16 * 2**20
_MOST_EXPANSION = 200  # of events, whose JSON says much twice: some 30
_STEP_BYTES = 64 * 2**10
_ZLIB_OR_GZIP = zlib.MAX_WBITS + 32
_RAW = -zlib.MAX_WBITS  # what some servers send as deflate; the standard means zlib
_GZIP = b"\x1f\x8b"  # at the start of each member
_ZLIB_METHOD = 8  # the low half of the first byte of zlib


def content_encodings(headers: Mapping[str, str]) -> list[str]:
    """The encodings of a body, in the order in which they were applied."""
    names = (name.strip().lower() for name in headers.get("content-encoding", "").split(","))
    return [name for name in names if name not in ("", "identity")]


def decompress(chunks: Iterable[bytes], headers: Mapping[str, str]) -> Iterator[bytes]:
    """The body in CHUNKS, decompressed in small steps, so that a few bytes cannot fill the memory.

    An encoding that is not supported leaves it as it is.

    Raises:
        zlib.error: It is not compressed as HEADERS say, more than once, or made to fill the memory.
    """
    encodings = [name for name in content_encodings(headers) if name in SUPPORTED]
    if len(encodings) > 1:
        raise zlib.error(f"{len(encodings)} times")
    return _inflate(iter(chunks), may_be_raw=encodings == ["deflate"]) if encodings else iter(chunks)


def _inflate(chunks: Iterator[bytes], *, may_be_raw: bool) -> Iterator[bytes]:
    start = next(chunks, b"")
    is_raw = may_be_raw and start[:1] != b"" and start[0] & 0x0F != _ZLIB_METHOD
    inflater = _Inflater(_RAW if is_raw else _ZLIB_OR_GZIP)
    read = written = 0
    for chunk in chain([start], chunks):
        read += len(chunk)
        for data in inflater.feed(chunk):
            written += len(data)
            if written > _FREE_BYTES + _MOST_EXPANSION * read:
                raise zlib.error(f"{read:,} bytes stand for more than {written:,}")
            yield data


class _Inflater:
    """Decompresses in small steps; gzip may come in several members, one behind the other."""

    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.decompressobj(wbits)
        self._start = b""  # of what may be a member

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What the bytes so far and DATA stand for."""
        data, piece = self._start + data, b""
        self._start = b""
        while data or len(piece) == _STEP_BYTES:
            if self._zlib.eof and not self._begin_member(data):
                return
            piece = self._zlib.decompress(data, _STEP_BYTES)
            data = self._zlib.unconsumed_tail or self._zlib.unused_data
            if piece:
                yield piece

    def _begin_member(self, data: bytes) -> bool:
        """Whether DATA, behind the end of a member, begins another; anything else there means nothing."""
        self._start = data if len(data) < len(_GZIP) else b""
        if not data.startswith(_GZIP):
            return False
        self._zlib = zlib.decompressobj(_ZLIB_OR_GZIP)
        return True
