"""Reasoning between marks, however the pieces are cut."""

import pytest

from localllm_magics.core.events import ReasoningDelta, TextDelta
from localllm_magics.engines.reasoning_parser import ReasoningParser
from localllm_magics.engines.reasoning_sections import THINK, Section, sections_of

HARMONY = sections_of("<|start|><|channel|><|message|><|end|>")
MUSE = sections_of("<|start|><|message|><|eom|>")
GEMMA = sections_of("<|channel>thought <channel|>")
GRANITE = sections_of("<response></response>")
MAGISTRAL = sections_of("[THINK][/THINK]")
KIMI = sections_of("<|open|><|sep|><|close|>")
THOUGHT = "<|channel|>analysis<|message|>hm<|end|>"
FINAL = "<|start|>assistant<|channel|>final<|message|>"
Piece = str | bytes  # bytes are a control token


def events_of(parser: ReasoningParser, *pieces: Piece) -> list[TextDelta | ReasoningDelta]:
    events = list[TextDelta | ReasoningDelta]()
    for piece in pieces:
        is_control = isinstance(piece, bytes)
        events += parser.feed(TextDelta(piece.decode() if isinstance(piece, bytes) else piece), is_control=is_control)
    return events + parser.end()


def split(parser: ReasoningParser, *pieces: Piece) -> tuple[str, str]:
    """The reasoning and the answer in PIECES."""
    events = events_of(parser, *pieces)
    thoughts = [event.text for event in events if isinstance(event, ReasoningDelta)]
    return "".join(thoughts), "".join(event.text for event in events if isinstance(event, TextDelta))


def cut(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


in_pieces = pytest.mark.parametrize("size", [1, 2, 3, 5, 1000], ids="in pieces of {}".format)
TEXTS = [
    pytest.param("<think>hm</think>yes", "hm", "yes", id="both"),
    pytest.param("\n <think>\nhm\n</think>\n\nyes\n\nno", "hm\n", "yes\n\nno", id="space around"),
    pytest.param("<think></think>yes", "", "yes", id="no reasoning"),
    pytest.param("<think>\n\n</think>\n\nyes", "", "yes", id="empty lines are no reasoning"),
    pytest.param("<think>\n<think>hm</think>yes", "hm", "yes", id="started twice"),
    pytest.param("</think>yes", "", "yes", id="end alone"),
    pytest.param("<think>hm", "hm", "", id="never closed"),
    pytest.param("<think>hm</thin", "hm</thin", "", id="cut in the closing tag"),
    pytest.param("<think>a </thinker> b</think>c", "a </thinker> b", "c", id="another closing tag"),
    pytest.param("<think>a < b <</think>c", "a < b <", "c", id="signs like a tag's"),
    pytest.param("<think>a</think>b<think>c</think>d", "a", "b<think>c</think>d", id="only the first"),
    pytest.param("<think>a</think>\n<think>b</think>c", "a\n\nb", "c", id="two before the answer"),
    pytest.param("<think>a</think>\n", "a", "", id="no answer"),
    pytest.param("<thinker>hm", "", "<thinker>hm", id="another tag"),
    pytest.param("<thi", "", "<thi", id="cut in the opening tag"),
    pytest.param("yes <think>hm</think>", "", "yes <think>hm</think>", id="not at the start"),
    pytest.param("\n\nyes", "", "\n\nyes", id="space and no tag"),
    pytest.param("\n\n", "", "\n\n", id="space alone"),
    pytest.param(" " * 1000 + "<think>", "", " " * 1000 + "<think>", id="too much space"),
    pytest.param("", "", "", id="nothing"),
    pytest.param("[THINK]hm[/THINK]yes", "hm", "yes", id="Magistral"),
    pytest.param(f"{THOUGHT}{FINAL}yes", "hm", "yes", id="gpt-oss"),
    pytest.param("<response>yes</response>", "", "<response>yes</response>", id="markup"),
]


@in_pieces
@pytest.mark.parametrize(("text", "reasoning", "answer"), TEXTS)
def test_reasoning_at_the_start_is_no_part_of_the_answer(text: str, reasoning: str, answer: str, size: int) -> None:
    assert split(ReasoningParser(), *cut(text, size)) == (reasoning, answer)


@in_pieces
@pytest.mark.parametrize(
    ("sections", "text", "reasoning", "answer"),
    [
        pytest.param(HARMONY, f"{THOUGHT}{FINAL}yes<|end|>", "hm", "yes", id="gpt-oss with an end"),
        pytest.param(HARMONY, f"<|channel|>commentary{THOUGHT}{FINAL}yes", "hm", "yes", id="gpt-oss, stray channel"),
        pytest.param(HARMONY, f"{THOUGHT}{FINAL}a{FINAL}b", "hm", f"a{FINAL}b", id="gpt-oss, quoted header"),
        pytest.param(HARMONY, f"{THOUGHT}{FINAL}a<|end|>{FINAL}b", "hm", "a\n\nb", id="gpt-oss, two answers"),
        pytest.param(HARMONY, f"{FINAL}a <|end|> b<|end|>", "", "a <|end|> b", id="gpt-oss, quoted end"),
        pytest.param(HARMONY, "<|channel|>final", "", "<|channel|>final", id="gpt-oss, no end of a header"),
        pytest.param(HARMONY, "<|channel|>" + "a" * 400, "", "<|channel|>" + "a" * 400, id="gpt-oss, no header"),
        pytest.param(
            MUSE, " to=self<|message|>hm<|eom|><|start|>assistant to=user<|message|>yes", "hm", "yes", id="Muse"
        ),
        pytest.param(GEMMA, "<|channel>thought\nhm<channel|>yes", "hm", "yes", id="Gemma 4"),
        pytest.param(GEMMA, "<|channel>thought\n<channel|>yes", "", "yes", id="Gemma 4 without"),
        pytest.param(GRANITE, "<think>hm</think>\n<response>yes</response>", "hm", "yes", id="Granite"),
        pytest.param(GRANITE, "<response>yes</response>", "", "<response>yes</response>", id="Granite, markup"),
        pytest.param((THINK,), "[THINK]hm[/THINK]", "", "[THINK]hm[/THINK]", id="not of this model"),
    ],
)
def test_the_marks_of_a_model_part_its_reasoning(
    sections: tuple[Section, ...], text: str, reasoning: str, answer: str, size: int
) -> None:
    assert split(ReasoningParser(sections=sections), *cut(text, size)) == (reasoning, answer)


@pytest.mark.parametrize(
    ("sections", "pieces", "reasoning", "answer"),
    [
        pytest.param(MAGISTRAL, [b"[THINK]", "hm", b"[/THINK]", "yes"], "hm", "yes", id="both"),
        pytest.param(MAGISTRAL, ["yes", b"[/THINK]", "."], "", "yes.", id="end in the answer"),
        pytest.param(MAGISTRAL, ["a", b"[THINK]", "hm", b"[/THINK]", "b"], "hm", "a\n\nb", id="in the answer"),
        pytest.param(MAGISTRAL, [b"[THINK]", "hm", b"[THINK]", "m"], "hmm", "", id="again in reasoning"),
        pytest.param(
            HARMONY,
            [b"<|channel|>", "analysis", b"<|message|>", "hm", b"<|channel|>", "final", b"<|message|>", "yes"],
            "hm",
            "yes",
            id="gpt-oss without an end",
        ),
        pytest.param(
            HARMONY,
            [
                *(b"<|channel|>", "analysis", b"<|message|>", "hm"),
                *(b"<|start|>", "assistant", b"<|channel|>", "final", b"<|message|>", "yes"),
            ],
            "hm",
            "yes",
            id="gpt-oss, start without an end",
        ),
        pytest.param(GEMMA, [b"<|channel>", "yes"], "", "yes", id="without the rest of a mark"),
        pytest.param(GEMMA, ["yes", b"<|channel>", "thought\n", b"<channel|>"], "", "yes", id="empty at the end"),
        pytest.param(
            KIMI,
            [b"<|open|>", "response", b"<|sep|>", "yes", b"<|close|>", "response", b"<|sep|>", "."],
            "",
            "yes\n\n.",
            id="end of the answer",
        ),
    ],
)
def test_a_control_token_is_a_mark_or_nothing(
    sections: tuple[Section, ...], pieces: list[Piece], reasoning: str, answer: str
) -> None:
    assert split(ReasoningParser(sections=sections), *pieces) == (reasoning, answer)


@in_pieces
@pytest.mark.parametrize(
    ("prompt", "text", "reasoning", "answer"),
    [
        pytest.param("Why? <think>\n", "hm</think>yes", "hm", "yes", id="opened"),
        pytest.param("Why? <think>\n", "<think>\nhm</think>yes", "hm", "yes", id="opened, and once more"),
        pytest.param("Why? <think>\n", "\n</think>yes", "", "yes", id="opened and empty"),
        pytest.param("Why? <think></think>", "yes", "", "yes", id="closed"),
        pytest.param("Why? <think:x>", "hm</think:x>yes", "hm", "yes", id="opened by a mark of its own"),
        pytest.param("<think> Why?", "yes", "", "yes", id="before the end"),
    ],
)
def test_a_prompt_may_open_the_reasoning(prompt: str, text: str, reasoning: str, answer: str, size: int) -> None:
    assert split(ReasoningParser(prompt=prompt), *cut(text, size)) == (reasoning, answer)


def test_plain_text_keeps_its_tags() -> None:
    assert split(ReasoningParser(is_raw=True, prompt="<think>"), "<think>", "hm</think>yes") == (
        "",
        "<think>hm</think>yes",
    )


def test_what_need_not_be_held_back_comes_at_once() -> None:
    assert events_of(ReasoningParser(), "Hel", "lo") == [TextDelta("Hel"), TextDelta("lo")]


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
