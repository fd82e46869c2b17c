"""The engine against servers that say what a test wrote down."""

import json
from dataclasses import replace

import pytest

from localllm_magics.core.errors import BadOption, LocalLLMError, ModelNotInDaemon, PromptTooLong, StreamBroken
from localllm_magics.core.events import Failed, Pending, TextDelta
from localllm_magics.core.request import LoadOptions
from tests.daemon.faults import Close, Hold, InTurn, Send, Steps
from tests.daemon.http_bytes import chunked_head, http_response
from tests.daemon.waiting import wait_until
from tests.engines.openai import imitations as they
from tests.engines.openai.asking import (
    CHAT,
    END,
    HELLO,
    Script,
    Serve,
    asked,
    completion_of,
    delta,
    error_of,
    events_of,
    model_on,
    sse,
)
from tests.engines.openai.imitations import said

KINDS = ["llama-server", "vLLM", "LM Studio", "llamafile", "other"]
REFUSES = {"error": {"message": "Unknown field: stream_options", "type": "invalid_request_error"}}
TOO_LONG = {
    "error": {
        "message": "This model's maximum context length is 512 tokens. However, you requested 4016 tokens.",
        "code": "context_length_exceeded",
    }
}


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

    assert asked(server)[before:] == [f"POST {CHAT}"]
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


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        pytest.param(sse(delta("x")), StreamBroken, "ended its answer too early", id="no end"),
        pytest.param(sse(delta("x"), "[DONE]"), StreamBroken, "ended its answer too early", id="no reason"),
        pytest.param(sse(delta("x"), ends=False), StreamBroken, "broke the connection", id="cut"),
        pytest.param(sse(delta("x"), {"error": "lost"}), StreamBroken, "broke off: lost", id="error"),
        pytest.param(sse(delta("x"), "{no"), StreamBroken, "cannot be read", id="no JSON"),
        pytest.param(said({"error": {"message": "lost"}}), StreamBroken, "broke off: lost", id="error in one piece"),
        pytest.param(said([]), StreamBroken, "ended its answer too early", id="a list in one piece"),
        pytest.param(they.text("<title>Login</title>", 200, "text/html"), LocalLLMError, "web page", id="a page"),
        pytest.param(said({"detail": "no"}, 404), LocalLLMError, "no such service", id="no such path"),
        pytest.param([Close()], StreamBroken, "closed the connection before it answered", id="closed"),
    ],
)
def test_what_breaks_off_is_told(serve: Serve, answer: Steps, error: type[LocalLLMError], words: str) -> None:
    found = error_of(model_on(serve({**they.OTHER, CHAT: answer})))

    assert isinstance(found, error)
    assert words in found.message


def test_the_text_before_a_break_is_kept(serve: Serve) -> None:
    *_, last = events_of(model_on(serve({**they.OTHER, CHAT: sse(delta("so "), delta("far"), ends=False)})))

    assert isinstance(last, Failed)
    assert (last.completion.text, last.completion.stats.estimated) == ("so far", True)


def test_after_a_failure_the_server_is_looked_at_anew(serve: Serve) -> None:
    server = serve({**they.LLAMA_SERVER, CHAT: InTurn([sse(delta("x")), HELLO])})
    model = model_on(server)
    error_of(model)

    assert completion_of(model).text == "Hello"
    assert asked(server).count("GET /props") == 2


def test_an_empty_answer_is_asked_for_once_more_to_learn_why(serve: Serve) -> None:
    server = serve({**they.LLAMA_CPP_SERVER, CHAT: InTurn([sse(), said(TOO_LONG, 400)])})

    error = error_of(model_on(server), max_tokens=9)

    assert isinstance(error, PromptTooLong)
    assert "However, you requested 4016 tokens" in error.message
    assert error.hint == "Shorten it, or raise the context with llama_cpp.server --n_ctx."
    last = server.requests[-1].json
    assert (last["stream"], last["max_tokens"], "stream_options" in last) == (False, 1, False)


def test_an_empty_answer_without_a_reason_is_told(serve: Serve) -> None:
    found = error_of(model_on(serve({**they.OTHER, CHAT: InTurn([sse(), said({"choices": []})])})))

    assert "sent an empty answer" in found.message


def test_learning_why_can_be_stopped(serve: Serve) -> None:
    server = serve({**they.OTHER, CHAT: InTurn([sse(), [Hold()]])})

    with model_on(server).stream("Hi") as stream:
        wait_until(lambda: asked(server).count(f"POST {CHAT}") == 2, "asked again")
        stream.stop()

        assert stream.completion().finish_reason == "stopped"


def test_another_request_that_kills_the_answer_is_named(serve: Serve) -> None:
    found = error_of(model_on(serve({**they.LLAMA_CPP_SERVER, CHAT: sse(delta("x"), "[DONE]", ends=False)})))

    assert isinstance(found, StreamBroken)
    assert found.message.endswith("dropped this answer, as it does when another request comes in.")
    assert found.hint == "Ask one thing at a time, or start it with --interrupt_requests false."


def test_a_model_that_answers_to_another_name_is_noticed(serve: Serve) -> None:
    server = serve({**they.LLAMA_SERVER, CHAT: HELLO})

    completion = completion_of(model_on(server, "llama3"))

    assert completion.notices == ("llama3 was asked for; the server has demo.",)
    assert completion.model.name == "demo"


@pytest.mark.parametrize("name", ["demo", "DEMO.gguf", ""])
def test_a_model_that_was_meant_is_not_noticed(serve: Serve, name: str) -> None:
    assert completion_of(model_on(serve({**they.LLAMA_SERVER, CHAT: HELLO}), name)).notices == ()


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
    assert found.message == f"{server.address} was started with its own context and layers."
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
    shown = [repr(events), repr(model), repr(model.engine), str(events[-1].error), caplog.text]
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


def test_what_a_server_is_can_be_told_once_it_was_asked(serve: Serve) -> None:
    model = model_on(serve({**they.VLLM, CHAT: HELLO}), "org/big")
    before = model.engine.look()
    model.load()

    assert before == ""
    assert model.engine.look() == f"{model.info.reference} is on vLLM 0.11.0."


def test_closing_stops_what_runs(serve: Serve) -> None:
    server = serve({**they.OTHER, CHAT: [Send(chunked_head("text/event-stream")), Hold()]})
    model = model_on(server)

    with model.stream("Hi") as stream:
        wait_until(lambda: f"POST {CHAT}" in asked(server), "asked")
        model.unload()

        assert stream.completion().finish_reason == "stopped"
    model.unload()


def test_an_engine_with_other_options_is_another(serve: Serve) -> None:
    engine = model_on(serve(they.OTHER)).engine

    other = engine.with_options(replace(engine.options, ctx=512))

    assert (other.options.ctx, engine.options.ctx, other.used) == (512, None, engine.used)


def test_a_refusal_before_the_first_token_names_the_status(serve: Serve) -> None:
    busy = [Send(http_response(503, {"Retry-After": "3"}, b"busy"))]

    found = error_of(model_on(serve({**they.OTHER, CHAT: busy})))

    assert (found.kind, found.hint) == ("daemon_busy", "Try again after 3 seconds.")
