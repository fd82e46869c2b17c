"""What the README shows works as it is written."""

import re
import shutil
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics import demo
from localllm_magics.notebook.commands.ask import CELL
from localllm_magics.notebook.commands.registry import COMMANDS
from localllm_magics.notebook.config import LocalLLM

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
CELLS = [text for language, text in BLOCKS if language in ("", "python")]
TYPED = re.findall(r"^\| (`%.+?) \|", README, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that has the file the README speaks of."""
    model = tmp_path / "path" / "to" / "model.gguf"
    model.parent.mkdir(parents=True)
    shutil.copy(demo.PATH, model)
    return tmp_path


def test_cells_run_in_the_order_of_the_page(bare_shell: InteractiveShell, folder: Path) -> None:
    shell = bare_shell
    shell.user_ns["error"] = "NameError: name 'x' is not defined"

    results = [shell.run_cell(cell) for cell in CELLS]

    assert [result.success for result in results] == [True] * len(CELLS)
    assert "A token is" in shell.user_ns["completion"].text


def test_settings_are_read(tmp_path: Path) -> None:
    ((setting, table),) = re.findall(r"`([^`]+)` below `(\[[\w.]+\])` in `pyproject.toml`", README)
    (tmp_path / "pyproject.toml").write_text(f"{table}\n{setting}\n")
    config = LocalLLM()

    config.read_project(tmp_path)

    assert config.default_model == "path/to/model.gguf"


@pytest.mark.parametrize("typed", re.findall(r"`%%llm ([^`]*)`", "\n".join(TYPED)))
def test_options_of_the_table_exist(typed: str) -> None:
    parsed = CELL.parse(typed)

    assert parsed.error is None
    assert parsed.values


@pytest.mark.parametrize("command", re.findall(r"`%llm (\w+)", README))
def test_commands_exist(command: str) -> None:
    assert command in COMMANDS


def test_targets_of_make_exist() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert set(re.findall(r"`make ([a-z]+)`", README)) <= set(targets)


def test_files_that_it_links_exist() -> None:
    assert [path for path in re.findall(r"\]\(([\w./-]+)\)", README) if not (ROOT / path).exists()] == []


def test_is_short() -> None:
    assert len(README.splitlines()) <= 120
