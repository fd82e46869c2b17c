"""What users are told of answers that break off, and what is asked after them."""

import traceback

import pytest

from localllm_magics.core.errors import (
    LocalLLMError,
    PromptTooLong,
    StreamBroken,
)
from localllm_magics.core.events import Failed
from tests.engines.openai import imitations as they
from tests.engines.openai.asking import (
    CHAT,
    HELLO,
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
from tests.engines.openai.test_engine import STREAM
from tests.server.faults import Close, Hold, InTurn, Reset, Send, Steps
from tests.server.http_bytes import chunked_head, http_response
from tests.server.waiting import wait_until

KEY = "sk-very-s3cret"
TOO_LONG = {
    "error": {
        "message": "This model's maximum context length is 512 tokens. However, you requested 4016 tokens.",
        "code": "context_length_exceeded",
    }
}


def answered(body: bytes, name: str, value: str) -> Steps:
    """BODY with one header."""
    return [Send(http_response(200, {name: value}, body))]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        pytest.param(sse(delta("x")), StreamBroken, "ended its answer too early", id="no end"),
        pytest.param(sse(delta("")), StreamBroken, "ended its answer too early", id="no text either"),
        pytest.param(sse(delta("x"), ends=False), StreamBroken, "broke the connection", id="cut"),
        pytest.param(sse(delta("x"), {"error": "lost"}), StreamBroken, "broke off: lost", id="error"),
        pytest.param(sse(delta("x"), "{no"), StreamBroken, "cannot be parsed", id="no JSON"),
        pytest.param(said({"error": {"message": "lost"}}), StreamBroken, "broke off: lost", id="error in one piece"),
        pytest.param(said([]), StreamBroken, "ended its answer too early", id="a list in one piece"),
        pytest.param(they.text("<title>Login</title>", 200, "text/html"), LocalLLMError, "web page", id="a page"),
        pytest.param(said({"detail": "no"}, 404), LocalLLMError, "no such service", id="no such path"),
        pytest.param([Close()], StreamBroken, "closed the connection before it answered", id="closed"),
    ],
)
def test_what_breaks_off_is_an_error(serve: Serve, answer: Steps, error: type[LocalLLMError], words: str) -> None:
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


@pytest.mark.parametrize(
    ("status", "looks"),
    [pytest.param(429, 1, id="busy"), pytest.param(400, 2, id="refused"), pytest.param(404, 2, id="no such model")],
)
def test_after_a_refusal_another_server_may_be_there(serve: Serve, status: int, looks: int) -> None:
    refused = said({"error": {"message": "The model does not exist"} if status == 404 else {}}, status)
    server = serve({**they.LLAMA_SERVER, CHAT: InTurn([refused, HELLO])})
    model = model_on(server)
    error_of(model)

    assert completion_of(model).text == "Hello"
    assert asked(server).count("GET /props") == looks


def test_an_empty_answer_is_asked_for_once_more_to_learn_why(serve: Serve) -> None:
    server = serve({**they.LLAMA_CPP_SERVER, CHAT: InTurn([sse(), said(TOO_LONG, 400)])})

    error = error_of(model_on(server), max_tokens=9)

    assert isinstance(error, PromptTooLong)
    assert "However, you requested 4016 tokens" in error.message
    assert error.hint == "Shorten it, or raise the context with llama_cpp.server --n_ctx."
    last = server.requests[-1].json
    assert (last["stream"], last["max_tokens"], "stream_options" in last) == (False, 1, False)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        pytest.param([Send(chunked_head("text/event-stream")), Reset()], "broke the connection", id="reset"),
        pytest.param(
            answered(b"\x8b\x02\x80abc\x03", "Content-Encoding", "br"), "with the content encoding 'br'", id="br"
        ),
        pytest.param(answered(STREAM, "Content-Encoding", "gzip"), "compressed wrongly", id="no gzip"),
        pytest.param(answered(b"<!doctype html><title>Login</title>", "Content-Type", "text/plain"), "page", id="page"),
        pytest.param(
            answered(STREAM.replace(b"\n", b"\r"), "Content-Type", "text/event-stream"),
            "cannot be parsed",
            id="bare CR",
        ),
        pytest.param(sse("[DONE]"), "ended its answer too early", id="the end only"),
        pytest.param(answered(b": ping\n\n", "Content-Type", "text/event-stream"), "ended its answer", id="pings only"),
    ],
)
def test_nothing_is_asked_twice_where_a_single_byte_came(serve: Serve, steps: Steps, words: str) -> None:
    server = serve({**they.OTHER, CHAT: steps})

    found = error_of(model_on(server))

    assert isinstance(found, StreamBroken)
    assert words in found.message
    assert asked(server).count(f"POST {CHAT}") == 1


def test_an_empty_answer_without_a_reason_is_an_error(serve: Serve) -> None:
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


def test_a_refusal_before_the_first_token_names_the_status(serve: Serve) -> None:
    busy = [Send(http_response(503, {"Retry-After": "3"}, b"busy"))]

    found = error_of(model_on(serve({**they.OTHER, CHAT: busy})))

    assert (found.kind, found.hint) == ("daemon_busy", "Try again after 3 seconds.")


def test_no_traceback_holds_a_key_that_a_server_echoes(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALLLM_API_KEY", KEY)
    answer = sse(delta(f"{KEY[:5]}"), {"error": {"message": f"bad key {KEY}"}})

    error = error_of(model_on(serve({**they.OTHER, CHAT: answer})))

    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert "bad key …" in error.message
    assert KEY not in "".join(shown.format())


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        pytest.param(301, {"Location": f"http://127.0.0.1/?k={KEY}"}, id="a redirect"),
        pytest.param(401, {"X-Echo": KEY}, id="denied"),
        pytest.param(500, {f"X-{KEY}": "x"}, id="failed"),
        pytest.param(200, {"Content-Encoding": KEY.upper()}, id="an encoding"),
    ],
)
def test_no_traceback_holds_a_key_that_a_header_echoes(
    status: int, headers: dict[str, str], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALLLM_API_KEY", KEY)
    server = serve({**they.OTHER, CHAT: said({}, status, headers)})

    error = error_of(model_on(server))

    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert KEY.lower() not in shown.lower()


def test_a_key_that_a_server_echoes_is_in_no_name_and_no_text(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALLLM_API_KEY", KEY)
    script = {
        "/props": said({"build_info": f"b1 {KEY}", "total_slots": 1}),
        "/v1/models": said(they.models(f"m {KEY}")),
        CHAT: sse({**delta(KEY[:5]), "model": KEY}, delta(KEY[5:]), {"choices": [{"finish_reason": "stop"}]}, "[DONE]"),
    }

    completion = completion_of(model_on(serve(script)))

    assert (completion.text, completion.model.name, completion.versions.engine) == ("…", "m …", "llama-server b1 …")
    assert KEY not in repr(completion)
