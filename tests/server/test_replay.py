from collections.abc import Iterable, Iterator

import httpx
import pytest

from tests.server.conftest import Recording
from tests.server.recordings import Exchange, Server, load, names
from tests.server.replay import Cutting, ReplayServer

TOKEN = {"messages": [{"role": "user", "content": "What is a token?"}]}


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=60) as client:
        yield client


def repeat(http: httpx.Client, server: ReplayServer, exchange: Exchange) -> httpx.Response:
    request = exchange.request
    return http.request(
        request.method, server.address + request.path, content=request.body, headers=dict(request.headers)
    )


def names_and_values(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """HEADERS without the length, which httpx has checked."""
    return [(name.lower(), value) for name, value in headers if name.lower() != "content-length"]


WHOLE = [
    pytest.param(server, name, id=f"{server} {name}")
    for server in ("ollama", "llama-server")
    for name in names(server)
    if all(exchange.response.end == "complete" for exchange in load(server, name))
]


@pytest.mark.parametrize(("server", "name"), WHOLE)
def test_the_recorded_requests_get_the_recorded_answers(server: Server, name: str, http: httpx.Client) -> None:
    exchanges = load(server, name)

    with ReplayServer(exchanges) as replay:
        responses = [repeat(http, replay, exchange) for exchange in exchanges]

    assert [(r.status_code, r.reason_phrase, r.content) for r in responses] == [
        (e.response.status, e.response.reason, e.response.body) for e in exchanges
    ]
    assert [names_and_values(r.headers.multi_items()) for r in responses] == [
        names_and_values(e.response.headers) for e in exchanges
    ]


@pytest.mark.parametrize("cutting", ["as recorded", "bytes", "whole", "random"])
def test_a_cut_body_is_the_same_body(cutting: Cutting, http: httpx.Client, ollama_recording: Recording) -> None:
    unicode = load("ollama", "unicode")[1]
    server = ollama_recording("unicode", cutting)

    response = repeat(http, server, unicode)

    assert response.content == unicode.response.body


@pytest.mark.parametrize(
    ("cutting", "sizes"),
    [
        pytest.param("as recorded", lambda body, frames: [len(frame.data) for frame in frames], id="as recorded"),
        pytest.param("bytes", lambda body, frames: [1] * len(body), id="bytes"),
        pytest.param("whole", lambda body, frames: [len(body)], id="whole"),
    ],
)
def test_a_body_is_cut_as_asked(cutting: Cutting, sizes: object, ollama_recording: Recording) -> None:
    response = load("ollama", "chat-cold")[0].response
    server = ollama_recording("chat-cold", cutting)

    assert callable(sizes)
    assert [len(frame.data) for frame in server.cut(response)] == sizes(response.body, response.frames)


def test_other_options_get_the_same_answer(http: httpx.Client, ollama_recording: Recording) -> None:
    server = ollama_recording("chat-cold")
    body = {"model": "demo:latest", **TOKEN, "stream": True, "truncate": False, "options": {"num_ctx": 512}}

    response = http.post(f"{server.address}/api/chat", json=body)

    assert response.content == load("ollama", "chat-cold")[0].response.body
    assert server.requests[0].json == body


def test_equal_requests_get_the_answers_in_turn_and_then_the_last_one(
    http: httpx.Client, ollama_recording: Recording
) -> None:
    server = ollama_recording("load-unload")

    answers = [http.get(f"{server.address}/api/ps").json()["models"] for _ in range(4)]

    assert [len(models) for models in answers] == [1, 1, 0, 0]


def test_a_key_chooses_between_answers(http: httpx.Client) -> None:
    with ReplayServer(load("llama-server", "api-key")) as server:
        url = f"{server.address}/v1/chat/completions"
        headers = [{"Authorization": "Bearer secret"}, {}, {"Authorization": "Bearer wrong"}]
        statuses = [http.post(url, json=TOKEN, headers=sent).status_code for sent in headers]

    assert statuses == [200, 401, 401]


@pytest.mark.parametrize(
    ("server", "body"),
    [
        pytest.param("ollama", "404 page not found", id="ollama"),
        pytest.param(
            "llama-server",
            '{"error":{"message":"File Not Found","type":"not_found_error","code":404}}',
            id="llama-server",
        ),
    ],
)
def test_an_unknown_path_is_not_found_as_by_the_real_server(server: Server, body: str, http: httpx.Client) -> None:
    with ReplayServer(load(server, "identity")) as replay:
        response = http.get(f"{replay.address}/never/recorded")

    assert (response.status_code, response.text) == (404, body)


def test_a_request_that_nothing_fits_is_told_so(http: httpx.Client, ollama_recording: Recording) -> None:
    server = ollama_recording("chat-cold")

    response = http.post(f"{server.address}/api/chat", json={"model": "other", **TOKEN})

    assert (response.status_code, response.text) == (500, "no recorded exchange fits this request")


@pytest.mark.parametrize("resets", [pytest.param(False, id="closed"), pytest.param(True, id="reset")])
def test_a_server_that_died_dies_again(resets: bool, http: httpx.Client, llama_server_recording: Recording) -> None:
    exchange = load("llama-server", "server-dies")[0]
    server = llama_server_recording("server-dies", resets=resets)

    with pytest.raises(httpx.ReadError if resets else httpx.RemoteProtocolError):
        repeat(http, server, exchange)


def test_a_body_that_the_client_did_not_want_to_the_end_waits_for_it_to_leave(
    http: httpx.Client, ollama_recording: Recording
) -> None:
    exchange = load("ollama", "client-closes")[0]
    server = ollama_recording("client-closes")

    with http.stream("POST", f"{server.address}/api/chat", content=exchange.request.body) as response:
        received = b""
        for data in response.iter_raw():
            received += data
            if received == exchange.response.body:
                break

    assert server.client_left.wait(60)


def test_a_recorded_rhythm_makes_the_same_answer(http: httpx.Client) -> None:
    exchange = load("ollama", "chat-warm")[0]

    with ReplayServer([exchange], speed=10) as server:
        response = repeat(http, server, exchange)

    assert response.content == exchange.response.body
