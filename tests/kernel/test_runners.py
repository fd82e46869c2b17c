"""Notebooks that run without a front end, and IPython in a terminal."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import papermill
import pytest
from nbclient.exceptions import CellExecutionError

from localllm_magics.core.completion import MIME_TYPE
from tests.kernel.notebook_kernel import ROOT

LOAD = "%load_ext localllm_magics"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / ".ipython"))
    monkeypatch.delenv("LOCALLLM_STREAM", raising=False)


def notebook(*cells: str) -> nbformat.NotebookNode:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    code_cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    new: nbformat.NotebookNode = nbformat.v4.new_notebook(cells=code_cells, metadata=kernel)
    return new


def outputs(saved: Mapping[str, Any]) -> list[list[str]]:
    """The kinds of the outputs of each cell."""
    return [[output["output_type"] for output in cell["outputs"]] for cell in saved["cells"]]


def ipython(script: str, *arguments: str) -> str:
    """What IPython prints in a terminal that is fed with SCRIPT."""
    command = [sys.executable, "-m", "IPython", "--quick", "--no-banner", "--colors=NoColor", "--simple-prompt"]
    done = subprocess.run(
        [*command, *arguments], input=script, capture_output=True, text=True, check=True, timeout=120, env=os.environ
    )
    return done.stdout


def test_nbclient_saves_one_output_for_each_cell(tmp_path: Path) -> None:
    run = notebook(LOAD, "%%llm -t 0\nWhat is a token?", "%llm ask -t 0 Hi?", "x = %llm ask -t 0 Hi?\nprint(1)")

    # What a cell prints may come in several messages, which are one output in a notebook.
    resources = {"metadata": {"path": str(tmp_path)}}
    saved = nbclient.NotebookClient(run, timeout=120, resources=resources, coalesce_streams=True).execute()

    assert outputs(saved) == [[], ["display_data"], ["display_data"], ["display_data", "stream"]]
    assert [MIME_TYPE in cell.outputs[0].data for cell in saved.cells[1:]] == [True] * 3
    nbformat.validate(saved)


def test_nbclient_stops_at_an_error(tmp_path: Path) -> None:
    run = notebook(LOAD, "%%llm -t 0\n{{ gone }}", "print(1)")
    client = nbclient.NotebookClient(run, timeout=120, resources={"metadata": {"path": str(tmp_path)}})

    with pytest.raises(CellExecutionError, match="BadExpression"):
        client.execute()

    assert outputs(run) == [[], ["display_data", "error"], []]


# papermill's own code uses names that newer Pythons call deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_papermill_fails_and_keeps_the_partial_bundle(tmp_path: Path) -> None:
    source, target = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    nbformat.write(notebook(LOAD, "%%llm -t 0 --ctx 256\n{{ 'long ' * 900 }}"), source)

    with pytest.raises(papermill.PapermillExecutionError):
        papermill.execute_notebook(source, target, progress_bar=False, cwd=tmp_path)

    failed = nbformat.read(target, as_version=4).cells[-1]
    bundles = [output.data[MIME_TYPE] for output in failed.outputs if MIME_TYPE in output.get("data", {})]
    assert [(bundle["state"], bundle["error"]["kind"]) for bundle in bundles] == [("failed", "prompt_too_long")]


def test_a_terminal_streams_text_and_ends_with_the_stats() -> None:
    script = f"{LOAD}\nx = %llm ask -t 0 What is a token?\nprint(x.text in 'abc', '_llm' in dir())\nexit\n"

    printed = ipython(script)

    assert printed.index("token") < printed.index("[demo · kernel on CPU · ") < printed.index("False True")
    assert "tok/s" in printed
    assert "Traceback" not in printed


def test_ipython_with_a_command() -> None:
    printed = ipython("", "--ext=localllm_magics", "-c", "%llm ask -t 0 What is a token?")

    assert "[demo · kernel on CPU · " in printed
    assert "Completion(" not in printed


def test_a_terminal_shows_errors_in_short() -> None:
    printed = ipython(f"{LOAD}\n%llm ask --top-p 3 Hi\nexit\n")

    assert "BadOption: --top-p must be from 0 to 1, not 3.0." in printed
    assert "Traceback" not in printed


def test_a_program_waits_for_the_background(tmp_path: Path) -> None:
    run = notebook(LOAD, "%%llm -t 0 -b\nWhat is a token?", "%llm ask -b -t 0 Hi?")
    client = nbclient.NotebookClient(run, timeout=120, resources={"metadata": {"path": str(tmp_path)}})

    saved = client.execute()

    assert outputs(saved) == [[], ["display_data"], ["display_data"]]
    assert [cell.outputs[0].data[MIME_TYPE]["state"] for cell in saved.cells[1:]] == ["done", "done"]
