"""Importing and loading stay cheap: heavy libraries arrive when they are first used."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "llama_cpp",
    "ipywidgets",
    "anywidget",
    "httpcore",
    "httpx",
    "requests",
    "numpy",
    "pandas",
    "polars",
    "jinja2",
    "ssl",
}
PRINT_MODULES = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
SHELL = """
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}))
"""


def modules_after(code: str) -> set[str]:
    """Top names of all modules that a new Python has after CODE."""
    script = f"{code}\n{PRINT_MODULES}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_needs_only_the_standard_library() -> None:
    before = modules_after("")
    after = modules_after("import localllm_magics; dir(localllm_magics)")

    assert after - before - sys.stdlib_module_names == {"localllm_magics"}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("", id="nothing"),
        pytest.param("%llm help", id="help"),
        pytest.param("%llm status", id="status"),
        pytest.param("%llm config", id="config"),
    ],
)
def test_loading_the_extension_imports_nothing_heavy(line: str) -> None:
    before = modules_after(SHELL)
    after = modules_after(f"{SHELL}shell.run_line_magic('load_ext', 'localllm_magics')\nshell.run_cell({line!r})")

    assert "localllm_magics" in after
    assert (after - before) & HEAVY == set()


def test_loading_the_extension_needs_no_library_but_its_own() -> None:
    before = modules_after(SHELL)
    after = modules_after(f"{SHELL}shell.run_line_magic('load_ext', 'localllm_magics')")

    assert after - before - sys.stdlib_module_names <= {"localllm_magics", "platformdirs", "tomli"}
