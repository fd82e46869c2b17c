import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain

import pytest

from localllm_magics.core.address import Address
from localllm_magics.core.errors import (
    AccessDenied,
    BadOption,
    DaemonBusy,
    DaemonError,
    DaemonNotReachable,
    EngineCrashed,
    LoadFailed,
    LocalLLMError,
    ModelNotInDaemon,
    NotEnoughMemory,
    PromptTooLong,
    StreamBroken,
    UnsupportedArchitecture,
)
from localllm_magics.engines.server.connection import Connection
from localllm_magics.engines.server.reply import Reply
from localllm_magics.engines.server.server_error import (
    ErrorContext,
    ServerError,
    error_from_record,
    error_from_reply,
    raise_for_status,
)
from tests.server.recordings import Server, load, names

KEY = "sk-very-secret"
URL = "http://127.0.0.1:8080"
CONTEXT = ErrorContext(
    address=Address.from_text(URL),
    model="demo",
    to_get_model="Type: %llm pull ollama:demo",
    to_load_longer="Give it longer.",
    redact=Connection(Address.from_text(URL), KEY).redact,
)
# Of each recording with refusals, what they are, in their order.
RECORDED: Mapping[str, list[type[LocalLLMError]]] = {
    "llama-server/api-key": [AccessDenied] * 3,
    "llama-server/errors": [DaemonError, BadOption, BadOption, BadOption, DaemonError],
    "llama-server/identity": [DaemonError] * 3,
    "llama-server/loading": [DaemonError],
    "llama-server/overlong": [PromptTooLong] * 2,
    "llama-server/schema": [BadOption],
    "ollama/delete-copy": [ModelNotInDaemon] * 2,
    "ollama/engine-crashes-at-load": [EngineCrashed],
    "ollama/errors-before-stream": [
        *[ModelNotInDaemon] * 2,
        *[BadOption] * 3,
        *[DaemonError] * 4,
        *[BadOption] * 3,
        DaemonError,
        BadOption,
    ],
    "ollama/forbidden": [AccessDenied] * 3,
    "ollama/format": [DaemonError, BadOption],
    "ollama/identity": [DaemonError] * 3,
    "ollama/keep-alive-bad": [BadOption],
    "ollama/load-fails": [LoadFailed, UnsupportedArchitecture, LoadFailed, LoadFailed],
    "ollama/long-history": [PromptTooLong],
    "ollama/overlong": [PromptTooLong] * 5,
    "ollama/pull-fails": [BadOption] * 2,
    "ollama/queue-full": [DaemonBusy],
    "ollama/show": [ModelNotInDaemon, BadOption],
    "ollama/v1-errors": [ModelNotInDaemon, BadOption, BadOption, ModelNotInDaemon],
}


def refused(status: int, body: bytes | str = b"", **headers: str) -> LocalLLMError:
    data = body if isinstance(body, bytes) else body.encode()
    by_name = {name.replace("_", "-"): value for name, value in headers.items()}
    return error_from_reply(Reply(status, by_name, data), CONTEXT)


def recorded(server: Server, name: str) -> list[LocalLLMError]:
    responses = (exchange.response for exchange in load(server, name))
    return [
        error_from_reply(Reply(response.status, {k.lower(): v for k, v in response.headers}, response.body), CONTEXT)
        for response in responses
        if response.status != 200
    ]


@pytest.mark.parametrize("server", ["ollama", "llama-server"])
def test_every_recorded_refusal_is_understood(server: Server) -> None:
    errors = {f"{server}/{name}": recorded(server, name) for name in names(server)}

    kinds = {name: [type(error) for error in found] for name, found in errors.items() if found}
    assert kinds == {name: found for name, found in RECORDED.items() if name.startswith(f"{server}/")}
    for error in chain(*errors.values()):
        assert error.hint
        assert '{"' not in error.message


def test_the_numbers_of_a_recorded_error_are_reported() -> None:
    errors = recorded("ollama", "overlong")

    assert errors[0].message == "The prompt has 3,014 tokens, and the context of demo holds 512."
    assert errors[0].hint == "Shorten it, or raise the context: --ctx 3526"
    assert "longer than the context length" in errors[3].message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("404 page not found", "404 page not found", id="text"),
        pytest.param('{"error":"why"}', "why", id="a string"),
        pytest.param('{"error":{"message":"why","type":"t"}}', "why", id="an object"),
        pytest.param('{"object":"error","message":"why","code":400}', "why", id="flat"),
        pytest.param('{"detail":"why"}', "why", id="FastAPI"),
        pytest.param('{"detail":[{"loc":["body"],"msg":"why","type":"missing"}]}', "why", id="FastAPI's list"),
        pytest.param('{"detail":{"error":{"message":"why"}}}', "why", id="both"),
        pytest.param('[{"error":{"message":"why"}}]', "why", id="a list"),
        pytest.param(json.dumps({"error": '{"error":{"code":400,"message":"why"}}'}), "why", id="JSON in a string"),
        pytest.param('{"error":{"type":"odd"}}', '{"type": "odd"}', id="no message"),
        pytest.param('{"error":"[GIN] why"}', "[GIN] why", id="a bracket that is no JSON"),
        pytest.param('{"error":"{why', '{"error":"{why', id="half of JSON"),
        pytest.param('{"error":null}', '{"error": null}', id="null"),
        pytest.param('{"error":{}}', '{"error": {}}', id="an empty object"),
        pytest.param("[]", "[]", id="an empty list"),
        pytest.param("null", "null", id="null alone"),
        pytest.param("17", "17", id="a number"),
        pytest.param('{"error":{"message":["a","b"]}}', '["a", "b"]', id="a message that is a list"),
        pytest.param('{"error":"tést ☃"}', "tést ☃", id="not ASCII"),
        pytest.param(r'{"error":"a\ud83db"}', "ab", id="half a character"),
        pytest.param(r'{"error":"a\u001b[31m\r\n\tb\u202ec"}', "a bc", id="what steers a terminal"),
        pytest.param(json.dumps({"error": "x" * 9999}), "x" * 300 + "…", id="long"),
    ],
)
def test_the_message_is_found_in_every_wrapping(body: str, message: str) -> None:
    assert ServerError.from_value(body).message == message


@pytest.mark.parametrize(
    "body", ['{"error":' * 3000 + "1" + "}" * 3000, "[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900]
)
def test_no_depth_of_wrappings_does_harm(body: str) -> None:
    assert len(ServerError.from_value(body).message) <= 301
    assert refused(500, body).hint


def test_a_value_nested_too_deeply_has_no_message() -> None:
    value: object = 1
    for _ in range(200_000):
        value = {"a": value}

    assert ServerError.from_value(value).message == ""
    assert "no reason given" in error_from_record(value, CONTEXT).message


@pytest.mark.parametrize("numbers", ['"n_prompt_tokens":-1,"n_ctx":5', f'"n_prompt_tokens":{10**60},"n_ctx":true'])
def test_impossible_numbers_are_not_reported(numbers: str) -> None:
    error = refused(400, f'{{"error":{{"message":"the prompt is too long",{numbers}}}}}')

    assert (type(error), error.message) == (
        PromptTooLong,
        "The prompt does not fit into the context: the prompt is too long",
    )


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        pytest.param(404, "model 'm' not found", ModelNotInDaemon, id="Ollama's"),
        pytest.param(404, 'model "m" not found, try pulling it first', ModelNotInDaemon, id="Ollama's, before"),
        pytest.param(404, "The model `x` does not exist.", ModelNotInDaemon, id="vLLM's"),
        pytest.param(400, "model is not loaded", ModelNotInDaemon, id="a router's"),
        pytest.param(404, "File Not Found", DaemonError, id="no such path"),
        pytest.param(405, "405 method not allowed", DaemonError, id="no such method"),
        pytest.param(
            500,
            "model requires more system memory (8.0 GiB) than is available (2.0 GiB)",
            NotEnoughMemory,
            id="memory",
        ),
        pytest.param(500, "CUDA error: out of memory", NotEnoughMemory, id="memory of a GPU"),
        pytest.param(500, "timed out waiting for llama runner to start - progress 0.00 - ", LoadFailed, id="load"),
        pytest.param(500, "timed out waiting for llama-server to start - ", LoadFailed, id="load, of late"),
        pytest.param(400, '"m" does not support chat', BadOption, id="embedding"),
        pytest.param(400, '"m" does not support generate', BadOption, id="embedding, raw"),
        pytest.param(500, "model runner has unexpectedly stopped, this may be", EngineCrashed, id="crash"),
        pytest.param(500, "error loading model: unknown model architecture: 'x'", UnsupportedArchitecture, id="new"),
        pytest.param(
            400,
            "This model's maximum context length is 512 tokens. However, you requested 4016 tokens",
            PromptTooLong,
            id="too long, of llama_cpp.server",
        ),
        pytest.param(400, "Client sent an HTTP request to an HTTPS server.", DaemonNotReachable, id="TLS wanted"),
        pytest.param(422, "field required", BadOption, id="validation"),
        pytest.param(499, "request canceled", DaemonError, id="cancelled"),
        pytest.param(500, "something odd", DaemonError, id="unknown"),
        pytest.param(501, "not supported", DaemonError, id="not supported"),
        pytest.param(503, "server busy, please try again.", DaemonBusy, id="busy"),
        pytest.param(503, "", DaemonBusy, id="busy without a word"),
        pytest.param(503, "Loading model", DaemonError, id="loading"),
        pytest.param(429, "", DaemonBusy, id="too many requests"),
        pytest.param(401, "Invalid API key", AccessDenied, id="key"),
        pytest.param(401, "", AccessDenied, id="key without a word"),
        pytest.param(403, "cloud is disabled", AccessDenied, id="forbidden"),
        pytest.param(407, "", AccessDenied, id="key of a proxy"),
    ],
)
def test_what_a_server_writes_has_its_own_error(status: int, message: str, kind: type[LocalLLMError]) -> None:
    errors = [refused(status, message), refused(status, json.dumps({"error": message}))]

    assert [type(error) for error in errors] == [kind] * 2
    assert errors[0].message == errors[1].message or not message
    assert all(URL in error.message or kind is PromptTooLong for error in errors)
    assert all(error.hint for error in errors)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        pytest.param(404, DaemonError, id="not found"),
        pytest.param(403, DaemonError, id="blocked by a proxy"),
        pytest.param(502, DaemonError, id="nothing behind a proxy"),
        pytest.param(503, DaemonError, id="nothing behind a proxy, either"),
        pytest.param(401, AccessDenied, id="key"),
        pytest.param(407, AccessDenied, id="key of a proxy"),
        pytest.param(429, DaemonBusy, id="too many requests"),
    ],
)
def test_a_page_for_people_is_named_by_its_title(status: int, kind: type[LocalLLMError]) -> None:
    page = "<!doctype html><TITLE lang=en>\n Oh &amp; no\x1b[1m </TITLE><p>model not found"

    for error in (refused(status, page), refused(status, page, content_type="text/HTML; charset=utf-8")):
        assert type(error) is kind
        assert "Oh & no" in error.message
        assert error.hint


def test_a_page_with_status_200_is_an_error_too() -> None:
    with pytest.raises(DaemonError, match=r"web page \('Log in'\), status 200"):
        raise_for_status(Reply(200, {"content-type": "text/html"}, b"<title>Log in</title>"), CONTEXT)
    raise_for_status(Reply(200, {"content-type": "application/json"}, b"{}"), CONTEXT)


@pytest.mark.parametrize("body", [b"", b"<html><title>301 Moved</title>", b'{"error":"moved"}'])
def test_a_redirect_is_reported_and_not_followed(body: bytes) -> None:
    error = refused(301, body, location="https://elsewhere.example/", content_type="text/html")

    assert error.message == f"{URL} redirects to https://elsewhere.example/, which was not followed."
    assert error.hint


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        pytest.param("7", "Try again after 7 seconds.", id="seconds"),
        pytest.param("Wed, 21 Oct 2026 07:28:00 GMT", "Try again in a moment.", id="a date"),
        pytest.param("9" * 5000, "Try again in a moment.", id="for ever"),
        pytest.param("-1", "Try again in a moment.", id="before"),
    ],
)
def test_a_busy_server_says_when_to_come_back(value: str, hint: str) -> None:
    assert refused(429, retry_after=value).hint == hint


def test_an_empty_403_hints_at_what_the_kind_of_server_does() -> None:
    assert "LOCALLLM_API_KEY" in refused(403).hint
    assert error_from_reply(Reply(403, {}), replace(CONTEXT, to_get_access="Use 127.0.0.1.")).hint == "Use 127.0.0.1."


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("timed out waiting for llama-server to start", "Give it longer."),
        ('"m" does not support chat', "Use a chat model instead. To see what it has, type: %llm models"),
    ],
)
def test_a_hint_fits_what_ollama_writes(message: str, hint: str) -> None:
    assert hint in refused(500, json.dumps({"error": message})).hint


@pytest.mark.parametrize(
    ("to_raise", "hint"),
    [
        ("--ctx", "Shorten it, or raise the context: --ctx 521"),
        ("llama-server -c", "Shorten it, or raise the context: llama-server -c 521"),
        ("the server's own settings", "Shorten it, or raise the context to 521 with the server's own settings."),
    ],
)
def test_a_larger_context_is_asked_for_as_the_server_takes_it(to_raise: str, hint: str) -> None:
    value = {"message": "too long", "n_prompt_tokens": 9, "n_ctx": 5}

    assert error_from_record(value, replace(CONTEXT, to_raise_context=to_raise)).hint == hint


@pytest.mark.parametrize(
    ("to_raise", "hint"),
    [
        ("--ctx", "Try --ctx 2048, fewer --gpu-layers, or a smaller model."),
        ("llama-server -c", "Start it with a smaller context or fewer layers on the GPU, or use a smaller model."),
    ],
)
def test_less_memory_is_asked_for_as_the_server_takes_it(to_raise: str, hint: str) -> None:
    error = error_from_record("CUDA out of memory", replace(CONTEXT, to_raise_context=to_raise))

    assert (type(error), error.hint) == (NotEnoughMemory, hint)


def test_a_page_that_asks_for_tls_is_understood() -> None:
    page = "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"

    error = refused(400, page, content_type="text/html")

    assert (type(error), error.hint) == (DaemonNotReachable, "Write its address with https://.")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        pytest.param("an error was encountered while running the model: unexpected EOF", StreamBroken, id="a string"),
        pytest.param({"code": 500, "message": "boom", "type": "server_error"}, StreamBroken, id="an object"),
        pytest.param('{"error":{"code":500,"message":"boom"}}', StreamBroken, id="JSON in a string"),
        pytest.param({"message": "x", "n_prompt_tokens": 9, "n_ctx": 5}, PromptTooLong, id="too long"),
        pytest.param("CUDA error: out of memory", NotEnoughMemory, id="memory"),
        pytest.param(True, StreamBroken, id="no words at all"),
        pytest.param(["a"], StreamBroken, id="a list"),
    ],
)
def test_an_error_in_an_answer_breaks_it_off(value: object, kind: type[LocalLLMError]) -> None:
    error = error_from_record(value, CONTEXT)

    assert type(error) is kind
    assert error.message
    assert error.hint


@pytest.mark.parametrize("before", [0, 290, 295, 299, 400])
@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 429, 500, 503])
def test_our_key_is_in_no_message(status: int, before: int) -> None:
    words = "x" * before + f" {KEY}"
    errors = [
        refused(status, words, location=words),
        refused(status, json.dumps({"error": {"message": words, "type": KEY}}), location=words),
        refused(status, json.dumps({"odd": words}), location=words),
        refused(status, f"<title>{words[-200:]}</title>", location=words),
        refused(status, f"prompt is too long {words}", location=words),
        refused(status, f"model not found {words}", location=words),
        error_from_record(words, CONTEXT),
        error_from_record({"message": words}, CONTEXT),
        error_from_record({"message": "", "code": f"model not found {words}"}, CONTEXT),
    ]

    for error in errors:
        assert "sk-" not in str(error)
    assert KEY not in repr(CONTEXT)


def test_a_hostile_page_costs_no_time() -> None:
    for page in (b"<title" * 20_000, b"<title>" * 20_000, b"<title>" + b"x" * 100_000):
        assert "web page, status 500" in refused(500, page).message


def test_a_hostile_message_costs_no_time() -> None:
    words = json.dumps({"error": {"message": "model " * 20_000, "type": "model " * 20_000}})

    assert type(refused(500, words)) is DaemonError


def test_a_proxy_that_wants_a_password_says_how_to_set_it() -> None:
    error = refused(401, "<title>401</title>", www_authenticate='Basic realm="models"', content_type="text/html")

    assert "wants a user and a password" in error.message
    assert error.hint.endswith('export LOCALLLM_API_KEY="Basic USER:PASSWORD"')
