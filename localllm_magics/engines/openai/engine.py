"""One model of a server that speaks the OpenAI API."""

import json
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import replace

from localllm_magics.core.completion import FinishReason, ModelUsed
from localllm_magics.core.errors import DaemonBusy, LocalLLMError, PromptTooLong, StreamBroken
from localllm_magics.core.events import Loading, ProgressEvent
from localllm_magics.core.generation import Generation
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.stop import Stop
from localllm_magics.engines.base import EngineStatus, Preview
from localllm_magics.engines.lifetime import Lifetime
from localllm_magics.engines.openai import llama_server
from localllm_magics.engines.openai.dialect import dialect, to_body
from localllm_magics.engines.openai.endpoint import Endpoint, find_endpoint
from localllm_magics.engines.openai.identity import ServerKind
from localllm_magics.engines.openai.llama_server import PollBackoff
from localllm_magics.engines.openai.records import RecordDecoder
from localllm_magics.engines.openai.response_parser import OpenAIResponseParser
from localllm_magics.engines.openai.server_handle import ServerHandle
from localllm_magics.engines.server.connection import Exchange
from localllm_magics.engines.server.response import read_response, wait_for_head
from localllm_magics.engines.server.server_error import ErrorContext, raise_for_status

_SAME_SERVER = (DaemonBusy, PromptTooLong)
"""After other errors, another server may be there next time, or another model."""


class OpenAIEngine:
    """One model of a server; see `engines.base.Engine`.

    Args:
        options: How the server is to be started, where it does not run yet.
        model: The model's name as the user wrote it, empty for the one that the server has.
        max_load_seconds: How long the server may load it.
    """

    def __init__(
        self,
        info: ModelInfo,
        options: LoadOptions,
        server: ServerHandle,
        model: str = "",
        *,
        max_load_seconds: float = llama_server.MAX_LOAD_SECONDS,
    ) -> None:
        self._info = info
        self._options = options
        self._server = server
        self._model = model
        self._max_load_seconds = max_load_seconds
        self._endpoint: Endpoint | None = None
        self._is_current = False  # whether the endpoint still holds, as far as known
        self._takes_stream_options = True
        self._noticed_model = ""  # what answered in the place of the model
        self._lifetime = Lifetime(info.reference)

    def __repr__(self) -> str:
        return f"<OpenAIEngine {self._info.reference}>"

    def status(self, *, refresh: bool = False) -> EngineStatus:  # noqa: ARG002 - such servers do not report placement
        """The model as far as the server has described it; the memory is the server's."""
        info, endpoint = self._info, self._endpoint
        model = ModelUsed(reference=info.reference, name=info.name, engine=info.engine)
        if endpoint is None:
            return EngineStatus(model=model, options=self._options)
        if (served := endpoint.served) is not None:
            model = replace(
                model,
                name=served.label,
                quantization=served.quantization,
                size_bytes=served.size_bytes,
                parameters=served.parameters,
            )
        return EngineStatus(
            model=replace(model, context=endpoint.context),
            options=self._options,
            notices=endpoint.notices,
            detail=f"{info.reference} is on {endpoint.identity.name}." if self._is_current else "",
        )

    def load(self, stop: Stop) -> Iterator[Loading]:
        """Wait until the server is ready, and has the model in memory; see `Engine.load`."""
        self._is_current = False  # a router may have unloaded the model for another one
        with self._lifetime.using(stop):
            yield from self._connect(stop)
            yield Loading(1.0)

    def stream(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        """Answer a request; see `Engine.stream`."""
        with self._lifetime.using(stop):
            try:
                return (yield from self._answer(generation, stop))
            except LocalLLMError as exc:
                self._is_current = self._is_current and isinstance(exc, _SAME_SERVER)
                raise

    def preview(self, request: Request, stop: Stop) -> Preview:
        """What would be sent, and where the server can render it, the prompt and its tokens."""
        with self._lifetime.using(stop):
            list(self._connect(stop))
            endpoint = self._endpoint
            assert endpoint is not None  # noqa: S101 - it is connected
            body = self._to_body(request, endpoint)
            context = self._error_context(request, endpoint)
            prompt, tokens = llama_server.render(endpoint.connection, body, endpoint.identity.kind, context, stop)
        return Preview(
            prompt=prompt,
            tokens=tokens,
            context=endpoint.context or 0,
            sampling=_sampling(request, endpoint).or_else(endpoint.identity.sampling),
            sent=json.dumps(body, indent=2, ensure_ascii=False),
        )

    def with_options(self, options: LoadOptions) -> "OpenAIEngine":
        """A new engine for the same model; see `Engine.with_options`."""
        return OpenAIEngine(self._info, options, self._server.with_options(options), self._model)

    def close(self) -> None:
        """Stop what runs; end the server if it was started for this, and have a router unload the model."""
        self._lifetime.end()
        endpoint, is_current, self._is_current = self._endpoint, self._is_current, False
        if endpoint is not None and is_current and endpoint.identity.kind is ServerKind.ROUTER:
            with suppress(LocalLLMError):
                llama_server.unload(endpoint.connection, endpoint.name)
        self._server.close()

    def _connect(self, stop: Stop) -> Generator[Loading, None, Endpoint]:
        """Identify the server once, waiting while it loads, and have a router load the model."""
        if self._endpoint is not None and self._is_current and not self._server.has_exited:
            return self._endpoint
        connection = yield from self._server.connect(self._options, stop)
        self._takes_stream_options = True
        endpoint = find_endpoint(connection, self._model, stop)
        backoff = PollBackoff(connection, stop, self._max_load_seconds)
        while endpoint.identity.is_loading:
            yield from backoff.wait()
            endpoint = find_endpoint(connection, self._model, stop)
        if endpoint.identity.kind is ServerKind.ROUTER and endpoint.name:
            yield from llama_server.load(connection, endpoint.name, endpoint.error_context, stop)
            endpoint = find_endpoint(connection, self._model, stop)  # with more facts of a loaded model
        self._endpoint, self._is_current = endpoint, True
        return endpoint

    def _answer(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        request, endpoint = generation.request, (yield from self._connect(stop))
        connection, kind = endpoint.connection, endpoint.identity.kind
        generation.sampling = _sampling(request, endpoint).or_else(endpoint.identity.sampling)
        generation.engine_version = endpoint.identity.name
        generation.model = self.status().model
        generation.notices.extend(endpoint.notices)
        body = self._to_body(request, endpoint)
        backoff = PollBackoff(connection, stop, self._max_load_seconds)
        while True:
            with connection.post(_path(request, endpoint), body, stop) as exchange:
                yield from wait_for_head(
                    exchange, stop, lambda: llama_server.load_progress(connection, kind, endpoint.name, stop)
                )
                is_loading = kind.is_llama_server and exchange.is_loading
                if not is_loading and not self._drop_stream_options(body, exchange):
                    return (yield from self._read(exchange, endpoint, generation, stop))
            if is_loading:  # the server was restarted since it was identified
                yield from backoff.wait()

    def _read(
        self, exchange: Exchange, endpoint: Endpoint, generation: Generation, stop: Stop
    ) -> Generator[ProgressEvent, None, FinishReason]:
        context, decoder = self._error_context(generation.request, endpoint), RecordDecoder()
        may_drop = endpoint.identity.kind is ServerKind.LLAMA_CPP_SERVER
        parser = OpenAIResponseParser(context, is_raw=generation.request.raw, needs_reason=may_drop)
        try:
            reason = yield from read_response(exchange, decoder.records, parser, generation, context)
        except StreamBroken as exc:
            if decoder.was_empty:
                raise self._why_empty(generation.request, endpoint, stop) from exc
            if parser.is_complete and may_drop:
                raise StreamBroken(
                    f"{context.address.url} dropped this answer, as it does when another request comes in.",
                    "Ask one thing at a time, or start it with --interrupt_requests false.",
                ) from exc
            raise
        generation.notices.extend(parser.notices)
        if parser.model is not None:
            generation.notices.extend(self._notices_of_another(parser.model, endpoint))
        return reason

    def _notices_of_another(self, model: str, endpoint: Endpoint) -> list[str]:
        """A notice, once, that another MODEL answered; then the server is identified again next time."""
        if endpoint.served is None or endpoint.is_served_as(model) or model == self._noticed_model:
            return []
        self._noticed_model, self._is_current = model, False
        return [f"{endpoint.connection.redact(model)} answered, and not {endpoint.served.label}."]

    def _why_empty(self, request: Request, endpoint: Endpoint, stop: Stop) -> LocalLLMError:
        """Ask again without streaming: some servers report only then why there was no answer."""
        connection, context = endpoint.connection, self._error_context(request, endpoint)
        body = {**self._to_body(request, endpoint), "stream": False, "max_tokens": 1}
        body.pop("stream_options", None)
        try:
            reply = connection.ask("POST", _path(request, endpoint), body, stop=stop, seconds=60.0)
            raise_for_status(reply, context)
        except LocalLLMError as exc:
            return exc
        return StreamBroken(f"{connection.address.url} sent an empty answer.", "Its log may say why. Ask again.")

    def _error_context(self, request: Request, endpoint: Endpoint) -> ErrorContext:
        context = replace(endpoint.error_context, is_raw=request.raw)
        return replace(context, to_raise_context="--ctx") if self._info.engine == "llamafile" else context

    def _to_body(self, request: Request, endpoint: Endpoint) -> dict[str, object]:
        body = to_body(request, endpoint.identity.kind, endpoint.name, _sampling(request, endpoint))
        if not self._takes_stream_options:
            del body["stream_options"]
        return body

    def _drop_stream_options(self, body: dict[str, object], exchange: Exchange) -> bool:
        """Remove from BODY, from now on, the one field of ours that a server may refuse; whether it did."""
        is_refused = exchange.head.status in (400, 422) and b"stream_options" in exchange.read_all().body
        if not is_refused or body.pop("stream_options", None) is None:
            return False
        self._takes_stream_options = False
        return True


def _sampling(request: Request, endpoint: Endpoint) -> Sampling:
    return request.sampling.seeded() if endpoint.identity.kind.is_llama_server else request.sampling


def _path(request: Request, endpoint: Endpoint) -> str:
    path = dialect(endpoint.identity.kind).raw_path if request.raw else "/v1/chat/completions"
    return f"{endpoint.identity.base}{path.removeprefix('/v1')}" if path.startswith("/v1/") else path
