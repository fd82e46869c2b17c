"""Numbers as people write them, and the parts of a card."""

import pytest

from localllm_magics.core.presentation import (
    small,
    to_context,
    to_duration,
    to_first_token,
    to_rate,
    to_safe_markdown,
    to_tokens,
    to_two_digits,
)


@pytest.mark.parametrize(
    ("rate", "shown"),
    [
        (0.0, ""),
        (0.42, "0.4 tok/s"),
        (12.345, "12.3 tok/s"),
        (99.94, "99.9 tok/s"),
        (100.4, "100 tok/s"),
        (1626.1, "1,626 tok/s"),
    ],
)
def test_a_rate_has_the_digits_that_count(rate: float, shown: str) -> None:
    assert to_rate(rate) == shown
    assert to_rate(rate, is_estimated=True) == (shown and f"~{shown}")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (to_tokens(1), "1 token"),
        (to_tokens(2048), "2,048 tokens"),
        (to_tokens(3, "of reasoning", is_estimated=True), "~3 tokens of reasoning"),
        (to_duration(0.4), "0 s"),
        (to_duration(99), "99 s"),
        (to_duration(100), "2 min"),
        (to_duration(1800), "30 min"),
        (to_duration(3600), "1 h"),
        (to_duration(5400), "1.5 h"),
        (to_first_token(0.333), "first token 0.33 s"),
        (to_first_token(0.004), ""),
        (to_first_token(None), ""),
        (to_context(2048, 65536), "context 2,048 of 65,536"),
        (to_context(0, 65536), ""),
        (to_context(1, None), ""),
    ],
)
def test_numbers_are_written_as_people_do(shown: str, expected: str) -> None:
    assert shown == expected


def test_a_small_line_is_one_line_without_markup() -> None:
    assert small("● a\n\nb <i>") == '<small style="color:gray">● a b &lt;i></small>'


def test_blank_lines_at_the_end_are_dropped() -> None:
    assert to_safe_markdown("a\n\n \n") == "a"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0.0512, "0.051"), (0.42, "0.42"), (0.999, "1.0"), (4.23, "4.2"), (9.94, "9.9"), (9.96, "10"), (42.4, "42"),
        (99.9, "100"), (426.0, "430"), (999.0, "1,000"), (4321.0, "4,300"),
    ],
)  # fmt: skip
def test_a_number_has_the_digits_that_a_forecast_knows(number: float, words: str) -> None:
    assert to_two_digits(number) == words
