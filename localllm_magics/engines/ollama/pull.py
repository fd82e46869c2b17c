"""Pulls a model from a registry to an Ollama server."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from localllm_magics.core.address import Address
from localllm_magics.core.errors import BadOption, DaemonError, LocalLLMError, ModelNotInDaemon, StreamBroken
from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.core.stop import Stop, poll
from localllm_magics.engines.ollama import api
from localllm_magics.engines.ollama.address import ollama_address
from localllm_magics.engines.server.connection import Connection
from localllm_magics.engines.server.response import ndjson_records, require_stream
from localllm_magics.engines.server.server_error import ServerError
from localllm_magics.engines.wire.fields import text, whole
from localllm_magics.engines.wire.ndjson import Malformed, Record

_MAX_STATUS_LENGTH = 100
_MAX_LAYERS = 10_000
_NOT_FOUND = re.compile(r"file does not exist|not found|not available|\b40[14]\b", re.IGNORECASE)
_DISK_FULL = re.compile(r"no space left|not enough space|disk quota", re.IGNORECASE)
_TOO_OLD = re.compile(r"newer version|\b412\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """The server's STATUS, and the bytes of all layers that it has listed so far."""

    status: str
    done: int = 0
    total: int = 0


def pull_command(name: str, address: Address) -> str:
    """The magic that pulls the model NAME to the server at ADDRESS."""
    server = "" if address == ollama_address() else f"@{address.url}"
    return f"%llm pull {shlex.quote(f'ollama:{name}{server}')}"


def pull(connection: Connection, name: str, stop: Stop) -> Iterator[PullProgress]:
    """Have the server pull the model NAME; the last progress has the status `success`.

    A pull that was stopped resumes where it ended.

    Raises:
        LocalLLMError: The server or the registry refuses, or the answer broke off.
        Stopped: STOP was set.
    """
    to_resume = f"Pull again, it resumes where it stopped: {pull_command(name, connection.address)}"
    with connection.post("/api/pull", {"model": name, "stream": True}, stop) as exchange:
        list(poll(exchange.wait, stop))
        try:
            require_stream(exchange, api.error_context(connection, name, _to_find(name)))
        except BadOption as exc:
            raise BadOption(exc.message, "Write a name such as llama3.2:1b, or hf.co/user/repository:Q4_K_M.") from exc
        try:
            yield from _read_progress(exchange.chunks(), connection, name, to_resume)
        except StreamBroken as exc:
            raise StreamBroken(exc.message, to_resume) from exc


def _read_progress(
    chunks: Iterator[bytes], connection: Connection, name: str, to_resume: str
) -> Iterator[PullProgress]:
    total, status = _Total(), ""
    for record in ndjson_records(chunks):
        if isinstance(record, Malformed):
            url, excerpt = connection.address.url, record.excerpt(connection.redact)
            raise StreamBroken(f"{url} sent what cannot be parsed: {record.reason}: {excerpt!r}", to_resume)
        if record.get("error"):
            message = ServerError.from_value(record["error"], connection.redact).message or "no reason given"
            raise _to_error(message, connection, name, to_resume)
        progress = total.add(record)
        status = progress.status
        yield progress
    if status != "success":
        raise StreamBroken(f"{connection.address.url} ended the pull of {name} too early.", to_resume)


class _Total:
    """The bytes of all layers; they come in any order and concurrently, and may start again."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}
        self._done = 0
        self._total = 0

    def add(self, record: Record) -> PullProgress:
        """The progress after RECORD."""
        digest = (text(record, "digest") or "")[:_MAX_STATUS_LENGTH]
        total, done = whole(record, "total"), whole(record, "completed") or 0
        if digest and total is not None and (digest in self._layers or len(self._layers) < _MAX_LAYERS):
            done_before, total_before = self._layers.get(digest, (0, 0))
            self._layers[digest] = min(done, total), total
            self._done += min(done, total) - done_before
            self._total += total - total_before
        status = " ".join(strip_control(text(record, "status") or "").split())[:_MAX_STATUS_LENGTH]
        return PullProgress(status=status, done=self._done, total=self._total)


def _to_error(message: str, connection: Connection, name: str, to_resume: str) -> LocalLLMError:
    url = connection.address.url
    if _NOT_FOUND.search(message):
        return ModelNotInDaemon(f"There is no model {name} in the registry that {url} asked: {message}", _to_find(name))
    if _DISK_FULL.search(message):
        hint = "Delete models that you do not need: ollama rm"
        return DaemonError(f"{url} has no disk space for {name}: {message}", hint)
    if _TOO_OLD.search(message):
        return DaemonError(f"{url} is too old for {name}: {message}", "Update Ollama.")
    return DaemonError(f"{url} could not pull {name}: {message}", to_resume)


def _to_find(name: str) -> str:
    """The hint where to find a model and its exact NAME."""
    host, slash, path = name.partition("/")
    if slash and host.lower() in ("hf.co", "huggingface.co"):
        return f"Check the name at https://huggingface.co/{path.partition(':')[0]}"
    return "Check the spelling, and the tag after the colon, at https://ollama.com/library"
