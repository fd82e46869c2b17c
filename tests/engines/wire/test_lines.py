import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm_magics.engines.wire.lines import LIMIT, Lines, LineTooLong
from tests.engines.wire.transcripts import POSITIONS, halves, one_by_one, split

TRANSCRIPTS = [
    pytest.param(b"", [], b"", id="nothing"),
    pytest.param(b"a", [], b"a", id="no end"),
    pytest.param(b"a\n", [b"a"], b"", id="LF"),
    pytest.param(b"a\r\n", [b"a"], b"", id="CRLF"),
    pytest.param(b"a\r", [], b"a", id="CRLF without LF"),
    pytest.param(b"a\r\r\n", [b"a\r"], b"", id="CRCRLF"),
    pytest.param(b"a\rb\n", [b"a\rb"], b"", id="CR inside"),
    pytest.param(b"\n\r\n\n", [b"", b"", b""], b"", id="empty lines"),
    pytest.param(b"a\nb\r\nc", [b"a", b"b"], b"c", id="several"),
    pytest.param(b"a\x0bb\x0cc\x1cd\x1ee\n", [b"a\x0bb\x0cc\x1cd\x1ee"], b"", id="ends of lines to Python"),
    pytest.param("a\x85b\u2028c\u2029d\n".encode(), ["a\x85b\u2028c\u2029d".encode()], b"", id="ends to Unicode"),
    pytest.param(b"\xff\xfe\xe2\n\x80", [b"\xff\xfe\xe2"], b"\x80", id="no UTF-8"),
]


def read(pieces: list[bytes], limit: int = LIMIT) -> tuple[list[bytes], str, bytes]:
    """The lines in PIECES, the start of a line that is too long, and the rest."""
    lines = Lines(limit)
    found, start = [], b""
    for piece in pieces:
        try:
            found += lines.feed(piece)
        except LineTooLong as error:
            found += error.before
            start += b"too long: " + error.start
    return found, start.decode("latin-1"), lines.close()


@pytest.mark.parametrize(("body", "lines", "rest"), TRANSCRIPTS)
def test_lines_end_at_lf_or_crlf_only(body: bytes, lines: list[bytes], rest: bytes) -> None:
    assert read([body]) == (lines, "", rest)


@pytest.mark.parametrize(("body", "lines", "rest"), TRANSCRIPTS)
def test_a_split_changes_nothing(body: bytes, lines: list[bytes], rest: bytes) -> None:
    results = [read(one_by_one(body)), *(read(list(pieces)) for pieces in halves(body))]

    assert results == [(lines, "", rest)] * len(results)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"1234\n", ([b"1234"], "", b""), id="at the limit"),
        pytest.param(b"123\r\n", ([b"123"], "", b""), id="at the limit with CR"),
        pytest.param(b"12345\nb\n", ([], "too long: 1234", b""), id="with an end"),
        pytest.param(b"1234\r\nb\n", ([], "too long: 1234", b""), id="because of its CR"),
        pytest.param(b"12345", ([], "too long: 1234", b""), id="without an end"),
        pytest.param(b"a\r\nb\n12345\nc\nd", ([b"a", b"b"], "too long: 1234", b""), id="after others"),
        pytest.param(b"a\n123456\n1234567\nd", ([b"a"], "too long: 1234", b""), id="twice"),
    ],
)
def test_a_line_that_is_too_long_is_the_last(body: bytes, expected: tuple[list[bytes], str, bytes]) -> None:
    results = [read([body], 4), read(one_by_one(body), 4), *(read(list(pieces), 4) for pieces in halves(body))]

    assert results == [expected] * len(results)


def test_a_line_that_is_too_long_is_reported_with_its_limit() -> None:
    with pytest.raises(LineTooLong, match=r"^a line is longer than the size limit of 16,777,216 bytes$") as caught:
        Lines().feed(b"x" * (LIMIT + 1))

    assert (caught.value.start, caught.value.before) == (b"x" * 1024, [])


def test_a_line_may_be_as_long_as_the_limit() -> None:
    assert [len(line) for line in Lines().feed(b"x" * LIMIT + b"\n")] == [LIMIT]


def test_what_follows_a_line_that_is_too_long_is_ignored() -> None:
    lines = Lines(limit=1000)
    piece = b"x" * 2**20
    with pytest.raises(LineTooLong):
        lines.feed(piece)

    tracemalloc.start()
    try:
        found = [lines.feed(piece) for _ in range(10)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found == [[]] * 10
    assert peak < 2**18


def test_a_long_line_may_come_byte_by_byte() -> None:
    """Were this quadratic, it would move half a terabyte and meet the time limit of a test."""
    lines = Lines()

    found = [line for _ in range(2**20) for line in lines.feed(b"x")]

    assert (found, lines.feed(b"\n")) == ([], [b"x" * 2**20])


@settings(max_examples=100)
@given(
    body=st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"bcd", b"\xc3"])).map(b"".join), positions=POSITIONS
)
def test_any_split_changes_nothing(body: bytes, positions: list[int]) -> None:
    *lines, rest = body.split(b"\n")

    assert read(split(body, positions)) == ([line.removesuffix(b"\r") for line in lines], "", rest.removesuffix(b"\r"))
    assert read(split(body, positions), limit=5) == read([body], limit=5)
