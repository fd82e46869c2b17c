"""Which server it is that speaks as OpenAI does: found out by questions that differ between them."""

import enum
import re
from contextlib import suppress
from dataclasses import dataclass

from localllm_magics.core.errors import BadOption, DaemonError
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.stop import Stop
from localllm_magics.engines.ollama import api as ollama
from localllm_magics.engines.server.connection import ANSWER_SECONDS, Connection
from localllm_magics.engines.server.reply import Reply
from localllm_magics.engines.server.server_error import ErrorContext, raise_for_status
from localllm_magics.engines.wire.fields import Json, child, children, number, text, whole, word


class Kind(enum.Enum):
    """A kind of server; the value is its name for people."""

    LLAMA_SERVER = "llama-server"
    ROUTER = "llama-server (router)"
    LLAMAFILE = "llamafile 0.9"
    LLAMAFILER = "llamafile 0.9 --v2"
    LLAMA_CPP_SERVER = "llama_cpp.server"
    VLLM = "vLLM"
    LM_STUDIO = "LM Studio"
    OLLAMA = "Ollama"
    OTHER = "OpenAI-compatible server"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model that a server lists; None is not known.

    Args:
        aliases: Its other names.
        context: Tokens of context that a request may use.
        status: Whether it is loaded, in the server's word, where it loads and unloads models.
    """

    name: str
    aliases: tuple[str, ...] = ()
    context: int | None = None
    size_bytes: int | None = None
    parameters: int | None = None
    quantization: str | None = None
    status: str | None = None

    @property
    def label(self) -> str:
        """The name for people: that of a file without its folders."""
        return _file(self.name) if self.name.lower().endswith(".gguf") else self.name

    def is_called(self, name: str) -> bool:
        """Whether NAME means this model: its name, an alias, or its file's name."""
        wanted = name.casefold().removesuffix(".gguf")
        own = [own.casefold().removesuffix(".gguf") for own in (self.name, *self.aliases)]
        return any(wanted in {name, _file(name)} for name in own)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a server is, and has.

    Args:
        is_loading: It answers, but its model is still on its way into memory.
        sampling: The defaults that it uses.
    """

    kind: Kind
    version: str = ""
    is_loading: bool = False
    models: tuple[ServedModel, ...] = ()
    sampling: Sampling = Sampling()
    context: int | None = None

    @property
    def name(self) -> str:
        """Kind and version for people."""
        return f"{self.kind.value} {self.version}".rstrip()


def identify(connection: Connection, stop: Stop | None = None, seconds: float = ANSWER_SECONDS) -> Identity:
    """Ask the server at CONNECTION what it is.

    Raises:
        LocalLLMError: It cannot be reached, wants a key, or is no model server.
        Stopped: STOP was set.
    """
    props, listed = connection.ask_all(["/props", "/v1/models"], stop=stop, seconds=seconds).values()
    if props.is_loading or listed.is_loading:
        return Identity(kind=Kind.LLAMA_SERVER, is_loading=True)
    if props.status == 200 and _is_llama_cpp(props):
        return _llama_cpp(props.to_dict(), listed)
    _check(listed, connection)
    version = ollama.version(connection, stop, seconds)
    if version is not None and ollama.greets(connection, stop, seconds):
        return Identity(kind=Kind.OLLAMA, version=version, models=to_models(listed.to_dict()))
    if listed.status != 200 or not isinstance(listed.to_dict().get("data"), list):
        raise DaemonError(
            f"{connection.address.url} is no model server: /v1/models has no list of models (status {listed.status}).",
            "Is another program on that port? Type: %llm models",
        )
    return _by_list(listed, connection, stop, seconds)


def to_models(document: Json) -> tuple[ServedModel, ...]:
    """The models of an answer of `/v1/models`; one whose name cannot be shown is left out."""
    return tuple(_to_served(entry) for entry in children(document, "data") if word(entry, "id"))


def _to_served(entry: Json) -> ServedModel:
    meta, status = child(entry, "meta"), child(entry, "status")
    aliases = entry.get("aliases")
    return ServedModel(
        name=word(entry, "id") or "",
        aliases=tuple(alias for alias in aliases if isinstance(alias, str)) if isinstance(aliases, list) else (),
        context=whole(meta, "n_ctx") or whole(entry, "max_model_len") or whole(entry, "loaded_context_length"),
        size_bytes=whole(meta, "size"),
        parameters=whole(meta, "n_params"),
        quantization=word(meta, "ftype") or word(entry, "quantization"),
        status=text(status, "value") or text(entry, "state"),
    )


def _check(listed: Reply, connection: Connection) -> None:
    """Raise what a refusal of the list means, unless it says no more than that there is none."""
    asked = ErrorContext(address=connection.address, model="it", to_get_model="", redact=connection.redact)
    if listed.status not in (404, 405):
        with suppress(BadOption):
            raise_for_status(listed.status, listed.headers, listed.body, asked)


def _is_llama_cpp(reply: Reply) -> bool:
    props = reply.to_dict()
    return any(name in props for name in ("build_info", "total_slots", "default_generation_settings", "user_name"))


def _llama_cpp(props: Json, listed: Reply) -> Identity:
    models = to_models(listed.to_dict())
    if props.get("role") == "router":
        return Identity(kind=Kind.ROUTER, version=word(props, "build_info") or "", models=models)
    if "user_name" in props and "build_info" not in props:
        return Identity(kind=Kind.LLAMAFILE, models=models)
    settings = child(props, "default_generation_settings")
    return Identity(
        kind=Kind.LLAMA_SERVER,
        version=word(props, "build_info") or "",
        models=models,
        sampling=_to_sampling(child(settings, "params")),
        context=whole(settings, "n_ctx"),
    )


def _to_sampling(params: Json) -> Sampling:
    """The server's defaults, its floats of 32 bits rounded to what was meant; none if one is impossible."""
    values = {name: number(params, name) for name in ("temperature", "top_p", "min_p", "repeat_penalty")}
    rounded = {name: round(value, 6) for name, value in values.items() if value is not None}
    try:
        return Sampling(top_k=whole(params, "top_k"), **rounded)  # type: ignore[arg-type] # floats, by name
    except BadOption:
        return Sampling()


def _by_list(listed: Reply, connection: Connection, stop: Stop | None, seconds: float) -> Identity:
    """A server that is neither llama-server nor Ollama, by what it says of its models, and by what only it answers."""

    def get(*paths: str) -> list[Json]:
        replies = connection.ask_all(paths, stop=stop, seconds=seconds)
        return [reply.to_dict() for reply in replies.values()]

    entries, models = children(listed.to_dict(), "data"), to_models(listed.to_dict())
    owners = {text(entry, "owned_by") for entry in entries}
    if "vllm" in owners or any("max_model_len" in entry for entry in entries):
        (version,) = get("/version")
        return Identity(kind=Kind.VLLM, version=word(version, "version") or "", models=models)
    if "me" in owners and listed.headers.get("server", "") == "uvicorn":
        return Identity(kind=Kind.LLAMA_CPP_SERVER, models=models)
    if "llamacpp" in owners:
        return Identity(kind=Kind.LLAMA_SERVER, models=models)
    # By the words of the answers: many servers, LM Studio for one, answer what they do not know with status 200.
    flags, listed_by_studio = get("/flagz", "/api/v0/models")
    if "completion_mode" in flags:
        return Identity(kind=Kind.LLAMAFILER, models=models)
    own = to_models(listed_by_studio)
    return Identity(kind=Kind.LM_STUDIO, models=own) if own else Identity(kind=Kind.OTHER, models=models)


def _file(path: str) -> str:
    """The last part of a path, however its parts are separated."""
    return re.split(r"[/\\]", path)[-1]
