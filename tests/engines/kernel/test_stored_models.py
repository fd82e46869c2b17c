"""Models of Ollama's store, by the name that they have there."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from localllm_magics.catalog.reference import resolve
from localllm_magics.catalog.sources.ollama import describe_stored
from localllm_magics.core.errors import LoadFailed, LocalLLMError, UnsupportedArchitecture
from localllm_magics.core.messages import Message, to_messages
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import LLAMA_CPP_SAMPLING, Sampling
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.engine import KernelEngine
from localllm_magics.engines.kernel.template import CHATML_NOTICE
from tests.catalog.ollama_stores import LIBRARY, write_model, write_recorded_store
from tests.engines.kernel.asking import GREEDY, LONG, SHORT, Answers, answer, ask, fresh_engine
from tests.engines.kernel.random_model import Metadata, write_random_model

SYSTEM = Message.from_text("system", "You are terse.")
PLAIN = Sampling()
GO_NOTICE = (
    "This model's only chat template is Ollama's, written in Go, which cannot be used here, so ChatML was used. "
    "Ollama itself uses it: `%llm load ollama:base`"
)


@pytest.fixture(scope="module")
def terse(tmp_path_factory: pytest.TempPathFactory) -> ModelInfo:
    """A system prompt, `num_ctx` 512, `temperature` 0 and `stop` END, around the bundled model."""
    return describe_stored("terse", [write_recorded_store(tmp_path_factory.mktemp("ollama") / "models")])


def stored(folder: Path, params: Mapping[str, object]) -> ModelInfo:
    """The bundled model with other parameters."""
    write_model(folder, f"{LIBRARY}/x/latest", layers=[("params", json.dumps(params).encode())])
    return describe_stored("x", [folder])


def test_a_stored_model_answers_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(write_recorded_store(tmp_path / "models")))

    with fresh_engine(resolve("terse", tmp_path)) as engine:
        completion = answer(engine, ask(SHORT, Sampling(max_tokens=8)))

    assert completion.text
    assert (completion.model.reference, completion.model.name) == ("terse", "terse:latest")
    assert (completion.model.context, completion.sampling.temperature) == (512, 0)
    assert completion.sampling.stop == ("END",)


def test_what_the_manifest_sets_is_used_and_shown_before(terse: ModelInfo) -> None:
    with fresh_engine(terse) as engine:
        preview = engine.preview(ask(SHORT, PLAIN), Stop())

    assert "<|im_start|>system\nYou are terse.<|im_end|>" in preview.prompt
    assert preview.prompt.index(SYSTEM.text) < preview.prompt.index(SHORT)
    assert preview.context == 512
    assert preview.sampling == Sampling(temperature=0, stop=("END",)).or_else(LLAMA_CPP_SAMPLING)


def test_the_system_prompt_is_read_as_if_it_had_been_typed(terse: ModelInfo, demo: ModelInfo) -> None:
    with fresh_engine(terse) as engine:
        completion = answer(engine, ask(SHORT, GREEDY))
    with fresh_engine(demo) as engine:
        typed = answer(engine, Request(messages=to_messages(SHORT, system=SYSTEM.text), sampling=GREEDY))
        untyped = answer(engine, ask(SHORT, GREEDY))

    assert completion.text == typed.text
    assert completion.stats.prompt_tokens == typed.stats.prompt_tokens > untyped.stats.prompt_tokens


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(Request(messages=to_messages(SHORT, system="Be kind.")), id="another one"),
        pytest.param(Request(messages=to_messages(SHORT, system="")), id="an empty one"),
        pytest.param(ask(SHORT, raw=True), id="raw"),
    ],
)
def test_a_request_with_a_system_prompt_or_a_raw_one_keeps_what_it_says(terse: ModelInfo, request_: Request) -> None:
    with fresh_engine(terse) as engine:
        preview = engine.preview(request_, Stop())

    assert SYSTEM.text not in preview.prompt


def test_what_a_request_sets_comes_before_the_manifest(terse: ModelInfo) -> None:
    with fresh_engine(terse, ctx=256) as engine:
        preview = engine.preview(ask(SHORT, Sampling(temperature=0.5, stop=("x",))), Stop())

    assert (preview.context, preview.sampling.temperature, preview.sampling.stop) == (256, 0.5, ("x",))


def test_a_prompt_longer_than_the_manifests_context_is_refused(terse: ModelInfo) -> None:
    with fresh_engine(terse) as engine:
        completion = answer(engine, ask(LONG))

    assert completion.error is not None
    assert completion.error.kind == "prompt_too_long"
    assert "the context of terse:latest holds 512" in completion.error.message


def test_a_context_larger_than_the_trained_one_is_bounded(tmp_path: Path, demo: ModelInfo) -> None:
    with fresh_engine(stored(tmp_path, {"num_ctx": 999_999_999})) as engine:
        assert engine.preview(ask(SHORT), Stop()).context == demo.context
        assert engine.status().notices == ()


def test_limits_and_stops_of_the_manifest_end_an_answer(tmp_path: Path, fresh: Answers) -> None:
    text = fresh[SHORT, GREEDY]
    word = text.split()[3]
    with fresh_engine(stored(tmp_path / "one", {"temperature": 0, "num_predict": 5})) as engine:
        limited = answer(engine, ask(SHORT, PLAIN))
    with fresh_engine(stored(tmp_path / "two", {"temperature": 0, "stop": word})) as engine:
        stopped = answer(engine, ask(SHORT, PLAIN))

    assert (limited.finish_reason, limited.stats.completion_tokens) == ("length", 5)
    assert (stopped.finish_reason, stopped.text) == ("stop", text[: text.index(word)])


@pytest.mark.parametrize(
    ("layers", "notice"),
    [
        pytest.param([("template", b"{{ .Prompt }}")], GO_NOTICE, id="a template in Go"),
        pytest.param([], CHATML_NOTICE, id="no template"),
    ],
)
def test_a_template_in_go_is_not_used_which_is_a_notice(
    tmp_path: Path, layers: list[tuple[str, bytes]], notice: str
) -> None:
    weights = write_random_model(tmp_path / "base.gguf", {"tokenizer.chat_template": None})
    write_model(tmp_path, f"{LIBRARY}/base/latest", layers=layers, weights=weights)

    with fresh_engine(describe_stored("base", [tmp_path]), ctx=256) as engine:
        completion = answer(engine, ask("cat", Sampling(max_tokens=1)))

    assert notice in completion.notices


@pytest.mark.parametrize(
    ("architecture", "metadata", "error", "words"),
    [
        pytest.param("zebra", {}, UnsupportedArchitecture, "the architecture 'zebra' of own", id="architecture"),
        pytest.param(
            "llama",
            {"tokenizer.ggml.model": "no_vocab", "llama.vocab_size": 999_999},
            LoadFailed,
            "llama.cpp refused own: ",
            id="layout",
        ),
    ],
)
def test_a_blob_that_llama_cpp_refuses_is_for_ollama(
    tmp_path: Path, architecture: str, metadata: Metadata, error: type[LocalLLMError], words: str
) -> None:
    weights = write_random_model(tmp_path / "own.gguf", metadata, architecture=architecture)
    write_model(tmp_path, f"{LIBRARY}/own/latest", weights=weights)
    engine = KernelEngine(describe_stored("own", [tmp_path]), LoadOptions(threads=1))

    with pytest.raises(error) as caught:
        list(engine.load(Stop()))

    assert words in caught.value.message
    assert "sha256" not in caught.value.message
    assert caught.value.hint == (
        "It may be in Ollama's own layout, which Ollama alone reads. Type: %llm load ollama:own"
    )
    engine.close()
