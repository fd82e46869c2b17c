"""Has an Ollama server get a model from a registry."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from localllm_magics.core.errors import BadOption, DaemonError, LocalLLMError, ModelNotInDaemon, StreamBroken
from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.ollama import api
from localllm_magics.engines.server.address import Address, ollama_address
from localllm_magics.engines.server.connection import Connection, Exchange
from localllm_magics.engines.server.response import ndjson_records
from localllm_magics.engines.server.server_error import Words, raise_for_status
from localllm_magics.engines.wire.fields import text, whole
from localllm_magics.engines.wire.ndjson import Malformed, Record

_TICK = 0.05
_LONGEST_WORDS = 100
_MOST_PARTS = 10_000
_NOT_THERE = re.compile(r"file does not exist|not found|not available|\b40[14]\b", re.IGNORECASE)
_NO_ROOM = re.compile(r"no space left|not enough space|disk quota", re.IGNORECASE)
_TOO_NEW = re.compile(r"newer version|\b412\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulling:
    """How far it is: STATUS in the server's words, and the bytes of all parts that it has named so far."""

    status: str
    done: int = 0
    total: int = 0


def command(name: str, address: Address) -> str:
    """What to type so that the server at ADDRESS gets the model NAME."""
    place = "" if address == ollama_address() else f"@{address.url}"
    return f"%llm pull {shlex.quote(f'ollama:{name}{place}')}"


def pull(connection: Connection, name: str, stop: Stop) -> Iterator[Pulling]:
    """Have the server get the model NAME; the last step has the status `success`.

    A pull that was left goes on where it stopped when it is asked for again.

    Raises:
        LocalLLMError: The server or the registry refuses, or the answer broke off.
        Stopped: STOP was set.
    """
    again = f"Pull again, it goes on where it stopped: {command(name, connection.address)}"
    with (
        Exchange(connection, "POST", "/api/pull", {"model": name, "stream": True}) as exchange,
        stop.calling(exchange.cancel),
    ):
        while not exchange.wait(_TICK):
            if stop.is_set():
                raise Stopped
        _check(exchange, connection, name)
        try:
            yield from _steps(exchange.chunks(), connection, name, again)
        except StreamBroken as exc:
            raise StreamBroken(exc.message, again) from exc


def _check(exchange: Exchange, connection: Connection, name: str) -> None:
    response = exchange.response
    if response.status_code == 200 and "html" not in response.headers.get("content-type", ""):
        return
    asked = api.asked(connection, name, _where(name))
    try:
        raise_for_status(response.status_code, response.headers, exchange.read_all().body, asked)
    except BadOption as exc:
        raise BadOption(exc.message, "Write a name such as llama3.2:1b, or hf.co/user/repository:Q4_K_M.") from exc


def _steps(chunks: Iterator[bytes], connection: Connection, name: str, again: str) -> Iterator[Pulling]:
    sums, status = _Sums(), ""
    for record in ndjson_records(chunks):
        if isinstance(record, Malformed):
            url, said = connection.address.url, record.excerpt(connection.redact)
            raise StreamBroken(f"{url} sent what cannot be read: {record.reason}: {said!r}", again)
        if record.get("error"):
            words = Words.from_value(record["error"], connection.redact).message or "no reason given"
            raise _failure(words, connection, name, again)
        step = sums.add(record)
        status = step.status
        yield step
    if status != "success":
        raise StreamBroken(f"{connection.address.url} ended the pull of {name} before it was whole.", again)


class _Sums:
    """The bytes of all parts together; parts come in any order, some at once, and may begin again."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[int, int]] = {}
        self._done = 0
        self._total = 0

    def add(self, record: Record) -> Pulling:
        """What is known with RECORD."""
        digest = (text(record, "digest") or "")[:_LONGEST_WORDS]
        total, done = whole(record, "total"), whole(record, "completed") or 0
        if digest and total is not None and (digest in self._parts or len(self._parts) < _MOST_PARTS):
            self._put(digest, min(done, total), total)
        status = " ".join(strip_control(text(record, "status") or "").split())[:_LONGEST_WORDS]
        return Pulling(status=status, done=self._done, total=self._total)

    def _put(self, digest: str, done: int, total: int) -> None:
        before = self._parts.get(digest, (0, 0))
        self._done += done - before[0]
        self._total += total - before[1]
        self._parts[digest] = done, total


def _failure(words: str, connection: Connection, name: str, again: str) -> LocalLLMError:
    url = connection.address.url
    if _NOT_THERE.search(words):
        return ModelNotInDaemon(f"There is no model {name} in the registry that {url} asked: {words}", _where(name))
    if _NO_ROOM.search(words):
        return DaemonError(f"{url} has no room for {name}: {words}", "Delete models that you do not need: ollama rm")
    if _TOO_NEW.search(words):
        return DaemonError(f"{url} is too old for {name}: {words}", "Bring Ollama up to date.")
    return DaemonError(f"{url} could not pull {name}: {words}", again)


def _where(name: str) -> str:
    """Where to look whether a model is called NAME."""
    host, slash, path = name.partition("/")
    if slash and host.lower() in ("hf.co", "huggingface.co"):
        return f"Check the name at https://huggingface.co/{path.partition(':')[0]}"
    return "Check the spelling, and the tag after the colon, at https://ollama.com/library"
