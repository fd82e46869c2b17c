"""What llama-server offers beside the OpenAI API: health, the rendered prompt, loading and unloading of models."""

import time
from collections.abc import Iterator, Mapping

from localllm_magics.core.errors import DaemonBusy, LoadFailed, ModelNotInDaemon
from localllm_magics.core.events import Loading
from localllm_magics.core.stop import Stop
from localllm_magics.engines.openai.identity import ServerKind
from localllm_magics.engines.server.connection import Connection
from localllm_magics.engines.server.server_error import ErrorContext, raise_for_status
from localllm_magics.engines.wire.fields import Json, child, children, number, text

_POLL_SECONDS = 0.1
MAX_LOAD_SECONDS = 600.0
LOADED = ("loaded", "sleeping")
"""The states of a router's model that is in memory."""
_LOADING = ("loading", "downloading")


def load_progress(connection: Connection, kind: ServerKind, model: str, stop: Stop) -> Loading | None:
    """How far MODEL is loaded; None where it is loaded, or the server does not report that."""
    if kind is ServerKind.ROUTER:
        status = _status(connection, model, stop)
        return _to_loading(status) if text(status, "value") in _LOADING else None
    if kind is not ServerKind.LLAMA_SERVER:
        return None
    reply = connection.ask("GET", "/health", stop=stop, seconds=1.0)
    return Loading(0.0) if reply.status == 503 else None


class PollBackoff:
    """Polls a server that loads its model, with growing pauses, for MAX_LOAD_SECONDS at most."""

    def __init__(self, connection: Connection, stop: Stop, max_load_seconds: float) -> None:
        self._connection = connection
        self._stop = stop
        self._poll_seconds = _POLL_SECONDS
        self._until = time.monotonic() + max_load_seconds

    def wait(self) -> Iterator[Loading]:
        """Pause once, then until the server is healthy; behind a load balancer, another one may have answered before.

        Raises:
            LocalLLMError: It is not reachable any more, or takes too long.
            Stopped: The stop was set.
        """
        yield Loading(0.0)
        self._pause()
        while self._connection.ask("GET", "/health", stop=self._stop).status == 503:
            self._pause()

    def _pause(self) -> None:
        if time.monotonic() > self._until:
            raise DaemonBusy(f"{self._connection.address.url} is still loading its model.", "Its log may say why.")
        self._stop.sleep(self._poll_seconds)
        self._poll_seconds = min(1.5 * self._poll_seconds, 2.0)


def load(connection: Connection, model: str, context: ErrorContext, stop: Stop) -> Iterator[Loading]:
    """Have a router load MODEL, and wait for it.

    Raises:
        LocalLLMError: The model cannot be loaded.
        Stopped: STOP was set.
    """
    status = _status(connection, model, stop)
    if not status:
        raise ModelNotInDaemon(f"{connection.address.url} does not have {model}.", context.to_get_model)
    if text(status, "value") not in (*LOADED, *_LOADING):
        reply = connection.ask("POST", "/models/load", {"model": model}, stop=stop)
        raise_for_status(reply, context)
        status = _status(connection, model, stop)
    while text(status, "value") not in LOADED:
        if text(status, "value") not in _LOADING:
            raise LoadFailed(f"{connection.address.url} could not load {model}.", "Its log may say why.")
        yield _to_loading(status)
        stop.sleep(_POLL_SECONDS)
        status = _status(connection, model, stop)


def unload(connection: Connection, model: str) -> None:
    """Have a router give the memory of MODEL back."""
    connection.ask("POST", "/models/unload", {"model": model}, seconds=5.0)


def render(
    connection: Connection, body: Mapping[str, object], kind: ServerKind, context: ErrorContext, stop: Stop
) -> tuple[str, tuple[tuple[int, str], ...]]:
    """The prompt that BODY makes, and its tokens; none of the latter from a server that does not tokenize.

    Raises:
        LocalLLMError: The server cannot render it.
        Stopped: STOP was set.
    """
    prompt = body.get("prompt")
    if not kind.is_llama_server:
        return (prompt if isinstance(prompt, str) else ""), ()
    if not isinstance(prompt, str):
        template = {name: body[name] for name in ("model", "messages", "chat_template_kwargs") if name in body}
        reply = connection.ask("POST", "/apply-template", template, stop=stop)
        raise_for_status(reply, context)
        prompt = text(reply.to_dict(), "prompt") or ""
    content = {"content": prompt, "with_pieces": True, "add_special": True, "parse_special": True}
    content |= {"model": body["model"]} if "model" in body else {}
    reply = connection.ask("POST", "/tokenize", content, stop=stop)
    return prompt, tuple(_to_token(entry) for entry in children(reply.to_dict(), "tokens"))


def _status(connection: Connection, model: str, stop: Stop) -> Json:
    """What a router reports of MODEL now."""
    document = connection.ask("GET", "/models", stop=stop).to_dict()
    return next((child(entry, "status") for entry in children(document, "data") if entry.get("id") == model), {})


def _to_loading(status: Json) -> Loading:
    return Loading(min(number(status, "progress") or 0.0, 1.0))


def _to_token(entry: Json) -> tuple[int, str]:
    """A token with its text; a piece that is not a whole character is sent as bytes."""
    id_, piece = entry.get("id"), entry.get("piece")
    if isinstance(piece, list):
        piece = bytes(byte for byte in piece if isinstance(byte, int) and 0 <= byte < 256).decode("utf-8", "replace")
    return (id_ if isinstance(id_, int) else 0), (piece if isinstance(piece, str) else "")
