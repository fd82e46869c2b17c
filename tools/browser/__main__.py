"""Takes the README's picture: an answer that streams in JupyterLab.

python -m tools.browser PICTURE
"""

import shutil
import sys
import tempfile
from pathlib import Path

from tools.browser.lab import lab, notebook, write

_NAME = "picture.ipynb"
_CELLS = (
    "%load_ext localllm_magics",
    "%%llm demo --temperature 0\nWhat is a GGUF file?",
    "%%llm --temperature 0\nTell me a long story about a robot.",
)


def main() -> None:
    """Run two cells, and take the picture while the second one streams."""
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, _NAME), *_CELLS)
        with lab(Path(folder)) as url, notebook(url, _NAME) as page:
            page.page.set_viewport_size({"width": 1000, "height": 780})
            page.page.keyboard.press("Control+b")
            page.run(0)
            page.run(1)
            page.run(2, wait=False)
            page.page.wait_for_function(
                "() => document.querySelector('.jp-Notebook')?.textContent?.includes('generating')"
            )
            picture = Path(folder, "picture.png")
            page.page.locator(".jp-NotebookPanel").screenshot(path=picture)
            shutil.copy(picture, target)
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
