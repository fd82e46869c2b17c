import pytest

from localllm_magics.core.sanitizer.control import strip_control, to_printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a\tb\nc", "a\tb\nc", id="tab-and-line-end-stay"),
        pytest.param("a\r\nb\rc\u2029d", "a\nb\nc\nd", id="other-line-ends"),
        pytest.param("\x1b[1;31mred\x1b[0m \x1b]0;title\x07x\x1b]8;;url\x1b\\y\x1b(B", "red xy", id="sequences"),
        pytest.param("\x1b]0;unfinished", "0;unfinished", id="unfinished-sequence"),
        pytest.param("\x1b\x1b[0m[31m", "[31m", id="nested-sequences"),
        pytest.param("\x00\x07\x08\x7f\x85\x9b31m\ud800", "31m", id="control-characters"),
        pytest.param("a\u202eb\u2066c", "abc", id="reversed-order"),
        pytest.param("é 漢 👩‍🚀", "é 漢 👩‍🚀", id="letters-stay"),
    ],
)
def test_control_characters_are_dropped(text: str, expected: str) -> None:
    assert strip_control(text) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("é 漢.gguf", "é 漢.gguf", id="letters-stay"),
        pytest.param("\x1b[2J\x07\n\0", r"\x1b[2J\x07\n\x00", id="control-characters"),
        pytest.param("\u202e\udcff", r"\u202e\udcff", id="reversed-order-and-surrogates"),
    ],
)
def test_control_characters_in_a_name_are_escaped(name: str, expected: str) -> None:
    assert to_printable(name) == expected
