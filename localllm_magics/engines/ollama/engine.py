"""One model of an Ollama server, asked through its native API."""

import json
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import replace

from localllm_magics.core.completion import FinishReason, ModelUsed
from localllm_magics.core.engine_status import EngineStatus
from localllm_magics.core.errors import DaemonError, DaemonNotReachable, LocalLLMError
from localllm_magics.core.events import Loading, ProgressEvent, Reading
from localllm_magics.core.generation import Generation
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.preview import Preview
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import LLAMA_CPP_SAMPLING, Sampling
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.lifetime import Lifetime
from localllm_magics.engines.ollama import api, pull
from localllm_magics.engines.ollama.parameters import to_options
from localllm_magics.engines.ollama.response_parser import OllamaResponseParser
from localllm_magics.engines.server.connection import Connection
from localllm_magics.engines.server.response import (
    ndjson_records,
    read_answer,
    require_answer,
    wait_for_head,
)
from localllm_magics.engines.server.server_error import raise_for_status
from localllm_magics.engines.wire.fields import Json, child, text

_DEFAULT_CONTEXT = 8192
_ALL_LAYERS = 999
_LOOK_SECONDS = 1.0
_UNLOAD_SECONDS = 5.0
_PREVIEW_SECONDS = 60.0
_SLOW_LOAD = 0.5
_REMEMBERED_PROMPTS = 8
_SHORT_PROMPT = 16


class OllamaEngine:
    """One model of a server; see `engines.base.Engine`.

    Args:
        info: Names the model.
        options: How it is to be loaded; the same values go with every request, so that nothing reloads.
        connection: The way to the server.
        keep_alive: How long the server keeps the model, as it is typed; empty leaves that to the server.
    """

    def __init__(self, info: ModelInfo, options: LoadOptions, connection: Connection, keep_alive: str = "") -> None:
        self._options = options
        self._info = info
        self._connection = connection
        self._keep_alive = keep_alive
        self._asked = api.error_context(
            connection, info.name, f"Type: {pull.pull_command(info.name, connection.address)}"
        )
        self._version: str | None = None
        self._shown: api.ModelDescription | None = None
        self._is_described = False
        self._placed: api.ModelInMemory | None = None
        self._prompts: deque[str] = deque(maxlen=_REMEMBERED_PROMPTS)
        self._lifetime = Lifetime(info.reference)
        self._is_used = False

    def __repr__(self) -> str:
        return f"<OllamaEngine {self._info.name} at {self._connection.address.url}>"

    def status(self, *, refresh: bool = False) -> EngineStatus:
        """The model and its placement, as far as known; the server tells how long it stays in memory."""
        if refresh:
            self._find(None)
        info, shown, placed = self._info, self._shown or api.ModelDescription(), self._placed
        model = ModelUsed(
            reference=info.reference,
            name=info.name,
            engine="ollama",
            device=None if placed is None else placed.device,
            architecture=shown.architecture or info.architecture,
            quantization=shown.quantization or info.quantization,
            size_bytes=info.size_bytes,
            parameters=shown.parameters or info.parameters,
            gpu_layers=0 if placed is not None and not placed.size_vram else None,
            layers=shown.layers,
            context=None if placed is None else placed.context,
        )
        return EngineStatus(
            model=model,
            options=self._options,
            memory_bytes=0 if placed is None else placed.size,
            notices=self._notices(),
            detail=self._detail() if refresh else "",
        )

    def _notices(self) -> tuple[str, ...]:
        """Where the model is, if not where it was asked to be."""
        wanted = self._options.gpu_layers
        if self._placed is None or self._placed.size_vram or wanted in (None, "auto", 0):
            return ()
        layers = "All layers" if wanted == "all" else "1 layer" if wanted == 1 else f"{wanted} layers"
        return (f"{layers} asked, 0 on a GPU: Ollama placed {self._info.name} on the CPU.",)

    def _detail(self) -> str:
        name, placed = self._info.reference, self._placed
        if placed is None:
            return f"{name} is not in Ollama's memory now; it is loaded with the next question."
        return f"{name} is on the {placed.device}; Ollama keeps it in memory {placed.expiry}."

    def load(self, stop: Stop) -> Iterator[Loading]:
        """Have the server load the model; see `Engine.load`."""
        with self._lifetime.using(stop):
            self._describe(stop)
            yield Loading(0.0)
            body = {"model": self._info.name, "stream": False, "options": self._load_options(), **self._kept()}
            self._is_used = True  # a load goes on when its client leaves
            with self._connection.post("/api/generate", body, stop) as exchange:
                yield from wait_for_head(exchange, stop, lambda: None if self._is_there(stop) else Loading(0.0))
                raise_for_status(exchange.read_all(), self._asked)
            self._find(stop)
            yield Loading(1.0)

    def stream(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        """Answer a request; see `Engine.stream`."""
        with self._lifetime.using(stop):
            try:
                return (yield from self._answer(generation, stop))
            except LocalLLMError:
                self._is_described = False  # another server may be there next time
                raise

    def preview(self, request: Request, stop: Stop) -> Preview:
        """The prompt as the server renders it."""
        with self._lifetime.using(stop):
            self._describe(stop)
            sampling = self._sampling(request)
            body = self._body(request, sampling)
            prompt = request.messages[0].text if request.raw else self._rendered(body, stop)
        return Preview(
            prompt=prompt,
            tokens=(),
            context=self._context,
            sampling=sampling,
            sent=json.dumps(body, indent=2, ensure_ascii=False),
        )

    def _rendered(self, body: Json, stop: Stop) -> str:
        options = {**child(body, "options"), "num_predict": 1}  # a server that does not know the field answers
        asking = {**body, "_debug_render_only": True, "stream": False, "options": options}
        self._is_used = True
        reply = self._connection.ask("POST", "/api/chat", asking, stop=stop, seconds=_PREVIEW_SECONDS)
        raise_for_status(reply, self._asked)
        rendered = text(child(reply.to_dict(), "_debug_info"), "rendered_template")
        return rendered or "(this server does not show the prompt)"

    def with_options(self, options: LoadOptions) -> "OllamaEngine":
        """A new engine for the same model; see `Engine.with_options`."""
        return OllamaEngine(self._info, options, self._connection, self._keep_alive)

    def _find(self, stop: Stop | None) -> None:
        self._placed = None
        with suppress(LocalLLMError, Stopped):
            self._placed = self._running_one(stop)

    def close(self) -> None:
        """Stop what runs, and have the server give the memory back if it was used from here."""
        self._lifetime.end()
        if self._is_used:
            self._is_used = False
            body = {"model": self._info.name, "keep_alive": 0}
            with suppress(LocalLLMError):
                self._connection.ask("POST", "/api/generate", body, seconds=_UNLOAD_SECONDS)
        self._placed = None

    def _answer(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        request = generation.request
        self._describe(stop)
        generation.sampling = self._sampling(request)
        body = self._body(request, generation.sampling)
        generation.engine_version = f"Ollama {self._version}" if self._version else "Ollama"
        generation.model = self.status().model
        path = "/api/generate" if request.raw else "/api/chat"
        is_cached = self._may_be_cached(request)
        self._is_used = True
        with self._connection.post(path, body, stop) as exchange:
            yield from wait_for_head(exchange, stop, lambda: Reading(0, 0) if self._is_there(stop) else Loading(0.0))
            require_answer(exchange, self._asked)
            reading = OllamaResponseParser(self._asked, is_cached=is_cached, is_raw=request.raw)
            yield from read_answer(ndjson_records(exchange.chunks()), reading, generation, self._connection)
        if self._placed is None or (reading.counts.load_seconds or 0) > _SLOW_LOAD:
            self._find(stop)
        generation.model = self.status().model
        assert reading.finish_reason is not None  # noqa: S101 - the answer was read to its end
        return reading.finish_reason

    def _describe(self, stop: Stop) -> None:
        """Learn once what the server knows of the model; what it does not tell is no error."""
        if self._is_described:
            return
        try:
            self._shown = api.describe(self._connection, self._info.name, stop)
            self._version = api.version(self._connection, stop)
        except DaemonNotReachable:
            raise
        except DaemonError:
            return  # it answers, if not to this; asked for text, it will tell what is wrong
        self._is_described = True

    def _is_there(self, stop: Stop) -> bool:
        """Whether the server has the model in memory."""
        return self._running_one(stop) is not None

    def _running_one(self, stop: Stop | None) -> api.ModelInMemory | None:
        found = api.models_in_memory(self._connection, stop, _LOOK_SECONDS)
        return next((model for model in found if model.is_called(self._info.name)), None)

    def _may_be_cached(self, request: Request) -> bool:
        """Whether the server may remember a good part of the prompt, of whose tokens it does not always tell."""
        prompt = "\n".join(message.text for message in request.messages)
        start = prompt[: max(len(prompt) // 10, _SHORT_PROMPT)]
        is_known = any(earlier.startswith(start) for earlier in self._prompts)
        self._prompts.append(prompt)
        return is_known

    def _body(self, request: Request, sampling: Sampling) -> dict[str, object]:
        body: dict[str, object] = {"model": self._info.name, "stream": True, "truncate": False, **self._kept()}
        if request.raw:
            body |= {"prompt": request.messages[0].text, "raw": True}
        else:
            body |= {"messages": [message.to_dict() for message in request.messages]}
        if request.think is not None:
            body["think"] = request.think
        if request.schema is not None:
            body["format"] = dict(request.schema)
        return {**body, "options": {**self._load_options(), **to_options(sampling)}}

    def _kept(self) -> dict[str, object]:
        if not self._keep_alive:
            return {}
        try:
            return {"keep_alive": int(self._keep_alive)}
        except ValueError:
            return {"keep_alive": self._keep_alive}

    @property
    def _context(self) -> int:
        shown = self._shown or api.ModelDescription()
        trained = min(shown.trained_context or _DEFAULT_CONTEXT, _DEFAULT_CONTEXT)
        return self._options.ctx or shown.ctx or trained

    def _load_options(self) -> dict[str, object]:
        options: dict[str, object] = {"num_ctx": self._context}
        layers = self._options.gpu_layers
        if layers is not None:
            options["num_gpu"] = {"all": _ALL_LAYERS, "auto": -1}.get(str(layers), layers)
        if self._options.threads is not None:
            options["num_thread"] = self._options.threads
        return options

    def _sampling(self, request: Request) -> Sampling:
        """What is sent: the server's own defaults, where the model's are not known, are left to it."""
        if self._shown is None:
            return request.sampling
        stored = self._shown.sampling
        filled = request.sampling.or_else(stored).or_else(LLAMA_CPP_SAMPLING).seeded()
        return replace(filled, stop=tuple(dict.fromkeys((*request.sampling.stop, *stored.stop))))
