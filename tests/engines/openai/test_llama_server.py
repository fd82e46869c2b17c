"""What only llama-server does: it loads, and shows prompts; a router loads and unloads."""

import json
import threading
from itertools import pairwise

import pytest

from localllm_magics.core.address import Address
from localllm_magics.core.errors import BadOption, DaemonBusy
from localllm_magics.core.events import Done, Failed, Loading, Pending, TextDelta
from localllm_magics.core.messages import Message, to_messages
from localllm_magics.core.request import Request
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.openai.identity import ServerKind
from localllm_magics.engines.openai.llama_server import load_progress
from localllm_magics.engines.server.connection import Connection
from localllm_magics.model import Model
from tests.engines.openai import imitations as they
from tests.engines.openai.asking import (
    CHAT,
    HELLO,
    Script,
    Serve,
    asked,
    completion_of,
    engine_on,
    error_of,
    events_of,
    info_at,
    model_on,
)
from tests.engines.openai.imitations import said
from tests.server.faults import InTurn, Steps, Wait


def test_a_server_that_loads_is_waited_for(serve: Serve) -> None:
    loading = they.LOADING["*"]
    ready = {"/health": InTurn([loading, loading, said({"status": "ok"})])}
    props = InTurn([loading, they.LLAMA_SERVER["/props"]])
    server = serve({**they.LLAMA_SERVER, **ready, "/props": props, CHAT: HELLO})

    events = events_of(model_on(server))

    assert events[:3] == [Pending(), Loading(0.0), TextDelta("Hel", 1, estimated=True)]


def test_a_server_that_was_started_again_is_waited_for(serve: Serve) -> None:
    loading = they.LOADING["*"]
    ready = {"/health": InTurn([loading, said({"status": "ok"})])}
    server = serve({**they.LLAMA_SERVER, **ready, CHAT: InTurn([HELLO, loading, HELLO])})
    model = model_on(server)
    completion_of(model)

    events = events_of(model)

    assert events[1] == Loading(0.0)
    assert isinstance(events[-1], Done)


@pytest.mark.parametrize("path", [CHAT, "/props", "/health"])
def test_a_server_that_loads_for_ever_is_given_up(serve: Serve, path: str) -> None:
    health = {"/health": said({"status": "ok"})}
    script: Script = {**they.LLAMA_SERVER, **health, CHAT: they.LOADING["*"], path: they.LOADING["*"]}
    server = serve(script)

    error = error_of(Model(engine_on(server, max_load_seconds=0.2), info_at(server.address, "")))

    assert isinstance(error, DaemonBusy)
    assert error.message == f"{server.address} is still loading its model."


def test_the_health_of_one_of_several_servers_does_not_make_the_wait_shorter(serve: Serve) -> None:
    loading = they.LOADING["*"]
    health = {"/health": said({"status": "ok"})}
    server = serve({**they.LLAMA_SERVER, **health, CHAT: InTurn([loading, loading, HELLO])})

    *_, last = events_of(model_on(server))

    assert isinstance(last, Done)
    chats = [number for number, one in enumerate(asked(server)) if one == f"POST {CHAT}"]
    assert all("GET /health" in asked(server)[start:end] for start, end in pairwise(chats))


def test_a_wait_for_loading_can_be_stopped(serve: Serve) -> None:
    server = serve(they.LOADING)

    with model_on(server).stream("Hi") as stream:
        server.wait_for_requests(3)
        stream.stop()

        assert stream.completion().finish_reason == "stopped"


def test_a_preview_shows_what_would_be_sent_where_the_server_shows_no_prompt(serve: Serve) -> None:
    model = model_on(serve(they.VLLM))

    preview = model.preview(Request(messages=(Message.from_text("user", "Hi"),)))

    assert (preview.prompt, preview.tokens, preview.context) == ("", (), 4096)
    assert json.loads(preview.sent)["messages"] == [{"role": "user", "content": "Hi"}]


def test_a_preview_shows_why_there_is_no_prompt(serve: Serve) -> None:
    refused = said({"error": {"message": "no template", "code": 400}}, 400)
    model = model_on(serve({**they.LLAMA_SERVER, "/apply-template": refused}))

    with pytest.raises(BadOption, match="no template"):
        model.preview(Request(messages=(Message.from_text("user", "Hi"),)))


def test_a_router_that_fails_to_load_is_an_error(serve: Serve) -> None:
    def listed(value: str) -> Steps:
        return said({"data": [{"id": "a", "status": {"value": value, "failed": value == "unloaded", "exit_code": 1}}]})

    states = InTurn([listed("unloaded"), listed("loading"), listed("unloaded")])
    server = serve({**they.ROUTER, "/models": states, "/models/load": said({"success": True})})

    *events, last = events_of(model_on(server, "a"))

    assert events == [Pending(), Loading(0.0)]
    assert isinstance(last, Failed)
    assert last.error.message == f"{server.address} could not load a."


def test_a_router_reports_how_far_it_is(serve: Serve) -> None:
    def listed(value: str, **more: object) -> Steps:
        return said({"data": [{"id": "a", "status": {"value": value, **more}}]})

    steps = [listed("loading", progress=progress) for progress in (None, 0.5, 7)]
    states = InTurn([*steps, listed("loaded")])
    server = serve({**they.ROUTER, "/models": states, CHAT: HELLO})

    events = events_of(model_on(server, "a"))

    assert events[1:4] == [Loading(0.0), Loading(0.5), Loading(1.0)]
    assert "POST /models/load" not in asked(server)


def test_a_load_that_is_stopped_ends_early(serve: Serve) -> None:
    server = serve(they.LOADING)
    stop = Stop()
    stop.set()

    with pytest.raises(Stopped):
        list(engine_on(server).load(stop))


def test_a_silent_server_that_loads_is_an_event(serve: Serve) -> None:
    went_on = threading.Event()
    loading = {"/health": they.LOADING["*"], CHAT: [Wait(went_on), *HELLO]}
    server = serve({**they.LLAMA_SERVER, **loading})

    with model_on(server).stream("Hi") as stream:
        first = next(event for event in stream if not isinstance(event, Pending))
        went_on.set()

        assert first == Loading(0.0)
        assert stream.completion().text == "Hello"


def test_a_silent_router_that_loads_says_how_far_it_is(serve: Serve) -> None:
    def listed(value: str, **more: object) -> Steps:
        return said({"data": [{"id": "a", "status": {"value": value, **more}}]})

    went_on = threading.Event()
    states = InTurn([listed("loaded"), listed("loading", progress=0.25), listed("loaded")])
    server = serve({**they.ROUTER, "/models": states, CHAT: [Wait(went_on), *HELLO]})

    with model_on(server, "a").stream("Hi") as stream:
        first = next(event for event in stream if not isinstance(event, Pending))
        went_on.set()

        assert first == Loading(0.25)
        assert stream.completion().text == "Hello"


def test_loading_by_a_router_can_be_stopped(serve: Serve) -> None:
    server = serve({**they.ROUTER, "/models": said({"data": [{"id": "a", "status": {"value": "loading"}}]})})

    with model_on(server, "a").stream("Hi") as stream:
        next(event for event in stream if isinstance(event, Loading))
        stream.stop()

        assert stream.completion().finish_reason == "stopped"


def test_tokens_that_are_no_whole_characters_are_shown_as_far_as_they_can_be(serve: Serve) -> None:
    tokens = [{"id": 1, "piece": "a"}, {"id": 2, "piece": [0xC3, 0xA9]}, {"id": 3, "piece": [0xC3]}]
    odd = [{"id": "x", "piece": [-1, 999, "x"]}, {"piece": None}, 7]
    answers = {"/apply-template": said({"prompt": "p"}), "/tokenize": said({"tokens": [*tokens, *odd]})}

    preview = model_on(serve({**they.LLAMA_SERVER, **answers})).preview(Request(messages=to_messages("Hi")))

    assert preview.tokens == ((1, "a"), (2, "é"), (3, "\ufffd"), (0, ""), (0, ""))


@pytest.mark.parametrize(
    ("kind", "script", "progress"),
    [
        pytest.param(ServerKind.LLAMA_SERVER, they.LOADING, Loading(0.0), id="llama-server that loads"),
        pytest.param(ServerKind.LLAMA_SERVER, {"/health": said({"status": "ok"})}, None, id="llama-server"),
        pytest.param(
            ServerKind.ROUTER,
            {"/models": said({"data": [{"id": "a", "status": {"value": "loading", "progress": 0.5}}]})},
            Loading(0.5),
            id="router that loads",
        ),
        pytest.param(
            ServerKind.ROUTER,
            {"/models": said({"data": [{"id": "a", "status": {"value": "loaded"}}]})},
            None,
            id="router",
        ),
        pytest.param(ServerKind.VLLM, {}, None, id="a server that does not report it"),
    ],
)
def test_the_progress_of_a_load_is_known_where_the_server_reports_it(
    serve: Serve, kind: ServerKind, script: Script, progress: Loading | None
) -> None:
    connection = Connection(Address.from_text(serve(script).address))

    assert load_progress(connection, kind, "a", Stop()) == progress
