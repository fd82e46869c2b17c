import pytest

from localllm_magics.core.messages import Message
from localllm_magics.engines.kernel.message_spans import PLACEHOLDER, Span, find_messages, placeholders_in

FIRST, SECOND = PLACEHOLDER.format(0), PLACEHOLDER.format(1)


def found(pattern: str, text: str, *contents: str) -> list[tuple[int, str, bool]]:
    """Number and text of each message that is found, and whether it was changed."""
    messages = [Message.from_text("user", content) for content in contents]
    return [
        (span.number, text[span.start : span.end], span.is_changed) for span in find_messages(pattern, messages, text)
    ]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        pytest.param("", set(), id="nothing"),
        pytest.param(f"a{FIRST}{SECOND}b{FIRST}", {0, 1}, id="some"),
        pytest.param("\\ue0000\\ue001", {0}, id="in JSON"),
        pytest.param(str([{"type": "text", "text": FIRST}]), set(), id="as code"),
        pytest.param(f'[{{"type":"text","text":"{FIRST}"}}] {SECOND}', {1}, id="as JSON of parts"),
        pytest.param("\ue000\ue001", set(), id="without a number"),
    ],
)
def test_placeholders_that_a_template_wrote_are_known(text: str, numbers: set[int]) -> None:
    assert placeholders_in(text) == numbers


@pytest.mark.parametrize(
    ("pattern", "text", "contents", "expected"),
    [
        pytest.param(f"<{FIRST}><{SECOND}>", "<a><b>", "ab", [(0, "a", False), (1, "b", False)], id="as they are"),
        pytest.param(f"{SECOND}{FIRST}", "ba", "ab", [(1, "b", False), (0, "a", False)], id="in another order"),
        pytest.param(f"{FIRST}|{FIRST}", "a|a", "a", [(0, "a", False), (0, "a", False)], id="twice"),
        pytest.param(f"a{FIRST}a", "a a", [" "], [(0, " ", False)], id="white space"),
        pytest.param(f"a{FIRST}a", "aa", [" "], [(0, "", False)], id="white space that was trimmed"),
        pytest.param(f"a{FIRST}b", "ab.", [" "], [(0, "", False)], id="white space in a text that has changed"),
        pytest.param(f"A: {FIRST} B: {SECOND}", "A:A B:  A", "AA", [(0, "A", False), (1, "A", False)], id="behind"),
        pytest.param(
            f"A{FIRST}B", "Straße", ["STRASSE"], [(0, "Straße", True)], id="no anchor, and longer in capitals"
        ),
        pytest.param(
            f"x{FIRST}y{SECOND}", "a, x, b y", ["a", "b"], [(0, "a", False), (1, "b", False)], id="far anchor"
        ),
        pytest.param(f"{FIRST}{SECOND}", "Bc", ["a", "b"], [(1, "B", True)], id="one is lost"),
        pytest.param(f"[{FIRST}] [{SECOND}]", "[4] [b]", "ab", [(0, "4", True), (1, "b", False)], id="replaced"),
        pytest.param(f"[{FIRST}] [{SECOND}]", "[a] [8.]", "ab", [(0, "a", False), (1, "8.", True)], id="the last too"),
        pytest.param(f"[{FIRST}] [{SECOND}]", "[a] []", "ab", [(0, "a", False)], id="the last is lost"),
        pytest.param(f"[{FIRST}]", "(4)", "a", [], id="nothing is as it was"),
    ],
)
def test_messages_are_found(
    pattern: str, text: str, contents: list[str], expected: list[tuple[int, str, bool]]
) -> None:
    assert found(pattern, text, *contents) == expected


def test_a_large_text_that_was_changed_is_searched_in_one_pass() -> None:
    content = 'x "y"\n' * 100_000

    (span,) = find_messages(FIRST, [Message.from_text("user", content)], f"<{content.upper()}>")

    assert span == Span(number=0, start=1, end=len(content), is_changed=True)


@pytest.mark.parametrize("earlier", [[], ["Yes."]], ids=["alone", "behind another"])
def test_an_answer_is_found_where_its_reasoning_is_written_another_way(earlier: list[str]) -> None:
    def said(number: int) -> str:
        return f"<ask>{PLACEHOLDER.format(2 * number)}</ask><say></think>{PLACEHOLDER.format(2 * number + 1)}</say>"

    answers = ["It writes: <think>plan</think>The answer is 4.", *earlier]
    roles = [("user", "Hi"), *(turn for answer in answers for turn in (("assistant", answer), ("user", "Bye")))]
    pattern = "".join(map(said, range(len(answers)))) + f"<ask>{PLACEHOLDER.format(2 * len(answers))}</ask>"
    text = "<ask>Hi</ask><say><think>plan</think>The answer is 4.</say><ask>Bye</ask>"
    text += "".join(f"<say></think>{answer}</say><ask>Bye</ask>" for answer in earlier)

    spans = find_messages(pattern, [Message.from_text(*turn) for turn in roles], text)  # type: ignore[arg-type] # roles

    assert [text[span.start : span.end] for span in spans] == [
        *("Hi", "The answer is 4.", "Bye"),
        *(part for answer in earlier for part in (answer, "Bye")),
    ]
    assert not any(span.is_changed for span in spans)
