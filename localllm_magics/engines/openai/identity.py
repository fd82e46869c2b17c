"""Which server speaks the OpenAI API at an address: its answers to some requests differ."""

import enum
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from localllm_magics.core.address import Address
from localllm_magics.core.errors import BadOption, DaemonError
from localllm_magics.core.sampling import SAMPLING_OPTIONS, Sampling
from localllm_magics.core.stop import Stop
from localllm_magics.engines.ollama import api as ollama
from localllm_magics.engines.server.connection import Connection
from localllm_magics.engines.server.reply import Reply
from localllm_magics.engines.server.server_error import ErrorContext, raise_for_status
from localllm_magics.engines.wire.fields import Json, child, children, text, whole, word

_AskAll: TypeAlias = Callable[[Sequence[str]], dict[str, Reply]]
_OWN_VERSION = re.compile(r"/v\d\w*(/openai)?\Z")
"""How the path of an address ends that has the endpoints right below it, such as `/api/v3`."""
_OTHER_BASES = ("", "/api", "/api/v1", "/v1")
_LLAMA_CPP_PROPS = {"build_info", "total_slots", "default_generation_settings", "user_name"}


class ServerKind(enum.Enum):
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

    @property
    def is_llama_server(self) -> bool:
        """Whether it is llama.cpp's own server, as a router or not."""
        return self in {ServerKind.LLAMA_SERVER, ServerKind.ROUTER}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model that a server lists; None is not known.

    Args:
        aliases: Its other names.
        context: Tokens of context that a request may use.
        status: Whether it is loaded, in the words of a server that loads and unloads models.
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
    """A server's kind, version and models.

    Args:
        is_loading: It answers, but its model is not loaded yet.
        base: What stands between the address and the endpoints of the OpenAI API.
        sampling: Its default sampling.
    """

    kind: ServerKind
    version: str = ""
    is_loading: bool = False
    base: str = "/v1"
    models: tuple[ServedModel, ...] = ()
    sampling: Sampling = Sampling()
    context: int | None = None

    @property
    def name(self) -> str:
        """Kind and version for people."""
        return f"{self.kind.value} {self.version}".rstrip()


def questions(address: Address) -> list[str]:
    """The paths whose replies tell servers apart."""
    return ["/props", f"{usual_base(address)}/models", "/api/version"]


def identify(
    connection: Connection,
    stop: Stop | None = None,
    seconds: float | None = None,
    replies: Mapping[str, Reply] | None = None,
) -> Identity:
    """Find out which server is at CONNECTION, which may have given REPLIES to `questions` and more before.

    Raises:
        LocalLLMError: It cannot be reached, wants a key, or is not a model server.
        Stopped: STOP was set.
    """
    ask_all = partial(connection.ask_all, stop=stop, seconds=seconds)
    base = usual_base(connection.address)
    replies = ask_all(questions(connection.address)) if replies is None else replies
    props, listed = replies["/props"], replies[f"{base}/models"]
    if props.is_loading or listed.is_loading:
        return Identity(kind=ServerKind.LLAMA_SERVER, is_loading=True)
    if props.status == 200 and _LLAMA_CPP_PROPS & props.to_dict().keys():
        return _llama_cpp(props.to_dict(), listed)
    version = ollama.to_version(replies["/api/version"])
    if version is not None and ollama.is_banner(replies.get("/") or ask_all(["/"])["/"]):
        return Identity(kind=ServerKind.OLLAMA, version=version, models=to_models(listed.to_dict()))
    return _other(base, listed, connection, ask_all)


def _other(base: str, listed: Reply, connection: Connection, ask_all: _AskAll) -> Identity:
    """A server that is neither llama-server nor Ollama, and what is LISTED below BASE."""
    if listed.status in (200, 404, 405) and not _is_list(listed):
        base, listed = _find_list(base, listed, ask_all)
    _check(listed, connection)
    if not _is_list(listed):
        url = connection.address.url
        raise DaemonError(
            f"{url} is not a model server: {base}/models has no list of models (status {listed.status}).",
            "Is another program on that port? Type: %llm models",
        )
    return replace(_from_list(listed, ask_all), base=base)


def usual_base(address: Address) -> str:
    """What stands between ADDRESS and the endpoints, where nothing else is known."""
    return "" if _OWN_VERSION.search(address.path) else "/v1"


def _is_list(reply: Reply) -> bool:
    return reply.status == 200 and isinstance(reply.to_dict().get("data"), list)


def _find_list(usual: str, listed: Reply, ask_all: _AskAll) -> tuple[str, Reply]:
    """Where else the list of models is; USUAL and what was LISTED there if it is nowhere."""
    others = [base for base in _OTHER_BASES if base != usual]
    replies = zip(others, ask_all([f"{base}/models" for base in others]).values(), strict=True)
    return next(((base, reply) for base, reply in replies if _is_list(reply)), (usual, listed))


def to_models(document: Json) -> tuple[ServedModel, ...]:
    """The models in an answer of `/v1/models`; one whose name is not printable is left out."""
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
    """Raise the error of a list that was refused, unless the server only has no list."""
    context = ErrorContext(address=connection.address, model="it", to_get_model="", redact=connection.redact)
    if listed.status not in (404, 405):
        with suppress(BadOption):
            raise_for_status(listed, context)


def _llama_cpp(props: Json, listed: Reply) -> Identity:
    models, version = to_models(listed.to_dict()), word(props, "build_info") or ""
    if props.get("role") == "router":
        return Identity(kind=ServerKind.ROUTER, version=version, models=models)
    if "user_name" in props and "build_info" not in props:
        return Identity(kind=ServerKind.LLAMAFILE, models=models)
    settings = child(props, "default_generation_settings")
    sampling, context = _to_sampling(child(settings, "params")), whole(settings, "n_ctx")
    return Identity(kind=ServerKind.LLAMA_SERVER, version=version, models=models, sampling=sampling, context=context)


def _to_sampling(params: Json) -> Sampling:
    """The server's defaults, 32-bit floats rounded to their decimal values, without what is out of range."""
    values: dict[str, object] = {}
    for option in SAMPLING_OPTIONS:
        if option.default is not None:
            with suppress(BadOption):
                values[option.name] = round(option.to_number(params.get(option.name)), 6)
    return Sampling.from_options(values)


def _from_list(listed: Reply, ask_all: _AskAll) -> Identity:
    """A server that is neither llama-server nor Ollama, by its list of models."""
    entries, models = children(listed.to_dict(), "data"), to_models(listed.to_dict())
    owners = {text(entry, "owned_by") for entry in entries}
    if "vllm" in owners or any("max_model_len" in entry for entry in entries):
        version = ask_all(["/version"])["/version"].to_dict()
        return Identity(kind=ServerKind.VLLM, version=word(version, "version") or "", models=models)
    if "me" in owners and listed.headers.get("server", "") == "uvicorn":
        return Identity(kind=ServerKind.LLAMA_CPP_SERVER, models=models)
    if "llamacpp" in owners:
        return Identity(kind=ServerKind.LLAMA_SERVER, models=models)
    return _from_endpoints(models, ask_all)


def _from_endpoints(models: tuple[ServedModel, ...], ask_all: _AskAll) -> Identity:
    """A server by endpoints that only its kind has; LM Studio, for one, answers unknown ones with status 200."""
    flags, listed = (reply.to_dict() for reply in ask_all(["/flagz", "/api/v0/models"]).values())
    if "completion_mode" in flags:
        return Identity(kind=ServerKind.LLAMAFILER, models=models)
    if studio_models := to_models(listed):
        return Identity(kind=ServerKind.LM_STUDIO, models=studio_models)
    return Identity(kind=ServerKind.OTHER, models=models)


def _file(path: str) -> str:
    """The last part of a path of any system."""
    return re.split(r"[/\\]", path)[-1]
