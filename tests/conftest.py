import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from localllm_magics import demo
from localllm_magics.session import Session

# The same examples in every run, however slow the machine; HYPOTHESIS_PROFILE=explore looks for new ones.
_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", _UNHURRIED, derandomize=True)
settings.register_profile("explore", _UNHURRIED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(scope="session", autouse=True)
def _nothing_of_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No server, model store or key of the machine takes part, in the processes that tests start neither."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OLLAMA_HOST", "127.0.0.1:9")
        for name in ("OLLAMA_MODELS", "HF_HUB_CACHE", "LLAMA_CACHE", "LMSTUDIO_HOME", "JAN_DATA_FOLDER"):
            patch.setenv(name, str(tmp_path_factory.getbasetemp() / "no-such-store"))
        for name in ("LOCALLLM_API_KEY", "LLAMA_API_KEY", "VLLM_API_KEY", "OPENAI_API_KEY"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _interrupts_raise() -> Iterator[None]:
    """A process that was started in the background ignores interrupts, and so do those that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def new_session() -> Iterator[Session]:
    made = Session()
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, in which we run."""
    shutil.copy(demo.PATH, tmp_path / "mine.gguf")
    monkeypatch.chdir(tmp_path)
    return tmp_path
