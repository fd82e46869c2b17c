"""What an Ollama server tells of itself and its models."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from localllm_magics.core.errors import BadOption
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import Sampling
from localllm_magics.core.stop import Stop
from localllm_magics.engines.daemon.connection import ANSWER_SECONDS, Connection
from localllm_magics.engines.wire.fields import Json, child, children, text, whole

_SUFFIXES = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_PARAMETERS = re.compile(r"\s*([\d.]{1,12})\s*([KMBT])\s*", re.IGNORECASE)
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,12})?(Z|[+-]\d\d:\d\d)")
_FOR_EVER = timedelta(days=365)
_SAMPLING: Mapping[str, tuple[str, type]] = {
    "temperature": ("temperature", float),
    "top_k": ("top_k", int),
    "top_p": ("top_p", float),
    "min_p": ("min_p", float),
    "repeat_penalty": ("repeat_penalty", float),
    "num_predict": ("max_tokens", int),
}


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
class Running:
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
        return f"until {until.astimezone():%H:%M:%S}"

    @property
    def device(self) -> str:
        """Where it is."""
        if not self.size_vram:
            return "CPU"
        if self.size_vram >= self.size:
            return "GPU"
        share = round(100 * self.size_vram / self.size)
        return f"{100 - share}% CPU, {share}% GPU"


def full_name(name: str) -> str:
    """NAME with its tag, as the server lists it."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def version(connection: Connection, stop: Stop | None = None, seconds: float = ANSWER_SECONDS) -> str | None:
    """The version of the server; None if it is no Ollama."""
    return text(connection.ask("GET", "/api/version", stop=stop, seconds=seconds).to_dict(), "version")


def is_ollama(connection: Connection, stop: Stop | None = None, seconds: float = ANSWER_SECONDS) -> bool:
    """Whether an Ollama answers; other servers imitate parts of its API, but not its greeting."""
    if version(connection, stop, seconds) is None:
        return False
    return connection.ask("GET", "/", stop=stop, seconds=seconds).body.strip() == b"Ollama is running"


def show(connection: Connection, name: str, stop: Stop) -> Shown | None:
    """The description of a model; None if the server has none."""
    reply = connection.ask("POST", "/api/show", {"model": name}, stop=stop)
    return to_shown(reply.to_dict()) if reply.status == 200 else None


def running(connection: Connection, stop: Stop | None = None, seconds: float = ANSWER_SECONDS) -> list[Running]:
    """The models in memory."""
    reply = connection.ask("GET", "/api/ps", stop=stop, seconds=seconds)
    return [_to_running(entry) for entry in children(reply.to_dict(), "models")]


def tags(connection: Connection, seconds: float = ANSWER_SECONDS) -> list[ModelInfo]:
    """The models that the server has; their references name the server only if that is needed."""
    reply = connection.ask("GET", "/api/tags", seconds=seconds)
    return [_to_info(entry, connection) for entry in children(reply.to_dict(), "models")]


def to_shown(document: Json) -> Shown:
    """What matters of an answer of `/api/show`."""
    details, facts = child(document, "details"), child(document, "model_info")
    architecture = text(facts, "general.architecture") or text(details, "family")
    stored = dict(_stored(text(document, "parameters") or ""))
    return Shown(
        architecture=architecture,
        quantization=text(details, "quantization_level"),
        parameters=whole(facts, "general.parameter_count") or _to_count(text(details, "parameter_size")),
        layers=whole(facts, f"{architecture}.block_count"),
        trained_context=whole(facts, f"{architecture}.context_length"),
        ctx=_context(stored),
        sampling=_to_sampling(stored),
    )


def _stored(lines: str) -> Iterator[tuple[str, list[str]]]:
    """Names and values of stored parameters, which are written one in a line."""
    values: dict[str, list[str]] = {}
    for line in lines.splitlines()[:200]:
        name, _, rest = line.strip().partition(" ")
        try:
            values.setdefault(name, []).extend(shlex.split(rest)[:1])
        except ValueError:
            continue
    yield from ((name, found) for name, found in values.items() if found)


def _context(stored: Mapping[str, list[str]]) -> int | None:
    value = _number(stored.get("num_ctx", [""])[0], int)
    return int(value) if value is not None and value > 0 else None


def _to_sampling(stored: Mapping[str, list[str]]) -> Sampling:
    sampling = Sampling(stop=tuple(word for word in stored.get("stop", []) if word))
    for theirs, (ours, kind) in _SAMPLING.items():
        value = _number(stored.get(theirs, [""])[0], kind)
        if value is None:
            continue
        try:
            sampling = Sampling(stop=sampling.stop, **{ours: value}).or_else(sampling)  # type: ignore[arg-type] # a number
        except BadOption:
            continue  # a stored value that nobody could type is the server's own matter
    return sampling


def _number(word: str, kind: type) -> float | None:
    try:
        number: float = kind(word)
    except (ValueError, OverflowError):
        return None
    return number


def _to_running(entry: Json) -> Running:
    return Running(
        name=text(entry, "name", "model") or "",
        size=whole(entry, "size") or 0,
        size_vram=whole(entry, "size_vram") or 0,
        context=whole(entry, "context_length"),
        expires_at=text(entry, "expires_at") or "",
    )


def _to_info(entry: Json, connection: Connection) -> ModelInfo:
    details = child(entry, "details")
    name = (text(entry, "name", "model") or "").removesuffix(":latest")
    return ModelInfo(
        reference=f"ollama:{name}@{connection.address.url}",
        name=name,
        source="daemon",
        size_bytes=whole(entry, "size"),
        architecture=text(details, "family"),
        parameters=_to_count(text(details, "parameter_size")),
        quantization=text(details, "quantization_level"),
        context=whole(details, "context_length"),
        kind="embedding" if entry.get("capabilities") == ["embedding"] else "chat",
        engine="ollama",
        address=connection.address.url,
    )


def _to_time(written: str) -> datetime | None:
    """A time in RFC 3339, whose fraction may have more digits than Python takes."""
    found = _TIME.fullmatch(written)
    try:
        return datetime.fromisoformat(found[1] + (found[2] if found[2] != "Z" else "+00:00")) if found else None
    except ValueError:
        return None


def _to_count(written: str | None) -> int | None:
    """A number of weights from what is written like `3.05M`."""
    found = _PARAMETERS.fullmatch(written or "")
    try:
        return round(float(found[1]) * _SUFFIXES[found[2].upper()]) if found else None
    except ValueError:
        return None
