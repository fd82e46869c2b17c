import timeit

import pytest
from hypothesis import given, settings

from localllm_magics.core.sanitizer.markdown import GrowingMarkdown, to_safe_markdown
from tests.core.sanitizer.test_markdown import HOSTILE, harm_in

ANSWER = """# Title

Words with **strength**, `code` and [a link](https://a.org/b), for $5 or \\(x^2\\): \\[ y \\]

| a | b |
|---|---|
| 1 | 2 |

- one: \\[
  \\begin{aligned} z &= \\frac{1}{2} \\end{aligned}
  \\]
- two

```python
print(1)
```

The end.
"""


def look(text: str) -> str:
    return GrowingMarkdown().update(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param("a **b", "a **b**", id="strong"),
        pytest.param("a **b c*", "a **b c**", id="half-an-end"),
        pytest.param("a **b** **", "a **b** ", id="beginning-of-strong"),
        pytest.param("2**10 is **f(", "2**10 is **f(**", id="power"),
        pytest.param("a `b", "a `b`", id="code"),
        pytest.param("a `b` and ``c`", "a `b` and `c`", id="half-an-end-of-code"),
        pytest.param("a `", "a ", id="beginning-of-code"),
        pytest.param("a \\(x_", "a $x{}{}$", id="formula"),
        pytest.param("a \\(x\\) \\[ \\fra", "a $x$", id="beginning-of-a-formula"),
        pytest.param("$x$ and $x^2 + y", "$x$ and $x^2 + y{}{}$", id="dollar-formula"),
        pytest.param("for $5 or", "for <span>&#36;</span>5 or", id="price"),
        pytest.param("$$\n\\frac{1}{", "$$\n\\frac{1}{{}{}}\n$$", id="display"),
        pytest.param("a\n\n$$", "a\n", id="beginning-of-a-display"),
        pytest.param("a: \\[\n  ", "a:", id="beginning-of-a-display-after-words"),
        pytest.param("a [b](https://a.o", "a b", id="link"),
        pytest.param("a ![b](https://a.org/c(d", "a b", id="image"),
        pytest.param("a <su", "a ", id="tag"),
        pytest.param("a\n-", "a", id="bullet-or-heading"),
        pytest.param("a\n1.", "a", id="number"),
        pytest.param("| a | b", "| a | b\n|---|---|", id="table-head"),
        pytest.param("| a | b |\n|--", "| a | b |\n|---|---|", id="half-a-table-rule"),
        pytest.param("```py\nx\n``", "```py\nx\n```", id="half-the-end-of-a-fence"),
        pytest.param("a\\", "a", id="half-an-escape"),
    ],
)
def test_what_is_open_is_closed(text: str, expected: str) -> None:
    assert look(text) == expected


def test_finished_blocks_do_not_change() -> None:
    growing = GrowingMarkdown()
    looks = [growing.update(ANSWER[:end]) for end in range(len(ANSWER) + 1)]

    assert looks == [look(ANSWER[:end]) for end in range(len(ANSWER) + 1)]
    assert looks[-1] == to_safe_markdown(ANSWER.removesuffix("\n"))


def test_another_text_starts_anew() -> None:
    growing = GrowingMarkdown()
    growing.update("a\n\nb\n\nc")

    assert growing.update("d\n\ne") == "d\n\ne"


@settings(max_examples=60)
@given(HOSTILE)
def test_every_beginning_of_an_attack_is_safe(text: str) -> None:
    growing = GrowingMarkdown()

    for end in range(0, len(text) + 1, 7):
        shown = growing.update(text[:end])
        assert shown == look(text[:end])
        assert harm_in(shown) == []


@pytest.mark.parametrize("mark", ["  ", "> ", "- ", "|", "\\(", "`a ", "[a](", "$a", "**a "])
def test_a_look_at_a_last_line_of_marks_takes_linear_time(mark: str) -> None:
    def seconds(count: int) -> float:
        text = f"A\n{mark * count}x"
        return min(timeit.repeat(lambda: GrowingMarkdown().update(text), number=1, repeat=3))

    assert seconds(80_000) < 40 * seconds(8_000) + 1
