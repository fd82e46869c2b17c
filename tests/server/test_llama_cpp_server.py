"""The engine for servers, through `Model`, on the real server of llama-cpp-python."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm_magics.core.errors import PromptTooLong, StreamBroken
from localllm_magics.core.events import Failed, TextDelta
from localllm_magics.model import Model
from tests.engines.openai.asking import ENDLESS, completion_of, error_of, model_at
from tests.server.llama_server import LlamaCppServer

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


@pytest.fixture(scope="module")
def server() -> Iterator[LlamaCppServer]:
    demo = Path(__file__).parents[2] / "localllm_magics" / "demo" / "demo.gguf"
    with LlamaCppServer(demo, "--n_ctx", "8192") as server:
        yield server


@pytest.fixture
def model(server: LlamaCppServer) -> Model:
    return model_at(server.address)


def test_an_answer_is_counted_by_its_pieces(model: Model) -> None:
    completion = completion_of(model, "What is a token?", temperature=0.0, max_tokens=6)

    assert (completion.stats.completion_tokens, completion.stats.estimated) == (6, True)
    assert completion.finish_reason == "length"
    assert completion.versions.engine == "llama_cpp.server"
    assert completion.model.name == "demo.gguf"


def test_a_prompt_that_is_too_long_is_told_although_the_server_says_nothing(model: Model) -> None:
    error = error_of(model, "word " * 10_000)

    assert isinstance(error, PromptTooLong)
    assert "maximum context length is 8192 tokens" in error.message
    assert error.hint == "Shorten it, or raise the context with llama_cpp.server --n_ctx."


def test_an_answer_that_another_question_kills_is_told(server: LlamaCppServer, model: Model) -> None:
    with model.stream("Go on.", temperature=1.5, seed=1, schema=ENDLESS) as stream:
        next(event for event in stream if isinstance(event, TextDelta))
        second = completion_of(model_at(server.address), max_tokens=2)
        *_, last = stream

    assert second.finish_reason == "length"
    assert isinstance(last, Failed)
    assert isinstance(last.error, StreamBroken)
    assert last.error.hint == "Ask one thing at a time, or start it with --interrupt_requests false."
    assert last.completion.text != ""
    assert last.completion.stats.estimated


def test_a_stopped_answer_makes_room_for_the_next(model: Model) -> None:
    with model.stream("Go on.", temperature=1.5, seed=1, schema=ENDLESS) as stream:
        next(event for event in stream if isinstance(event, TextDelta))
        stream.stop()
        first = stream.completion()

    assert first.finish_reason == "stopped"
    assert completion_of(model, max_tokens=2).finish_reason == "length"


def test_plain_text_is_continued(model: Model) -> None:
    completion = completion_of(model, "The fox", raw=True, temperature=0.0, max_tokens=4)

    assert (completion.stats.completion_tokens, completion.finish_reason) == (4, "length")


def test_a_schema_binds_the_answer(model: Model) -> None:
    completion = completion_of(model, schema=SCHEMA, seed=1, temperature=0.0, max_tokens=80)

    assert completion.text.startswith("{")


def test_another_name_is_noticed(server: LlamaCppServer) -> None:
    completion = completion_of(model_at(server.address, "llama3"), max_tokens=1)

    assert completion.notices == ("llama3 was asked for; the server has demo.gguf.",)
