"""A stand-in for Ollama: its API and its habits, with a real llama-server doing the work, as in Ollama itself."""

import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.server.http_bytes import LAST_CHUNK, chunk, chunked_head, http_response
from tests.server.http_server import Connection, HttpServer, Received
from tests.server.ollama_generation import Generation, Lines, said
from tests.server.ollama_pull import PULLABLE, check_name, pull
from tests.server.ollama_runners import Load, Runner, Runners, to_load
from tests.server.ollama_store import StoredModel
from tests.server.ollama_wire import Refusal, full_name, keep_alive, now, request_body, timestamp, to_json

Answer = Callable[[Received, Connection], None]

VERSION = "0.33.0"
_NO_IMAGES = (
    '{"error":{"code":400,"message":"Multimodal data provided, but model does not support multimodal requests.",'
    '"type":"invalid_request_error"}}'
)
_SIZE = 13_757_315
"""What a real Ollama said that the demo model needs in memory."""


class OllamaStandIn(HttpServer):
    """Ollama with one stored model, `demo`, as a context manager.

    Args:
        llama_server: The program that does the work.
        model: The GGUF file of `demo`.
    """

    def __init__(self, llama_server: Path, model: Path) -> None:
        super().__init__()
        self.vram_share = 0.0
        """The part of a loaded model that is said to be on a GPU."""
        self.is_endless = False
        """Whether its models talk until they are stopped or reach `num_predict`."""
        self.pull_may_finish = threading.Event()
        """A pull stops half-way until this is set, as it is at first."""
        self._demo = StoredModel(name="demo:latest", path=model)
        self._runners = Runners(llama_server)
        self._stored: dict[str, StoredModel] = {}
        self._routes: dict[str, tuple[str, Answer]] = {
            "/": ("GET", self._root),
            "/api/version": ("GET", self._version),
            "/api/tags": ("GET", self._tags),
            "/api/ps": ("GET", self._ps),
            "/api/show": ("POST", self._show),
            "/api/chat": ("POST", self._generate),
            "/api/generate": ("POST", self._generate),
            "/api/pull": ("POST", self._pull),
        }
        self.reset()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._runners.close()

    @property
    def loads(self) -> list[Load]:
        """The options of every load so far."""
        return self._runners.loads

    @property
    def load_seconds(self) -> float:
        """How much longer than it needs a load takes, without a byte for the client."""
        return self._runners.load_seconds

    @load_seconds.setter
    def load_seconds(self, seconds: float) -> None:
        self._runners.load_seconds = seconds

    def reset(self) -> None:
        """Forget everything and everyone, and have no model in memory."""
        self.drop_clients()
        self._runners.close()
        self._runners.loads.clear()
        self._runners.load_seconds = 0.0
        self._stored.clear()
        self._stored[self._demo.name] = self._demo
        self.requests.clear()
        self.client_left.clear()
        self.vram_share = 0.0
        self.is_endless = False
        self.pull_may_finish.set()

    def store(self, name: str, path: Path) -> None:
        """Have one more model, which need not be a good one."""
        self._stored[full_name(name)] = StoredModel(name=full_name(name), path=path)

    def upstream_slots_busy(self) -> int:
        """How many llama-server slots are at work."""
        return self._runners.busy_slots()

    def kill_engine(self) -> None:
        """End the llama-server processes at once, as the system does when memory is short."""
        self._runners.kill()

    def answer(self, request: Received, connection: Connection) -> None:
        method, answer = self._routes.get(request.path, ("", None))
        if answer is None:
            connection.send(http_response(404, {"Content-Type": "text/plain"}, b"404 page not found"))
        elif request.method not in (method, "HEAD"):
            headers = {"Allow": method, "Content-Type": "text/plain"}
            connection.send(http_response(405, headers, b"405 method not allowed"))
        else:
            _answer_refusals(answer, request, connection)

    def _root(self, request: Received, connection: Connection) -> None:
        body = b"Ollama is running"
        headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))}
        connection.send(http_response(200, headers, b"" if request.method == "HEAD" else body))

    def _version(self, _: Received, connection: Connection) -> None:
        _send(connection, {"version": VERSION})

    def _tags(self, _: Received, connection: Connection) -> None:
        _send(connection, {"models": [model.tag() for model in reversed(self._stored.values())]})

    def _ps(self, _: Received, connection: Connection) -> None:
        _send(connection, {"models": [self._process(runner) for runner in self._runners.loaded()]})

    def _process(self, runner: Runner) -> dict[str, Any]:
        # Without a GPU and without a number of layers, the real one knows no size.
        knows_size = self.vram_share > 0 or 0 <= runner.load.num_gpu < 999
        size = _SIZE if knows_size else 0
        return {
            "name": runner.model.name,
            "model": runner.model.name,
            "size": size,
            "digest": runner.model.digest,
            "details": runner.model.details,
            "expires_at": timestamp(runner.expires_at),
            "size_vram": int(size * self.vram_share),
            "context_length": runner.load.num_ctx,
        }

    def _show(self, request: Received, connection: Connection) -> None:
        _send(connection, self._find(full_name(request_body(request)["model"])).show())

    def _find(self, name: str) -> StoredModel:
        model = self._stored.get(full_name(name))
        if model is None:
            raise Refusal(404, f"model '{name}' not found")
        return model

    def _generate(self, request: Received, connection: Connection) -> None:
        started = time.monotonic()
        body = request_body(request) | ({"messages": []} if request.path == "/api/chat" else {}) | request.json
        model = self._find(body["model"])
        _check_abilities(body, model)
        stay, load = keep_alive(body), to_load(model, body.get("options") or {})
        is_load_only = not body.get("messages") and not body.get("prompt")
        if is_load_only and stay == 0:
            self._runners.unload(model.name)
            _send(connection, _done(body, "unload"))
            return
        with self._runners.use(model, load, stay, connection) as runner:
            if is_load_only:
                _send(connection, _done(body, "load"))
            else:
                endless = self.is_endless
                _tell(Generation(body=body, runner=runner, client=connection, started=started, is_endless=endless))

    def _pull(self, request: Received, connection: Connection) -> None:
        body = request_body(request, no_model="invalid model name")
        check_name(body["model"])
        lines = self._storing(pull(body["model"], self.pull_may_finish, connection))
        if body.get("stream", True):
            _stream(lines, connection)
        else:
            *_, last = lines
            _send(connection, last, 500 if "error" in last else 200)

    def _storing(self, lines: Lines) -> Lines:
        for line in lines:
            if line.get("status") == "success":
                self.store(PULLABLE, self._demo.path)
            yield line


def _answer_refusals(answer: Answer, request: Received, connection: Connection) -> None:
    try:
        answer(request, connection)
    except Refusal as refusal:
        _send(connection, {"error": str(refusal)}, refusal.status)


def _check_abilities(body: dict[str, Any], model: StoredModel) -> None:
    """Refuse what the demo model cannot do."""
    messages = body.get("messages", [])
    if body.get("think"):
        raise Refusal(400, f'"{body["model"]}" does not support thinking')
    if body.get("tools"):
        raise Refusal(400, f"registry.ollama.ai/library/{model.name} does not support tools")
    if any(message.get("images") for message in messages):
        raise Refusal(400, _NO_IMAGES)
    if not all(isinstance(message["content"], str) for message in messages):
        kind = "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string"
        raise Refusal(400, kind)


def _done(body: dict[str, Any], reason: str) -> dict[str, Any]:
    return {"model": body["model"], "created_at": now(), **said(body, ""), "done": True, "done_reason": reason}


def _tell(generation: Generation) -> None:
    if generation.body.get("stream", True):
        _stream(generation.lines(), generation.client)
    else:
        _send(generation.client, generation.whole())


def _stream(lines: Lines, connection: Connection) -> None:
    head = chunked_head("application/x-ndjson")  # goes out with the first line, not before
    with closing(lines):
        for line in lines:
            connection.send(head + chunk(to_json(line) + b"\n"))
            head = b""
    connection.send(LAST_CHUNK)


def _send(connection: Connection, value: object, status: int = 200) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    connection.send(http_response(status, headers, to_json(value)))
