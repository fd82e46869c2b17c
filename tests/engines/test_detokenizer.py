import codecs
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm_magics.engines.detokenizer import Detokenizer


def decode(*pieces: bytes, stop: tuple[str, ...] = ()) -> list[str]:
    """What comes out for each piece, and at the end."""
    decoder = Detokenizer(stop)
    return [*(decoder.feed(piece) for piece in pieces), decoder.close()]


@pytest.mark.parametrize(
    ("pieces", "stop", "texts"),
    [
        pytest.param([b"Hi", b" you"], (), ["Hi", " you", ""], id="plain"),
        pytest.param([b"", b"a", b""], (), ["", "a", "", ""], id="empty pieces"),
        pytest.param([b"\xc3", b"\xa9"], (), ["", "é", ""], id="two bytes"),
        pytest.param([b"\xe2", b"\x82", b"\xac"], (), ["", "", "€", ""], id="three bytes"),
        pytest.param([b"\xf0\x9f", b"\xa6\x99!"], (), ["", "🦙!", ""], id="four bytes"),
        pytest.param([b"a\xf0\x9f"], (), ["a", ""], id="cut at the end"),
        pytest.param([b"\xff\xfea"], (), ["\ufffd\ufffda", ""], id="never valid"),
        pytest.param([b"\xc3", b"("], (), ["", "\ufffd(", ""], id="broken off"),
        pytest.param([b"\xed\xa0\x80"], (), ["\ufffd\ufffd\ufffd", ""], id="half a character"),
        pytest.param([b"\x00"], (), ["\x00", ""], id="zero"),
        pytest.param([b"one END two"], ("END",), ["one ", ""], id="stop in one piece"),
        pytest.param([b"one E", b"ND", b"two"], ("END",), ["one ", "", "", ""], id="stop in pieces"),
        pytest.param([b"one E", b"Nd"], ("END",), ["one ", "ENd", ""], id="no stop after all"),
        pytest.param([b"EE", b"END"], ("END",), ["E", "E", ""], id="begins again"),
        pytest.param([b"aab", b"aac"], ("aaba", "aac"), ["", "", ""], id="begins inside"),
        pytest.param([b"one E"], ("END",), ["one ", "E"], id="held to the end"),
        pytest.param([b"abc"], ("b", "abc"), ["a", ""], id="complete first"),
        pytest.param([b"xabc"], ("bc", "abc"), ["x", ""], id="complete together"),
        pytest.param([b"caf\xc3", b"\xa9 au"], ("é",), ["caf", "", ""], id="stop of two bytes"),
        pytest.param([b"END"], ("END",), ["", ""], id="nothing but the stop"),
        pytest.param([b"\n", b"\n", b"x"], ("\n\n",), ["", "", "", ""], id="line ends"),
    ],
)
def test_bytes_become_text(pieces: list[bytes], stop: tuple[str, ...], texts: list[str]) -> None:
    assert decode(*pieces, stop=stop) == texts


def test_it_tells_that_a_stop_string_came() -> None:
    decoder = Detokenizer(("END",))

    decoder.feed(b"EN")
    before = decoder.stopped
    decoder.feed(b"D")

    assert (before, decoder.stopped) == (False, True)


def test_closing_again_brings_nothing() -> None:
    decoder = Detokenizer(("END",))
    decoder.feed(b"E")

    assert [decoder.close(), decoder.close()] == ["E", ""]


def cuts(size: int, places: list[int]) -> list[tuple[int, int]]:
    """From 0 to SIZE in steps that end at PLACES."""
    return list(pairwise(sorted({0, size, *(place % (size + 1) for place in places)})))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    return [data[start:end] for start, end in cuts(len(data), places)]


PLACES = st.lists(st.integers(0, 10**6), max_size=12)
# Few letters, so that stop strings are found often; é and 🦙 have several bytes.
TEXTS = st.text("abé🦙", max_size=40)
STOPS = st.lists(st.text("abé🦙", min_size=1, max_size=4), max_size=3).map(tuple)


@given(st.binary(max_size=60), PLACES)
def test_any_split_of_any_bytes_gives_the_same_text(data: bytes, places: list[int]) -> None:
    whole = codecs.getincrementaldecoder("utf-8")("replace").decode(data)

    assert "".join(decode(*cut(data, places))) == whole


@given(TEXTS, STOPS, PLACES)
def test_any_split_stops_at_the_same_place(text: str, stop: tuple[str, ...], places: list[int]) -> None:
    data = text.encode()

    assert "".join(decode(*cut(data, places), stop=stop)) == "".join(decode(data, stop=stop))


@given(TEXTS, STOPS, PLACES)
def test_all_text_before_the_stop_comes_out_and_no_more(text: str, stop: tuple[str, ...], places: list[int]) -> None:
    given_out = "".join(decode(*cut(text.encode(), places), stop=stop))

    assert text.startswith(given_out)
    assert [word for word in stop if word in given_out] == []
    assert given_out == text or any(text.startswith(word, len(given_out)) for word in stop)


@given(TEXTS, STOPS, PLACES)
def test_what_may_begin_a_stop_string_is_held_back_and_no_more(
    text: str, stop: tuple[str, ...], places: list[int]
) -> None:
    decoder = Detokenizer(stop)
    given_out = seen = ""
    for start, end in cuts(len(text), places):
        seen += text[start:end]
        given_out += decoder.feed(text[start:end].encode())
        begun = [size for word in stop for size in range(len(word)) if seen.endswith(word[:size])]
        assert decoder.stopped or len(seen) - len(given_out) == max(begun, default=0)
