import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm_magics.engines.wire.lines import LIMIT
from localllm_magics.engines.wire.ndjson import NDJSON, Malformed, Record, parse, parse_last
from tests.engines.wire.transcripts import (
    POSITIONS,
    WHOLE,
    decode,
    halves,
    one_by_one,
    recordings,
    split,
    without_last_malformed,
)

TOO_LONG = "a line is longer than the size limit of 16,777,216 bytes"
TRUNCATED = "the last record is truncated"
NOT_JSON = "a record is not JSON"
NO_OBJECT = "a record is JSON, but not an object"

RECORDINGS = recordings("application/x-ndjson")
# All that ends a line to `str.splitlines` or `bytes.splitlines`, except LF and CR.
NO_ENDS = "\x0b \x0c \x1c \x1d \x1e \x85 \u2028 \u2029"

TRANSCRIPTS = [
    pytest.param(b"", [], id="nothing"),
    pytest.param(b'{"a":1}\n', [{"a": 1}], id="one"),
    pytest.param(b'{"a":1}\n{"b":2}\r\n{"c":3}\n', [{"a": 1}, {"b": 2}, {"c": 3}], id="several"),
    pytest.param(b'\n\r\n \t\n{"a":1}\n\n', [{"a": 1}], id="empty lines"),
    pytest.param(b' {"a" : 1}\t\r\n', [{"a": 1}], id="space around"),
    pytest.param(b'{"a":1}', [{"a": 1}], id="no line end at the end"),
    pytest.param(b'{"a":1}\n \r', [{"a": 1}], id="only space at the end"),
    pytest.param('{"a":"é€😀"}\n'.encode(), [{"a": "é€😀"}], id="UTF-8"),
    pytest.param(b'{"a":"\\ud83d\\ude00\\n"}\n', [{"a": "😀\n"}], id="escapes"),
    pytest.param(
        f'{{"a":"{NO_ENDS[4:]}"}}\n'.encode(), [Malformed(NOT_JSON, f'{{"a":"{NO_ENDS[4:]}"}}')], id="control"
    ),
    pytest.param('{"a":"\x85 \u2028 \u2029"}\n'.encode(), [{"a": "\x85 \u2028 \u2029"}], id="ends to Unicode"),
    pytest.param(b'{"a":"\xff\xc3"}\n', [{"a": "\ufffd\ufffd"}], id="no UTF-8"),
    pytest.param(b'{"a":1\n{"b":2}\n', [Malformed(NOT_JSON, '{"a":1'), {"b": 2}], id="not JSON"),
    pytest.param(b"Bad Gateway\n", [Malformed(NOT_JSON, "Bad Gateway")], id="text"),
    pytest.param(b'[{}]\n"a"\n', [Malformed(NO_OBJECT, "[{}]"), Malformed(NO_OBJECT, '"a"')], id="no object"),
    pytest.param(b'{"a":1}\n{"a":', [{"a": 1}, Malformed(TRUNCATED, '{"a":')], id="truncated"),
    pytest.param(b'\xef\xbb\xbf{"a":1}\n{"b":2}\n', [{"a": 1}, {"b": 2}], id="BOM"),
    pytest.param(b'\xef\xbb\xbf{"a":1}', [{"a": 1}], id="BOM, and no line end"),
    pytest.param(b'{"a":1}\n\xef\xbb\xbf{}\n', [{"a": 1}, Malformed(NOT_JSON, "\ufeff{}")], id="BOM later"),
]


@pytest.mark.parametrize(("body", "records"), TRANSCRIPTS)
def test_each_line_is_a_record(body: bytes, records: list[Record | Malformed]) -> None:
    assert decode(NDJSON(), body) == records


@pytest.mark.parametrize(("body", "records"), TRANSCRIPTS)
def test_a_split_changes_nothing(body: bytes, records: list[Record | Malformed]) -> None:
    results = [decode(NDJSON(), *one_by_one(body)), *(decode(NDJSON(), *pieces) for pieces in halves(body))]

    assert results == [records] * len(results)


@pytest.mark.parametrize(("body", "records"), TRANSCRIPTS)
def test_a_truncated_stream_has_the_first_records(body: bytes, records: list[Record | Malformed]) -> None:
    results = [without_last_malformed(decode(NDJSON(), start)) for start, _ in halves(body)]

    assert results == [records[: len(result)] for result in results]


@pytest.mark.parametrize("frames", RECORDINGS.values(), ids=RECORDINGS)
def test_a_recorded_stream_has_its_records(frames: list[bytes]) -> None:
    body = b"".join(frames)
    records = [json.loads(line) for line in body.split(b"\n") if line]

    assert len(records) > 0
    assert decode(NDJSON(), body) == records
    assert decode(NDJSON(), *frames) == records
    assert decode(NDJSON(), *one_by_one(body)) == records


@pytest.mark.parametrize("frames", RECORDINGS.values(), ids=RECORDINGS)
def test_a_recorded_frame_may_be_split_or_truncated_anywhere(frames: list[bytes]) -> None:
    for frame in [*frames[:12], *frames[12:][-4:]]:
        records = decode(NDJSON(), frame)

        assert all(decode(NDJSON(), *pieces) == records for pieces in halves(frame))
        truncated = [without_last_malformed(decode(NDJSON(), start)) for start, _ in halves(frame)]
        assert truncated == [records[: len(result)] for result in truncated]


def test_a_line_that_is_too_long_is_malformed_and_the_last() -> None:
    line = b'{"a":"' + b"x" * LIMIT + b'"}\n'
    expected = [{"b": 1}, Malformed(TOO_LONG, '{"a":"' + "x" * 1018)]

    decoder = NDJSON()
    assert decoder.feed(b'{"b":1}\n' + line + b'{"c":1}\n') == expected
    assert decode(decoder, b'{"d":1}\n') == []
    decoder = NDJSON()
    assert decode(decoder, *split(b'{"b":1}\n' + line, list(range(0, len(line), 2**16)))) == expected


def test_a_line_that_never_ends_is_reported_once() -> None:
    decoder = NDJSON()

    results = [decoder.feed(b"x" * 2**20) for _ in range(2 * LIMIT // 2**20)]

    assert [number for number, result in enumerate(results) if result] == [LIMIT // 2**20]
    assert decoder.close() == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param('{"a":' + "[" * 200_000, "a record is nested too deeply", id="deep"),
        pytest.param('{"a":' * 200_000, "a record is nested too deeply", id="deep objects"),
        pytest.param('{"a":' + "1" * 5000 + "}", "a record has a number with too many digits", id="long number"),
        pytest.param("", NOT_JSON, id="nothing"),
        pytest.param("\ufeff{}", NOT_JSON, id="BOM"),
        pytest.param('{"a":1} {"b":2}', "a record has more text after its JSON", id="two"),
        pytest.param("null", NO_OBJECT, id="null"),
        pytest.param("NaN", NO_OBJECT, id="NaN"),
    ],
)
def test_what_is_no_object_is_malformed(text: str, reason: str) -> None:
    record = parse(text)

    assert isinstance(record, Malformed)
    assert record.reason == reason
    assert parse_last(text) == Malformed(TRUNCATED, record.start)


def test_nan_and_infinity_are_numbers() -> None:
    record = parse('{"a":NaN,"b":-Infinity,"c":1e999}')

    assert isinstance(record, dict)
    assert math.isnan(float(str(record.pop("a"))))
    assert record == {"b": -math.inf, "c": math.inf}


def test_whole_numbers_may_have_more_than_64_bits() -> None:
    assert parse(f'{{"a":{2**64},"b":{-(2**63) - 1}}}') == {"a": 2**64, "b": -(2**63) - 1}


@pytest.mark.parametrize(
    ("text", "excerpt"),
    [
        pytest.param("x" * 80, "x" * 80, id="80 characters"),
        pytest.param("x" * 81, "x" * 79 + "…", id="81 characters"),
        pytest.param("a\nb\x1b[0m\u202ec\ud800", "a b [0m c ", id="not fit for a terminal"),
        pytest.param("é€😀\ufffd", "é€😀\ufffd", id="fit for a terminal"),
    ],
)
def test_an_excerpt_is_short_and_printable(text: str, excerpt: str) -> None:
    assert Malformed.of("a reason", text).excerpt() == excerpt


@pytest.mark.parametrize("before", range(70, 82))
def test_a_secret_is_removed_from_an_excerpt_before_it_is_shortened(before: int) -> None:
    malformed = Malformed.of("a reason", "x" * before + "secret" + "y" * 80)

    excerpt = malformed.excerpt(lambda text: text.replace("secret", "…"))

    assert set(excerpt) <= set("xy…")


@settings(max_examples=100)
@given(
    records=st.lists(
        st.dictionaries(
            st.text(max_size=5),
            st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False) | st.text() | st.lists(st.text()),
            max_size=4,
        ),
        max_size=6,
    ),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    positions=POSITIONS,
)
def test_any_records_arrive_however_they_are_split(records: list[Record], end: str, positions: list[int]) -> None:
    body = "".join(json.dumps(record, ensure_ascii=False) + end for record in records).encode()

    assert decode(NDJSON(), *split(body, positions)) == records


@settings(max_examples=100)
@given(
    body=st.binary(max_size=200)
    | st.lists(st.sampled_from(['{"a":1}', "{", "}", "\n", "\r", "[", "NaN", '"', "\\", "é", " ", "1"])).map(
        lambda words: "".join(words).encode()
    ),
    positions=POSITIONS,
    limit=st.sampled_from([5, 20, LIMIT]),
)
def test_any_bytes_give_the_same_however_they_are_split(body: bytes, positions: list[int], limit: int) -> None:
    assert decode(NDJSON(limit), *split(body, positions)) == decode(NDJSON(limit), body)


def test_a_line_that_is_null_is_no_record() -> None:
    decoder = NDJSON()

    assert [*decoder.feed(b'null\n{"a":1}\n null \r\nnull'), *decoder.close()] == [{"a": 1}]
