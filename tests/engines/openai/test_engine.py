"""The engine against servers that say what a test wrote down."""

import json
from collections.abc import Callable

import pytest

from localllm_magics.core.errors import (
    AccessDenied,
    BadOption,
    ModelNotInDaemon,
    UsageError,
)
from localllm_magics.core.events import Failed, Pending, TextDelta
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.model import Model
from tests.engines.openai import imitations as they
from tests.engines.openai.asking import (
    CHAT,
    END,
    HELLO,
    USAGE,
    Script,
    Serve,
    asked,
    completion_of,
    delta,
    engine_on,
    error_of,
    events_of,
    model_at,
    model_on,
    sse,
)
from tests.engines.openai.imitations import said
from tests.server.faults import Hold, InTurn, Send, Steps
from tests.server.http_bytes import chunked, chunked_head, http_response
from tests.server.waiting import wait_until

DONE = b"data: [DONE]\n\n"
KINDS = ["llama-server", "vLLM", "LM Studio", "llamafile", "other"]
REFUSES = {"error": {"message": "Unknown field: stream_options", "type": "invalid_request_error"}}


def test_an_answer_has_text_counts_and_the_servers_name(serve: Serve) -> None:
    completion = completion_of(model_on(serve({**they.VLLM, CHAT: HELLO})))

    assert (completion.text, completion.finish_reason) == ("Hello", "stop")
    assert (completion.stats.prompt_tokens, completion.stats.completion_tokens) == (9, 2)
    assert not completion.stats.estimated
    assert completion.versions.engine == "vLLM 0.11.0"
    assert (completion.model.name, completion.model.context) == ("org/big", 4096)


@pytest.mark.parametrize(
    "script", [they.LLAMA_SERVER, they.VLLM, they.LM_STUDIO, they.LLAMAFILE, they.OTHER], ids=KINDS
)
def test_the_second_question_is_one_request(serve: Serve, script: Script) -> None:
    server = serve({**script, CHAT: HELLO})
    model = model_on(server)
    completion_of(model)
    before = len(server.requests)

    events = events_of(model)

    assert [one for one in asked(server)[before:] if one != "GET /health"] == [f"POST {CHAT}"]
    assert events[:2] == [Pending(), TextDelta("Hel", 1, estimated=True)]


def test_without_counts_the_tokens_are_marked_as_guessed(serve: Serve) -> None:
    stats = completion_of(model_on(serve({**they.OTHER, CHAT: sse(delta("a"), delta("b"), END, "[DONE]")}))).stats

    assert (stats.completion_tokens, stats.estimated) == (2, True)


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_stream_options_is_asked_without(serve: Serve, status: int) -> None:
    server = serve({**they.OTHER, CHAT: InTurn([said(REFUSES, status), HELLO])})

    assert completion_of(model_on(server)).text == "Hello"
    first, second = (request.json for request in server.requests[-2:])
    assert second == {name: value for name, value in first.items() if name != "stream_options"}


def test_a_server_that_has_refused_stream_options_is_asked_without_from_then_on(serve: Serve) -> None:
    server = serve({**they.OTHER, CHAT: InTurn([said(REFUSES, 400), HELLO])})
    model = model_on(server)

    for _ in range(3):
        completion_of(model)

    sent = [request.json for request in server.requests if request.path == CHAT]
    assert ["stream_options" in body for body in sent] == [True, False, False, False]


def test_a_server_that_refuses_stream_options_for_ever_is_asked_twice(serve: Serve) -> None:
    server = serve({**they.OTHER, CHAT: said(REFUSES, 400)})

    error = error_of(model_on(server))

    assert isinstance(error, BadOption)
    assert asked(server).count(f"POST {CHAT}") == 2


@pytest.mark.parametrize("indent", [None, 2])
def test_an_answer_in_one_piece_is_read(serve: Serve, indent: int | None) -> None:
    whole = {"choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}], "usage": None}
    body = json.dumps(whole, indent=indent).encode()

    completion = completion_of(model_on(serve({**they.OTHER, CHAT: said(body)})))

    assert (completion.text, completion.stats.estimated) == ("Hello", True)
    assert completion.stats.tokens_per_second == 0


STREAM = b"".join(f"data: {json.dumps(one)}\n\n".encode() for one in (delta("Hello"), END)) + b"data: [DONE]\n\n"
WHOLE = json.dumps({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}).encode()


@pytest.mark.parametrize(
    "kind", ["application/json", "text/event-stream", "text/plain", "application/octet-stream", ""]
)
@pytest.mark.parametrize("body", [STREAM, WHOLE], ids=["stream", "whole"])
def test_an_answer_is_read_whatever_its_server_calls_it(serve: Serve, body: bytes, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    server = serve({**they.OTHER, CHAT: [Send(http_response(200, headers, body))]})

    assert completion_of(model_on(server)).text == "Hello"
    assert asked(server).count(f"POST {CHAT}") == 1


def test_an_answer_that_has_ended_ends_although_its_server_sends_no_more(serve: Serve) -> None:
    stream: Steps = [Send(chunked_head("text/event-stream") + chunked(STREAM.removesuffix(DONE), ends=False)), Hold()]

    completion = completion_of(model_on(serve({**they.OTHER, CHAT: stream})))

    assert (completion.text, completion.finish_reason) == ("Hello", "stop")


def test_counts_end_an_answer_that_has_ended(serve: Serve) -> None:
    steps = sse(delta("Hello"), END, USAGE, ends=False)

    completion = completion_of(model_on(serve({**they.OTHER, CHAT: [*steps[:-1], Hold()]})))

    assert (completion.text, completion.stats.completion_tokens) == ("Hello", 2)


def test_a_model_that_answers_to_another_name_is_noticed(serve: Serve) -> None:
    server = serve({**they.LLAMA_SERVER, CHAT: HELLO})

    completion = completion_of(model_on(server, "llama3"))

    assert completion.notices == ("llama3 was asked for; the server has demo.",)
    assert completion.model.name == "demo"


@pytest.mark.parametrize("name", ["demo", "DEMO.gguf", ""])
def test_a_model_that_was_meant_is_not_noticed(serve: Serve, name: str) -> None:
    assert completion_of(model_on(serve({**they.LLAMA_SERVER, CHAT: HELLO}), name)).notices == ()


@pytest.mark.parametrize("said_model", ["demo", "DEMO.gguf", "demo-2026-01-01", "", 7])
def test_an_answer_of_the_model_that_is_served_is_not_noticed(serve: Serve, said_model: object) -> None:
    stream = sse({**delta("Hi"), "model": said_model}, END, "[DONE]")
    server = serve({**they.LLAMA_SERVER, CHAT: stream})

    assert completion_of(model_on(server)).notices == ()


def test_an_answer_of_another_model_is_noticed_and_the_server_looked_at_anew(serve: Serve) -> None:
    stream = sse({**delta("Hi"), "model": "other"}, END, "[DONE]")
    listed = InTurn([said(they.models("demo")), said(they.models("other"))])
    model = model_on(serve({**they.OTHER, "/v1/models": listed, CHAT: stream}))

    first, second = completion_of(model), completion_of(model)

    assert first.notices == ("other answered, and not demo.",)
    assert (second.notices, second.model.name) == ((), "other")


def test_a_server_that_calls_its_model_otherwise_is_noticed_once(serve: Serve) -> None:
    server = serve({**they.OTHER, CHAT: sse({**delta("Hi"), "model": "other"}, END, "[DONE]")})
    model = model_on(server)

    notices = [completion_of(model).notices for _ in range(3)]

    assert notices == [("other answered, and not some-model.",), (), ()]
    assert asked(server).count("GET /v1/models") == 2


def test_a_name_that_is_not_listed_is_sent_as_it_is(serve: Serve) -> None:
    server = serve({**they.OTHER, CHAT: HELLO})
    completion_of(model_on(server, "hidden"))

    assert server.requests[-1].json["model"] == "hidden"


def test_a_server_without_a_list_of_models_is_asked_all_the_same(serve: Serve) -> None:
    server = serve({**they.NOTHING, CHAT: HELLO})

    completion = completion_of(model_on(server, "m"))

    assert (completion.text, completion.versions.engine) == ("Hello", "OpenAI-compatible server")
    assert server.requests[-1].json["model"] == "m"


def test_one_of_several_models_must_be_named(serve: Serve) -> None:
    server = serve({**they.OTHER, "/v1/models": said(they.models("a", "b"))})

    found = error_of(model_on(server))

    assert isinstance(found, ModelNotInDaemon)
    assert found.message == f"{server.address} has 2 models, and none was named: a, b."
    assert found.hint == f"Type: %llm load openai:a@{server.address}"


def test_the_one_loaded_model_of_several_is_taken(serve: Serve) -> None:
    server = serve({**they.LM_STUDIO, CHAT: HELLO})
    completion_of(model_on(server))

    assert server.requests[-1].json["model"] == "qwen"


@pytest.mark.parametrize("options", [LoadOptions(ctx=512), LoadOptions(gpu_layers=0), LoadOptions(threads=2)])
def test_a_server_that_runs_takes_no_load_options(serve: Serve, options: LoadOptions) -> None:
    server = serve({**they.OTHER, CHAT: HELLO})

    found = error_of(model_on(server, options=options))

    assert isinstance(found, BadOption)
    assert found.message == f"{server.address} was started with load options of its own."
    assert server.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(they.text("no", 401), id="refusal"),
        pytest.param(they.text("no secret-key", 401), id="refusal with the key"),
        pytest.param(said({"error": "secret-key"}), id="error with the key"),
    ],
)
def test_a_key_is_in_nothing_that_is_shown(
    serve: Serve, answer: Steps, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LOCALLLM_API_KEY", "secret-key")
    caplog.set_level("DEBUG")
    server = serve({**they.OTHER, CHAT: answer})
    model = model_on(server)

    events = events_of(model)

    assert server.requests[-1].headers["authorization"] == "Bearer secret-key"
    assert isinstance(events[-1], Failed)
    shown = [repr(events), repr(model), repr(engine_on(server)), str(events[-1].error), caplog.text]
    shown += [json.dumps(events[-1].completion.to_json()), str(events[-1].completion.to_bundle())]
    assert "secret-key" not in "".join(shown)


def test_no_key_is_sent_where_none_is_set(serve: Serve) -> None:
    server = serve({**they.OTHER, CHAT: HELLO})
    completion_of(model_on(server))

    assert all("authorization" not in request.headers for request in server.requests)


def test_plain_text_goes_to_llamafiles_own_path(serve: Serve) -> None:
    stream = sse({"content": "fox", "stop": False}, {"content": "", "stop": True, "stopped_limit": True})
    server = serve({**they.LLAMAFILE, "/completion": stream})

    completion = completion_of(model_on(server), raw=True, max_tokens=1)

    assert (completion.text, completion.finish_reason) == ("fox", "length")
    assert server.requests[-1].json["n_predict"] == 1


def test_the_status_has_the_server_once_it_was_identified(serve: Serve) -> None:
    model = model_on(serve({**they.VLLM, CHAT: HELLO}), "org/big")
    before = model.status(refresh=True)
    model.load()

    assert before.detail == ""
    assert model.status(refresh=True).detail == f"{model.info.reference} is on vLLM 0.11.0."


def test_closing_stops_what_runs(serve: Serve) -> None:
    server = serve({**they.OTHER, CHAT: [Send(chunked_head("text/event-stream")), Hold()]})
    model = model_on(server)

    with model.stream("Hi") as stream:
        wait_until(lambda: f"POST {CHAT}" in asked(server), "asked")
        model.unload()

        assert stream.completion().finish_reason == "stopped"
    model.unload()


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda model: model.complete("Hi"), id="complete"),
        pytest.param(lambda model: model.load(), id="load"),
        pytest.param(lambda model: model.preview(Request(messages=to_messages("Hi"))), id="preview"),
    ],
)
def test_a_model_that_was_unloaded_is_not_asked(serve: Serve, use: Callable[[Model], object]) -> None:
    server = serve({**they.OTHER, CHAT: HELLO})
    model = model_on(server)
    model.unload()

    with pytest.raises(UsageError, match="was unloaded"):
        use(model)
    assert server.requests == []


def test_an_engine_of_a_server_that_runs_takes_no_other_options(serve: Serve) -> None:
    engine = engine_on(serve(they.OTHER))

    with pytest.raises(BadOption, match="was started with load options"):
        engine.with_options(LoadOptions(ctx=512))
    assert engine.with_options(LoadOptions()).status() == engine.status()


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("/api/v3", "/api/v3/chat/completions"),
        ("", "/chat/completions"),
        ("/openai/v1", "/openai" + CHAT),
        *((typed, "/api" + CHAT) for typed in ("/api", "/api/v1", "")),
    ],
)
def test_an_answer_is_asked_for_where_the_list_of_models_is(serve: Serve, typed: str, path: str) -> None:
    server = serve({path.replace("chat/completions", "models"): said(they.models("m")), path: HELLO})

    assert completion_of(model_at(f"{server.address}{typed}", "m")).text == "Hello"


def test_a_model_that_is_named_is_asked_where_the_list_is_forbidden(serve: Serve) -> None:
    server = serve({**they.OTHER, "/v1/models": said({"error": "no"}, 403), CHAT: HELLO})

    assert completion_of(model_on(server, "m")).text == "Hello"
    assert isinstance(error_of(model_on(server)), AccessDenied)
    assert isinstance(error_of(model_on(serve(they.WANTS_KEY), "m")), AccessDenied)


def test_a_server_that_only_chats_continues_no_plain_text(serve: Serve) -> None:
    error = error_of(model_on(serve({**they.OTHER, CHAT: HELLO})), raw=True)

    assert error.message.endswith("does not continue plain text (status 404).")
    assert error.hint == "Leave --raw out."


@pytest.mark.parametrize("piece", ["[", "<think"])
def test_what_may_begin_reasoning_is_kept_where_an_answer_is_stopped(serve: Serve, piece: str) -> None:
    server = serve({**they.OTHER, CHAT: [*sse(delta(piece), ends=False)[:-1], Hold()]})

    with model_on(server).stream("Hi") as stream:
        next(event for event in stream if isinstance(event, TextDelta))
        stream.stop()

        assert (stream.completion().finish_reason, stream.completion().text) == ("stopped", piece)
