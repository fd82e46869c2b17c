"""Reasoning between tags, however the pieces are cut."""

import pytest

from localllm_magics.core.events import ReasoningDelta, TextDelta
from localllm_magics.engines.reasoning_parser import ReasoningParser


def split(*pieces: str, is_raw: bool = False) -> tuple[str, str]:
    """The reasoning and the answer in PIECES."""
    events = events_of(*pieces, is_raw=is_raw)
    thoughts = [event.text for event in events if isinstance(event, ReasoningDelta)]
    return "".join(thoughts), "".join(event.text for event in events if isinstance(event, TextDelta))


def events_of(*pieces: str, is_raw: bool = False) -> list[TextDelta | ReasoningDelta]:
    thinking = ReasoningParser(is_raw=is_raw)
    return [event for piece in pieces for event in thinking.feed(TextDelta(piece))] + thinking.end()


TEXTS = [
    pytest.param("<think>hm</think>yes", "hm", "yes", id="both"),
    pytest.param("\n <think>\nhm\n</think>\n\nyes\n\nno", "\nhm\n", "yes\n\nno", id="space around"),
    pytest.param("<think></think>yes", "", "yes", id="no reasoning"),
    pytest.param("<think>hm", "hm", "", id="never closed"),
    pytest.param("<think>hm</thin", "hm</thin", "", id="cut in the closing tag"),
    pytest.param("<think>a </thinker> b</think>c", "a </thinker> b", "c", id="another closing tag"),
    pytest.param("<think>a < b <</think>c", "a < b <", "c", id="signs like a tag's"),
    pytest.param("<think>a</think>b<think>c</think>d", "a", "b<think>c</think>d", id="only the first"),
    pytest.param("<think>a</think>\n", "a", "", id="no answer"),
    pytest.param("<thinker>hm", "", "<thinker>hm", id="another tag"),
    pytest.param("<thi", "", "<thi", id="cut in the opening tag"),
    pytest.param("yes <think>hm</think>", "", "yes <think>hm</think>", id="not at the start"),
    pytest.param("\n\nyes", "", "\n\nyes", id="space and no tag"),
    pytest.param(" " * 1000 + "<think>", "", " " * 1000 + "<think>", id="too much space"),
    pytest.param("", "", "", id="nothing"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000], ids="in pieces of {}".format)
@pytest.mark.parametrize(("text", "reasoning", "answer"), TEXTS)
def test_reasoning_at_the_start_is_no_part_of_the_answer(text: str, reasoning: str, answer: str, size: int) -> None:
    pieces = [text[start : start + size] for start in range(0, len(text), size)]

    assert split(*pieces) == (reasoning, answer)


def test_plain_text_keeps_its_tags() -> None:
    assert split("<think>", "hm</think>yes", is_raw=True) == ("", "<think>hm</think>yes")


def test_what_need_not_be_held_back_comes_at_once() -> None:
    assert events_of("Hel", "lo") == [TextDelta("Hel"), TextDelta("lo")]


def test_each_piece_brings_its_tokens_when_it_comes() -> None:
    thinking = ReasoningParser()
    pieces = [TextDelta("<think>", 1), TextDelta("a</", 2, estimated=True), TextDelta("think>b", 3), TextDelta("c", 4)]

    assert [thinking.feed(piece) for piece in pieces] == [
        [TextDelta("", 1)],
        [ReasoningDelta("a", 2, estimated=True)],
        [TextDelta("b", 3)],
        [TextDelta("c", 4)],
    ]


def test_what_is_left_comes_once() -> None:
    thinking = ReasoningParser()
    thinking.feed(TextDelta("<th"))

    assert [thinking.end(), thinking.end()] == [[TextDelta("<th", 0)], []]
