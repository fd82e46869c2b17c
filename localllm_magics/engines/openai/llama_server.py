"""What llama-server can do beside OpenAI's API: tell how it is, show a prompt, load and unload models."""

import time
from collections.abc import Iterator, Mapping

from localllm_magics.core.errors import DaemonBusy, LoadFailed, ModelNotInDaemon
from localllm_magics.core.events import Loading
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.openai.identity import Kind
from localllm_magics.engines.server.connection import Connection
from localllm_magics.engines.server.server_error import ErrorContext, raise_for_status
from localllm_magics.engines.wire.fields import Json, child, children, number, text

_LOOK_SECONDS = 1.0
_POLL_SECONDS = 0.1
_LONGEST_POLL_SECONDS = 2.0
_MOST_LOAD_SECONDS = 600.0
_OWN = (Kind.LLAMA_SERVER, Kind.ROUTER)
_THERE = ("loaded", "sleeping")
_ON_ITS_WAY = ("loading", "downloading")


def look(connection: Connection, kind: Kind, model: str, stop: Stop) -> Loading | None:
    """Whether MODEL is still being loaded; nothing where the server does not tell."""
    if kind is Kind.ROUTER:
        status = _status(connection, model, stop)
        return _to_loading(status) if text(status, "value") in _ON_ITS_WAY else None
    if kind is not Kind.LLAMA_SERVER:
        return None
    reply = connection.ask("GET", "/health", stop=stop, seconds=_LOOK_SECONDS)
    return Loading(0.0) if reply.status == 503 else None


class PollBackoff:
    """Waits for a server that loads its model: often for a short time at first, and not for ever.

    Args:
        connection: The way to it.
        stop: Ends the waiting.
    """

    def __init__(self, connection: Connection, stop: Stop) -> None:
        self._connection = connection
        self._stop = stop
        self._poll = _POLL_SECONDS
        self._until = time.monotonic() + _MOST_LOAD_SECONDS

    def wait(self) -> Iterator[Loading]:
        """Wait a while, and on while the server says that it is not ready; who says so may be one of several.

        Raises:
            LocalLLMError: It went away, or takes too long.
            Stopped: The stop was set.
        """
        yield Loading(0.0)
        self._pause()
        while self._connection.ask("GET", "/health", stop=self._stop).status == 503:
            self._pause()

    def _pause(self) -> None:
        if time.monotonic() > self._until:
            raise DaemonBusy(f"{self._connection.address.url} still loads its model.", "Its log may say why.")
        if self._stop.wait(self._poll):
            raise Stopped
        self._poll = min(1.5 * self._poll, _LONGEST_POLL_SECONDS)


def load(connection: Connection, model: str, asked: ErrorContext, stop: Stop) -> Iterator[Loading]:
    """Have a router load MODEL, and wait for it.

    Raises:
        LocalLLMError: The model cannot be loaded.
        Stopped: STOP was set.
    """
    status = _status(connection, model, stop)
    if not status:
        raise ModelNotInDaemon(f"{connection.address.url} does not have {model}.", asked.to_get_model)
    if text(status, "value") not in (*_THERE, *_ON_ITS_WAY):
        reply = connection.ask("POST", "/models/load", {"model": model}, stop=stop)
        raise_for_status(reply.status, reply.headers, reply.body, asked)
        status = _status(connection, model, stop)
    while text(status, "value") not in _THERE:
        if text(status, "value") not in _ON_ITS_WAY:
            raise LoadFailed(f"{connection.address.url} could not load {model}.", "Its log may say why.")
        yield _to_loading(status)
        if stop.wait(_POLL_SECONDS):
            raise Stopped
        status = _status(connection, model, stop)


def unload(connection: Connection, model: str) -> None:
    """Have a router give the memory of MODEL back."""
    connection.ask("POST", "/models/unload", {"model": model}, seconds=5.0)


def render(
    connection: Connection, body: Mapping[str, object], kind: Kind, asked: ErrorContext, stop: Stop
) -> tuple[str, tuple[tuple[int, str], ...]]:
    """The prompt that BODY makes, and its tokens; of servers that do not tell, no tokens.

    Raises:
        LocalLLMError: The server cannot make it.
        Stopped: STOP was set.
    """
    prompt = body.get("prompt")
    if kind not in _OWN:
        return (prompt if isinstance(prompt, str) else "(this server does not show the prompt)"), ()
    if not isinstance(prompt, str):
        asking = {name: body[name] for name in ("model", "messages", "chat_template_kwargs") if name in body}
        reply = connection.ask("POST", "/apply-template", asking, stop=stop)
        raise_for_status(reply.status, reply.headers, reply.body, asked)
        prompt = text(reply.to_dict(), "prompt") or ""
    asking = {"content": prompt, "with_pieces": True, "add_special": True, "parse_special": True}
    asking |= {"model": body["model"]} if "model" in body else {}
    reply = connection.ask("POST", "/tokenize", asking, stop=stop)
    return prompt, tuple(_to_token(entry) for entry in children(reply.to_dict(), "tokens"))


def _status(connection: Connection, model: str, stop: Stop) -> Json:
    """What a router tells of MODEL now."""
    document = connection.ask("GET", "/models", stop=stop).to_dict()
    return next((child(entry, "status") for entry in children(document, "data") if entry.get("id") == model), {})


def _to_loading(status: Json) -> Loading:
    return Loading(min(number(status, "progress") or 0.0, 1.0))


def _to_token(entry: Json) -> tuple[int, str]:
    """A token with its text; a piece that is no whole character comes as its bytes."""
    id_, piece = entry.get("id"), entry.get("piece")
    if isinstance(piece, list):
        piece = bytes(byte for byte in piece if isinstance(byte, int) and 0 <= byte < 256).decode("utf-8", "replace")
    return (id_ if isinstance(id_, int) else 0), (piece if isinstance(piece, str) else "")
