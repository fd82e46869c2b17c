from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from localllm_magics.catalog.discover import bundled_model
from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.engine import KernelEngine
from localllm_magics.engines.kernel.library import Library, library
from localllm_magics.engines.kernel.llama_model import LlamaModel
from localllm_magics.engines.kernel.loaded_model import LoadedModel
from tests.engines.kernel.asking import ALIKE, GREEDY, LONG, SHORT, WILD, Answers, answer, ask, fresh_engine
from tests.engines.kernel.random_model import write_random_model


@pytest.fixture(scope="session")
def demo() -> ModelInfo:
    return bundled_model()


@pytest.fixture(scope="session")
def lib() -> Library:
    return library()


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of some 30 MB with random weights; what it says depends on the CPU."""
    return write_random_model(tmp_path_factory.mktemp("models") / "random.gguf")


@pytest.fixture
def engine(demo: ModelInfo) -> Iterator[KernelEngine]:
    """The bundled model, not loaded yet."""
    engine = KernelEngine(demo, LoadOptions(threads=1))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def model(lib: Library, demo: ModelInfo) -> Iterator[LlamaModel]:
    """The weights of the bundled model."""
    assert demo.path is not None
    model = LlamaModel(lib, demo.path, PlanSettings(context=512), stop=Stop())
    yield model
    model.close()


@pytest.fixture(scope="module")
def loaded(lib: Library, demo: ModelInfo) -> Iterator[LoadedModel]:
    """The bundled model in memory."""
    loaded = LoadedModel(lib, demo, LoadOptions(threads=1), repack=True, progress=lambda _: None, stop=Stop())
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def fresh(demo: ModelInfo) -> Answers:
    """What a model that was never asked before answers."""
    answers = {}
    for prompt, sampling in product((SHORT, LONG, ALIKE), (GREEDY, WILD)):
        with fresh_engine(demo) as engine:
            answers[prompt, sampling] = answer(engine, ask(prompt, sampling)).text
    return answers
