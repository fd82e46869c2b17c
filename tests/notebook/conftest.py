"""A real IPython shell for each test, in an empty folder."""

import atexit
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from localllm_magics import load_ipython_extension, unload_ipython_extension
from localllm_magics.model import Model
from localllm_magics.testing import scripted_model


@pytest.fixture
def bare_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A shell without the extension."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOCALLLM_STREAM", raising=False)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}), ipython_dir=str(tmp_path / ".ipython"))
    shell.display_pub = CapturingDisplayPublisher()
    yield shell
    unload_ipython_extension(shell)
    atexit.unregister(shell.atexit_operations)
    shell.atexit_operations()


@pytest.fixture
def shell(bare_shell: InteractiveShell) -> InteractiveShell:
    """A shell with the extension."""
    load_ipython_extension(bare_shell)
    return bare_shell


@pytest.fixture
def displays(bare_shell: InteractiveShell) -> list[dict[str, object]]:
    """What the shell has displayed, as IPython keeps it."""
    publisher = bare_shell.display_pub
    assert isinstance(publisher, CapturingDisplayPublisher)
    outputs: list[dict[str, object]] = publisher.outputs
    return outputs


@pytest.fixture
def says(shell: InteractiveShell) -> Iterator[Callable[..., Model]]:
    """Make a model that says ANSWERS the current one."""
    entered = []

    def start(*answers: str, hangs_after: int | None = None) -> Model:
        context = scripted_model(*answers, hangs_after=hangs_after)
        entered.append(context)
        return context.__enter__()

    yield start
    for context in reversed(entered):
        context.__exit__(None, None, None)
