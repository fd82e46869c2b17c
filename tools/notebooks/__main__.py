"""Runs the tutorials on the bundled model and stores their outputs.

python -m tools.notebooks [NOTEBOOK ...]
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path("notebooks")
TIMEOUT = 300  # seconds for one cell


def run(path: Path) -> None:
    """Run the notebook at PATH and store what it puts out, without what changes at each run."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=TIMEOUT, resources={"metadata": {"path": str(path.parent)}}, record_timing=False
    ).execute()
    for key in ("language_info", "widgets"):  # the state of a widget has this machine's paths
        notebook.metadata.pop(key, None)
    nbformat.write(notebook, path)


def main() -> None:
    """Run the notebooks that are named, or all."""
    os.environ["LOCALLLM_STREAM"] = "off"
    for path in [Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        print(path, flush=True)
        run(path)


if __name__ == "__main__":
    main()
