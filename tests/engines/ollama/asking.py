"""Models of Ollama servers that tests have started."""

import json
from collections.abc import Mapping
from typing import Any

from localllm_magics.core.address import Address
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.local_servers import how_to_start
from localllm_magics.engines.ollama.engine import OllamaEngine
from localllm_magics.engines.served_models import ollama_model
from localllm_magics.engines.server.connection import Connection
from localllm_magics.model import Model
from tests.server.faults import InTurn, Send, Steps
from tests.server.http_bytes import chunked, chunked_head, http_response
from tests.server.http_server import HttpServer

HEAD = chunked_head("application/x-ndjson")
LOADED = {"done": True, "done_reason": "load"}
END = {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 2, "eval_duration": 10**8}
SHOW = {
    "parameters": 'stop "<end>"\ntop_k 7',
    "details": {"quantization_level": "Q8_0"},
    "model_info": {"general.architecture": "llama", "llama.context_length": 2048, "llama.block_count": 6},
}


def model_of(server: HttpServer, name: str = "demo", options: LoadOptions | None = None, keep_alive: str = "") -> Model:
    """The model NAME of SERVER."""
    return Model(engine_of(server, name, options, keep_alive), info_of(server, name))


def engine_of(
    server: HttpServer, name: str = "demo", options: LoadOptions | None = None, keep_alive: str = ""
) -> OllamaEngine:
    """The engine of the model NAME of SERVER."""
    address = Address.from_text(server.address)
    connection = Connection(address, to_start=how_to_start(address, is_ollama=True))
    return OllamaEngine(info_of(server, name), options or LoadOptions(), connection, keep_alive)


def info_of(server: HttpServer, name: str) -> ModelInfo:
    """What is known of the model NAME of SERVER."""
    return ollama_model(name, Address.from_text(server.address), f"ollama:{name}@{server.address}")


def telling(*records: Mapping[str, Any], ends: bool = True) -> Send:
    """RECORDS as a stream, which goes on unless it ENDS."""
    return Send(HEAD + chunked(b"".join(json.dumps(record).encode() + b"\n" for record in records), ends=ends))


def saying(value: object, status: int = 200) -> Send:
    """VALUE as a whole answer."""
    return Send(http_response(status, {"Content-Type": "application/json"}, json.dumps(value).encode()))


def script(**answers: Steps | InTurn) -> dict[str, Steps | InTurn]:
    """An Ollama with a model; ANSWERS are those of `/api/chat` and so on."""
    usual: dict[str, Steps | InTurn] = {
        "show": [saying(SHOW)],
        "version": [saying({"version": "0.33.0"})],
        "ps": [saying({"models": [{"name": "demo:latest", "size": 100, "size_vram": 59, "context_length": 2048}]})],
        "chat": [telling({"message": {"content": "So"}}, END)],
        "generate": [telling({"response": "So"}, END)],
    }
    return {f"/api/{name}": steps for name, steps in (usual | answers).items()}


def bodies(server: HttpServer, path: str = "/api/chat") -> list[dict[str, Any]]:
    """What PATH was asked, oldest first."""
    return [request.json for request in server.requests if request.path == path]
