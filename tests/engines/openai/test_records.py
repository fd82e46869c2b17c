"""Bodies of answers, whatever their servers call them."""

import json
from collections.abc import Iterator

import pytest

from localllm_magics.engines.openai.records import END_OF_STREAM, RecordDecoder
from localllm_magics.engines.wire.ndjson import Malformed, Record

STREAM = b'data: {"a":1}\n\ndata: [DONE]\n\n'
BODIES = [
    pytest.param(STREAM, [{"a": 1}, END_OF_STREAM], id="stream"),
    pytest.param(b"\xef\xbb\xbf" + STREAM, [{"a": 1}, END_OF_STREAM], id="stream with a BOM"),
    pytest.param(b"\r\n \n" + STREAM, [{"a": 1}, END_OF_STREAM], id="stream after blank lines"),
    pytest.param(b":\n\n: ping - now\n\n" + STREAM, [{"a": 1}, END_OF_STREAM], id="stream with pings"),
    pytest.param(b'{"a":1}', [{"a": 1}], id="object"),
    pytest.param(b' \n\xef\xbb\xbf{"a":1}\n', [{"a": 1}], id="object after a BOM"),
    pytest.param(json.dumps({"a": {"b": [1]}}, indent=2).encode(), [{"a": {"b": [1]}}], id="object on many lines"),
    pytest.param(b'{"a":', [Malformed("a record is not JSON", '{"a":')], id="half an object"),
    pytest.param(b"<html>x", [Malformed("it is a web page", "<html>x")], id="page"),
    pytest.param(
        b'data: {"a": [}\n\ndata: [DONE]\n\n', [Malformed("a record is not JSON", '{"a": [}'), END_OF_STREAM], id="bad"
    ),
    *(
        pytest.param(b"data: %b\n\n" % value + STREAM, [{"a": 1}, END_OF_STREAM], id=f"stream with {value.decode()}")
        for value in (b"null", b"[]", b"true", b'""', b'"ping"', b"5")
    ),
    pytest.param(b"event: ping\ndata: ping\n\n" + STREAM, [{"a": 1}, END_OF_STREAM], id="stream with words"),
    pytest.param(b'event: ping\ndata: {"b":2}\n\n', [{"b": 2}], id="object with a name"),
    pytest.param(b'event: x\ndata: {"b\n\n', [Malformed("a record is not JSON", '{"b')], id="half of one with a name"),
    pytest.param(b"data: ping\n\n", [Malformed("a record is not JSON", "ping")], id="words without a name"),
    pytest.param(b"[]", [], id="list"),
    pytest.param(b"oops\n", [], id="words"),
    pytest.param(b"\xef\xbb", [], id="half a BOM"),
    pytest.param(b" \n", [], id="blank"),
    pytest.param(b"", [], id="nothing"),
]


@pytest.mark.parametrize("size", [1, 2, 1000], ids="in pieces of {}".format)
@pytest.mark.parametrize(("data", "records"), BODIES)
def test_a_body_is_known_by_its_start(data: bytes, records: list[Record | Malformed], size: int) -> None:
    found = RecordDecoder()

    assert list(found.records(data[start : start + size] for start in range(0, len(data), size))) == records
    assert found.was_empty == (not data)


def test_a_body_that_broke_off_was_not_empty() -> None:
    def chunks() -> Iterator[bytes]:
        yield from ()
        raise ConnectionError

    found = RecordDecoder()

    with pytest.raises(ConnectionError):
        list(found.records(chunks()))
    assert not found.was_empty


def test_an_object_has_a_size_limit() -> None:
    (record,) = RecordDecoder(limit=10).records(iter([b'{"a":"', b"xxxxxx", b'"}']))

    assert record == Malformed("an answer is longer than the size limit of 10 bytes", '{"a":"xxxxxx')
