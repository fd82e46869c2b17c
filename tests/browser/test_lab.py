"""The quickstart and a few cells in JupyterLab, seen through a real browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from tests.kernel.endless_model import write_endless_model
from tools.browser.lab import lab, notebook, write

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
MIME_TYPE = "application/vnd.localllm.completion+json"
UNSAFE = """
%%llm unsafe --no-vars
Anything.
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebooks")
    shutil.copy(ROOT / "notebooks" / "01-quickstart.ipynb", folder)
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with lab(folder) as address:
        yield address


def test_quickstart_runs_and_saves_one_output_for_each_answer(url: str, folder: Path, tmp_path: Path) -> None:
    file = folder / "01-quickstart.ipynb"
    cells = [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]

    with notebook(url, file.name) as page:
        page.run_all()
        page.wait(len(cells) - 1)
        page.save()
        page.page.screenshot(path=tmp_path / "quickstart.png", full_page=True)
        page.page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty")
        foreign = page.foreign

    saved = [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
    answers = [cell for cell in saved if cell.source.startswith("%%llm")]
    assert [[output.output_type for output in cell.outputs] for cell in answers] == [["display_data"]] * len(answers)
    assert all(MIME_TYPE in cell.outputs[0].data for cell in answers)
    assert not [output for cell in saved for output in cell.outputs if output.output_type == "error"]
    assert foreign == []


def test_stop_button_keeps_the_text_and_the_next_cell_answers(url: str, folder: Path) -> None:
    write_endless_model(folder / "endless.gguf")
    write(
        folder / "stop.ipynb",
        "%load_ext localllm_magics",
        "%%llm endless.gguf --ctx 32768 --seed 1\nTell me a story.",
        "%%llm demo -t 0\nWhat is a token?",
    )

    with notebook(url, "stop.ipynb") as page:
        page.run(0)
        page.run(1, wait=False)
        page.cell(1).get_by_text("generating").wait_for()
        page.interrupt()
        page.wait(1)
        stopped = page.output(1)
        page.run(2)
        answer = page.output(2)

    assert "stopped" in stopped
    assert "KeyboardInterrupt" in stopped
    assert "A token is" in answer


def test_nothing_in_an_answer_reaches_the_page_or_the_network(url: str, folder: Path) -> None:
    unsafe = (
        "<script>window.hacked = 1</script> <img src=x onerror='window.hacked = 1'> "
        "![pixel](http://pixel.example/a.png) [link](javascript:window.hacked=1) "
        "$\\\\style{background:url(http://pixel.example/b.png)}{x}$ **bold**"
    )
    write(
        folder / "unsafe.ipynb",
        "%load_ext localllm_magics",
        "from localllm_magics.testing import scripted_model\n"
        f'context = scripted_model("""{unsafe}""", reference="unsafe")\n'
        "model = context.__enter__()",
        UNSAFE.strip(),
    )

    with notebook(url, "unsafe.ipynb") as page:
        page.run(0)
        page.run(1)
        page.run(2)
        page.cell(2).locator("strong", has_text="bold").wait_for()
        hacked = page.page.evaluate("() => window.hacked")
        images = page.cell(2).locator(".jp-Cell-outputArea img").count()
        foreign = page.foreign

    assert hacked is None
    assert images == 0
    assert foreign == []
