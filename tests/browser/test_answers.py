"""Innocent and degenerate answers, drawn by JupyterLab: formulas counted, words read, heights bounded."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm_magics.core.sanitizer.markdown import to_safe_markdown
from tools.browser.lab import Notebook, lab, notebook, write

pytestmark = pytest.mark.browser

# Shows an answer as the output of the first cell, as a kernel would.
_SHOW = """markdown => {
    const cell = window.jupyterapp.shell.currentWidget.content.widgets[0];
    cell.model.outputs.fromJSON([{output_type: 'display_data', metadata: {}, data: {'text/markdown': markdown}}]);
}"""
_IS_DRAWN = """end => {
    const output = document.querySelector('.jp-RenderedMarkdown');
    return output?.textContent.includes(end) && output.querySelector('p:last-child mjx-container');
}"""
_MEASURE = """() => {
    const output = document.querySelector('.jp-RenderedMarkdown');
    const { left, bottom, height } = output.getBoundingClientRect();
    const boxes = [...output.querySelectorAll('mjx-container *')].map(element => element.getBoundingClientRect());
    return {
        text: output.textContent,
        formulas: output.querySelectorAll('mjx-container').length,
        failed: output.querySelectorAll('mjx-merror, [data-mjx-error]').length,
        images: output.querySelectorAll('img').length,
        height,
        outside: boxes.filter(box => box.left < left - 50 || box.bottom > bottom + 50 || box.width > 900).length,
    };
}"""
ANSWERS = [
    pytest.param(
        "Tea is $4 today, and $5 tomorrow.\n\n"
        "| Cup | Price |\n|---|---|\n| S | $4 |\n| L | $6 |\n\nSo \\$7 or $8 buys $n$.",
        1,
        ["Tea is $4 today, and $5 tomorrow.", "So $7 or $8 buys"],
        400,
        id="prices",
    ),
    pytest.param(
        "Set $HOME and ${PATH}; match ^a$ or ^b$ in `$x`, with *$5* and [$6](http://a.example).",
        0,
        ["$HOME"],
        200,
        id="shell",
    ),
    pytest.param(
        "\\[ a^2 \\]\n\nThen \\[ b \\] and:\n\n"
        "1. One: \\[\n   c\n   \\], so\n2. \\(d\\), $$e$$ and\n$$\n\\frac{f}{g}\n$$.",
        6,
        ["Then", "so"],
        600,
        id="formulas",
    ),
    pytest.param("$$\nx \\label{one}\n$$\n\n$$\ny \\label{one}\n$$", 2, [], 300, id="labels"),
    pytest.param(
        "A<br>b<sub>2</sub> <kbd>C</kbd> <b>d\n\n<details><summary>E</summary>\n\nF\n\n</details>",
        0,
        ["Ab2 C <b>d", "E"],
        300,
        id="tags",
    ),
    pytest.param(
        "![Map](http://a.example/m.png) ![Dot](data:image/png;base64,AAAA)",
        0,
        ["Map (http://a.example/m.png) Dot (data:image/png,…)"],
        200,
        id="images",
    ),
    pytest.param(
        "$$\\rule{9999em}{9999em}$$ $x\\raise{99em}{y}$ $\\kern-99em z$ $\\Huge\\Huge\\Huge w$",
        4,
        [],
        500,
        id="lengths",
    ),
    pytest.param(
        "$\\smash{\\llap{\\rule[-50em]{99em}{99em}}}$ $\\begin{array}{c}a\\\\[99em]b\\end{array}$",
        2,
        [],
        500,
        id="overlays",
    ),
    pytest.param("$$" + "x^{" * 900 + "}" * 900 + "$$", 0, ["x^{x^{"], 2_000, id="nested-formula"),
    pytest.param("- " * 2_000 + "x", 0, ["- - - -"], 4_000, id="bullets"),
    pytest.param(">" * 2_000 + "x", 0, [">>>>"], 2_000, id="quotes"),
    pytest.param("\n".join("  " * level + "- x" for level in range(500)), 0, [], 20_000, id="indented"),
    pytest.param("*x " * 10_000, 0, ["*x *x"], 20_000, id="emphasis"),
    pytest.param("[" * 10_000 + "]" * 10_000, 0, ["[[[["], 20_000, id="brackets"),
    pytest.param("|x" * 90 + "\n" + "|-" * 90 + "\nx" * 3_000, 0, [], 200_000, id="table"),
    pytest.param("$x$ " * 2_000, 0, ["$x$"], 20_000, id="many-formulas"),
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    folder = tmp_path_factory.mktemp("answers")
    write(Path(folder, "answers.ipynb"), "1")
    with lab(folder) as url, notebook(url, "answers.ipynb") as page:
        yield page


@pytest.mark.parametrize(("answer", "formulas", "words", "height"), ANSWERS)
def test_answers_look_as_they_should(
    shown: Notebook, request: pytest.FixtureRequest, answer: str, formulas: int, words: list[str], height: int
) -> None:
    end = f"The end of {request.node.callspec.id}."
    # All formulas are drawn at once, so with one that is none of the answer's it is known when.
    shown.page.evaluate(_SHOW, f"{to_safe_markdown(answer)}\n\n{end} $z$")
    shown.page.wait_for_function(_IS_DRAWN, arg=end)
    page = shown.page.evaluate(_MEASURE)

    assert (page["formulas"], page["failed"], page["images"], page["outside"]) == (formulas + 1, 0, 0, 0)
    assert not [text for text in words if text not in page["text"]]
    assert page["height"] < height
    assert shown.foreign == []
