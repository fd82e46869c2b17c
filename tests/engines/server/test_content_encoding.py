import gzip
import tracemalloc
import zlib
from collections.abc import Iterator, Mapping

import pytest

from localllm_magics.engines.server.content_encoding import content_encodings, decompress

TEXT = b"".join(b"%d " % number for number in range(50_000))


def deflate_raw(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


ENCODED = [
    pytest.param({}, TEXT, id="none"),
    pytest.param({"content-encoding": "identity"}, TEXT, id="identity"),
    pytest.param({"content-encoding": "br"}, TEXT, id="unknown"),
    pytest.param({"content-encoding": "gzip"}, gzip.compress(TEXT), id="gzip"),
    pytest.param(
        {"content-encoding": "gzip"}, gzip.compress(TEXT[:99]) + gzip.compress(TEXT[99:]), id="gzip in two members"
    ),
    pytest.param({"content-encoding": "gzip"}, gzip.compress(TEXT) + b"\0\0\x1fx", id="gzip, and what is none"),
    pytest.param({"content-encoding": "X-GZip"}, gzip.compress(TEXT), id="x-gzip"),
    pytest.param({"content-encoding": "deflate"}, zlib.compress(TEXT), id="deflate"),
    pytest.param({"content-encoding": "deflate"}, deflate_raw(TEXT), id="deflate without zlib"),
]


@pytest.mark.parametrize(("headers", "body"), ENCODED)
def test_a_body_is_decompressed_however_it_is_split(headers: Mapping[str, str], body: bytes) -> None:
    for size in (1, 1000, len(body)):
        chunks = [body[start : start + size] for start in range(0, len(body), size)]

        assert b"".join(decompress(chunks, headers)) == TEXT


@pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("deflate", 15), ("deflate", -15)])
def test_what_has_come_is_not_held_back(encoding: str, wbits: int) -> None:
    compressor = zlib.compressobj(wbits=wbits)

    def chunks() -> Iterator[bytes]:
        yield compressor.compress(b"one") + compressor.flush(zlib.Z_SYNC_FLUSH)
        raise AssertionError("the next chunk was waited for")

    assert next(decompress(chunks(), {"content-encoding": encoding})) == b"one"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
def test_an_empty_body_is_empty(encoding: str) -> None:
    assert list(decompress([], {"content-encoding": encoding})) == []


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        pytest.param("gzip", b"no gzip", id="gzip"),
        pytest.param("deflate", b"no deflate", id="deflate"),
        pytest.param("deflate", gzip.compress(TEXT)[:20] + b"x" * 99, id="another"),
        pytest.param("gzip, gzip", gzip.compress(gzip.compress(TEXT)), id="twice"),
        pytest.param("gzip", gzip.compress(bytes(2**25)), id="to fill the memory"),
        pytest.param("gzip", gzip.compress(bytes(2**20)) * 32, id="to fill the memory, in members"),
    ],
)
def test_what_is_compressed_wrongly_is_an_error(encoding: str, body: bytes) -> None:
    with pytest.raises(zlib.error):
        list(decompress([body], {"content-encoding": encoding}))


def test_a_few_bytes_do_not_fill_the_memory() -> None:
    body = gzip.compress(bytes(2**23))
    tracemalloc.start()
    try:
        size = sum(map(len, decompress([body], {"content-encoding": "gzip"})))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert size == 2**23
    assert peak < 2**21


def test_encodings_are_listed_as_they_were_applied() -> None:
    assert content_encodings({"content-encoding": "Deflate , gzip,identity,"}) == ["deflate", "gzip"]
