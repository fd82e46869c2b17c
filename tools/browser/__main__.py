"""Takes the README's pictures: an answer that streams in JupyterLab, and the model picker.

python -m tools.browser FOLDER
"""

import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from localllm_magics.engines.sparse_gguf import write_sparse
from tools.browser.lab import lab, notebook, write
from tools.sparse_layouts import to_model
from tools.sparse_shapes import SHAPES

_ANSWER = (
    "%load_ext localllm_magics",
    "%%llm demo --temperature 0\nWhat is a GGUF file?",
    "%%llm --temperature 0\nTell me a long story about a robot.",
)
_PICKER = ("import localllm_magics as llm\n\nllm.ModelPicker()",)
_CHOSEN = "Llama 8B"
_NAMES = {
    "gpt-oss-20b": "gpt-oss 20B",
    "llama-1b": "Llama 1B",
    "llama-70b": "Llama 70B",
    "llama-8b": _CHOSEN,
    "mixtral-8x7b": "Mixtral 8x7B",
    "qwen2-0.5b": "Qwen2 0.5B",
    "qwen2-7b": "Qwen2 7B",
    "qwen3-30b-a3b": "Qwen3 30B A3B",
    "qwen3-4b": "Qwen3 4B",
}
"""Of the shapes whose files, which have no weights, the picker lists."""


def main() -> None:
    """Take both pictures."""
    for name, take in (("streaming.png", take_answer), ("picker.png", take_picker)):
        target = Path(sys.argv[1], name)
        with tempfile.TemporaryDirectory() as folder:
            picture = Path(folder, name)
            take(Path(folder), picture)
            shutil.copy(picture, target)
        print(f"{target}: {target.stat().st_size:,} bytes")


def take_answer(folder: Path, picture: Path) -> None:
    """Run two cells, and take the picture while the second one streams."""
    write(folder / "answer.ipynb", *_ANSWER)
    with lab(folder) as url, notebook(url, "answer.ipynb") as page:
        page.page.set_viewport_size({"width": 1000, "height": 780})
        page.page.keyboard.press("Control+b")
        page.run(0)
        page.run(1)
        page.run(2, wait=False)
        page.page.wait_for_function("() => document.querySelector('.jp-Notebook')?.textContent?.includes('generating')")
        page.page.locator(".jp-NotebookPanel").screenshot(path=picture)


def take_picker(folder: Path, picture: Path) -> None:
    """Choose a model in a folder of files that have all but weights, and take the picture when it is planned."""
    models = folder / "models"
    models.mkdir()
    for shape, name in _NAMES.items():
        model = to_model(SHAPES[shape])
        named = {"general.name": name, "tokenizer.chat_template": "{{ messages }}"}
        kind = SHAPES[shape].type.lower()
        write_sparse(replace(model, metadata=dict(model.metadata) | named), models / f"{shape}-{kind}.gguf")
    write(models / "picker.ipynb", *_PICKER)
    with lab(folder, HOME=str(folder)) as url, notebook(url, "models/picker.ipynb") as page:
        page.page.set_viewport_size({"width": 1120, "height": 760})
        page.page.keyboard.press("Control+b")
        page.run(0)
        page.page.locator(".llm-state", has_text="No model is loaded").wait_for(timeout=120_000)  # it was measured
        page.page.locator(".llm-option", has_text=_CHOSEN).click()
        page.page.get_by_text("Planned by llama.cpp.").wait_for()
        page.page.mouse.move(0, 0)
        page.page.locator(".llm-picker").screenshot(path=picture)


if __name__ == "__main__":
    main()
