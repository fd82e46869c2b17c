"""How long the picker's page takes from a keystroke to the filtered list, and from a slider's move to the bars."""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools.bench.result import Row, Section, at_most
from tools.browser.lab import lab, notebook, write

_ROOT = Path(__file__).parents[2]
_LIMIT = 50.0  # milliseconds
_CELL = """
import sys
sys.path.insert(0, {root!r})
import localllm_magics as llm
from dataclasses import replace
from localllm_magics.widgets.facts import Facts
from localllm_magics.session import default_session

class Many(Facts):
    def models(self):
        found = super().models()
        demo = next(info for info in found if info.reference == "demo")
        found[:] = [demo, *(replace(demo, reference=f"model-{{n}}", name=f"model-{{n}}") for n in range({models}))]
        return found

picker = llm.ModelPicker(facts=Many(default_session()))
picker
"""
_TIMES = """async ({selector, values}) => {
    const input = document.querySelector(selector);
    const times = [];
    for (const value of values) {
        const start = performance.now();
        input.value = value;
        input.dispatchEvent(new Event('input'));
        document.querySelector('.llm-picker').getBoundingClientRect();
        times.push(performance.now() - start);
        await new Promise(done => requestAnimationFrame(done));
    }
    return times;
}"""


def picker(models: int, rounds: int, say: Callable[[str], None]) -> Section:
    """The page of a picker with so many MODELS, in JupyterLab."""
    text = f"model-{models - 3}"
    keys = [text[:end] for end in range(len(text) + 1)] * rounds
    sizes = [str(value) for value in range(256, 1024, 64)] * rounds
    with tempfile.TemporaryDirectory(prefix="localllm-bench-") as name:
        folder = Path(name)
        write(folder / "picker.ipynb", _CELL.format(root=str(_ROOT), models=models).strip())
        with lab(folder) as url, notebook(url, "picker.ipynb") as opened:
            say(f"showing {models:,} models")
            opened.run(0)
            page = opened.page
            page.locator(".llm-count", has_text=f"{models + 1:,} models").wait_for()
            keystrokes = page.evaluate(_TIMES, {"selector": ".llm-filter", "values": keys})
            page.get_by_label("Filter models").fill("demo")
            page.locator(".llm-option").first.click()
            page.locator(".llm-details input[type=range]").first.wait_for()
            moves = page.evaluate(_TIMES, {"selector": ".llm-details input[type=range]", "values": sizes})
    rows = (*_rows("keystroke", keystrokes), *_rows("slider move", moves))
    return Section(title=f"The picker's page with {models:,} models", rows=rows)


def _rows(what: str, milliseconds: list[float]) -> tuple[Row, ...]:
    return tuple(
        Row(measure=f"{what}: {words}", unit="ms", ours=value, target=at_most(value, _LIMIT, "ms"))
        for words, value in (("median", statistics.median(milliseconds)), ("slowest", max(milliseconds)))
    )
