"""Text that grows, as Markdown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm_magics.core.presentation import to_safe_markdown
from localllm_magics.notebook.card.live_markdown import LiveMarkdown

ANSWER = r"""# Title

Some *words*.

- one

  more of one
- two

```python
x = 1

y = 2
```

$$
x^2

y
$$

\[
a
\]

> quoted

| a | b |
|---|---|
| 1 | 2 |

The end."""


@given(st.lists(st.integers(0, len(ANSWER)), max_size=30).map(sorted))
def test_in_the_end_it_is_the_whole_text_made_safe(cuts: list[int]) -> None:
    live = LiveMarkdown()
    for cut in cuts:
        live.of(ANSWER[:cut])

    assert live.of(ANSWER) == to_safe_markdown(ANSWER)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("Words", "Words", id="a word"),
        pytest.param("Words\n-", "Words", id="a rule or an item"),
        pytest.param("Words\n- ", "Words", id="an item"),
        pytest.param("Words\n==", "Words", id="a heading"),
        pytest.param("Words\n| a | b", "Words", id="a row"),
        pytest.param("| a |\n| - |\n| 1 |\n| 2", "| a |\n| - |\n| 1 |", id="a later row"),
        pytest.param("Words\n- one", "Words\n- one", id="an item with words"),
        pytest.param("```\nx\n``", "```\nx\n```", id="the end of a fence"),
        pytest.param("```\na\n\nb", "```\na\n\nb\n```", id="an open fence"),
        pytest.param("a\n\n<b>\n\nc", "a\n\n&lt;b>\n\nc", id="a tag"),
    ],
)
def test_an_unfinished_line_is_not_taken_for_something_else(text: str, shown: str) -> None:
    assert LiveMarkdown().of(text) == shown


def test_what_has_ended_is_made_safe_once() -> None:
    live = LiveMarkdown()
    before = live.of("<a>\n\n<b>")

    assert (before, live.of("<a>\n\n<b>\n\n<c>")) == ("&lt;a>\n\n&lt;b>", "&lt;a>\n\n&lt;b>\n\n&lt;c>")
