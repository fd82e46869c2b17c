"""The engine for a reference to a server, and how few questions it takes."""

from collections import Counter
from pathlib import Path

import pytest

from localllm_magics.catalog.server_reference import resolve_server_reference
from localllm_magics.core.errors import BadOption, DaemonNotReachable, LocalLLMError
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.stop import Stop
from localllm_magics.engines.factory import new_engine
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.model import Model
from tests.engines.openai.asking import CHAT, HELLO
from tests.server.faults import FaultServer, InTurn, Send, Steps
from tests.server.http_bytes import http_response
from tests.server.server_process import free_port

JSON = {"Content-Type": "application/json"}


def test_a_server_that_is_named_alone_is_asked_little() -> None:
    models = Send(http_response(200, JSON, b'{"data":[{"id":"m"}]}'))
    with FaultServer({"/v1/models": [models]}) as server:
        engine = new_engine(resolve_server_reference(server.address, Path()), LoadOptions(), ServerSettings())
        list(engine.load(Stop()))

    assert Counter(request.path for request in server.requests) == Counter(
        # Whether it is Ollama is asked by the factory, and again when the engine finds out what it is.
        ["/api/version"] * 2 + ["/props", "/v1/models", "/flagz", "/api/v0/models"]
    )


@pytest.mark.parametrize("text", ["ollama:m@127.0.0.1:{port}", "OLLAMA:m@http://127.0.0.1:{port}"])
def test_an_ollama_that_is_down_is_started_as_ollama(text: str) -> None:
    port = free_port()
    engine = new_engine(resolve_server_reference(text.format(port=port), Path()), LoadOptions(), ServerSettings())

    with pytest.raises(DaemonNotReachable) as caught:
        list(engine.load(Stop()))

    assert caught.value.hint == f"To start Ollama, type in a terminal: OLLAMA_HOST=127.0.0.1:{port} ollama serve"


def test_a_server_that_is_down_is_an_error_of_its_engine() -> None:
    info = resolve_server_reference(f"http://127.0.0.1:{free_port()}", Path())
    engine = new_engine(info, LoadOptions(), ServerSettings())

    with pytest.raises(DaemonNotReachable, match="Nothing listens"):
        list(engine.load(Stop()))


def test_another_kind_of_server_at_the_same_address_is_found_after_a_failure() -> None:
    script: dict[str, Steps | InTurn] = {
        "/": InTurn([[Send(http_response(200, {}, b"Ollama is running"))], [Send(http_response(404))]]),
        "/api/version": InTurn(
            [[Send(http_response(200, JSON, b'{"version":"0.33.0"}'))]] * 2 + [[Send(http_response(404))]]
        ),
        "/api/tags": [Send(http_response(200, JSON, b'{"models":[{"name":"m:latest"}]}'))],
        "/v1/models": [Send(http_response(200, JSON, b'{"data":[{"id":"m"}]}'))],
        CHAT: HELLO,
    }
    with FaultServer(script) as server:
        info = resolve_server_reference(server.address, Path())
        model = Model(new_engine(info, LoadOptions(), ServerSettings()), info)
        before = repr(model)
        with pytest.raises(LocalLLMError, match="no such service"):
            model.complete("Hi")

        assert model.complete("Hi").text == "Hello"
        model.unload()
        with pytest.raises(LocalLLMError, match="was unloaded"):
            model.complete("Hi")

    assert before != repr(model)


def test_a_server_that_is_named_alone_previews_a_prompt() -> None:
    script: dict[str, Steps] = {"/v1/models": [Send(http_response(200, JSON, b'{"data":[{"id":"m"}]}'))]}
    with FaultServer(script) as server:
        engine = new_engine(resolve_server_reference(server.address, Path()), LoadOptions(), ServerSettings())

        assert '"Hi"' in engine.preview(Request(messages=to_messages("Hi")), Stop()).sent
        assert repr(engine) == f"<OpenAIEngine {server.address}>"


def test_a_server_that_is_named_alone_takes_no_load_options() -> None:
    with FaultServer({}) as server:
        engine = new_engine(resolve_server_reference(server.address, Path()), LoadOptions(), ServerSettings())

        assert engine.with_options(LoadOptions()).status().model.engine == "openai"
        with pytest.raises(BadOption):
            engine.with_options(LoadOptions(ctx=5))


def test_a_reference_may_be_written_in_capitals() -> None:
    with FaultServer({}) as server:
        engine = new_engine(
            resolve_server_reference(f"OPENAI:m@{server.address}", Path()), LoadOptions(), ServerSettings()
        )

    assert engine.status().model.name == "m"
    assert not server.requests
