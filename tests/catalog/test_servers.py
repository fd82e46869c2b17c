import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from localllm_magics.catalog.servers import ServerStatus, candidate_addresses, find_servers, inspect_server
from localllm_magics.core.address import Address
from localllm_magics.core.errors import LocalLLMError
from localllm_magics.engines.server.settings import ServerSettings
from tests.server.faults import Drip, FaultServer, Hold, Send, Steps, Wait
from tests.server.http_bytes import http_response
from tests.server.http_server import HttpServer
from tests.server.recordings import load
from tests.server.replay import ReplayServer
from tests.server.waiting import wait_until

TIMEOUT = 30.0
TAGS = {"models": [{"name": "demo:latest", "size": 7}, {"name": "other:q4"}]}


@pytest.fixture
def start() -> Iterator[ExitStack]:
    """Starts servers that the end of the test stops."""
    with ExitStack() as stack:
        yield stack


def find(settings: ServerSettings, seconds: float = TIMEOUT) -> list[ServerStatus]:
    """Without the default ports, where other servers of this machine may listen."""
    return find_servers(settings, seconds, local_servers=())


def saying(value: object, status: int = 200) -> Send:
    body = json.dumps(value).encode()
    return Send(http_response(status, {"Content-Type": "application/json"}, body))


def ollama(*first: Wait) -> FaultServer:
    """An Ollama with two models, which does FIRST before it answers."""
    return FaultServer(
        {
            "/": [Send(http_response(200, {}, b"Ollama is running"))],
            "/api/version": [*first, saying({"version": "0.33.0"})],
            "/api/tags": [saying(TAGS)],
        }
    )


def openai(*first: Wait) -> FaultServer:
    """Some other server with two models."""
    models = {"data": [{"id": "org/m"}, {"id": "n/"}]}
    return FaultServer({"/props": [*first, Send(http_response(404))], "/v1/models": [saying(models)]})


def at(server: HttpServer) -> Address:
    return Address.from_text(server.address)


def settings(*servers: HttpServer) -> ServerSettings:
    return ServerSettings(addresses=tuple(server.address for server in servers))


def found(server: HttpServer, among: list[ServerStatus]) -> ServerStatus:
    return next(daemon for daemon in among if daemon.address == at(server))


def test_the_candidates_are_configured_and_default_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "box:7")

    names = candidate_addresses(ServerSettings(addresses=("http://127.0.0.1:8000", "http://there:1")))

    assert {address.url: name for address, name in names.items()} == {
        "http://box:7": "Ollama",
        "http://127.0.0.1:8000": "server",
        "http://there:1": "server",
        "http://127.0.0.1:8080": "llama-server, llamafile",
        "http://127.0.0.1:9931": "llama-server, llamafile",
        "http://127.0.0.1:1234": "LM Studio",
    }


def test_the_configured_ollama_is_named_without_its_address(start: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start.enter_context(ollama())
    monkeypatch.setenv("OLLAMA_HOST", server.address)

    (daemon,) = find(ServerSettings())

    assert (daemon.name, daemon.problem, daemon.is_named) == ("Ollama 0.33.0", None, False)
    assert [info.reference for info in daemon.models] == ["ollama:demo", "ollama:other:q4"]


def test_another_ollama_is_named_with_its_address(start: ExitStack) -> None:
    server = start.enter_context(ollama())

    daemon = found(server, find(settings(server)))

    assert (daemon.name, daemon.is_named) == ("Ollama 0.33.0", True)
    assert [info.reference for info in daemon.models] == [
        f"ollama:demo@{server.address}",
        f"ollama:other:q4@{server.address}",
    ]


def test_a_recorded_llama_server_is_found(start: ExitStack) -> None:
    server = start.enter_context(ReplayServer(load("llama-server", "identity")))

    daemon = found(server, find(settings(server)))

    assert daemon.name.startswith("llama-server")
    assert [info.engine for info in daemon.models] == ["openai"]
    assert str(daemon.models[0].address) == server.address


def test_models_of_another_server_are_named_with_its_address(start: ExitStack) -> None:
    server = start.enter_context(openai())

    daemon = found(server, find(settings(server)))

    assert [(info.reference, info.name) for info in daemon.models] == [
        (f"openai:org/m@{server.address}", "org/m"),
        (f"openai:n/@{server.address}", "n/"),
    ]


def test_another_server_on_the_port_of_ollama_is_found(start: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start.enter_context(openai())
    monkeypatch.setenv("OLLAMA_HOST", server.address)

    (daemon,) = find(ServerSettings())

    assert len(daemon.models) == 2


def test_a_server_that_loads_is_found(start: ExitStack) -> None:
    loading = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
    server = start.enter_context(FaultServer({"*": [saying(loading, 503)]}))

    daemon = inspect_server(at(server), ServerSettings(), is_named=True, seconds=TIMEOUT)

    assert (daemon.is_loading, daemon.models) == (True, ())


def test_all_addresses_are_asked_at_the_same_time(start: ExitStack) -> None:
    all_asked = threading.Event()
    servers = [start.enter_context(make(Wait(all_asked))) for make in (openai, openai, openai)]

    def watch() -> None:
        wait_until(lambda: all(server.requests for server in servers), "all asked")
        all_asked.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    everything = find(settings(*servers))
    watcher.join()

    assert [len(found(server, everything).models) for server in servers] == [2, 2, 2]


def test_an_ollama_elsewhere_is_asked_everything_at_once(start: ExitStack) -> None:
    all_asked = threading.Event()
    answers = {
        "/": Send(http_response(200, {}, b"Ollama is running")),
        "/api/version": saying({"version": "0.33.0"}),
        "/api/tags": saying(TAGS),
    }
    nothing = Send(http_response(404))
    script: dict[str, Steps] = {
        path: [Wait(all_asked), answers.get(path, nothing)] for path in (*answers, "/props", "/v1/models")
    }
    server = start.enter_context(FaultServer(script))

    def watch() -> None:
        server.wait_for_requests(5)
        all_asked.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    daemon = found(server, find(settings(server)))
    watcher.join()

    assert (daemon.name, len(daemon.models)) == ("Ollama 0.33.0", 2)


def test_nobody_waits_for_a_silent_server(start: ExitStack) -> None:
    says_nothing = start.enter_context(FaultServer({"*": [Hold()]}))
    never_ends = start.enter_context(FaultServer({"*": [Drip(http_response(200, {}, b" " * 10_000), 0.5)]}))
    never_reads = start.enter_context(FaultServer({}, on_connect=[Hold()]))
    silent, quick = (says_nothing, never_ends, never_reads), start.enter_context(openai())
    seconds, everything = 0.25, list[ServerStatus]()

    while not everything or not found(quick, everything).models:  # a busy machine may need longer
        seconds *= 2
        everything = find(settings(*silent, quick), seconds)

    for server in silent:
        assert found(server, everything).problem == f"{server.address} did not answer within {seconds:g} seconds."
        assert found(server, everything).is_named
    assert len(found(quick, everything).models) == 2


def test_a_missing_server_has_a_problem(start: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = start.enter_context(FaultServer({}))
    named, address = settings(gone), gone.address
    gone.__exit__()
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")

    default, daemon = find(named)

    assert (default.name, default.is_named, default.problem) == (
        "Ollama",
        False,
        "Nothing listens at http://127.0.0.1:9.",
    )
    assert (daemon.name, daemon.is_named, daemon.models) == ("server", True, ())
    assert daemon.problem == f"Nothing listens at {address}."


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_list_that_is_refused_is_a_problem(status: int, start: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    script = {"/api/version": [saying({"version": "0.33.0"})], "/api/tags": [saying({}, status)]}
    server = start.enter_context(FaultServer(script))
    monkeypatch.setenv("OLLAMA_HOST", server.address)

    (daemon,) = find(ServerSettings())

    assert daemon.models == ()
    assert str(status) in (daemon.problem or "")


def test_another_program_is_a_problem(start: ExitStack) -> None:
    server = start.enter_context(FaultServer({"*": [Send(http_response(200, {}, b"<html>Hello"))]}))

    with pytest.raises(LocalLLMError, match="not as a model server"):
        inspect_server(at(server), ServerSettings(), is_named=True, seconds=TIMEOUT)


def test_a_key_goes_to_named_servers_only(start: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    named, unnamed = start.enter_context(openai()), start.enter_context(ollama())
    monkeypatch.setenv("OLLAMA_HOST", unnamed.address)
    monkeypatch.setenv("LOCALLLM_API_KEY", "sk-secret")

    find(settings(named))

    assert {request.headers.get("authorization") for request in named.requests} == {"Bearer sk-secret"}
    assert {request.headers.get("authorization") for request in unnamed.requests} == {None}


def test_a_server_for_which_there_is_no_thread_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)

    (server,) = find(ServerSettings())

    assert (server.problem or "").startswith("The system allows no more threads")
