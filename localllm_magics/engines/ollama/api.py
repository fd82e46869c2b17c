"""Ollama's API for its version and its models."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.stop import Stop
from localllm_magics.engines.ollama.name import parse_name
from localllm_magics.engines.ollama.parameters import to_context, to_sampling
from localllm_magics.engines.served_models import ollama_model
from localllm_magics.engines.server.connection import Connection
from localllm_magics.engines.server.reply import Reply
from localllm_magics.engines.server.server_error import ErrorContext, raise_for_status
from localllm_magics.engines.wire.fields import Json, child, children, text, whole, word

_SUFFIXES = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_PARAMETERS = re.compile(r"\s*([\d.]{1,12})\s*([KMBT])\s*", re.IGNORECASE)
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,12})?(Z|[+-]\d\d:\d\d)")
_TO_GET_ACCESS = "Ollama refuses other host names: use 127.0.0.1, or set OLLAMA_HOST where it is started."


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """A model as `/api/show` describes it; None is not known.

    Args:
        sampling: The parameters that are stored with it.
        ctx: The stored size of the context window.
        trained_context: The context window it was trained with.
    """

    architecture: str | None = None
    quantization: str | None = None
    parameters: int | None = None
    layers: int | None = None
    trained_context: int | None = None
    ctx: int | None = None
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInMemory:
    """A model in memory, as `/api/ps` reports; `size` is 0 where the server does not know it."""

    name: str
    size: int = 0
    size_vram: int = 0
    context: int | None = None
    expires_at: str = ""

    @property
    def expiry(self) -> str:
        """How long it stays in memory, in words."""
        until = _to_time(self.expires_at)
        if until is None:
            return "for a time that it does not report"
        if until - datetime.now(timezone.utc) > timedelta(days=365):
            return "until it is unloaded"
        return f"until {until:%H:%M:%S}"

    @property
    def device(self) -> str:
        """The device that has it."""
        if not self.size_vram:
            return "CPU"
        if self.size_vram >= self.size:
            return "GPU"
        share = min(max(round(100 * self.size_vram / self.size), 1), 99)
        return f"{100 - share}% CPU, {share}% GPU"

    def is_called(self, name: str) -> bool:
        """Whether NAME, as users may write it, means this model."""
        wanted, own = parse_name(name), parse_name(self.name)
        return wanted is not None and own is not None and wanted.key == own.key


def error_context(connection: Connection, model: str, to_get_model: str) -> ErrorContext:
    """The context of errors of Ollama; see `ErrorContext`."""
    return ErrorContext(
        address=connection.address,
        model=model,
        to_get_model=to_get_model,
        to_load_longer="Ask again, or give it more time where it is started: OLLAMA_LOAD_TIMEOUT=15m ollama serve",
        to_get_access=_TO_GET_ACCESS,
        redact=connection.redact,
    )


def version(connection: Connection, stop: Stop | None = None, seconds: float | None = None) -> str | None:
    """The version of the server; None if it is not Ollama."""
    return to_version(connection.ask("GET", "/api/version", stop=stop, seconds=seconds))


def to_version(reply: Reply) -> str | None:
    """The version in a REPLY of `/api/version`; None if it is none of Ollama."""
    return word(reply.to_dict(), "version")


def is_ollama(connection: Connection, stop: Stop | None = None, seconds: float | None = None) -> bool:
    """Whether an Ollama answers."""
    if version(connection, stop, seconds) is None:
        return False
    return is_banner(connection.ask("GET", "/", stop=stop, seconds=seconds))


def is_banner(reply: Reply) -> bool:
    """Whether the REPLY of the root is Ollama's banner: other servers imitate only parts of its API."""
    return reply.body.strip() == b"Ollama is running"


def describe(connection: Connection, name: str, stop: Stop) -> ModelDescription | None:
    """The description of a model; None if the server has none."""
    reply = connection.ask("POST", "/api/show", {"model": name}, stop=stop)
    return to_description(reply.to_dict()) if reply.status == 200 else None


def models_in_memory(
    connection: Connection, stop: Stop | None = None, seconds: float | None = None
) -> list[ModelInMemory]:
    """The models in memory."""
    reply = connection.ask("GET", "/api/ps", stop=stop, seconds=seconds)
    return [
        ModelInMemory(
            name=name,
            size=whole(entry, "size") or 0,
            size_vram=whole(entry, "size_vram") or 0,
            context=whole(entry, "context_length"),
            expires_at=word(entry, "expires_at") or "",
        )
        for name, entry in _named(reply.to_dict())
    ]


def list_models(connection: Connection, seconds: float | None = None) -> list[ModelInfo]:
    """The models that the server has, with references that name it.

    Raises:
        LocalLLMError: The server does not answer, or refuses.
    """
    return to_models(connection.ask("GET", "/api/tags", seconds=seconds), connection)


def to_models(reply: Reply, connection: Connection) -> list[ModelInfo]:
    """The models in a REPLY of `/api/tags`.

    Raises:
        LocalLLMError: The server refuses.
    """
    raise_for_status(reply, error_context(connection, "it", ""))
    return [_to_info(entry, name, connection) for name, entry in _named(reply.to_dict())]


def to_description(document: Json) -> ModelDescription:
    """The description in an answer of `/api/show`."""
    details, facts = child(document, "details"), child(document, "model_info")
    architecture = word(facts, "general.architecture") or word(details, "family")
    stored = _parse_parameters(text(document, "parameters") or "")
    return ModelDescription(
        architecture=architecture,
        quantization=word(details, "quantization_level"),
        parameters=whole(facts, "general.parameter_count") or _to_count(text(details, "parameter_size")),
        layers=whole(facts, f"{architecture}.block_count"),
        trained_context=whole(facts, f"{architecture}.context_length"),
        ctx=to_context(stored),
        sampling=to_sampling(stored),
    )


def _named(document: Json) -> Iterator[tuple[str, Json]]:
    """The models of a list, without those whose name is not valid, so that nobody could type it."""
    for entry in children(document, "models"):
        name = word(entry, "name", "model")
        if name is not None and parse_name(name) is not None:
            yield name, entry


def _parse_parameters(lines: str) -> dict[str, object]:
    """Stored parameters, one in a line; the first value of each counts, but all stop strings do."""
    values: dict[str, object] = {}
    stops: list[object] = []
    for line in lines.split("\n")[:200]:
        name, _, rest = line.strip().partition(" ")
        value = _unquote(rest.strip())
        if name == "stop":
            stops.append(value)
        elif value:
            values.setdefault(name, _to_number(value))
    return {**values, "stop": stops}


def _unquote(written: str) -> str | None:
    """The value of WRITTEN: strings are in quotes, with escapes for control characters."""
    if not written.startswith('"'):
        return written
    with suppress(ValueError):
        return text({"value": json.loads(written, strict=False)}, "value")
    return None


def _to_number(word: str) -> float | None:
    """The value of WORD; large whole numbers are written like 1e+06."""
    try:
        number = float(word)
    except ValueError:
        return None
    return int(number) if abs(number) < 2**32 and number.is_integer() else number


def _to_info(entry: Json, name: str, connection: Connection) -> ModelInfo:
    details = child(entry, "details")
    return replace(
        ollama_model(name.removesuffix(":latest"), connection.address),
        size_bytes=whole(entry, "size"),
        architecture=word(details, "family"),
        parameters=_to_count(text(details, "parameter_size")),
        quantization=word(details, "quantization_level"),
        context=whole(details, "context_length"),
        kind="embedding" if entry.get("capabilities") == ["embedding"] else "chat",
    )


def _to_time(written: str) -> datetime | None:
    """The local time of an RFC 3339 timestamp, whose fraction may have more digits than Python parses."""
    found = _TIME.fullmatch(written)
    with suppress(ValueError, OverflowError, OSError):  # at the ends of the calendar
        return datetime.fromisoformat(found[1] + found[2].replace("Z", "+00:00")).astimezone() if found else None
    return None


def _to_count(written: str | None) -> int | None:
    """A number of weights from a text like `3.05M`."""
    found = _PARAMETERS.fullmatch(written or "")
    with suppress(ValueError):
        return round(float(found[1]) * _SUFFIXES[found[2].upper()]) if found else None
    return None
