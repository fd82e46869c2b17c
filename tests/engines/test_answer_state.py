import pytest

from localllm_magics.core.completion import FinishReason
from localllm_magics.core.events import Delta, ReasoningDelta, TextDelta
from localllm_magics.engines.answer_state import AnswerState
from localllm_magics.engines.reasoning_parser import ReasoningParser
from localllm_magics.engines.reasoning_sections import Section

REASONING = ["<th", "ink>", "h", "m</think", ">\n\n", "Yes", "."]


def new_state(*stop: str, max_tokens: int = 100, is_raw: bool = False) -> AnswerState:
    return AnswerState(max_tokens=max_tokens, stop=stop, reasoning=ReasoningParser(is_raw=is_raw))


def feed(state: AnswerState, pieces: list[str]) -> list[Delta]:
    """The events of PIECES, up to the last one that STATE takes."""
    deltas: list[Delta] = []
    for piece in pieces:
        assert state.finish_reason is None
        deltas += state.feed(piece.encode())
    return deltas


def to_text(deltas: list[Delta]) -> tuple[str, str]:
    """The reasoning and the answer in DELTAS."""
    reasoning = "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta))
    return reasoning, "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def test_each_token_is_an_event() -> None:
    state = new_state()

    assert feed(state, ["Hello", " world"]) == [TextDelta("Hello", 1), TextDelta(" world", 1)]
    assert state.finish_reason is None
    assert repr(state) == "<AnswerState unfinished, 98 tokens left>"


def test_an_end_of_generation_token_finishes_it_and_is_no_part_of_it() -> None:
    state = new_state()
    feed(state, ["Hello"])

    assert state.feed(b"never read", is_eog=True) == []
    assert state.finish_reason == "stop"


def test_a_character_comes_when_its_last_byte_is_there() -> None:
    state, data = new_state(), "🦙".encode()

    deltas = [state.feed(data[at : at + 1]) for at in range(len(data))]

    assert deltas == [[], [], [], [TextDelta("🦙", 4)]]


@pytest.mark.parametrize(
    ("pieces", "text", "reason"),
    [
        pytest.param(["a", "b"], "ab", None, id="fewer tokens than the limit"),
        pytest.param(["a", "b", "c"], "abc", "length", id="as many"),
        pytest.param(["a", "b", "<E"], "ab<E", "length", id="the last one held back"),
        pytest.param(["a", "b", "c<END>"], "abc", "stop", id="a stop text at the limit"),
        pytest.param(["a", "<E", "ND>"], "a", "stop", id="a stop text in two tokens"),
    ],
)
def test_stop_texts_and_the_limit_finish_it(pieces: list[str], text: str, reason: FinishReason | None) -> None:
    state = new_state("<END>", max_tokens=3)

    deltas = feed(state, pieces)

    assert (to_text(deltas), state.finish_reason) == (("", text), reason)
    assert sum(delta.tokens for delta in deltas) == len(pieces)


def test_reasoning_is_parted_from_the_answer() -> None:
    deltas = feed(new_state(), REASONING)

    assert to_text(deltas) == ("hm", "Yes.")
    assert sum(delta.tokens for delta in deltas) == len(REASONING)


def test_a_stop_text_ends_the_reasoning() -> None:
    state = new_state("END")

    assert to_text(feed(state, ["<think>", "hm", "END"])) == ("hm", "")
    assert state.finish_reason == "stop"


def test_a_control_token_is_a_mark_and_never_text() -> None:
    think = Section(start="[THINK]", end="[/THINK]")
    state = AnswerState(max_tokens=9, stop=("END",), reasoning=ReasoningParser(sections=(think,)))
    deltas = state.feed(b"[THINK]", is_control=True) + state.feed(b"hm E") + state.feed(b"[/THINK]", is_control=True)

    deltas += state.feed(b"Yes") + state.feed(b"[/THINK]", is_control=True)

    assert to_text(deltas) == ("hm E", "Yes")
    assert sum(delta.tokens for delta in deltas) == 5


def test_plain_text_has_no_reasoning() -> None:
    assert to_text(feed(new_state(is_raw=True), REASONING)) == ("", "".join(REASONING))


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        pytest.param(["Yes <", "E"], ("", "Yes <E"), id="part of a stop text"),
        pytest.param(["<thi"], ("", "<thi"), id="part of a tag"),
        pytest.param(["<think>", "hm</th"], ("hm</th", ""), id="part of the closing tag"),
        pytest.param(["Yes", "\udcf0"], ("", "Yes"), id="part of a character, which is not shown"),
        pytest.param([], ("", ""), id="nothing"),
    ],
)
def test_what_was_held_back_comes_at_the_end(pieces: list[str], expected: tuple[str, str]) -> None:
    state, deltas = new_state("<END>"), list[Delta]()
    for piece in pieces:
        deltas += state.feed(piece.encode("utf-8", "surrogateescape"))

    deltas += state.close()

    assert to_text(deltas) == expected
    assert sum(delta.tokens for delta in deltas) == len(pieces)
    assert state.close() == []
