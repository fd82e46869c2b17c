"""The model picker in JupyterLab, seen through a real browser."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Locator, expect

from localllm_magics.engines.sparse_gguf import write_sparse
from tools.browser.lab import Notebook, lab, notebook, write
from tools.sparse_layouts import Shape, to_model

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
SECONDS = 60
HUGE = Shape(architecture="llama", layers=80, width=65_536, inner=131_072, heads=512, kv_heads=8)
PICKER = "import localllm_magics as llm\npicker = llm.ModelPicker()\npicker"
SCRIPTED = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import localllm_magics as llm
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.session import default_session
from tests.widgets.engines import Hanging, TooBig, model_of
from tests.widgets.pages import ScriptedFacts
session = default_session()
for engine in (Hanging(reference="slow"), TooBig(reference="big")):
    session.add(model_of(engine))
unsafe = "<img src=x onerror='window.hacked = 1'>" + 200 * "long"
names = ["slow", "big", *[f"model-{{n}}" for n in range(1998)], unsafe]
picker = llm.ModelPicker(facts=ScriptedFacts(*[ModelInfo(reference=n, name=n, source="bundled") for n in names]))
picker
"""
BUSY = "import time\nwhile not picker.model:\n    time.sleep(0.05)\nprint('the cell has seen it')"
HAS_ENDED = """async () => {
    const sessions = await (await fetch('/api/sessions')).json();
    return sessions.every(session => session.path !== 'saved.ipynb');
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("picker")
    write_sparse(to_model(HUGE), folder / "huge.gguf")
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with lab(folder) as address:
        yield address


@pytest.fixture
def page(url: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    """A notebook, with a kernel of its own, and a picker that has listed the models of this machine."""
    name = f"{request.node.name}.ipynb"
    write(folder / name, PICKER, "picker.model.complete('What is a token?', temperature=0).text", BUSY)
    with notebook(url, name) as opened:
        yield shown(opened)


@pytest.fixture
def scripted(url: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    """Likewise, with a picker of 2,001 models, of which two are scripted."""
    name = f"{request.node.name}.ipynb"
    write(folder / name, SCRIPTED.strip())
    with notebook(url, name) as opened:
        yield shown(opened)


def shown(opened: Notebook) -> Notebook:
    opened.page.set_default_timeout(SECONDS * 1000)
    opened.page.set_viewport_size({"width": 1100, "height": 900})
    opened.page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    opened.run(0)
    opened.page.locator(".llm-option").first.wait_for()
    return opened


def option(opened: Notebook, name: str) -> Locator:
    return opened.page.locator(".llm-option", has=opened.page.get_by_text(name, exact=True))


def press(opened: Notebook, name: str) -> None:
    opened.page.get_by_role("button", name=name, exact=True).click()


def says(opened: Notebook, text: str) -> None:
    expect(opened.page.locator(".llm-state")).to_contain_text(text, timeout=SECONDS * 1000)


def test_a_model_is_found_loaded_asked_and_unloaded(page: Notebook) -> None:
    page.page.get_by_label("Filter models").fill("dem")
    option(page, "demo").click()
    press(page, "Load")
    says(page, "demo (CPU")
    expect(option(page, "demo")).to_contain_text("current")
    page.run(1)
    press(page, "Unload")
    says(page, "Unloaded demo.")

    assert "A token is" in page.output(1)
    expect(option(page, "demo")).not_to_contain_text("current")
    assert page.foreign == []


def test_a_model_is_loaded_while_a_cell_runs(page: Notebook) -> None:
    page.run(2, wait=False)
    expect(page.cell(2).locator(".jp-InputArea-prompt").first).to_have_text("[*]:")
    option(page, "demo").click()
    press(page, "Load")
    says(page, "demo (CPU")
    page.wait(2)

    assert "the cell has seen it" in page.output(2)


def test_a_slider_shows_the_memory_at_once_and_then_what_the_engine_says(page: Notebook) -> None:
    option(page, "demo").click()
    origin, cache = page.page.locator(".llm-origin"), page.page.locator(".llm-legend")
    expect(origin).to_have_text("Planned by llama.cpp.")
    expect(cache).to_contain_text("KV cache 4.7 MB")
    page.page.get_by_label("Context").focus()
    page.page.keyboard.press("Home")

    expect(page.page.get_by_label("Context")).to_have_attribute("aria-valuetext", "512 tokens")
    expect(cache).to_contain_text("KV cache 2.4 MB")
    expect(origin).to_have_text("Planned by llama.cpp.")


def test_a_model_that_is_too_big_is_refused_with_the_reason(page: Notebook) -> None:
    page.page.get_by_label("Filter models").fill("huge")
    expect(option(page, "huge.gguf")).to_contain_text("too big")
    option(page, "huge.gguf").click()
    expect(page.page.locator(".llm-amount").first).to_contain_text("too much")
    expect(page.page.get_by_role("button", name="Load anyway")).to_be_visible()
    press(page, "Load")

    says(page, "huge.gguf needs")


def test_a_load_can_be_forced(scripted: Notebook) -> None:
    option(scripted, "big").click()
    press(scripted, "Load")
    says(scripted, "big needs 40 GB. Try 512 tokens of context.")
    press(scripted, "Load anyway")

    expect(option(scripted, "big")).to_contain_text("current")


def test_a_load_can_be_cancelled(scripted: Notebook) -> None:
    scripted.page.get_by_label("Filter models").fill("slow")
    option(scripted, "slow").click()
    press(scripted, "Make current")
    says(scripted, "Loading slow")
    expect(scripted.page.get_by_role("progressbar", name="Loading")).to_have_attribute("value", "0.5")
    press(scripted, "Cancel")

    says(scripted, "Cancelled.")
    expect(scripted.page.get_by_role("progressbar", name="Loading")).to_be_hidden()


def test_everything_works_by_keyboard(page: Notebook) -> None:
    keys = page.page.keyboard
    page.page.get_by_label("Filter models").focus()
    keys.type("demo")
    expect(page.page.locator(".llm-count")).to_have_text("1 of 2 models")
    keys.press("ArrowDown")
    expect(page.page.locator(".llm-option[aria-selected=true]")).to_contain_text("demo")
    keys.press("Enter")
    says(page, "demo (CPU")
    names = []
    for _ in range(10):
        keys.press("Tab")
        names.append(page.page.evaluate("() => document.activeElement.closest('.llm-picker') !== null"))

    assert names[0]
    assert not names[-1], "the keyboard cannot leave the picker"


def test_keys_of_the_list_are_not_those_of_the_notebook(page: Notebook) -> None:
    option(page, "demo").click()
    page.page.get_by_role("listbox").focus()
    for key in ("b", "b", "End", "Home", "ArrowDown", "d", "d"):
        page.page.keyboard.press(key)

    expect(page.page.locator(".llm-option[aria-selected=true]")).to_have_attribute("aria-posinset", "2")
    assert page.page.locator(".jp-Notebook .jp-CodeCell").count() == 3


def test_of_thousands_only_the_visible_are_drawn(scripted: Notebook) -> None:
    options = scripted.page.locator(".llm-option")
    expect(scripted.page.locator(".llm-count")).to_have_text("2,001 models")
    drawn = options.count()
    scripted.page.get_by_label("Filter models").fill("model-1997")

    assert drawn < 40
    expect(options).to_have_count(1)
    expect(options.first).to_contain_text("model-1997")
    expect(options.first).to_have_attribute("aria-setsize", "1")


def test_names_are_text_and_do_not_break_the_page(scripted: Notebook) -> None:
    scripted.page.get_by_label("Filter models").fill("onerror")
    scripted.page.locator(".llm-option").click()
    expect(scripted.page.locator(".llm-title")).to_contain_text("<img src=x")

    assert scripted.page.evaluate("() => window.hacked") is None
    assert scripted.page.locator(".llm-picker img").count() == 0
    assert scripted.page.evaluate("() => document.querySelector('.llm-picker').scrollWidth") <= 1100
    assert scripted.foreign == []


def test_a_saved_notebook_shows_a_table_without_a_kernel(url: str, folder: Path) -> None:
    write(folder / "saved.ipynb", PICKER)
    with notebook(url, "saved.ipynb") as first:
        shown(first)
        expect(first.page.locator(".llm-static")).to_be_hidden()
        first.save()
        first.page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty")
        first.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        first.page.wait_for_function(HAS_ENDED)
    with notebook(url, "saved.ipynb") as again:
        expect(again.page.locator(".llm-static")).to_contain_text("huge.gguf")
        expect(again.page.get_by_text("model not found")).to_be_hidden()

    outputs = nbformat.read(folder / "saved.ipynb", as_version=4).cells[0].outputs
    assert "| demo |" in outputs[-1].data["text/markdown"]
    convert = [sys.executable, "-m", "nbconvert", "--to", "html", "--stdout", str(folder / "saved.ipynb")]
    assert ">demo</td>" in subprocess.run(convert, check=True, capture_output=True, text=True).stdout
