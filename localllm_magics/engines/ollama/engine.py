"""One model of an Ollama server, asked through its native API."""

import json
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import replace

from localllm_magics.core.completion import FinishReason, ModelUsed
from localllm_magics.core.errors import BadOption, DaemonError, DaemonNotReachable, LocalLLMError
from localllm_magics.core.events import Loading, ProgressEvent, Reading
from localllm_magics.core.generation import Generation
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import ALL_LAYERS, DEFAULT_CONTEXT, LoadOptions, Request
from localllm_magics.core.sampling import LLAMA_CPP_SAMPLING, Sampling
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.base import EngineStatus, Preview
from localllm_magics.engines.lifetime import Lifetime
from localllm_magics.engines.ollama import api
from localllm_magics.engines.ollama.parameters import to_options
from localllm_magics.engines.ollama.pull import pull_command
from localllm_magics.engines.ollama.response_parser import OllamaResponseParser
from localllm_magics.engines.server.connection import Connection
from localllm_magics.engines.server.response import ndjson_records, read_response, wait_for_head
from localllm_magics.engines.server.server_error import raise_for_status
from localllm_magics.engines.wire.fields import Json, child, text

_MEMORY_SECONDS = 1.0  # for the list of models in memory
_RELOAD_SECONDS = 0.5  # a longer load moved the model


class OllamaEngine:
    """One model of a server; see `engines.base.Engine`.

    Args:
        options: How it is to be loaded; every request has the same values, so that nothing reloads.
        keep_alive: How long the server keeps the model in memory, as it is typed; empty leaves that to the server.
    """

    def __init__(self, info: ModelInfo, options: LoadOptions, connection: Connection, keep_alive: str = "") -> None:
        self._options = options
        self._info = info
        self._connection = connection
        self._keep_alive = keep_alive
        to_pull = f"Type: {pull_command(info.name, connection.address)}"
        self._error_context = api.error_context(connection, info.name, to_pull)
        self._version: str | None = None
        self._description: api.ModelDescription | None = None
        self._is_current = False  # whether the description still holds, as far as known
        self._in_memory: api.ModelInMemory | None = None
        self._prompts: deque[str] = deque(maxlen=8)
        self._is_used = False
        self._lifetime = Lifetime(info.reference)

    def __repr__(self) -> str:
        return f"<OllamaEngine {self._info.name} at {self._connection.address.url}>"

    def status(self, *, refresh: bool = False) -> EngineStatus:
        """The model and its placement, as far as known; the server reports how long it stays in memory."""
        detail = self._refresh() if refresh else ""
        info, description, in_memory = self._info, self._description or api.ModelDescription(), self._in_memory
        model = ModelUsed(
            reference=info.reference,
            name=info.name,
            engine="ollama",
            architecture=description.architecture or info.architecture,
            quantization=description.quantization or info.quantization,
            size_bytes=info.size_bytes,
            parameters=description.parameters or info.parameters,
            layers=description.layers,
        )
        status = EngineStatus(model=model, options=self._options, detail=detail)
        if in_memory is None:
            return status
        gpu_layers = None if in_memory.size_vram else 0
        model = replace(model, device=in_memory.device, gpu_layers=gpu_layers, context=in_memory.context)
        return replace(status, model=model, memory_bytes=in_memory.size, notices=self._notices(in_memory))

    def load(self, stop: Stop) -> Iterator[Loading]:
        """Have the server load the model; see `Engine.load`."""
        with self._lifetime.using(stop):
            self._describe(stop)
            yield Loading(0.0)
            body = {"model": self._info.name, "stream": False, "options": self._load_options(), **self._to_keep_alive()}
            self._is_used = True  # a load goes on when its client disconnects
            with self._connection.post("/api/generate", body, stop) as exchange:
                yield from wait_for_head(exchange, stop, lambda: None if self._find(stop) else Loading(0.0))
                reply = exchange.read_all()
                raise_for_status(reply, self._error_context)
            self._locate(stop)
            yield Loading(1.0)

    def stream(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        """Answer a request; see `Engine.stream`."""
        with self._lifetime.using(stop):
            try:
                return (yield from self._answer(generation, stop))
            except LocalLLMError:
                self._is_current, self._in_memory = False, None  # another server may be there next time
                raise

    def preview(self, request: Request, stop: Stop) -> Preview:
        """The prompt as the server renders it."""
        with self._lifetime.using(stop):
            self._describe(stop)
            sampling = self._sampling(request)
            body = self._to_body(request, sampling)
            prompt = request.messages[0].text if request.raw else self._render(body, stop)
        sent = json.dumps(body, indent=2, ensure_ascii=False)
        return Preview(prompt=prompt, tokens=(), context=self._context, sampling=sampling, sent=sent)

    def with_options(self, options: LoadOptions) -> "OllamaEngine":
        """A new engine for the same model; see `Engine.with_options`."""
        if options.cpu_moe is not None:
            raise BadOption("Ollama itself decides where experts are.", "Leave --cpu-moe out.")
        if options.kv_type is not None:
            hint = f"Leave --kv-type out, and start Ollama with OLLAMA_KV_CACHE_TYPE={options.kv_type}."
            raise BadOption("Ollama has one type of KV cache for all models.", hint)
        return OllamaEngine(self._info, options, self._connection, self._keep_alive)

    def close(self) -> None:
        """Stop what runs, and have the server unload the model if it was used from here."""
        self._lifetime.end()
        is_used, self._is_used = self._is_used, False
        if is_used:
            body = {"model": self._info.name, "keep_alive": 0}
            with suppress(LocalLLMError):
                self._connection.ask("POST", "/api/generate", body, seconds=5.0)
        self._in_memory = None

    def _answer(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        request = generation.request
        self._describe(stop)
        generation.sampling = self._sampling(request)
        generation.engine_version = f"Ollama {self._version or ''}".rstrip()
        generation.model = self.status().model
        is_cached = self._may_be_cached(request)
        parser = OllamaResponseParser(self._error_context, is_cached=is_cached, is_raw=request.raw)
        path, body = "/api/generate" if request.raw else "/api/chat", self._to_body(request, generation.sampling)
        self._is_used = True
        with self._connection.post(path, body, stop) as exchange:
            yield from wait_for_head(exchange, stop, lambda: Reading(0, 0) if self._find(stop) else Loading(0.0))
            reason = yield from read_response(exchange, ndjson_records, parser, generation, self._error_context)
        if self._in_memory is None or (parser.counts.load_seconds or 0) > _RELOAD_SECONDS:
            self._locate(stop)
        generation.model = self.status().model
        return reason

    def _describe(self, stop: Stop) -> None:
        """Get once what the server knows of the model; what it does not report is no error."""
        if self._is_current:
            return
        try:
            self._description = api.describe(self._connection, self._info.name, stop)
            self._version = api.version(self._connection, stop)
        except DaemonNotReachable:
            raise
        except DaemonError:
            return  # it answers, but not this; the request for text will have a better error
        self._is_current = True

    def _find(self, stop: Stop | None) -> api.ModelInMemory | None:
        """The model in the server's memory, None if it is not there."""
        found = api.models_in_memory(self._connection, stop, _MEMORY_SECONDS)
        return next((model for model in found if model.is_called(self._info.name)), None)

    def _locate(self, stop: Stop) -> None:
        """Bring its placement up to date, if the server reports it."""
        self._in_memory = None
        with suppress(LocalLLMError, Stopped):
            self._in_memory = self._find(stop)

    def _refresh(self) -> str:
        """Bring its placement up to date, and return it in a sentence."""
        name, self._in_memory = self._info.reference, None
        try:
            self._in_memory = found = self._find(None)
        except LocalLLMError as exc:
            return f"{name} cannot be reached: {exc.message} {exc.hint}".rstrip()
        if found is None:
            return f"{name} is not in Ollama's memory now; it is loaded with the next question."
        return f"{name} is on the {found.device}; Ollama keeps it in memory {found.expiry}."

    def _notices(self, in_memory: api.ModelInMemory) -> tuple[str, ...]:
        """Where the model is, if not where it was asked to be."""
        wanted = self._options.gpu_layers
        if in_memory.size_vram or wanted in (None, "auto", 0):
            return ()
        layers = {"all": "All layers", "1": "1 layer"}.get(str(wanted), f"{wanted} layers")
        return (f"{layers} asked, 0 on a GPU: Ollama placed {self._info.name} on the CPU.",)

    def _may_be_cached(self, request: Request) -> bool:
        """Whether the server may have cached a good part of the prompt, whose tokens it does not always report."""
        prompt = "\n".join(message.text for message in request.messages)
        prefix = prompt[: max(len(prompt) // 10, 16)]
        is_known = any(earlier.startswith(prefix) for earlier in self._prompts)
        self._prompts.append(prompt)
        return is_known

    def _render(self, body: Json, stop: Stop) -> str:
        options = {**child(body, "options"), "num_predict": 1}  # a server that does not know the field answers
        body = {**body, "_debug_render_only": True, "stream": False, "options": options}
        self._is_used = True
        reply = self._connection.ask("POST", "/api/chat", body, stop=stop, seconds=60.0)
        raise_for_status(reply, self._error_context)
        return text(child(reply.to_dict(), "_debug_info"), "rendered_template") or ""

    def _to_body(self, request: Request, sampling: Sampling) -> dict[str, object]:
        body: dict[str, object] = {"model": self._info.name, "stream": True, "truncate": False, **self._to_keep_alive()}
        body["options"] = {**self._load_options(), **to_options(sampling)}
        if request.raw:
            body |= {"prompt": request.messages[0].text, "raw": True}
        else:
            body["messages"] = [message.to_dict() for message in request.messages]
        if request.think is not None:
            body["think"] = request.think
        if request.schema is not None:
            body["format"] = dict(request.schema)
        return body

    def _to_keep_alive(self) -> dict[str, object]:
        value: int | str = self._keep_alive
        with suppress(ValueError):
            value = int(value)
        return {} if value == "" else {"keep_alive": value}

    @property
    def _context(self) -> int:
        description = self._description or api.ModelDescription()
        trained = description.trained_context or DEFAULT_CONTEXT
        return self._options.ctx or description.ctx or min(trained, DEFAULT_CONTEXT)

    def _load_options(self) -> dict[str, object]:
        options: dict[str, object] = {"num_ctx": self._context}
        layers = self._options.gpu_layers
        if layers is not None:
            options["num_gpu"] = {"all": ALL_LAYERS, "auto": -1}.get(str(layers), layers)
        if self._options.threads is not None:
            options["num_thread"] = self._options.threads
        return options

    def _sampling(self, request: Request) -> Sampling:
        """What is sent: the server's own defaults, where the model's are not known, are left to it."""
        if self._description is None:
            return request.sampling
        stored = self._description.sampling
        resolved = request.sampling.or_else(stored).or_else(LLAMA_CPP_SAMPLING).seeded()
        return replace(resolved, stop=tuple(dict.fromkeys((*request.sampling.stop, *stored.stop))))
