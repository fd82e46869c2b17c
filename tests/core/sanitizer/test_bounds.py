import html
import re

import pytest
from markdown_it import MarkdownIt

from localllm_magics.core.sanitizer.bounds import Bounds, bound_nesting
from localllm_magics.core.sanitizer.markdown import to_safe_markdown


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("      - a", "      - a", id="usual"),
        pytest.param("- " * 20 + "a", "- " * 12 + "&#45; " + "- " * 7 + "a", id="bullets"),
        pytest.param(">" * 20, ">" * 12 + "&#62;" + ">" * 7, id="quotes"),
        pytest.param("1. " * 9 + "a", "1. " * 8 + "1&#46; a", id="numbers"),
        pytest.param(" " * 60 + "- a", " " * 22 + "- a", id="indented"),
        pytest.param("\t" * 9 + "a", " " * 22 + "a", id="tabs"),
        pytest.param("-" + " " * 30 + "a", "-" + " " * 21 + "a", id="far-from-its-bullet"),
    ],
)
def test_nesting_is_bounded(line: str, expected: str) -> None:
    assert bound_nesting(line) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("*a " * 10_000, id="emphasis"),
        pytest.param("[a " * 10_000, id="brackets"),
        pytest.param("_a\n" * 10_000, id="lines"),
        pytest.param("x\n" + "2) *a\n" * 5_000, id="numbers-that-start-no-list"),
        pytest.param("x\n" + "      - *a\n" * 5_000, id="bullets-that-start-no-list"),
        pytest.param("$x$ " * 2_000, id="formulas"),
        pytest.param("|a" * 200 + "\n" + "|-" * 200, id="columns"),
        pytest.param("|a" * 50 + "\n" + "|-" * 50 + "\na" * 100, id="cells-that-are-not-written"),
    ],
)
def test_beyond_the_bounds_text_is_text(text: str) -> None:
    written = to_safe_markdown(f"{text}\n\nThe *end*.")
    page = MarkdownIt("commonmark").enable("table").render(written)

    assert re.sub(r"\W", "", html.unescape(re.sub("<[^>]*>", "", page))) == re.sub(r"\W", "", f"{text}The end.")
    assert max(len(page), len(written)) < 12 * len(text) + 20_000
    assert "<em>end</em>" in page
    assert page.count("<em>") < 10


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("- **a**: b\n" * 2_000, id="items"),
        pytest.param("1. **a**: b\n2. **c**: d\n" * 1_000, id="numbered-items"),
        pytest.param("Some *words* and others.\n\n" * 2_000, id="paragraphs"),
        pytest.param("|a|b|\n|-|-|\n" + "|**c**|d_e|\n" * 200, id="table"),
        pytest.param("a\n\n---\n\n-\n", id="rules"),
    ],
)
def test_long_answers_are_within_the_bounds(text: str) -> None:
    bounds = Bounds()

    assert not [line for line in text.split("\n") if bounds.exceeded_by(line)]


def test_formulas_beyond_the_bounds_are_code() -> None:
    deep = "x^{" * 30 + "}" * 30
    written = to_safe_markdown(f"$${deep}$$\n\n${deep}$ and $y$\n\n" + f"$$\n{'x' * 5_000}\n$$\n" * 12)

    assert written.startswith(f"```tex\n{deep}\n```")
    assert "and $y$" in written
    assert written.count("$$") == 18
    assert written.count("```tex") == 4


def test_plain_text_starts_no_formula_in_the_page() -> None:
    written = to_safe_markdown("*a " * 2_000 + r"$\href{javascript:x}{y}$ \(z\) \begin{a}\end{a}" + "*a " * 2_000)

    assert "$" not in written
    assert "\\" not in written
    assert "<span>&#92;</span>&#40;z<span>&#92;</span>&#41;" in written


def test_the_end_of_a_formula_is_searched_in_some_lines() -> None:
    assert "$$" not in to_safe_markdown("$$\n" + "x\n" * 70 + "$$")
