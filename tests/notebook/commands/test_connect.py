"""`%llm connect` says what a server is and has, and remembers it."""

import json
from collections.abc import Callable, Mapping

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.catalog.model_list import ModelList
from localllm_magics.core.errors import AccessDenied, BadOption, DaemonError, DaemonNotReachable
from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.notebook.config import LocalLLM
from localllm_magics.session import default_session
from tests.notebook.conftest import DEMO, found_in_time
from tests.server.faults import FaultServer, InTurn, Send, Steps
from tests.server.http_bytes import http_response
from tests.server.llama_server import LlamaServer
from tests.server.ollama_stand_in import OllamaStandIn
from tests.server.server_process import free_port

Faulty = Callable[[Mapping[str, Steps | InTurn]], FaultServer]
JSON = {"Content-Type": "application/json"}


def connect(shell: InteractiveShell, text: str) -> ModelList:
    found = shell.run_line_magic("llm", f"connect {text}")
    assert isinstance(found, ModelList)
    return found


def test_the_only_model_becomes_the_current_one(shell: InteractiveShell, llama_server: LlamaServer) -> None:
    found = connect(shell, llama_server.address)

    current = default_session().current
    assert [info.name for info in found] == ["demo"]
    assert current is not None
    assert current.info.reference == llama_server.address
    assert f"{llama_server.address} is the current model now." in str(found)
    assert "llama-server b" in str(found)


def test_the_connected_server_answers_the_next_cell(shell: InteractiveShell, llama_server: LlamaServer) -> None:
    connect(shell, llama_server.address)

    shell.run_cell_magic("llm", "-n 3 -o answer", "What is a token?")

    answer = shell.user_ns["answer"]
    assert (answer.model.engine, answer.stats.completion_tokens, answer.stats.estimated) == ("openai", 3, False)


def test_of_several_models_none_is_chosen(shell: InteractiveShell, stand_in: OllamaStandIn) -> None:
    stand_in.store("other", DEMO)

    found = connect(shell, stand_in.address)

    assert default_session().current is None
    assert {info.reference for info in found} == {f"ollama:{name}@{stand_in.address}" for name in ("demo", "other")}
    assert f"Ollama 0.33.0 runs at {stand_in.address}. To use one of its models" in str(found)
    assert "%llm load ollama:" in str(found)


def test_the_models_are_offered_by_tab(shell: InteractiveShell, stand_in: OllamaStandIn) -> None:
    connect(shell, stand_in.address)

    assert default_session().listed == (f"ollama:demo@{stand_in.address}",)


@pytest.mark.parametrize("name", ["a@b", "x//y", "http://me:secret@h:1/m"])
def test_a_model_whose_name_nobody_can_type_is_left_out(shell: InteractiveShell, faulty: Faulty, name: str) -> None:
    tags = json.dumps({"models": [{"name": name}]}).encode()
    server = faulty(
        {
            "/": [Send(http_response(200, {}, b"Ollama is running"))],
            "/api/version": [Send(http_response(200, JSON, b'{"version":"0.33.0"}'))],
            "/api/tags": [Send(http_response(200, JSON, tags))],
        }
    )

    assert f"Ollama 0.33.0 runs at {server.address}, and has no model." in str(connect(shell, server.address))


def test_of_very_many_models_some_are_shown_and_the_others_by_a_word(shell: InteractiveShell, faulty: Faulty) -> None:
    models = json.dumps({"data": [{"id": f"m{number}"} for number in range(2_000)]}).encode()
    server = faulty({"/v1/models": [Send(http_response(200, JSON, models))]})

    found, some = connect(shell, server.address), connect(shell, f"{server.address}/v1/models m777")
    none = connect(shell, f"{server.address} x")
    listed = shell.run_line_magic("llm", "models no-such-model")

    assert len(found) == 2_000
    assert f"100 of 2,000. For those with a word in their names: %llm connect {server.address} WORD" in str(found)
    assert len(str(found)) < 30_000
    assert [info.name for info in some] == ["m777"]
    assert f"%llm load openai:m777@{server.address}" in str(some)
    assert f"No model has 'x' in its name. To see all, type: %llm connect {server.address}" in str(none)
    assert listed == []


def test_a_server_without_models_is_named(shell: InteractiveShell, faulty: Faulty) -> None:
    empty = [Send(http_response(200, JSON, b'{"object":"list","data":[]}'))]
    server = faulty({"/v1/models": empty})

    found = connect(shell, server.address)

    assert f"runs at {server.address}, and has no model." in str(found)
    assert default_session().current is None


def test_a_server_that_loads_is_waited_for(shell: InteractiveShell, faulty: Faulty) -> None:
    loading = b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'
    busy = [Send(http_response(503, JSON | {"Server": "llama.cpp"}, loading))]
    models = [Send(http_response(200, JSON, b'{"object":"list","data":[{"id":"demo","object":"model"}]}'))]
    server = faulty({"/props": InTurn([busy, busy, [Send(http_response(404))]]), "/v1/models": models})

    found = connect(shell, server.address)

    assert [info.reference for info in found] == [f"openai:demo@{server.address}"]


@pytest.mark.parametrize("text", ["http://127.0.0.1:{port}", "127.0.0.1:{port}", "localhost:{port}/v1/"])
def test_an_address_may_be_written_in_many_ways(
    shell: InteractiveShell, config: LocalLLM, llama_server: LlamaServer, text: str
) -> None:
    found = connect(shell, text.format(port=llama_server.port))

    host = "localhost" if "localhost" in text else "127.0.0.1"
    assert [info.reference for info in found] == [f"openai:demo@http://{host}:{llama_server.port}"]
    assert config.daemons == [f"http://{host}:{llama_server.port}"]


def test_it_is_remembered_once_and_listed_from_then_on(
    shell: InteractiveShell, config: LocalLLM, stand_in: OllamaStandIn
) -> None:
    before = shell.run_line_magic("llm", "models")
    config.daemons = [f"{stand_in.address}/"]

    connect(shell, stand_in.address)
    connect(shell, stand_in.address)

    assert stand_in.address not in str(before)
    assert config.daemons == [f"{stand_in.address}/"]
    assert found_in_time(lambda: shell.run_line_magic("llm", "models"), f"ollama:demo@{stand_in.address}")


def test_where_nothing_listens_it_says_how_to_start_a_server(shell: InteractiveShell, config: LocalLLM) -> None:
    port = free_port()

    with pytest.raises(DaemonNotReachable, match=f"Nothing listens at http://127.0.0.1:{port}") as caught:
        connect(shell, f"http://127.0.0.1:{port}")

    assert f"llama-server -m model.gguf --port {port}" in caught.value.hint
    assert (config.daemons, default_session().current) == ([], None)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(http_response(200, {"Content-Type": "text/html"}, b"<h1>Hello</h1>"), id="a web page"),
        pytest.param(http_response(404, {}, b""), id="nothing"),
        pytest.param(http_response(200, JSON, b"[[1]"), id="broken JSON"),
    ],
)
def test_what_is_no_model_server_is_refused(
    shell: InteractiveShell, config: LocalLLM, faulty: Faulty, body: bytes
) -> None:
    server = faulty({"*": [Send(body)]})

    with pytest.raises((DaemonError, BadOption)) as caught:
        connect(shell, server.address)

    assert server.address.removeprefix("http://") in caught.value.message
    assert caught.value.hint
    assert config.daemons == []


def test_a_server_that_wants_a_key_says_where_to_put_it(shell: InteractiveShell, faulty: Faulty) -> None:
    server = faulty({"*": [Send(http_response(401, JSON, b'{"error":{"message":"Invalid API Key","code":401}}'))]})

    with pytest.raises(AccessDenied) as caught:
        connect(shell, server.address)

    assert "LOCALLLM_API_KEY" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "%llm connect needs an address", id="none"),
        pytest.param("http://", "is no address of a server", id="no host"),
        pytest.param("ftp://127.0.0.1", "is no address of a server", id="another scheme"),
        pytest.param("127.0.0.1:port", "is no address", id="no port"),
        pytest.param("http://me:secret@127.0.0.1:8080", "holds no user and no password", id="a password"),
    ],
)
def test_a_bad_address_is_refused(shell: InteractiveShell, text: str, message: str) -> None:
    with pytest.raises(BadOption, match=message) as caught:
        connect(shell, text)

    assert caught.value.hint
    assert "secret" not in str(caught.value)


def test_names_of_a_server_are_no_terminal_sequences(shell: InteractiveShell, faulty: Faulty) -> None:
    models = b'{"object":"list","data":[{"id":"a\\u001b[31m<b>","object":"model"}]}'
    server = faulty({"/v1/models": [Send(http_response(200, JSON, models))]})

    found = connect(shell, server.address)

    assert str(found) == strip_control(str(found))
    assert "<b>" not in found._repr_markdown_()


@pytest.mark.parametrize("text", ["ollama:llama3", "openai:gpt"])
def test_a_model_is_no_address(shell: InteractiveShell, text: str) -> None:
    with pytest.raises(BadOption, match="begins the name of a model") as caught:
        connect(shell, text)

    assert "%llm load" in caught.value.hint


def test_an_address_that_is_none_is_an_error(shell: InteractiveShell) -> None:
    with pytest.raises(BadOption, match="is no address"):
        connect(shell, "http://h:eighty")
