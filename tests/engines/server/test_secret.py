"""A key goes into a header, and into nothing else."""

from collections.abc import Iterator

import pytest

from localllm_magics.core.errors import StreamBroken
from localllm_magics.core.events import ProgressEvent, Reading, ReasoningDelta, TextDelta
from localllm_magics.engines.server.secret import Secret

KEY = "sk-very-s3cret"


@pytest.mark.parametrize(
    ("key", "header"),
    [
        pytest.param(KEY, f"Bearer {KEY}", id="a token"),
        pytest.param(f"bearer {KEY}", f"Bearer {KEY}", id="a token with its scheme"),
        pytest.param("Basic me:hunter2", "Basic bWU6aHVudGVyMg==", id="user and password"),
        pytest.param("basic  bWU6aHVudGVyMg==", "Basic bWU6aHVudGVyMg==", id="in base64 already"),
        pytest.param("Basic", "Bearer Basic", id="a token of that name"),
        pytest.param("id:secret", "Bearer id:secret", id="a token with a colon"),
    ],
)
def test_a_key_is_sent_as_its_scheme_wants(key: str, header: str) -> None:
    assert Secret(key).authorization == header


@pytest.mark.parametrize(
    ("key", "text", "clean"),
    [
        pytest.param(KEY, f"bad key {KEY}!", "bad key …!", id="a token"),
        pytest.param("Basic me:hunter2", "Basic bWU6aHVudGVyMg==, hunter2", "Basic …, …", id="a password"),
        pytest.param("", "nothing", "nothing", id="no key"),
        pytest.param(KEY, f"bad key {KEY.upper()}!", "bad key …!", id="in capitals"),
        pytest.param("EMPTY", "the prompt is empty", "the prompt is empty", id="a word in another case"),
    ],
)
def test_no_message_shows_it(key: str, text: str, clean: str) -> None:
    assert Secret(key).redact(text) == clean


@pytest.mark.parametrize(
    ("key", "body", "clean"),
    [
        pytest.param(KEY, f'{{"id": "{KEY}"}}', '{"id": "…"}', id="plain"),
        pytest.param(KEY, f'{{"id": "{KEY.upper()}"}}', '{"id": "…"}', id="in capitals"),
        pytest.param(KEY, '{"id": "\\u0073k-very-s3cret"}', '{"id": "…"}', id="escaped"),
        pytest.param("a/b+c/d=5", '{"id": "a\\/b+c\\/d=5"}', '{"id": "…"}', id="with slashes"),
        pytest.param('quoted"key1', '{"id": "quoted\\"key1"}', '{"id": "…"}', id="with a quotation mark"),
        pytest.param(KEY, '{"id": "\\n"}', '{"id": "\\n"}', id="not there"),
        pytest.param(KEY, "no \\ JSON", "no \\ JSON", id="no JSON"),
        pytest.param("ollama", '{"id": "ollama\\n"}', '{"id": "ollama\\n"}', id="a word that is no secret"),
    ],
)
def test_no_document_shows_it(key: str, body: str, clean: str) -> None:
    assert Secret(key).redact_body(body.encode()) == clean.encode()


def test_no_header_shows_it() -> None:
    headers = {"location": f"http://x/?k={KEY}", KEY: "x", "server": "uvicorn"}

    assert Secret(KEY).redact_headers(headers) == {"location": "http://x/?k=…", "…": "x", "server": "uvicorn"}


@pytest.mark.parametrize("size", [1, 3, 100])
def test_no_answer_shows_it_however_it_is_cut(size: int) -> None:
    text = f"Bearer {KEY}, and sk-v"
    pieces = [text[start : start + size] for start in range(0, len(text), size)]

    events = list(Secret(KEY).redact_events([TextDelta(piece) for piece in pieces]))

    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Bearer …, and sk-v"
    assert sum(event.tokens for event in events if isinstance(event, TextDelta)) == len(pieces)


def test_what_is_held_back_comes_before_what_follows() -> None:
    events: list[ProgressEvent] = [ReasoningDelta("s"), TextDelta("k-"), Reading(1, 1), TextDelta("very")]

    found = list(Secret(KEY).redact_events(events))

    assert [event for event in found if event not in (ReasoningDelta(""), TextDelta(""))] == [
        ReasoningDelta("s", 0),
        TextDelta("k-"),
        Reading(1, 1),
        TextDelta("very"),
    ]


@pytest.mark.parametrize(("text", "pieces"), [("is", [TextDelta("i"), TextDelta("s", 0)]), ("it", [TextDelta("it")])])
def test_what_is_held_back_is_kept_where_an_answer_breaks_off(text: str, pieces: list[TextDelta]) -> None:
    def broken() -> Iterator[ProgressEvent]:
        yield TextDelta(text)
        raise StreamBroken("It broke.")

    events = Secret(KEY).redact_events(broken())

    assert [next(events) for _ in pieces] == pieces
    with pytest.raises(StreamBroken):
        next(events)


@pytest.mark.parametrize("key", ["EMPTY", "lm-studio", "not-needed", "Basic admin:password"])
def test_a_key_that_may_be_a_word_stays_in_answers_and_names(key: str) -> None:
    text = f"Choose a strong {key.rpartition(':')[2]}."

    assert list(Secret(key).redact_events([TextDelta(text)])) == [TextDelta(text)]
    assert Secret(key).redact_body(text.encode()) == text.encode()
