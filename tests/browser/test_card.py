"""A card in JupyterLab, frame by frame: it only grows, keeps its formulas, and the page stays where it is."""

import itertools
from collections.abc import Iterator

import pytest

from tools.browser.lab import Frame, lab, notebook, write

pytestmark = pytest.mark.browser

LINE = 30  # pixels, and a little more
PARTS = 12
SETUP = r"""
from localllm_magics.core.events import TextDelta
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.model import Model
from localllm_magics.session import default_session
from localllm_magics.testing import ScriptedEngine


class Slow(ScriptedEngine):
    def stream(self, generation, stop):
        for number in range({parts}):
            for word in PART.format(number=number).split(" "):
                stop.wait(0.02)
                yield TextDelta(word + " ", 1)
        return "stop"


PART = '''## Section {{number}}

Words with **bold** and `code`, inline $x_{{number}}^2 + \\alpha$ and more of them, to fill a line and a half of a page.

- one
- two

```python
def f(x):
    return x + {{number}}
```

$$
\\int_0^1 x\\,dx
$$

'''
default_session().add(Model(Slow(reference="slow"), ModelInfo(reference="slow", name="slow", source="bundled")))
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("cards")
    setup = SETUP.format(parts=PARTS).strip()
    write(folder / "grow.ipynb", "%load_ext localllm_magics", setup, "%%llm slow\nHi", "print(1)\n%llm ask -m slow Hi")
    write(folder / "beside.ipynb", "%load_ext localllm_magics", setup, "%%llm slow -b\nHi", "%%llm slow -b\nHi")
    with lab(folder) as address:
        yield address


def falls(frames: list[Frame]) -> list[tuple[float, float]]:
    """Where the height fell by more than a line."""
    pairs = itertools.pairwise(frames)
    return [(a.height, b.height) for a, b in pairs if b.height < a.height - LINE]


def fewer_formulas(frames: list[Frame]) -> list[tuple[int, int]]:
    """Where formulas vanished."""
    pairs = itertools.pairwise(frames)
    return [(a.formulas, b.formulas) for a, b in pairs if b.formulas < a.formulas]


@pytest.mark.parametrize("cell", [2, 3])
def test_an_answer_only_grows(url: str, cell: int) -> None:
    with notebook(url, "grow.ipynb") as page:
        page.run(0)
        page.run(1)
        with page.frames(cell) as frames:
            page.run(cell, wait=False)
            page.cell(cell).get_by_text("Section 1").wait_for()
            position = page.scroll(200)
            page.wait(cell)
            page.cell(cell).get_by_text("● slow").wait_for()
        output = page.output(cell)

    assert (falls(frames), fewer_formulas(frames)) == ([], [])
    assert frames[-1].formulas == 2 * PARTS
    assert "** bold" not in output
    positions = [frame.scroll for frame in frames]
    assert set(positions[positions.index(position) :]) == {position}


def test_answers_grow_side_by_side(url: str) -> None:
    with notebook(url, "beside.ipynb") as page:
        page.run(0)
        page.run(1)
        with page.frames(2) as frames:
            page.run(2)
            page.run(3)
            for cell in (2, 3):
                page.cell(cell).get_by_text("● slow").wait_for()

    assert (falls(frames), fewer_formulas(frames)) == ([], [])
    assert frames[-1].formulas == 2 * PARTS
