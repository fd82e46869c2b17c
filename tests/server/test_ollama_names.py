"""From what a user types to an answer of Ollama."""

import re
from typing import Any

import pytest

from localllm_magics.core.errors import ModelNotInDaemon
from localllm_magics.core.request import LoadOptions
from localllm_magics.session import Session
from tests.engines.ollama.asking import bodies, saying, script
from tests.server.conftest import MakeFaultServer
from tests.server.faults import FaultServer, Send
from tests.server.http_bytes import http_response
from tests.server.ollama_stand_in import OllamaStandIn

ANY = LoadOptions()


def ollama(make: MakeFaultServer, *stored: str, loaded: tuple[str, ...] = ()) -> FaultServer:
    """An Ollama that stores and has loaded models of these names."""

    def listed(names: tuple[str, ...]) -> list[dict[str, Any]]:
        return [{"name": name, "size_vram": 0, "context_length": 2048} for name in names]

    answers = script(tags=[saying({"models": listed(stored)})], ps=[saying({"models": listed(loaded)})])
    return make({**answers, "/": [Send(http_response(200, {}, b"Ollama is running"))]})


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        pytest.param("ollama:demo", "demo", id="where the environment says"),
        pytest.param("ollama:hf.co/user/repo:Q8_0", "hf.co/user/repo:Q8_0", id="Hugging Face"),
        pytest.param("ollama:demo@http://127.0.0.1:{port}", "demo", id="URL"),
        pytest.param("ollama:demo@127.0.0.1:{port}", "demo", id="host and port"),
        pytest.param("ollama:hf.co/u/r:Q8_0@http://localhost:{port}/", "hf.co/u/r:Q8_0", id="all of it"),
    ],
)
def test_a_named_model_answers(
    reference: str, name: str, fault_server: MakeFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ollama(fault_server, "demo:latest")
    if "{port}" not in reference:
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{server.port}")

    completion = Session().use(reference.format(port=server.port), ANY).model.complete("Why?")

    assert (completion.text, completion.model.engine, completion.model.name) == ("So", "ollama", name)
    assert bodies(server)[0]["model"] == name


@pytest.mark.parametrize(
    ("stored", "loaded", "name"),
    [
        pytest.param(("demo:latest",), (), "demo", id="one"),
        pytest.param(("demo:latest", "other:q4"), ("other:q4",), "other:q4", id="one that is loaded"),
    ],
)
def test_an_ollama_that_is_named_alone_answers_through_its_own_api(
    stored: tuple[str, ...], loaded: tuple[str, ...], name: str, fault_server: MakeFaultServer
) -> None:
    server = ollama(fault_server, *stored, loaded=loaded)

    completion = Session().use(server.address, ANY).model.complete("Why?")

    assert (completion.text, completion.model.engine) == ("So", "ollama")
    assert (completion.model.reference, bodies(server)[0]["model"]) == (server.address, name)


@pytest.mark.parametrize("loaded", [(), ("demo:latest", "other:q4")])
def test_an_ollama_with_several_models_lists_them(loaded: tuple[str, ...], fault_server: MakeFaultServer) -> None:
    server = ollama(fault_server, "demo:latest", "other:q4", loaded=loaded)

    with pytest.raises(ModelNotInDaemon, match=re.escape("2 models, and none was named: demo, other:q4.")) as caught:
        Session().use(server.address, ANY)

    assert caught.value.hint == f"Type: %llm load ollama:demo@{server.address}"


def test_an_ollama_without_models_says_how_to_get_one(fault_server: MakeFaultServer) -> None:
    server = ollama(fault_server)

    with pytest.raises(ModelNotInDaemon, match="has no model") as caught:
        Session().use(server.address, ANY)

    assert "%llm pull ollama:NAME" in caught.value.hint


def test_a_missing_model_of_a_server_that_was_named_alone_can_be_pulled(fault_server: MakeFaultServer) -> None:
    missing = [saying({"error": "model 'demo' not found"}, 404)]
    answers = script(tags=[saying({"models": [{"name": "demo:latest"}]})], ps=[saying({})], chat=missing)
    server = fault_server({**answers, "/": [Send(http_response(200, {}, b"Ollama is running"))]})

    with pytest.raises(ModelNotInDaemon) as caught:
        Session().use(server.address, ANY).model.complete("Why?")

    assert caught.value.hint == f"Type: %llm pull ollama:demo@{server.address}"


def test_a_server_that_loads_as_ollama_does_is_used_by_its_address_alone(stand_in: OllamaStandIn) -> None:
    model = Session().use(stand_in.address, LoadOptions(threads=1)).model

    completion = model.complete("What is a token?", temperature=0)

    assert completion.text.startswith("A token is a word")
    assert [request.path for request in stand_in.requests].count("/v1/chat/completions") == 0
