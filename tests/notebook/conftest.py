"""A real IPython shell for each test, in an empty folder."""

import atexit
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from localllm_magics import load_ipython_extension, unload_ipython_extension
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.model import Model
from localllm_magics.notebook.config import LocalLLM
from localllm_magics.session import default_session
from localllm_magics.testing import ScriptedEngine, scripted_model
from tests.server.faults import FaultServer, InTurn, Steps
from tests.server.llama_server import LlamaServer, llama_server_program
from tests.server.ollama_stand_in import OllamaStandIn
from tests.server.waiting import wait_until

T = TypeVar("T")
DEMO = Path(__file__).parents[2] / "localllm_magics" / "demo" / "demo.gguf"


def found_in_time(look: Callable[[], T], words: str) -> T:
    """What LOOK finds once WORDS are in it: a busy machine may not answer in the half second that servers have."""
    found = [look()]

    def has_words() -> bool:
        if words not in str(found[-1]):
            found.append(look())
        return words in str(found[-1])

    wait_until(has_words, f"{words} in {found[-1]}")
    return found[-1]


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


@pytest.fixture
def engine(shell: InteractiveShell) -> ScriptedEngine:
    """What runs the current model, which says "Hi."."""
    engine = ScriptedEngine("Hi.")
    default_session().add(Model(engine, ModelInfo(reference="scripted", name="scripted", source="bundled")))
    return engine


@pytest.fixture
def config(shell: InteractiveShell) -> LocalLLM:
    """The settings of the shell."""
    return next(found for found in shell.configurables if isinstance(found, LocalLLM))


@pytest.fixture(scope="session")
def llama_server() -> Iterator[LlamaServer]:
    """A real llama-server whose model is called `demo`."""
    with LlamaServer(DEMO, "-c", "2048", "-np", "2", "-t", "1", "-a", "demo") as server:
        yield server


@pytest.fixture(scope="session")
def one_stand_in() -> Iterator[OllamaStandIn]:
    with OllamaStandIn(llama_server_program(), DEMO) as server:
        yield server


@pytest.fixture
def stand_in(one_stand_in: OllamaStandIn) -> OllamaStandIn:
    """A stand-in for Ollama that has just been started: `demo` is stored, and nothing loaded."""
    one_stand_in.reset()
    return one_stand_in


@pytest.fixture
def faulty() -> Iterator[Callable[[Mapping[str, Steps | InTurn]], FaultServer]]:
    """Start a server that takes the steps of a script."""
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(FaultServer(script))
