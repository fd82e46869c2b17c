import json
from collections.abc import Iterable
from typing import Any

import pytest

from localllm_magics.core.address import Address
from localllm_magics.core.completion import Stats
from localllm_magics.core.errors import EngineCrashed, LocalLLMError, PromptTooLong, StreamBroken
from localllm_magics.core.events import Event, ReasoningDelta, TextDelta
from localllm_magics.engines.ollama.response_parser import OllamaResponseParser
from localllm_magics.engines.server.server_error import ErrorContext
from tests.server.recordings import Exchange, load, names

ASKED = ErrorContext(address=Address.from_text("http://127.0.0.1:11434"), model="demo", to_get_model="Pull it.")
STREAMED = [
    pytest.param(exchange, id=f"{name} {number}")
    for name in names("ollama")
    for number, exchange in enumerate(load("ollama", name))
    if exchange.request.path in ("/api/chat", "/api/generate")
    and exchange.response.status == 200
    and exchange.response.body.rstrip().endswith(b"}")
    and b'"done_reason"' in exchange.response.body
]


def records(exchange: Exchange) -> list[dict[str, Any]]:
    return [json.loads(line) for line in exchange.response.body.split(b"\n") if line]


def read(records: Iterable[dict[str, Any]], *, is_cached: bool = False) -> tuple[OllamaResponseParser, list[Event]]:
    parser = OllamaResponseParser(ASKED, is_cached=is_cached)
    return parser, [*(event for record in records for event in parser.feed(record)), *parser.close()]


def stats(record: dict[str, Any], *, is_cached: bool = False) -> Stats:
    """What a completion says where RECORD ended the answer."""
    parser, _ = read([{"response": "", "done": True, "done_reason": "stop", **record}], is_cached=is_cached)
    counts = parser.counts
    return Stats(
        prompt_tokens=counts.prompt_tokens or 0,
        cached_tokens=counts.cached_tokens or 0,
        completion_tokens=counts.completion_tokens or 0,
        load_seconds=counts.load_seconds or 0.0,
        prompt_seconds=counts.prompt_seconds or 0.0,
        decode_seconds=counts.decode_seconds or 0.0,
        timed_tokens=counts.timed_tokens,
    )


@pytest.mark.parametrize("exchange", STREAMED)
def test_a_recorded_answer_is_read(exchange: Exchange) -> None:
    *_, last = said = records(exchange)
    pieces = [record["message"]["content"] if "message" in record else record["response"] for record in said]

    parser, events = read(said)

    assert events == [TextDelta(piece, 1, estimated=True) for piece in pieces if piece]
    assert parser.is_complete
    assert parser.finish_reason == ("length" if last["done_reason"] == "length" else "stop")
    assert (parser.counts.prompt_tokens, parser.counts.completion_tokens) == (
        last.get("prompt_eval_count"),
        last.get("eval_count"),
    )
    assert parser.counts.load_seconds == last.get("load_duration", 0) / 1e9


def test_many_answers_were_recorded() -> None:
    assert len(STREAMED) > 40


def test_rates_are_those_of_the_server() -> None:
    found = stats(
        {"prompt_eval_count": 50, "prompt_eval_duration": 10**9, "eval_count": 25, "eval_duration": 2 * 10**9}
    )

    assert (found.completion_tokens, found.tokens_per_second) == (25, 12.0)  # the clock starts with the first token
    assert found.prompt_tokens_per_second == 50.0


def test_one_token_gives_no_rate() -> None:
    *_, last = records(load("ollama", "length")[1])

    found = stats(last)

    assert (last["eval_count"], last["eval_duration"]) == (1, 1000)
    assert (found.completion_tokens, found.tokens_per_second) == (1, 0.0)


def test_what_is_zero_and_so_left_out_is_zero() -> None:
    found = stats({})

    assert found == Stats(timed_tokens=0)
    assert (found.tokens_per_second, found.prompt_tokens_per_second) == (0.0, 0.0)


def test_cached_tokens_are_no_part_of_the_rate() -> None:
    record = {"prompt_eval_count": 914, "prompt_eval_cached_count": 904, "prompt_eval_duration": 10**9}

    found = stats(record, is_cached=True)

    assert (found.prompt_tokens, found.cached_tokens, found.prompt_tokens_per_second) == (914, 904, 10.0)


def test_more_cached_tokens_than_tokens_are_all_of_them() -> None:
    found = stats({"prompt_eval_count": 10, "prompt_eval_cached_count": 99, "prompt_eval_duration": 10**9})

    assert (found.cached_tokens, found.prompt_tokens_per_second) == (10, 0.0)


def test_a_repeated_prompt_has_no_rate_where_cached_tokens_are_not_reported() -> None:
    first, second = (records(exchange)[-1] for exchange in load("ollama", "long-prefill")[:2])

    found = stats(second, is_cached=True)

    assert (found.prompt_tokens, found.prompt_tokens_per_second) == (914, 0.0)
    assert stats(first).prompt_tokens_per_second == pytest.approx(914 / 5.425571)


@pytest.mark.parametrize("counter", ["prompt_eval_count", "eval_count", "eval_duration", "load_duration"])
@pytest.mark.parametrize("value", ["7", -1, None, [1], {"a": 1}, True, float("nan"), float("inf")], ids=repr)
def test_a_counter_that_is_no_number_is_not_there(counter: str, value: object) -> None:
    assert stats({counter: value}) == stats({})


@pytest.mark.parametrize(
    ("record", "events"),
    [
        pytest.param({"message": {"thinking": "Hm"}}, [ReasoningDelta("Hm", 1, estimated=True)], id="chat"),
        pytest.param({"thinking": "Hm"}, [ReasoningDelta("Hm", 1, estimated=True)], id="generate"),
        pytest.param(
            {"message": {"thinking": "Hm", "content": "So"}},
            [ReasoningDelta("Hm", 1, estimated=True), TextDelta("So", 1, estimated=True)],
            id="both",
        ),
        pytest.param({"message": {"content": None, "thinking": ""}}, [], id="nothing"),
        pytest.param({"message": {"content": ["x"], "thinking": 1}}, [], id="no texts"),
        pytest.param({"message": "text", "response": "So"}, [TextDelta("So", 1, estimated=True)], id="no message"),
        pytest.param({"response": "a\ud800b"}, [TextDelta("a\ufffdb", 1, estimated=True)], id="half a character"),
        pytest.param({}, [], id="empty"),
    ],
)
def test_reasoning_and_text_are_separated(record: dict[str, Any], events: list[Event]) -> None:
    parser, found = read([record])

    assert found == events
    assert not parser.is_complete


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        pytest.param({"done": True, "done_reason": "stop"}, "stop", id="stop"),
        pytest.param({"done": True, "done_reason": "length"}, "length", id="length"),
        pytest.param({"done": True}, "stop", id="no reason"),
        pytest.param({"done": True, "done_reason": "load"}, "stop", id="a prompt that was empty"),
        pytest.param({"done_reason": "length"}, "length", id="a reason alone"),
        pytest.param({"done": False, "done_reason": ""}, None, id="not yet"),
        pytest.param({"done": "true"}, None, id="not a truth value"),
    ],
)
def test_the_end_has_a_reason(record: dict[str, Any], reason: str | None) -> None:
    parser, _ = read([record])

    assert (parser.finish_reason, parser.is_complete) == (reason, reason is not None)


@pytest.mark.parametrize("done", [{"done": False}, {}], ids=["not done", "without done"])
def test_reasons_on_every_record_end_no_answer(done: dict[str, Any]) -> None:
    pieces = ["", "<think>", "hm", "</thi", "nk>", "", "Hi"]

    parser, events = read({"message": {"content": piece}, "done_reason": "stop", **done} for piece in pieces)

    assert [event for event in events if isinstance(event, ReasoningDelta)] == [ReasoningDelta("hm", 1, estimated=True)]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hi"
    assert (parser.finish_reason, parser.is_complete) == ("stop", False)


def test_an_empty_record_with_a_reason_ends_an_answer() -> None:
    parser, _ = read([{"response": "Hi"}, {"response": "", "done_reason": "stop"}])

    assert parser.is_complete


@pytest.mark.parametrize(
    ("records", "is_complete"),
    [
        pytest.param([{"response": "Hi", "done": False}, {"response": "!", "done": True}], True, id="at the end only"),
        pytest.param([{"response": "Hi", "done": True}], False, id="with the first text"),
        pytest.param([{"response": "Hi", "done": True}] * 2, False, id="with each text"),
        pytest.param([{"response": "Hi", "done": True, "eval_count": 1}], True, id="with counts"),
        pytest.param([{"response": "Hi"}, {"response": "", "done": True}], True, id="without text"),
    ],
)
def test_text_that_is_done_may_be_followed_by_more(records: list[dict[str, Any]], is_complete: bool) -> None:
    parser, _ = read(records)

    assert (parser.finish_reason, parser.is_complete) == ("stop", is_complete)


def test_text_in_the_last_record_counts() -> None:
    _, events = read([{"message": {"content": "So."}, "done": True, "done_reason": "stop"}])

    assert events == [TextDelta("So.", 1, estimated=True)]


INNER = '{"error":{"code":400,"message":"too much","n_prompt_tokens":3014,"n_ctx":512}}'


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        pytest.param("some trouble", StreamBroken, "some trouble", id="text"),
        pytest.param(INNER, PromptTooLong, "3,014 tokens", id="JSON inside a text"),
        pytest.param(json.dumps(INNER), LocalLLMError, "3014", id="JSON inside JSON inside a text"),
        pytest.param('{"error": {"message": "inner"}}', StreamBroken, "inner", id="a message inside"),
        pytest.param('{"cut', StreamBroken, '{"cut', id="JSON that is cut off"),
        pytest.param({"message": "an object"}, StreamBroken, "an object", id="object"),
        pytest.param(True, StreamBroken, "true", id="yes"),
        pytest.param(["first", "second"], StreamBroken, "first", id="list"),
        pytest.param(17, StreamBroken, "17", id="number"),
        pytest.param("llama-server process has terminated: signal: killed", EngineCrashed, "killed", id="crash"),
        pytest.param("\x1b[2Jred", StreamBroken, "red", id="terminal codes"),
    ],
)
def test_an_error_record_is_an_error(value: object, error: type[LocalLLMError], said: str) -> None:
    with pytest.raises(error) as caught:
        read([{"response": "So"}, {"error": value, "done": True}])

    assert said in caught.value.message
    assert "\x1b" not in caught.value.message


@pytest.mark.parametrize("nothing", [None, "", False])
def test_an_error_that_is_none_is_no_error(nothing: object) -> None:
    parser, events = read([{"response": "So", "error": nothing}, {"done": True, "error": nothing}])

    assert events == [TextDelta("So", 1, estimated=True)]
    assert parser.is_complete


def test_reasoning_in_tags_is_no_part_of_the_text() -> None:
    pieces = ["<thi", "nk>", "Hm", "</thi", "nk>\n\n", "Yes", "."]
    said = [{"message": {"content": piece}} for piece in pieces]

    _, events = read([*said, {"done": True}])

    assert "".join(event.text for event in events if isinstance(event, ReasoningDelta)) == "Hm"
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Yes."
    assert sum(event.tokens for event in events if isinstance(event, ReasoningDelta | TextDelta)) == len(pieces)


def test_what_could_have_been_a_tag_is_not_lost() -> None:
    _, events = read([{"message": {"content": "<"}, "done": True}])

    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "<"


def test_tags_in_plain_text_are_text() -> None:
    parser = OllamaResponseParser(ASKED, is_raw=True)

    assert parser.feed({"response": "<think>a"}) == [TextDelta("<think>a", 1, estimated=True)]


@pytest.mark.parametrize(("name", "kind"), [("content", TextDelta), ("thinking", ReasoningDelta)])
def test_a_character_in_two_halves_is_joined(name: str, kind: type[TextDelta | ReasoningDelta]) -> None:
    _, found = read([{"message": {name: "a\ud83e"}}, {"message": {name: "\udd99b"}}])

    assert found == [kind("a", 1, estimated=True), kind("🦙b", 1, estimated=True)]


def test_a_reason_in_each_record_is_no_end() -> None:
    first = {"message": {"content": "Hel"}, "done": False, "done_reason": "stop"}

    before, _ = read([first])
    after, events = read([first, {"message": {"content": "lo"}, "done": True, "done_reason": "max_tokens"}])

    assert (before.is_complete, before.finish_reason) == (False, "stop")
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hello"
    assert (after.is_complete, after.finish_reason) == (True, "length")
