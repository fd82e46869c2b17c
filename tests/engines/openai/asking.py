"""Asking a model of a server as a user does, and the streams that such a server sends."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from localllm_magics.core.address import Address
from localllm_magics.core.completion import Completion
from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.events import Done, Event, Failed
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.factory import new_engine
from localllm_magics.engines.openai.engine import OpenAIEngine
from localllm_magics.engines.openai.llama_server import MAX_LOAD_SECONDS
from localllm_magics.engines.openai.server_handle import ExternalServer
from localllm_magics.engines.served_models import openai_model
from localllm_magics.engines.server.connection import Connection
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.model import Model
from tests.server.faults import Close, FaultServer, InTurn, Send, Steps
from tests.server.http_bytes import chunked, chunked_head

CHAT = "/v1/chat/completions"
ENDLESS: dict[str, Any] = {"type": "array", "items": {"type": "string", "minLength": 100}, "minItems": 1000}
"""A schema that keeps an answer from ending by itself; with a context that shifts, nothing else ends it either."""
Script = Mapping[str, Steps | InTurn]
Serve = Callable[[Script], FaultServer]


def sse(*records: object, ends: bool = True) -> Steps:
    """RECORDS as a stream of events; texts are sent as they are."""
    frames = [f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n".encode() for one in records]
    return [Send(chunked_head("text/event-stream") + chunked(*frames, ends=ends)), Close()]


def delta(text: str) -> dict[str, Any]:
    """A chunk with TEXT."""
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}
HELLO = sse(delta("Hel"), delta("lo"), END, USAGE, "[DONE]")


def model_on(server: FaultServer, name: str = "", options: LoadOptions | None = None) -> Model:
    """The model that a user gets who names SERVER."""
    return model_at(server.address, name, options)


def model_at(address: str, name: str = "", options: LoadOptions | None = None) -> Model:
    """The model that a user gets who names ADDRESS."""
    info = info_at(address, name)
    return Model(new_engine(info, options or LoadOptions(), ServerSettings()), info)


def engine_on(
    server: FaultServer, name: str = "", *, max_load_seconds: float = MAX_LOAD_SECONDS, key: str | None = None
) -> OpenAIEngine:
    """The engine of the model that SERVER has."""
    connection = Connection(Address.from_text(server.address), key)
    info, handle = info_at(server.address, name), ExternalServer(connection)
    return OpenAIEngine(info, LoadOptions(), handle, name, max_load_seconds=max_load_seconds)


def info_at(address: str, name: str) -> ModelInfo:
    """What is known of the model NAME at ADDRESS."""
    return openai_model(name, Address.from_text(address))


def events_of(model: Model, prompt: str = "Hi", **options: Any) -> list[Event]:  # noqa: ANN401 - of Model.stream
    """All events of an answer."""
    with model.stream(prompt, **options) as stream:
        return list(stream)


def completion_of(model: Model, prompt: str = "Hi", **options: Any) -> Completion:  # noqa: ANN401 - same
    """The completion of an answer that did not fail."""
    *_, last = events_of(model, prompt, **options)
    assert isinstance(last, Done), last
    return last.completion


def error_of(model: Model, prompt: str = "Hi", **options: Any) -> LocalLLMError:  # noqa: ANN401 - same
    """The error of an answer that failed."""
    *_, last = events_of(model, prompt, **options)
    assert isinstance(last, Failed), last
    return last.error


def asked(server: FaultServer) -> list[str]:
    """The requests that came, oldest first."""
    return [f"{request.method} {request.path}" for request in server.requests]
