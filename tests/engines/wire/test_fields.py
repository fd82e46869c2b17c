import pytest

from localllm_magics.engines.wire.fields import child, children, number, text, whole, word


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("a", "a", id="a text"),
        pytest.param("", None, id="an empty one"),
        pytest.param("é\u2028😀", "é\u2028😀", id="beyond ASCII"),
        pytest.param("a\ud83d", "a\ufffd", id="half a character"),
        pytest.param(1, None, id="a number"),
        pytest.param(["a"], None, id="a list"),
    ],
)
def test_text_is_text_that_can_be_written(value: object, expected: str | None) -> None:
    assert text({"x": value}, "x") == expected


def test_the_first_of_several_names_that_has_a_text_counts() -> None:
    assert text({"a": None, "b": "", "c": "yes", "d": "no"}, "a", "b", "c", "d") == "yes"


@pytest.mark.parametrize(
    ("value", "as_whole", "as_number"),
    [
        pytest.param(0, 0, 0.0, id="zero"),
        pytest.param(7, 7, 7.0, id="a whole number"),
        pytest.param(3.0, 3, 3.0, id="a whole number with a point"),
        pytest.param(2**62 + 1, 2**62 + 1, float(2**62), id="a large one, exactly"),
        pytest.param(1.5, None, 1.5, id="a fraction"),
        pytest.param(-1, None, None, id="below zero"),
        pytest.param(True, None, None, id="a yes"),
        pytest.param("7", None, None, id="a text"),
        pytest.param(10**400, None, None, id="beyond all floats"),
        pytest.param(float("nan"), None, None, id="no number"),
        pytest.param(float("inf"), None, None, id="infinite"),
    ],
)
def test_numbers_are_within_bounds(value: object, as_whole: int | None, as_number: float | None) -> None:
    assert (whole({"x": value}, "x"), number({"x": value}, "x")) == (as_whole, as_number)


def test_what_is_no_object_is_an_empty_one() -> None:
    assert (child({"x": {"a": 1}}, "x"), child({"x": [1]}, "x"), child({}, "x")) == ({"a": 1}, {}, {})


def test_what_is_no_list_of_objects_is_left_out() -> None:
    assert (children({"x": [{"a": 1}, 2, None]}, "x"), children({"x": {"a": 1}}, "x")) == ([{"a": 1}], [])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("Q8_0", "Q8_0", id="a word"),
        pytest.param("a\x1b[2J", None, id="an escape"),
        pytest.param("a" * 201, None, id="a flood"),
        pytest.param(None, None, id="nothing"),
    ],
)
def test_a_word_can_be_shown(value: object, expected: str | None) -> None:
    assert word({"x": value}, "x") == expected
