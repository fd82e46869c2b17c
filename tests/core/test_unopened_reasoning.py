from dataclasses import replace

import pytest

from localllm_magics.core.completion import FinishReason
from localllm_magics.core.events import Done, Event, ReasoningDelta, TextDelta
from localllm_magics.core.unopened_reasoning import part
from tests.core.test_generation import REQUEST, fed


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        pytest.param("Hmm, ok.</think>Paris.", "Hmm, ok.", "Paris.", id="bare"),
        pytest.param("hmm</think>Paris", "hmm", "Paris", id="words"),
        pytest.param("Hmm.\n</think>\n\n**Paris**", "Hmm.\n", "**Paris**", id="lines"),
        pytest.param("Hmm. </think> Paris", "Hmm. ", "Paris", id="behind a sentence"),
        pytest.param("</think>Paris", "", "Paris", id="nothing before"),
        pytest.param("Hmm.[/THINK]Paris", "Hmm.", "Paris", id="Magistral"),
        pytest.param("Hmm.</seed:think>Paris", "Hmm.", "Paris", id="Seed-OSS"),
        pytest.param("`x` is it.\n</think>\n`y`", "`x` is it.\n", "`y`", id="code on both sides"),
        pytest.param("Hmm.</think>Say </think>.", "Hmm.", "Say </think>.", id="another one"),
    ],
)
def test_text_before_an_end_mark_is_reasoning(text: str, reasoning: str, answer: str) -> None:
    assert part(text) == (reasoning, answer)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Paris.", id="no mark"),
        pytest.param("", id="nothing"),
        pytest.param("Write <think> before and </think> behind it.", id="both marks"),
        pytest.param("The mark </think> ends it.", id="in a sentence"),
        pytest.param("It ends with `</think>` in Qwen3.", id="in code"),
        pytest.param('It ends with "</think>" in Qwen3.', id="in quotes"),
        pytest.param("```\nhmm\n</think>\nParis\n```", id="in a fence"),
        pytest.param("~~~\nhmm\n</think>\nParis\n~~~", id="in a fence of tildes"),
        pytest.param("1. </think> is the end", id="in a list"),
        pytest.param("It is </think>", id="at the end"),
        pytest.param("It is written\n</think>.", id="before a full stop"),
        pytest.param("Hmm.\n</think>\n", id="no answer"),
    ],
)
def test_a_mark_that_an_answer_speaks_about_is_text(text: str) -> None:
    assert part(text) == ("", text)


def test_a_long_text_takes_no_time() -> None:
    text = "a " * 500_000 + "</think>" + " " * 1_000_000

    assert part(text) == ("", text)


@pytest.mark.parametrize(
    ("events", "raw", "reasoning", "text"),
    [
        pytest.param([TextDelta("Hm.</th"), TextDelta("ink>Yes.")], False, "Hm.", "Yes.", id="in the text"),
        pytest.param([TextDelta("Hm.</think>Yes.")], True, None, "Hm.</think>Yes.", id="plain text"),
        pytest.param([ReasoningDelta("A"), TextDelta("B</think>C")], False, "A", "B</think>C", id="parted before"),
    ],
)
def test_reasoning_that_only_has_an_end_is_parted_at_the_end(
    events: list[Event], raw: bool, reasoning: str | None, text: str
) -> None:
    generation = fed(*events, request=replace(REQUEST, raw=raw))

    completion = generation.to_completion("stop")
    generation.feed(Done(completion))

    assert (completion.reasoning, completion.text) == (reasoning, text)
    assert (generation.reasoning or None, generation.text) == (reasoning, text)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        pytest.param('{"close": "Done.</think>yes"}', '{"close": "Done.</think>yes"}', id="JSON"),
        pytest.param('Hm.</think>{"n": 1}', '{"n": 1}', id="reasoning before it"),
    ],
)
def test_an_answer_of_a_schema_is_not_cut(said: str, text: str) -> None:
    generation = fed(TextDelta(said), request=replace(REQUEST, schema={"type": "object"}))

    assert generation.to_completion("stop").text == text


@pytest.mark.parametrize(("reason", "text"), [("length", "Hi "), ("stop", "Hi \ufffd\ufffd")])
def test_a_piece_of_a_character_at_the_limit_is_not_shown(reason: FinishReason, text: str) -> None:
    assert fed(TextDelta("Hi \ufffd\ufffd")).to_completion(reason).text == text


def test_reasoning_parted_at_the_end_is_reasoning_that_was_asked_for() -> None:
    completion = fed(TextDelta("Hm.</think>Yes."), request=replace(REQUEST, think=True)).to_completion("stop")

    assert completion.notices == ()
