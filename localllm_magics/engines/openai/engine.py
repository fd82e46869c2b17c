"""One model of a server that speaks as OpenAI does."""

import json
from collections.abc import Generator, Iterator
from contextlib import suppress

from localllm_magics.core.completion import FinishReason, ModelUsed
from localllm_magics.core.engine_status import EngineStatus
from localllm_magics.core.errors import (
    AccessDenied,
    DaemonError,
    DaemonNotReachable,
    LocalLLMError,
    ModelNotInDaemon,
    StreamBroken,
)
from localllm_magics.core.events import Loading, ProgressEvent
from localllm_magics.core.generation import Generation
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.preview import Preview
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.stop import Stop
from localllm_magics.engines.lifetime import Lifetime
from localllm_magics.engines.openai import llama_server
from localllm_magics.engines.openai.dialect import dialect, to_body
from localllm_magics.engines.openai.identity import Identity, ServedModel, ServerKind, identify
from localllm_magics.engines.openai.records import RecordDecoder
from localllm_magics.engines.openai.response_parser import OpenAIResponseParser
from localllm_magics.engines.openai.server_handle import ServerHandle
from localllm_magics.engines.server.connection import Connection, Exchange
from localllm_magics.engines.server.response import (
    chunks_with_drain_timeout,
    read_answer,
    require_answer,
    wait_for_head,
)
from localllm_magics.engines.server.server_error import ErrorContext, raise_for_status

_MAY_BE_ANOTHER = (DaemonNotReachable, StreamBroken, ModelNotInDaemon)
"""After these errors, another server may be there next time, or another model."""


class OpenAIEngine:
    """One model of a server; see `engines.base.Engine`.

    Args:
        info: The reference, and the model's name on the server.
        options: How the server is to be started, where it is not running yet.
        server: Where the model is.
        model: What the user called the model, empty for the one that the server has.
    """

    def __init__(self, info: ModelInfo, options: LoadOptions, server: ServerHandle, model: str = "") -> None:
        self._options = options
        self._info = info
        self._server = server
        self._found: Connection | None = None
        self._model = model
        self._identity: Identity | None = None
        self._served: ServedModel | None = None
        self._takes_stream_options = True
        self._answering = ""  # the model that answered in the place of the one served
        self._lifetime = Lifetime(info.reference)

    def __repr__(self) -> str:
        return f"<OpenAIEngine {self._info.reference}>"

    def status(self, *, refresh: bool = False) -> EngineStatus:  # noqa: ARG002 - such servers do not tell where it is
        """The model, as far as the server described it; the memory is the server's."""
        served, identity = self._served, self._identity
        model = ModelUsed(
            reference=self._info.reference,
            name=self._info.name if served is None else served.label,
            engine=self._info.engine,
            quantization=served.quantization if served else None,
            size_bytes=served.size_bytes if served else None,
            parameters=served.parameters if served else None,
            context=(identity.context if identity else None) or (served.context if served else None),
        )
        return EngineStatus(
            model=model,
            options=self._options,
            notices=self._notices(),
            detail="" if identity is None else f"{self._info.reference} is on {identity.name}.",
        )

    def _notices(self) -> tuple[str, ...]:
        """Which model answers, if not the one that was asked for."""
        served = self._served
        if served is None or not self._model or served.is_called(self._model):
            return ()
        return (f"{self._model} was asked for; the server has {served.label}.",)

    def load(self, stop: Stop) -> Iterator[Loading]:
        """Wait until the server is ready, and has the model in memory; see `Engine.load`."""
        self._identity = None  # a router may have given the memory to another model
        with self._lifetime.using(stop):
            yield from self._identified(stop)
            yield Loading(1.0)

    def stream(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        """Answer a request; see `Engine.stream`."""
        with self._lifetime.using(stop):
            try:
                return (yield from self._answer(generation, stop))
            except _MAY_BE_ANOTHER:
                self._identity = None
                raise

    def preview(self, request: Request, stop: Stop) -> Preview:
        """What would be sent, and where the server can tell, the prompt and its tokens."""
        with self._lifetime.using(stop):
            for _ in self._identified(stop):
                pass
            identity = self._identity or Identity(kind=ServerKind.OTHER)
            body = self._body(request, identity)
            prompt, tokens = llama_server.render(self._connection, body, identity.kind, self._asked, stop)
        return Preview(
            prompt=prompt,
            tokens=tokens,
            context=self.status().model.context or 0,
            sampling=self._sampling(request).or_else(identity.sampling),
            sent=json.dumps(body, indent=2, ensure_ascii=False),
        )

    def with_options(self, options: LoadOptions) -> "OpenAIEngine":
        """A new engine for the same model; see `Engine.with_options`."""
        return OpenAIEngine(self._info, options, self._server.with_options(options), self._model)

    def close(self) -> None:
        """Stop what runs; end the server if it was started for this, and have a router give the memory back."""
        self._lifetime.end()
        if self._identity is not None and self._identity.kind is ServerKind.ROUTER and self._served is not None:
            with suppress(LocalLLMError):
                llama_server.unload(self._connection, self._served.name)
        self._identity = None
        self._server.close()

    @property
    def _connection(self) -> Connection:
        assert self._found is not None  # noqa: S101 - nothing is asked before the server was identified
        return self._found

    @property
    def _asked(self) -> ErrorContext:
        url, kind = (
            self._connection.address.url,
            self._identity.kind if self._identity is not None else ServerKind.OTHER,
        )
        return ErrorContext(
            address=self._connection.address,
            model=(self._served.label if self._served is not None else self._model) or "its model",
            to_get_model=f"To see what it has, type: %llm connect {url}",
            to_raise_context="--ctx" if self._info.engine == "llamafile" else dialect(kind).to_raise_context,
            redact=self._connection.redact,
        )

    @property
    def _name(self) -> str:
        return self._served.name if self._served is not None and not self._notices() else self._model

    def _answer(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        request, identity = generation.request, (yield from self._identified(stop))
        generation.sampling = self._sampling(request).or_else(identity.sampling)
        generation.engine_version = identity.name
        generation.model = self.status().model
        path, body = self._path(request, identity), self._body(request, identity)
        reading = OpenAIResponseParser(self._asked, is_raw=request.raw)
        backoff = llama_server.PollBackoff(self._connection, stop)

        def look() -> ProgressEvent | None:
            return llama_server.load_progress(self._connection, identity.kind, self._name, stop)

        is_answered = False
        while not is_answered:
            with self._connection.post(path, body, stop) as exchange:
                yield from wait_for_head(exchange, stop, look)
                is_loading = identity.kind.is_llama_server and exchange.is_loading
                is_answered = not is_loading and not self._drop_refused(body, exchange)
                if is_answered:
                    yield from self._read(exchange, reading, generation, stop)
            if is_loading:  # the server was started again since it was last asked
                yield from backoff.wait()
        assert reading.finish_reason is not None  # noqa: S101 - the answer was read to its end
        generation.notices.extend(reading.notices)
        self._notice_another(reading.model, generation)
        return reading.finish_reason

    def _read(
        self, exchange: Exchange, reading: OpenAIResponseParser, generation: Generation, stop: Stop
    ) -> Iterator[ProgressEvent]:
        decoder = RecordDecoder()
        require_answer(exchange, self._asked)
        try:
            with chunks_with_drain_timeout(exchange, reading) as chunks:
                yield from read_answer(decoder.records(chunks), reading, generation, self._connection)
        except StreamBroken as exc:
            if decoder.was_empty:
                raise self._why_empty(generation.request, stop) from exc
            if (
                reading.is_complete
                and self._identity is not None
                and self._identity.kind is ServerKind.LLAMA_CPP_SERVER
            ):
                raise StreamBroken(
                    f"{self._connection.address.url} dropped this answer, as it does when another request comes in.",
                    "Ask one thing at a time, or start it with --interrupt_requests false.",
                ) from exc
            raise

    def _notice_another(self, model: str | None, generation: Generation) -> None:
        """Notice once that MODEL answered and not the one that is served here, and look anew next time."""
        served = self._served
        if served is None or model is None or model in (self._name, self._answering):
            return
        if not served.is_called(model) and not model.startswith(served.name):  # as a version does
            generation.notices.append(f"{self._connection.redact(model)} answered, and not {served.label}.")
            self._answering, self._identity = model, None

    def _why_empty(self, request: Request, stop: Stop) -> LocalLLMError:
        """Ask again without streaming: some servers tell only then why there was no answer."""
        identity = self._identity or Identity(kind=ServerKind.OTHER)
        once = {**self._body(request, identity), "stream": False, "max_tokens": 1}
        once.pop("stream_options", None)
        try:
            reply = self._connection.ask("POST", self._path(request, identity), once, stop=stop, seconds=60)
            raise_for_status(reply, self._asked)
        except LocalLLMError as exc:
            return exc
        return StreamBroken(f"{self._connection.address.url} sent an empty answer.", "Its log may say why. Ask again.")

    def _identified(self, stop: Stop) -> Generator[Loading, None, Identity]:
        """Learn once what the server is, waiting while it loads, and have a router load the model."""
        if self._identity is None or self._server.has_exited:
            self._found = yield from self._server.connect(self._options, stop)
            self._takes_stream_options = True
            identity, patience = self._identify(stop), llama_server.PollBackoff(self._connection, stop)
            while identity.is_loading:
                yield from patience.wait()
                identity = self._identify(stop)
            self._served = self._choose(identity)
            if identity.kind is ServerKind.ROUTER and self._name:
                yield from llama_server.load(self._connection, self._name, self._asked, stop)
                identity = identify(self._connection, stop)  # which tells more of a model that is loaded
                self._served = self._choose(identity)
            self._identity = identity
        return self._identity

    def _identify(self, stop: Stop) -> Identity:
        """What the server is; one that answers, but not these questions, is asked all the same."""
        try:
            return identify(self._connection, stop)
        except (AccessDenied, DaemonNotReachable):
            raise
        except DaemonError:
            return Identity(kind=ServerKind.OTHER)

    def _choose(self, identity: Identity) -> ServedModel | None:
        """The model of the server that the user means."""
        models, url = identity.models, self._connection.address.url
        if self._model:
            found = next((model for model in models if model.is_called(self._model)), None)
            is_only = dialect(identity.kind).ignores_model_name and len(models) == 1
            return found or (models[0] if is_only else None)
        loaded = [model for model in models if model.status in ("loaded", "sleeping")]
        if len(models) == 1 or len(loaded) == 1:
            return (loaded or list(models))[0]
        if not models:
            return None
        names = ", ".join(model.label for model in models[:5])
        raise ModelNotInDaemon(
            f"{url} has {len(models)} models, and none was named: {names}.",
            f"Type: %llm load openai:{models[0].label}@{url}",
        )

    def _sampling(self, request: Request) -> Sampling:
        is_own = self._identity is not None and self._identity.kind.is_llama_server
        return request.sampling.seeded() if is_own else request.sampling

    def _path(self, request: Request, identity: Identity) -> str:
        return dialect(identity.kind).raw_path if request.raw else "/v1/chat/completions"

    def _body(self, request: Request, identity: Identity) -> dict[str, object]:
        body = to_body(request, identity.kind, self._name, self._sampling(request))
        if not self._takes_stream_options:
            del body["stream_options"]
        return body

    def _drop_refused(self, body: dict[str, object], exchange: Exchange) -> bool:
        """Take out of BODY the one field of ours that a server may refuse, for later too; whether it did."""
        was_refused = exchange.head.status in (400, 422) and b"stream_options" in exchange.read_all().body
        if not was_refused or body.pop("stream_options", None) is None:
            return False
        self._takes_stream_options = False
        return True
