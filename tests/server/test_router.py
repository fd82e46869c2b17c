"""The engine for servers on a real llama-server that is a router."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm_magics.core.errors import ModelNotInDaemon
from localllm_magics.core.events import Event, Loading, Pending
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import Request
from tests.engines.openai.asking import completion_of, error_of, events_of, model_at
from tests.server.llama_server import LlamaServer
from tests.server.server_process import fetch
from tests.server.waiting import wait_until


@pytest.fixture(scope="module")
def router() -> Iterator[LlamaServer]:
    folder = Path(__file__).parents[2] / "localllm_magics" / "demo"
    with LlamaServer(folder, "--models-max", "1") as server:
        yield server


def state_of(router: LlamaServer) -> str:
    return str(fetch(router.port, "GET", "/models").json["data"][0]["status"]["value"])


def test_a_model_is_loaded_and_given_back(router: LlamaServer) -> None:
    model = model_at(router.address, "demo")
    events: list[Event] = []
    model.load(events.append)
    loaded = state_of(router)
    context = model.context
    model.unload()
    wait_until(lambda: state_of(router) == "unloaded", "unloaded")

    assert all(isinstance(event, Loading) for event in events)
    assert events[-1] == Loading(1.0)
    assert (loaded, context) == ("loaded", 1024)


def test_the_only_model_is_loaded_for_the_first_question(router: LlamaServer) -> None:
    model = model_at(router.address)

    events = events_of(model, max_tokens=3)

    assert isinstance(events[0], Pending)
    assert isinstance(events[1], Loading)
    completion = completion_of(model, max_tokens=3)
    assert (completion.model.name, completion.stats.completion_tokens) == ("demo", 3)
    assert completion.versions.engine.startswith("llama-server (router) b")
    model.unload()


def test_a_model_that_was_unloaded_by_others_is_loaded_again(router: LlamaServer) -> None:
    model = model_at(router.address, "demo")
    completion_of(model, max_tokens=2)
    fetch(router.port, "POST", "/models/unload", {"model": "demo"})
    wait_until(lambda: state_of(router) == "unloaded", "unloaded")

    assert completion_of(model, max_tokens=2).stats.completion_tokens == 2
    model.unload()


def test_a_preview_has_tokens(router: LlamaServer) -> None:
    model = model_at(router.address, "demo")

    preview = model.preview(Request(messages=to_messages("Hi")))

    assert "".join(text for _, text in preview.tokens) == preview.prompt != ""
    model.unload()


def test_a_model_that_is_not_there_is_told(router: LlamaServer) -> None:
    error = error_of(model_at(router.address, "other"))

    assert isinstance(error, ModelNotInDaemon)
    assert error.message == f"{router.address} does not have other."
    assert error.hint == f"To see what it has, type: %llm connect {router.address}"
