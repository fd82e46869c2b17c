"""What is a formula, and what only looks like one; D stands for a dollar that nobody pairs."""

import time

import pytest

from localllm_magics.core.sanitizer.markdown import GrowingMarkdown, to_safe_markdown
from localllm_magics.core.sanitizer.prose import DOLLAR


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("| Price ($) | Cost ($) |", "| Price (D) | Cost (D) |", id="cells"),
        pytest.param("| A ($K) | B ($K) | $f(x)$ |", "| A (DK) | B (DK) | $f(x)$ |", id="cells-beside-a-formula"),
        pytest.param("| A ($M) | B ($M) | $/unit |", "| A (DM) | B (DM) | D/unit |", id="unit"),
        pytest.param("**Price ($)** and **Cost ($)**", "**Price (D)** and **Cost (D)**", id="labels"),
        pytest.param("Cost ($): 5; Price ($): 6", "Cost (D): 5; Price (D): 6", id="values"),
        pytest.param("| 1$ | 2$ |", "| 1D | 2D |", id="prices-in-cells"),
        pytest.param("| $K | x$ | $P(A | B)$ |", "| DK | xD | $P(A | B)$ |", id="border-of-a-cell"),
        pytest.param("**$x** **y$** and $X^{**}$", "**Dx** **yD** and $X^{**}$", id="emphasis"),
        pytest.param("$[0,1)$, $]a,b[$, $x | y$", "$[0,1)$, $]a,b[$, $x | y$", id="one-sided-brackets"),
    ],
)
def test_labels_and_cells_are_text(text: str, expected: str) -> None:
    assert to_safe_markdown(text).replace(DOLLAR, "D") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("| $ 30 | $ 40 |", "| D 30 | D 40 |", id="cells"),
        pytest.param("| $ 30     |    $ 40 |", "| D 30     |    D 40 |", id="padded-cells"),
        pytest.param("- Food: $ 300 / $ 400", "- Food: D 300 / D 400", id="slash"),
        pytest.param("$ 30, $ 40.", "D 30, D 40.", id="comma"),
        pytest.param("30 $ - 40 $", "30 D - 40 D", id="behind-the-numbers"),
        pytest.param("$ 1,500.50; $x$ and $ y $", "D 1,500.50; $x$ and $ y $", id="beside-formulas"),
        pytest.param("$5, $x = 5$", "D5, $x = 5$", id="before-a-formula"),
        pytest.param("$ 1.5M - $ 2M; $ 2k $", "D 1.5M - D 2M; $ 2k $", id="thousands"),
        pytest.param("$$5 and $$10 or $$x$$", "DD5 and DD10 or $x$", id="doubled"),
    ],
)
def test_prices_are_text(text: str, expected: str) -> None:
    assert to_safe_markdown(text).replace(DOLLAR, "D") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(r"is $\$15 - \$5 = \$10$.", r"is $\$15 - \$5 = \$10$.", id="dollars"),
        pytest.param(r"a \( 3 \times \$5 \) \[ \$5 \] b", r"a $3 \times \$5$ $\$5$ b", id="brackets"),
        pytest.param(r"a $$\text{All of it} = \$15$$ b", r"a $\text{All of it} = \$15$ b", id="words-in-a-command"),
        pytest.param(r"$$x = \$15$$", "$$\nx = \\$15\n$$", id="display"),
        pytest.param("\\[\n3 \\times \\$5\n\\]", "$$\n3 \\times \\$5\n$$", id="display-in-brackets"),
        pytest.param(r"in $x = \$$ it", r"in $x = \${}$ it", id="last"),
        pytest.param(r"\$5 or $6 and \$7, $x$ \$", "D5 or D6 and D7, $x$ D", id="prices"),
        pytest.param(r"$6 + \$7$ or $6/\$7$x", r"$6 + \$7$ or D6/D7Dx", id="before-a-letter"),
        pytest.param(r"$6 is \$7$", r"D6 is D7D", id="words"),
        pytest.param(r"$x \\$ y$", r"Dx \\D yD", id="row-end"),
        pytest.param("\\[\nx \\\\$ y\n\\]", "\\[\nx \\\\D y\n\\]", id="row-end-in-a-display"),
    ],
)
def test_an_escaped_dollar_belongs_to_its_formula(text: str, expected: str) -> None:
    assert to_safe_markdown(text).replace(DOLLAR, "D") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(r"see \[1\], \[2, 4–6\]", r"see \[1\], \[2, 4–6\]", id="references"),
        pytest.param(r"see \[12\].", r"see \[12\].", id="reference-at-the-end"),
        pytest.param(r"\[1\] Jones, A.", r"\[1\] Jones, A.", id="reference-at-the-start"),
        pytest.param(r"a \[not a link\](x)", r"a \[not a link\](x)", id="link"),
        pytest.param(r"a \[x\](y) b", r"a \[x\](y) b", id="short-link"),
        pytest.param(r"a \[well-known, sic\] b", r"a \[well-known, sic\] b", id="words"),
        pytest.param(r"- \[ \] to do \(\)", r"- \[ \] to do \(\)", id="empty"),
        pytest.param(r"a \[ x = 1 \] b \[ \text{one} \]", r"a $x = 1$ b $\text{one}$", id="formulas"),
        pytest.param(r"the \(see above\) foo\(a\) f_\(b\)", r"the \(see above\) foo\(a\) f_\(b\)", id="round"),
        pytest.param(r"\(a\) \(AB\) \(a-b\) 设\(x\)为", "$a$ $AB$ $a-b$ 设$x$为", id="round-formulas"),
    ],
)
def test_escaped_brackets_of_a_text_stay(text: str, expected: str) -> None:
    assert to_safe_markdown(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "awk '{print $1, $2}' file; sed 's/a$/b$/'", "awk '{print D1, D2}' file; sed 's/aD/bD/'", id="commands"
        ),
        pytest.param("{$a} and {$b} $\\{x\\}$", "{Da} and {Db} $\\{x\\}$", id="braces"),
        pytest.param("'$a', '$b', $f'(x)$", "'Da', 'Db', $f'(x)$", id="quotes"),
        pytest.param("$5<br>$10<br>$x$", "D5<br>D10<br>$x$", id="tags"),
        pytest.param("is $f(x)$$g(x)$ ok", "is $f(x)$  $g(x)$ ok", id="formulas-side-by-side"),
        pytest.param("is $x$$ or $y$$$", "is DxDD or DyDDD", id="dollars-behind-a-formula"),
    ],
)
def test_code_and_tags_end_a_formula(text: str, expected: str) -> None:
    assert to_safe_markdown(text).replace(DOLLAR, "D") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("text \\(x +\ny\\) more", "text $x + y$ more", id="brackets"),
        pytest.param("hard $x +\ny$ wrap", "hard $x + y$ wrap", id="dollars"),
        pytest.param("> a \\(x\n> = y\\) b\n> c", "> a $x = y$ b\n> c", id="quote"),
        pytest.param("- a $\\text{all of} \\$5\n  = y$ b", "- a $\\text{all of} \\$5 = y$ b", id="list"),
        pytest.param("We get $$\nx=1\n$$ where x", "We get\n\n$$\nx=1\n$$\n\nwhere x", id="display"),
        pytest.param("for $a +\nb or $c", "for Da +\nb or Dc", id="words"),
        pytest.param("$x$ or y$z\na$", "$x$ or yDz\naD", id="word-before"),
        pytest.param("($x$) $y$ ($z$ ($a +\nb$)", "($x$) $y$ ($z$ ($a + b$)", id="after-formulas"),
        pytest.param("$x ($a +\nb$)", "$x ($a +\nbD)", id="another-dollar"),
        pytest.param("a \\(x +\n\ny\\) b", "a \\(x +\n\ny\\) b", id="blank-line"),
        pytest.param("a \\(x\n- y\\) b", "a \\(x\n- y\\) b", id="list-item"),
        pytest.param("a \\(x\n$5 y\\) b", "a \\(x\nD5 y\\) b", id="dollar-inside"),
        pytest.param("# a \\(x\ny\\) b", "# a \\(x\ny\\) b", id="heading"),
        pytest.param("> a \\(x\ny\\) b", "> a \\(x\ny\\) b", id="end-of-a-quote"),
        pytest.param("a \\(x | b\ny\\) | c", "a \\(x | b\ny\\) | c", id="row"),
        pytest.param("a \\(x\ny\\): \\[\nz\n\\]", "a \\(x\ny\\):\n\n$$\nz\n$$", id="before-a-display"),
    ],
)
def test_a_formula_may_go_on_in_the_next_line(text: str, expected: str) -> None:
    assert to_safe_markdown(text).replace(DOLLAR, "D") == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a \\(x +\n\\text{if } y\\) more\nb", id="brackets"),
        pytest.param("a \\(x +\nwords\nb", id="words"),
        pytest.param("a $x_1 +\ny$5 b\nc", id="dollars"),
        pytest.param("See \\[1\\], \\[\n12\n\\] and\n$$\nx\n$$ b", id="displays"),
        pytest.param("is $\\$15 - \\$5 = \\$10$ and \\(3 \\times \\$5\\) b", id="escaped-dollars"),
    ],
)
def test_a_growing_text_ends_as_the_whole(text: str) -> None:
    growing = GrowingMarkdown()
    looks = [growing.update(text[:end]) for end in range(len(text) + 1)]

    assert looks == [GrowingMarkdown().update(text[:end]) for end in range(len(text) + 1)]
    assert looks[-1] == to_safe_markdown(text)


@pytest.mark.parametrize(
    "unit",
    [
        "a \\[\n",
        "- \\begin{a}\n",
        "a \\[ b\nc\n",
        "$\\$ ",
        "$a | b$ ",
        "| $) (",
        "$1.,",
        "$ {",
        "$'a",
        "\\(a-b",
        "$a$$",
    ],
)
def test_openings_without_an_end_take_linear_time(unit: str) -> None:
    start = time.thread_time()
    to_safe_markdown(unit * (200_000 // len(unit)))

    # A search for each opening took twice as long on a fast machine; quadratic would take minutes.
    assert time.thread_time() - start < 10
