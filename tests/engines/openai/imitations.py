"""What kinds of servers answer to the questions that tell them apart."""

import json
from collections.abc import Mapping
from typing import Any

from tests.server.faults import Send, Steps
from tests.server.http_bytes import http_response
from tests.server.recordings import load

UVICORN = {"Server": "uvicorn"}
FALLBACK = "*"


def said(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Steps:
    """An answer with BODY as JSON."""
    return [Send(http_response(status, {"Content-Type": "application/json", **(headers or {})}, _bytes(body)))]


def text(body: str, status: int = 200, kind: str = "text/plain") -> Steps:
    """An answer for people."""
    return [Send(http_response(status, {"Content-Type": kind}, body.encode()))]


def models(*names: str, **fields: Any) -> dict[str, object]:  # noqa: ANN401 - any JSON
    """A list of models, each with FIELDS."""
    return {"object": "list", "data": [{"id": name, "object": "model", **fields} for name in names]}


def _bytes(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def _recorded(path: str) -> object:
    exchange = next(one for one in load("llama-server", "identity") if one.request.path == path)
    return json.loads(exchange.response.body)


NOT_FOUND = {FALLBACK: said({"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}, 404)}
DETAIL = {FALLBACK: said({"detail": "Not Found"}, 404, UVICORN)}
LLAMA_SERVER = {**NOT_FOUND, "/props": said(_recorded("/props")), "/v1/models": said(_recorded("/v1/models"))}
ROUTER = {
    **NOT_FOUND,
    "/props": said({"role": "router", "max_instances": 4, "build_info": "b9-abc"}),
    "/v1/models": said(
        {
            "data": [
                {"id": "a", "status": {"value": "unloaded"}},
                {"id": "b", "status": {"value": "loaded"}, "meta": {"n_ctx": 512}},
            ]
        }
    ),
}
LOADING = {FALLBACK: said({"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}, 503)}
WANTS_KEY = {FALLBACK: said({"error": {"message": "Invalid API Key", "type": "authentication_error"}}, 401)}
LLAMAFILE = {
    **NOT_FOUND,
    "/props": said({"user_name": "User", "assistant_name": "Llama", "default_generation_settings": {}}),
    "/v1/models": said(models("LLaMA_CPP", owned_by="llamacpp")),
    "/health": said({"status": "ok", "slots_idle": 1, "slots_processing": 0}),
}
LLAMAFILER = {
    FALLBACK: text("Not Found\r\n", 404),
    "/v1/models": said(models("mistral", owned_by="someone")),
    "/flagz": said({"model": "mistral", "prompt": "", "completion_mode": False, "is_base_model": False}),
}
LLAMA_CPP_SERVER = {**DETAIL, "/v1/models": said(models("/m/demo.gguf", owned_by="me", permissions=[]), 200, UVICORN)}
VLLM = {
    **DETAIL,
    "/v1/models": said(models("org/big", owned_by="vllm", max_model_len=4096), 200, UVICORN),
    "/version": said({"version": "0.11.0"}),
    "/health": text(""),
}
VLLM_WANTS_KEY = {FALLBACK: said({"error": "Unauthorized"}, 401, UVICORN)}
LM_STUDIO = {
    FALLBACK: said({"error": "Unexpected endpoint or method. (GET /props)"}),
    "/v1/models": said(models("qwen", "phi", owned_by="organization_owner")),
    "/api/v0/models": said(
        {
            "data": [
                {"id": "qwen", "state": "loaded", "quantization": "Q4_K_M", "loaded_context_length": 2048},
                {"id": "phi", "state": "not-loaded", "max_context_length": 4096},
            ]
        }
    ),
}
OLLAMA = {
    FALLBACK: text("404 page not found", 404),
    "/": text("Ollama is running"),
    "/api/version": said({"version": "0.33.0"}),
    "/v1/models": said(models("demo:latest", owned_by="library")),
}
OTHER = {FALLBACK: text("nothing here", 404), "/v1/models": said(models("some-model", owned_by="somebody"))}
WEB_SITE = {FALLBACK: text("<!doctype html><title>Shop</title>", 200, "text/html; charset=utf-8")}
NOTHING = {FALLBACK: text("not found", 404)}
