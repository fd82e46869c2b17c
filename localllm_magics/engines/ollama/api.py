"""What an Ollama server tells of itself and its models."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.stop import Stop
from localllm_magics.engines.ollama.name import parse_name
from localllm_magics.engines.ollama.parameters import to_context, to_sampling
from localllm_magics.engines.server.connection import Connection
from localllm_magics.engines.server.served_models import ollama_model
from localllm_magics.engines.server.server_error import ErrorContext, raise_for_status
from localllm_magics.engines.wire.fields import Json, child, children, text, whole, word

_MOST_LINES = 200
_SUFFIXES = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_PARAMETERS = re.compile(r"\s*([\d.]{1,12})\s*([KMBT])\s*", re.IGNORECASE)
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,12})?(Z|[+-]\d\d:\d\d)")
_FOR_EVER = timedelta(days=365)
_LARGEST = 2**32
_TO_BE_LET_IN = "Ollama does so to foreign host names: use 127.0.0.1, or set OLLAMA_HOST where it is started."


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A model as `/api/show` describes it; None is not known.

    Args:
        sampling: The parameters that were stored with it.
        ctx: The stored size of the context.
        trained_context: The context it was trained with.
    """

    architecture: str | None = None
    quantization: str | None = None
    parameters: int | None = None
    layers: int | None = None
    trained_context: int | None = None
    ctx: int | None = None
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True, slots=True, kw_only=True)
class InMemory:
    """A model in memory, as `/api/ps` tells; `size` is 0 where the server does not know it."""

    name: str
    size: int = 0
    size_vram: int = 0
    context: int | None = None
    expires_at: str = ""

    @property
    def kept(self) -> str:
        """How long it stays, in words."""
        until = _to_time(self.expires_at)
        if until is None:
            return "for a time that it does not tell"
        if until - datetime.now(timezone.utc) > _FOR_EVER:
            return "until it is unloaded"
        return f"until {until:%H:%M:%S}"

    @property
    def device(self) -> str:
        """Where it is."""
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


def asked(connection: Connection, model: str, to_get_model: str) -> ErrorContext:
    """What was asked of Ollama, for the words of an error; see `ErrorContext`."""
    return ErrorContext(
        address=connection.address,
        model=model,
        to_get_model=to_get_model,
        to_be_let_in=_TO_BE_LET_IN,
        redact=connection.redact,
    )


def version(connection: Connection, stop: Stop | None = None, seconds: float | None = None) -> str | None:
    """The version of the server; None if it is no Ollama."""
    return word(connection.ask("GET", "/api/version", stop=stop, seconds=seconds).to_dict(), "version")


def is_ollama(connection: Connection, stop: Stop | None = None, seconds: float | None = None) -> bool:
    """Whether an Ollama answers."""
    return version(connection, stop, seconds) is not None and greets(connection, stop, seconds)


def greets(connection: Connection, stop: Stop | None = None, seconds: float | None = None) -> bool:
    """Whether the server greets as Ollama does, of whose API others imitate parts."""
    return connection.ask("GET", "/", stop=stop, seconds=seconds).body.strip() == b"Ollama is running"


def show(connection: Connection, name: str, stop: Stop) -> Shown | None:
    """The description of a model; None if the server gives none."""
    reply = connection.ask("POST", "/api/show", {"model": name}, stop=stop)
    return to_shown(reply.to_dict()) if reply.status == 200 else None


def running(connection: Connection, stop: Stop | None = None, seconds: float | None = None) -> list[InMemory]:
    """The models in memory."""
    reply = connection.ask("GET", "/api/ps", stop=stop, seconds=seconds)
    return [_in_memory(entry, name) for name, entry in _named(reply.to_dict())]


def tags(connection: Connection, seconds: float | None = None) -> list[ModelInfo]:
    """The models that the server has, with references that name it.

    Raises:
        LocalLLMError: The server does not answer, or refuses.
    """
    reply = connection.ask("GET", "/api/tags", seconds=seconds)
    raise_for_status(reply.status, reply.headers, reply.body, asked(connection, "it", ""))
    return [_to_info(entry, name, connection) for name, entry in _named(reply.to_dict())]


def to_shown(document: Json) -> Shown:
    """What matters of an answer of `/api/show`."""
    details, facts = child(document, "details"), child(document, "model_info")
    architecture = word(facts, "general.architecture") or word(details, "family")
    stored = _stored(text(document, "parameters") or "")
    return Shown(
        architecture=architecture,
        quantization=word(details, "quantization_level"),
        parameters=whole(facts, "general.parameter_count") or _to_count(text(details, "parameter_size")),
        layers=whole(facts, f"{architecture}.block_count"),
        trained_context=whole(facts, f"{architecture}.context_length"),
        ctx=to_context(stored),
        sampling=to_sampling(stored),
    )


def _named(document: Json) -> Iterator[tuple[str, Json]]:
    """The models of a list, but for those whose name is none of Ollama's, so that nobody could type it."""
    for entry in children(document, "models"):
        name = word(entry, "name", "model")
        if name is not None and parse_name(name) is not None:
            yield name, entry


def _stored(lines: str) -> dict[str, object]:
    """Stored parameters, which are written one in a line; of all but stop texts the first counts."""
    values: dict[str, object] = {}
    stops: list[object] = []
    for line in lines.split("\n")[:_MOST_LINES]:
        name, _, rest = line.strip().partition(" ")
        value = _unquoted(rest.strip())
        if name == "stop":
            stops.append(value)
        elif value:
            values.setdefault(name, _number(value))
    return {**values, "stop": stops}


def _unquoted(written: str) -> str | None:
    """What WRITTEN means: strings stand in quotes, with escapes for what cannot be seen."""
    if not written.startswith('"'):
        return written
    try:
        return text({"value": json.loads(written, strict=False)}, "value")
    except ValueError:
        return None


def _number(word: str) -> float | None:
    """What WORD means; large whole numbers are written like 1e+06."""
    try:
        number = float(word)
    except ValueError:
        return None
    return int(number) if abs(number) < _LARGEST and number.is_integer() else number


def _in_memory(entry: Json, name: str) -> InMemory:
    return InMemory(
        name=name,
        size=whole(entry, "size") or 0,
        size_vram=whole(entry, "size_vram") or 0,
        context=whole(entry, "context_length"),
        expires_at=word(entry, "expires_at") or "",
    )


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
    """The local time of one in RFC 3339, whose fraction may have more digits than Python takes."""
    found = _TIME.fullmatch(written)
    if found is None:
        return None
    try:
        return datetime.fromisoformat(found[1] + found[2].replace("Z", "+00:00")).astimezone()
    except (ValueError, OverflowError, OSError):  # at the ends of the calendar
        return None


def _to_count(written: str | None) -> int | None:
    """A number of weights from what is written like `3.05M`."""
    found = _PARAMETERS.fullmatch(written or "")
    try:
        return round(float(found[1]) * _SUFFIXES[found[2].upper()]) if found else None
    except ValueError:
        return None
