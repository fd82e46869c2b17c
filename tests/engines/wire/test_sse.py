import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm_magics.engines.wire.lines import LIMIT
from localllm_magics.engines.wire.ndjson import Malformed, Record
from localllm_magics.engines.wire.sse import SSE, Event, to_record
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

TRUNCATED = "the last record is truncated"
RECORDINGS = recordings("text/event-stream")

A = Event("message", '{"a":1}')
B = Event("message", '{"b":2}')
DONE = Event("message", "[DONE]")

TRANSCRIPTS = [
    pytest.param(b"", [], id="nothing"),
    pytest.param(b'data: {"a":1}\n\n', [A], id="one"),
    pytest.param(b'data:{"a":1}\r\n\r\n', [A], id="no space, CRLF"),
    pytest.param(b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n', [A, B, DONE], id="several"),
    pytest.param(b':\n\ndata: {"a":1}\n: ping\n\n:\r\n\r\n', [A], id="pings"),
    pytest.param(b'\n\n\ndata: {"a":1}\n\n\n\n', [A], id="empty lines"),
    pytest.param(b'\xef\xbb\xbfdata: {"a":1}\n\n', [A], id="BOM"),
    pytest.param(b"\xef\xbb\xbf", [], id="only a BOM"),
    pytest.param(b'data: {\ndata:  "a":\ndata\ndata:1}\n\n', [Event("message", '{\n "a":\n\n1}')], id="lines of data"),
    pytest.param(b'event: ping\ndata: {"a":1}\n\ndata: {"b":2}\n\n', [Event("ping", '{"a":1}'), B], id="name"),
    pytest.param(b'event:error\ndata: {"a":1}\n\n', [Event("error", '{"a":1}')], id="named error"),
    pytest.param(b'event: ping\n\ndata: {"a":1}\n\n', [A], id="a name without data"),
    pytest.param(b'event: ping\nevent\ndata: {"a":1}\n\n', [A], id="a name taken back"),
    pytest.param(b'error: {"code":500}\n\n', [Event("error", '{"code":500}')], id="error line"),
    pytest.param(b'data: {"a":1}\n\nerror:boom\n\n', [A, Event("error", "boom")], id="error line later"),
    pytest.param(b'id: 7\nretry: 9\ndate: x\n data: x\ndata: {"a":1}\n\n', [A], id="other fields"),
    pytest.param(b'data\n\ndata:\n\ndata:  \n\ndata\ndata:\n\ndata: {"a":1}\n\n', [A], id="blank data"),
    pytest.param(b'event: ping\ndata:\n\ndata: {"a":1}\n\n', [A], id="blank data with a name"),
    pytest.param(b'data: {"a":1}\n\ndata:', [A], id="blank data at the end"),
    pytest.param(b'data: null\n\ndata:null \n\ndata: {"a":1}\n\n', [A], id="null"),
    pytest.param(b'data: {"a":1}\n', [A], id="no blank line at the end"),
    pytest.param(b'data: {"a":1}', [A], id="no line end at the end"),
    pytest.param(b"data: [DONE]", [DONE], id="done without line end"),
    pytest.param(b"data: [DONE]\r", [DONE], id="done without LF"),
    pytest.param(b"error: boom\n", [Event("error", "boom")], id="error without blank line"),
    pytest.param(b"error: boom", [Malformed(TRUNCATED, "boom")], id="error without line end"),
    pytest.param(b'data: {"a":1}\n\ndata: {"b":', [A, Malformed(TRUNCATED, '{"b":')], id="truncated"),
    pytest.param(b'data: {"a":1}\n: pi', [A], id="truncated in a ping"),
    pytest.param('data: {"a":"é€😀"}\n\n'.encode(), [Event("message", '{"a":"é€😀"}')], id="UTF-8"),
    pytest.param(b'data: {"a":"\xff\xc3"}\n\n', [Event("message", '{"a":"\ufffd\ufffd"}')], id="no UTF-8"),
    pytest.param(
        'data: {"a":"\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"}\n\n'.encode(),
        [Event("message", '{"a":"\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"}')],
        id="ends of lines to Python and Unicode",
    ),
    pytest.param(b'data: x\rdata: {"a":1}\n\n', [Event("message", 'x\rdata: {"a":1}')], id="a lone CR"),
]


def records(events: list[Event | Malformed]) -> list[Record | Malformed]:
    found = [to_record(event) if isinstance(event, Event) else event for event in events]
    return [record for record in found if record is not None]


@pytest.mark.parametrize(("body", "events"), TRANSCRIPTS)
def test_each_blank_line_ends_an_event(body: bytes, events: list[Event | Malformed]) -> None:
    assert decode(SSE(), body) == events


@pytest.mark.parametrize(("body", "events"), TRANSCRIPTS)
def test_a_split_changes_nothing(body: bytes, events: list[Event | Malformed]) -> None:
    results = [decode(SSE(), *one_by_one(body)), *(decode(SSE(), *pieces) for pieces in halves(body))]

    assert results == [events] * len(results)


@pytest.mark.parametrize(("body", "events"), TRANSCRIPTS)
def test_a_truncated_stream_has_the_first_records(body: bytes, events: list[Event | Malformed]) -> None:
    whole = records(events)

    results = [without_last_malformed(records(decode(SSE(), start))) for start, _ in halves(body)]

    assert results == [whole[: len(result)] for result in results]


@pytest.mark.parametrize("frames", RECORDINGS.values(), ids=RECORDINGS)
def test_a_recorded_stream_has_its_records(frames: list[bytes]) -> None:
    body = b"".join(frames)
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line]
    expected = [json.loads(line) for line in lines if line != b"[DONE]"]

    assert len(expected) > 0
    assert records(decode(SSE(), body)) == expected
    assert records(decode(SSE(), *frames)) == expected
    assert records(decode(SSE(), *one_by_one(body))) == expected


@pytest.mark.parametrize("frames", RECORDINGS.values(), ids=RECORDINGS)
def test_a_recorded_frame_may_be_split_or_truncated_anywhere(frames: list[bytes]) -> None:
    for frame in [*frames[:12], *frames[12:][-4:]]:
        events = decode(SSE(), frame)
        whole = records(events)

        assert all(decode(SSE(), *pieces) == events for pieces in halves(frame))
        truncated = [without_last_malformed(records(decode(SSE(), start))) for start, _ in halves(frame)]
        assert truncated == [whole[: len(result)] for result in truncated]


@pytest.mark.parametrize(
    ("body", "events"),
    [
        pytest.param(
            b"data:a\n\ndata: 3456789012\n\ndata:b\n\n",
            [Event("message", "a"), Malformed("a line is longer than the size limit of 12 bytes", "data: 345678")],
            id="line",
        ),
        pytest.param(
            b"data:a\ndata: 3456789012\n",
            [Malformed("a line is longer than the size limit of 12 bytes", "data: 345678")],
            id="line of an event",
        ),
        pytest.param(
            b"data:a\n\ndata:b\ndata:cdefg\ndata:hijk\ndata:l\n\ndata:m\n\n" + b"x" * 13,
            [Event("message", "a"), Malformed("an event is longer than the size limit of 12 bytes", "b\ncdefg\nhijk")],
            id="event",
        ),
        pytest.param(
            b"data\n" * 12 + b"data",
            [Malformed("an event is longer than the size limit of 12 bytes", "\n" * 12)],
            id="last line",
        ),
        pytest.param(
            b"data:abcde\ndata:fghi\n\n",
            [Event("message", "abcde\nfghi")],
            id="event at the limit",
        ),
    ],
)
def test_what_is_too_long_is_the_last(body: bytes, events: list[Event | Malformed]) -> None:
    results = [decode(SSE(12), *one_by_one(body)), *(decode(SSE(12), *pieces) for pieces in halves(body))]

    assert results == [events] * len(results)


def test_data_of_50_mb_is_malformed() -> None:
    body = b"data: " + b"x" * 50_000_000 + b"\n\n"

    events = decode(SSE(), body)

    assert events == [
        Malformed("a line is longer than the size limit of 16,777,216 bytes", "data: " + "x" * 1018),
    ]
    assert decode(SSE(), *split(body, list(range(0, len(body), 2**16)))) == events


def test_an_event_that_never_ends_is_reported_once() -> None:
    decoder = SSE()

    results = [decoder.feed(b"data:" + b"x" * (2**20 - 1) + b"\n") for _ in range(2 * LIMIT // 2**20)]

    reason = "an event is longer than the size limit of 16,777,216 bytes"
    assert [(number, result) for number, result in enumerate(results) if result] == [
        (LIMIT // 2**20, [Malformed(reason, "x" * 1024)])
    ]
    assert decoder.close() == []


@pytest.mark.parametrize(
    ("event", "record"),
    [
        pytest.param(A, {"a": 1}, id="object"),
        pytest.param(Event("ping", '{"a":1}'), {"a": 1}, id="object of another name"),
        pytest.param(DONE, None, id="done"),
        pytest.param(Event("message", ""), Malformed("a record is not JSON", ""), id="nothing"),
        pytest.param(Event("message", "[1]"), Malformed("a record is JSON, but not an object", "[1]"), id="no object"),
        pytest.param(Event("message", '{"error":"x"}'), {"error": "x"}, id="object with an error"),
        pytest.param(Event("error", '{"code":5,"message":"x"}'), {"error": {"code": 5, "message": "x"}}, id="error"),
        pytest.param(Event("error", '{"error":{"code":5}}'), {"error": {"code": 5}}, id="error in an error"),
        pytest.param(Event("error", "boom"), {"error": "boom"}, id="text"),
        pytest.param(Event("error", '"boom"'), {"error": "boom"}, id="JSON text"),
        pytest.param(Event("error", ""), {"error": ""}, id="no text"),
        pytest.param(Event("error", "[" * 200_000), {"error": "[" * 200_000}, id="deep"),
        pytest.param(Event("error", "1" * 5000), {"error": "1" * 5000}, id="long number"),
    ],
)
def test_an_event_is_a_record(event: Event, record: Record | Malformed | None) -> None:
    assert to_record(event) == record


@settings(max_examples=100)
@given(
    objects=st.lists(
        st.dictionaries(
            st.text(max_size=5),
            st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False) | st.text() | st.lists(st.text()),
            max_size=4,
        ),
        max_size=6,
    ),
    indent=st.none() | st.just(1),
    end=st.sampled_from(["\n", "\r\n"]),
    positions=POSITIONS,
)
def test_any_records_arrive_however_they_are_split(
    objects: list[Record], indent: int | None, end: str, positions: list[int]
) -> None:
    texts = [json.dumps(value, ensure_ascii=False, indent=indent) for value in objects]
    body = "".join("".join(f"data: {line}{end}" for line in text.split("\n")) + end for text in texts).encode()

    assert records(decode(SSE(), *split(body, positions))) == objects


@settings(max_examples=100)
@given(
    body=st.binary(max_size=200)
    | st.lists(
        st.sampled_from('data error event : \n \r\n \r {} {"a":1} [DONE] x \ufeff é \n\n data:'.split(" ")),
        max_size=30,
    ).map(lambda words: "".join(words).encode()),
    positions=POSITIONS,
    limit=st.sampled_from([8, 20, LIMIT]),
)
def test_any_bytes_give_the_same_however_they_are_split(body: bytes, positions: list[int], limit: int) -> None:
    events = decode(SSE(limit), body)

    assert decode(SSE(limit), *split(body, positions)) == events
    assert len(records(events)) <= len(events)
