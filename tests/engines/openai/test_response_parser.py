"""Answers of servers, as recorded and as written down, read without a socket."""

import json
from collections.abc import Iterator

import pytest

from localllm_magics.core.address import Address
from localllm_magics.core.errors import LocalLLMError, PromptTooLong, StreamBroken
from localllm_magics.core.events import Event, Reading, ReasoningDelta, TextDelta
from localllm_magics.engines.openai.records import END_OF_STREAM, RecordDecoder
from localllm_magics.engines.openai.response_parser import OpenAIResponseParser
from localllm_magics.engines.server.server_error import ErrorContext
from localllm_magics.engines.wire.ndjson import Malformed, Record
from tests.server.recordings import Server, load

ASKED = ErrorContext(
    address=Address("http", "127.0.0.1", 8080), model="demo", to_get_model="", redact=lambda text: text
)
SENTENCE = "A token is a word or a piece of a word. A model reads and writes text as a row of tokens."
USAGE: Record = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}


def read(parser: OpenAIResponseParser, *records: object) -> list[Event]:
    """The events in RECORDS, the end mark included."""
    events = [event for record in records for event in parser.feed(record)]  # type: ignore[arg-type] # any JSON
    return [*events, *parser.close()]


def delta(**fields: object) -> Record:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def end(reason: str = "stop", **fields: object) -> Record:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}


def texts(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def recorded(server: Server, name: str, number: int, size: int | None = None) -> Iterator[Record]:
    """The records of a recorded answer, its body cut into pieces of SIZE bytes."""
    response = load(server, name)[number].response
    body = response.body
    pieces = [frame.data for frame in response.frames]
    if size is not None:
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
    for record in RecordDecoder().records(iter(pieces)):
        assert not isinstance(record, Malformed)
        yield record


@pytest.mark.parametrize("size", [None, 1, 7, 1 << 20], ids=["as recorded", "bytes", "sevens", "whole"])
@pytest.mark.parametrize(
    ("server", "name", "number", "text", "reason", "counts"),
    [
        pytest.param("llama-server", "chat", 0, SENTENCE, "stop", (16, 0, 25), id="llama-server with usage"),
        pytest.param("llama-server", "chat", 1, SENTENCE, "stop", (16, 15, 25), id="llama-server without usage"),
        pytest.param("llama-server", "chat", 3, "A token is a word or", "length", (16, 15, 6), id="timings per token"),
        pytest.param("llama-server", "completion", 0, "A token is a word or a piece", "length", (16, 15, 8), id="own"),
        pytest.param("ollama", "v1-chat", 0, SENTENCE, "stop", (16, None, 25), id="Ollama with usage"),
        pytest.param("ollama", "v1-chat", 1, SENTENCE, "stop", (None, None, None), id="Ollama without usage"),
        pytest.param("ollama", "v1-completions", 0, "robin", "stop", (None, None, None), id="Ollama raw"),
    ],
)
def test_a_recorded_stream_gives_text_end_and_counts(  # noqa: PLR0913 - a table
    *,
    server: Server,
    name: str,
    number: int,
    text: str,
    reason: str,
    counts: tuple[int | None, int | None, int | None],
    size: int | None,
) -> None:
    parser = OpenAIResponseParser(ASKED)

    events = read(parser, *recorded(server, name, number, size))

    assert texts(events) == text
    assert parser.finish_reason == reason
    found = parser.counts
    assert (found.prompt_tokens, found.cached_tokens, found.completion_tokens) == counts


@pytest.mark.parametrize(
    ("server", "name", "number", "text", "reason", "tokens"),
    [
        pytest.param("llama-server", "chat", 2, "A token is a word", "length", 5, id="llama-server"),
        pytest.param("llama-server", "completion", 1, "NoNo", "length", 2, id="llama-server's own"),
        pytest.param("llama-server", "schema", 0, '{"name": "Ben", "age": 7}', "stop", 14, id="schema"),
        pytest.param("ollama", "v1-chat", 2, "A token is a word", "length", 5, id="Ollama"),
    ],
)
def test_an_answer_that_was_not_streamed_is_read_too(
    server: Server, name: str, number: int, text: str, reason: str, tokens: int
) -> None:
    parser = OpenAIResponseParser(ASKED)

    events = read(parser, json.loads(load(server, name)[number].response.body))

    assert texts(events) == text
    assert (parser.finish_reason, parser.counts.completion_tokens) == (reason, tokens)


def test_without_counts_each_piece_is_about_a_token() -> None:
    parser = OpenAIResponseParser(ASKED)

    events = read(parser, delta(content="Hel"), delta(content="lo"), end(), END_OF_STREAM)

    assert events == [TextDelta("Hel", 1, estimated=True), TextDelta("lo", 1, estimated=True)]
    assert parser.counts.completion_tokens is None


def test_progress_in_the_prompt_is_an_event() -> None:
    parser = OpenAIResponseParser(ASKED)
    chunk = {**delta(role="assistant", content=None), "prompt_progress": {"total": 90, "cache": 20, "processed": 60}}

    assert read(parser, chunk) == [Reading(60, 90, 20)]


@pytest.mark.parametrize(
    ("chunks", "notices"),
    [
        pytest.param([end("content_filter")], ("The server's content filter ended the answer.",), id="filter"),
        pytest.param(
            [delta(content=None, tool_calls=[{"id": "c"}]), end("tool_calls")],
            ("The model called a tool, and has none here.",),
            id="tool",
        ),
        pytest.param(
            [delta(function_call={"name": "f"}), end("function_call")],
            ("The model called a tool, and has none here.",),
            id="function",
        ),
        pytest.param([delta(content="x", tool_calls=[]), end()], (), id="neither"),
    ],
)
def test_an_answer_that_is_not_whole_is_noticed(chunks: list[Record], notices: tuple[str, ...]) -> None:
    parser = OpenAIResponseParser(ASKED)

    read(parser, *chunks)

    assert (parser.notices, parser.finish_reason) == (notices, "stop")


def test_reasoning_between_tags_is_no_part_of_the_answer() -> None:
    parser = OpenAIResponseParser(ASKED)

    events = read(
        parser, delta(content="<think>Hm"), delta(content=".</th"), delta(content="ink>Yes"), end(), END_OF_STREAM
    )

    assert texts(events) == "Yes"
    assert "".join(event.text for event in events if isinstance(event, ReasoningDelta)) == "Hm."


@pytest.mark.parametrize("last", [end(), END_OF_STREAM])
def test_half_a_tag_at_the_end_is_text(last: Record) -> None:
    parser = OpenAIResponseParser(ASKED)

    assert texts(read(parser, delta(content="<thi"), last)) == "<thi"


def test_plain_text_keeps_its_tags() -> None:
    parser = OpenAIResponseParser(ASKED, is_raw=True)

    assert texts(read(parser, {"choices": [{"text": "<think>x"}]}, end())) == "<think>x"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]}, id="Mistral"),
        pytest.param({"content": "", "reasoning_details": [{"type": "x", "text": "Hm."}]}, id="details"),
        pytest.param({"reasoning": "Hm.", "reasoning_details": [{"type": "x", "text": "Hm."}]}, id="both"),
    ],
)
def test_reasoning_comes_in_parts_too(fields: dict[str, object]) -> None:
    parser = OpenAIResponseParser(ASKED)

    assert read(parser, delta(**fields)) == [ReasoningDelta("Hm.", 1, estimated=True)]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_comes_under_several_names(field: str) -> None:
    parser = OpenAIResponseParser(ASKED)

    events = read(parser, delta(**{field: "Hm.", "content": None}), delta(content="Yes"), end())

    assert events == [ReasoningDelta("Hm.", 1, estimated=True), TextDelta("Yes", 1, estimated=True)]


def test_the_tokens_of_a_chunk_with_reasoning_and_text_are_counted_once() -> None:
    parser = OpenAIResponseParser(ASKED)
    chunk = {**delta(reasoning="Hm.", content="Yes"), "usage": {"completion_tokens": 4}}

    assert read(parser, chunk) == [ReasoningDelta("Hm.", 4), TextDelta("Yes", 0)]


@pytest.mark.parametrize(
    ("record", "text"),
    [
        pytest.param(delta(content=None), "", id="null"),
        pytest.param(delta(content=""), "", id="empty"),
        pytest.param(delta(role="assistant"), "", id="role only"),
        pytest.param(delta(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "ab", id="parts"),
        pytest.param(delta(content=None, refusal="No."), "No.", id="a refusal"),
        pytest.param(delta(content=[{"type": "refusal", "refusal": "No."}]), "No.", id="a refusal among parts"),
        pytest.param(delta(content=[{"type": "image_url"}, "x", None]), "", id="parts without text"),
        pytest.param(delta(content=7), "", id="a number"),
        pytest.param({"choices": []}, "", id="no choice"),
        pytest.param({"choices": None, "usage": None}, "", id="nothing"),
        pytest.param({"choices": [{"index": 1, "delta": {"content": "other"}}]}, "", id="another choice"),
        pytest.param({"choices": [{"text": "raw", "index": 0}]}, "raw", id="raw"),
        pytest.param({"choices": [{"delta": {"content": "x"}}]}, "x", id="no index"),
        pytest.param({"choices": [{"index": "0", "delta": {"content": "x"}}]}, "x", id="index as text"),
        pytest.param({"choices": [{"index": "1", "delta": {"content": "x"}}]}, "", id="another index as text"),
        pytest.param({**delta(content="x"), "usage": None}, "x", id="usage null"),
        pytest.param({**delta(content="x"), "error": None}, "x", id="error null"),
        pytest.param({**delta(content="x"), "timings": "fast"}, "x", id="timings of another type"),
        pytest.param({**delta(content="x"), "usage": {"completion_tokens": -1}}, "x", id="less than no tokens"),
        pytest.param(delta(content="\ud83d"), "", id="half a character, whose other half may come"),
        pytest.param(delta(content="\ude00"), "�", id="half a character, whose other half did not come"),
        pytest.param({}, "", id="empty record"),
        pytest.param({"detail": None, "message": None, "msg": ""}, "", id="an error that is none"),
    ],
)
def test_odd_records_are_no_trouble(record: Record, text: str) -> None:
    parser = OpenAIResponseParser(ASKED)

    events = read(parser, record)

    assert texts(events) == text
    assert parser.finish_reason is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("tool_calls", "stop"),
        ("content_filter", "stop"),
    ],
)
def test_an_end_may_come_with_the_last_text(given: str, reason: str) -> None:
    parser = OpenAIResponseParser(ASKED)

    events = read(parser, end(given, content="last"))

    assert texts(events) == "last"
    assert (parser.finish_reason, parser.is_complete) == (reason, False)


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        pytest.param({"content": "", "stop": True, "stop_type": "eos"}, "stop", id="new, by itself"),
        pytest.param({"content": "", "stop": True, "stop_type": "limit"}, "length", id="new, by the limit"),
        pytest.param({"content": "", "stop": True, "stopped_eos": True, "stopped_limit": False}, "stop", id="old"),
        pytest.param({"content": "", "stop": True, "stopped_limit": True}, "length", id="old, by the limit"),
    ],
)
def test_the_own_shape_of_llama_cpp_ends(last: Record, reason: str) -> None:
    parser = OpenAIResponseParser(ASKED)

    events = read(parser, {"content": "fox", "stop": False}, last)

    assert events == [TextDelta("fox", 1, estimated=True)]
    assert parser.finish_reason == reason


@pytest.mark.parametrize(
    ("records", "needs_reason", "reason"),
    [
        pytest.param([delta(content="x")], False, "stop", id="without a reason"),
        pytest.param([delta(content="x")], True, None, id="of a server that drops answers so"),
        pytest.param([delta(role="assistant")], False, "stop", id="without text"),
        pytest.param([delta(tool_calls=[{"index": 0}])], False, "stop", id="with a tool call alone"),
        pytest.param([USAGE], False, None, id="with nothing but counts"),
        pytest.param([end("length", content="x")], False, "length", id="with a reason"),
    ],
)
def test_the_mark_at_the_end_ends_an_answer(records: list[Record], needs_reason: bool, reason: str | None) -> None:
    parser = OpenAIResponseParser(ASKED, needs_reason=needs_reason)

    read(parser, *records, END_OF_STREAM)

    assert (parser.is_complete, parser.finish_reason) == (True, reason)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param([end(content="Hel")], id="a reason with text"),
        pytest.param([delta(content="Hel"), end(content="")], id="a reason alone"),
        pytest.param([end(content="Hel"), end(content="")], id="reasons on each"),
        pytest.param([end(role="assistant", content=""), USAGE, end(content="Hel")], id="a role with a reason"),
    ],
)
def test_counts_in_the_middle_end_no_answer(before: list[Record]) -> None:
    parser = OpenAIResponseParser(ASKED)

    events = read(parser, *before, USAGE)
    is_complete = parser.is_complete
    events += read(parser, end(content="lo"))

    assert texts(events) == "Hello"
    assert not is_complete


@pytest.mark.parametrize(
    "pieces", [["", "<think>", "hm", "</think>", "Hi"], ["<think>hm</thi", "nk>Hi"]], ids=["marks", "halves"]
)
def test_reasons_on_every_piece_end_no_reasoning(pieces: list[str]) -> None:
    events = read(OpenAIResponseParser(ASKED), *(end(content=piece) for piece in pieces))

    assert "".join(event.text for event in events if isinstance(event, ReasoningDelta)) == "hm"
    assert texts(events) == "Hi"


def test_an_error_that_ollama_swallows_leaves_no_reason() -> None:
    parser = OpenAIResponseParser(ASKED)

    events = read(parser, *recorded("ollama", "runner-dies-v1", 0))

    assert texts(events) != ""
    assert (parser.is_complete, parser.finish_reason) == (False, None)


@pytest.mark.parametrize(
    ("record", "error", "words"),
    [
        pytest.param({"error": {"message": "lost it", "code": 500}}, StreamBroken, "lost it", id="object"),
        pytest.param({"error": "lost it"}, StreamBroken, "lost it", id="string"),
        pytest.param({"object": "error", "message": "lost it", "code": 400}, StreamBroken, "lost it", id="flat"),
        pytest.param({"detail": "lost it"}, StreamBroken, "lost it", id="detail"),
        pytest.param({"detail": [{"msg": "lost it"}]}, StreamBroken, "lost it", id="list of details"),
        pytest.param({"errors": [{"message": "lost it"}]}, StreamBroken, "lost it", id="list of errors"),
        pytest.param({"message": "lost it", "code": 500}, StreamBroken, "lost it", id="bare words"),
        pytest.param({"success": False, "msg": "lost it"}, StreamBroken, "lost it", id="no success"),
        pytest.param(end("error", error={}), StreamBroken, "no reason given", id="a reason to end"),
        pytest.param(
            {"choices": [{"delta": {}, "finish_reason": "error", "error": {"message": "lost it"}}]},
            StreamBroken,
            "lost it",
            id="a reason to end, with words",
        ),
        pytest.param({"error": {}, "object": "error"}, StreamBroken, "broke off", id="error without words"),
        pytest.param(
            {"error": {"message": "too long", "n_prompt_tokens": 3014, "n_ctx": 512}},
            PromptTooLong,
            "3,014 tokens",
            id="too long",
        ),
    ],
)
def test_an_error_in_the_stream_is_raised(record: Record, error: type[LocalLLMError], words: str) -> None:
    parser = OpenAIResponseParser(ASKED)
    read(parser, delta(content="so far"))

    with pytest.raises(error, match=words):
        read(parser, record, END_OF_STREAM)


def test_an_error_line_of_old_llama_cpp_is_raised() -> None:
    parser = OpenAIResponseParser(ASKED)

    with pytest.raises(StreamBroken, match="slot unavailable"):
        read(parser, *RecordDecoder().records(iter([b'error: {"message": "slot unavailable"}\n\n'])))


@pytest.mark.parametrize("kind", [TextDelta, ReasoningDelta])
def test_a_character_in_two_halves_is_joined(kind: type[TextDelta | ReasoningDelta]) -> None:
    name = "content" if kind is TextDelta else "reasoning_content"

    events = read(OpenAIResponseParser(ASKED), delta(**{name: "a\ud83e"}), delta(**{name: "\udd99b"}), END_OF_STREAM)

    assert events == [kind("a", 1, estimated=True), kind("🦙b", 1, estimated=True)]
