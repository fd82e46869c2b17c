"""Makes the engine that runs a model; each is imported at its first use, so that the extension loads fast."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from localllm_magics.core.address import Address
from localllm_magics.core.errors import LocalLLMError, ModelNotInDaemon
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.base import Engine, MakeRoom
from localllm_magics.engines.detected_engine import DetectedEngine
from localllm_magics.engines.local_servers import how_to_start
from localllm_magics.engines.server.settings import ServerSettings

if TYPE_CHECKING:
    from localllm_magics.engines.server.connection import Connection


def new_engine(
    info: ModelInfo,
    options: LoadOptions,
    settings: ServerSettings,
    make_room: MakeRoom = lambda _plan, _is_forced: None,
    at_load: Callable[[], None] = lambda: None,
) -> Engine:
    """An engine for the model, not loaded yet.

    Where INFO names a server and no model, an Ollama there is used through its own API, which reports more.

    Args:
        info: What is known of the model.
        options: How to load it.
        settings: How to reach servers.
        make_room: See `KernelEngine`.
        at_load: See `KernelEngine`.

    Raises:
        LocalLLMError: The server has several models.
    """
    if info.engine == "kernel":
        from localllm_magics.engines.kernel.engine import KernelEngine

        return KernelEngine(info, options, make_room, at_load)
    if info.engine == "llamafile":
        from localllm_magics.engines.llamafile.llamafile_server import LlamafileServer
        from localllm_magics.engines.openai.engine import OpenAIEngine

        assert info.path is not None  # noqa: S101 - such a reference is a path
        return OpenAIEngine(info, options, LlamafileServer(info.path))
    assert info.address is not None  # noqa: S101 - such a reference is an address
    return (_ollama if info.engine == "ollama" else _openai)(info, info.address, options, settings)


def _ollama(info: ModelInfo, address: Address, options: LoadOptions, settings: ServerSettings) -> Engine:
    from localllm_magics.engines.ollama.engine import OllamaEngine
    from localllm_magics.engines.server.connection import Connection

    connection = Connection.to(address, settings, to_start=how_to_start(address, is_ollama=True))
    return OllamaEngine(info, options, connection, settings.keep_alive)


def _openai(info: ModelInfo, address: Address, options: LoadOptions, settings: ServerSettings) -> Engine:
    from localllm_magics.engines.openai.engine import OpenAIEngine
    from localllm_magics.engines.openai.server_handle import ExternalServer
    from localllm_magics.engines.server.connection import Connection

    connection = Connection.to(address, settings, to_start=how_to_start(address))
    if info.reference.lower().startswith("openai:"):
        return OpenAIEngine(info, options, ExternalServer(connection), info.name)

    def detect(options: LoadOptions) -> Engine:
        if (name := _ollama_model(connection)) is not None:
            return _ollama(replace(info, name=name, engine="ollama"), address, options, settings)
        return OpenAIEngine(info, options, ExternalServer(connection))

    return DetectedEngine(detect, detect(options))


def _ollama_model(connection: "Connection") -> str | None:
    """The model of a server that was named alone, None if it is not an Ollama, or does not answer."""
    from localllm_magics.engines.ollama import api
    from localllm_magics.engines.server.model_choice import sole_model

    try:
        if not api.is_ollama(connection, seconds=2.0):
            return None
        loaded = [model.name for model in api.models_in_memory(connection)]
        names = [info.name for info in api.list_models(connection)]
    except LocalLLMError:
        return None  # the engine will raise the same
    url = connection.address.url
    name = sole_model(loaded, names, server=f"Ollama at {url}", scheme="ollama", url=url)
    if name is None:
        raise ModelNotInDaemon(f"Ollama at {url} has no model.", "Type: %llm pull ollama:NAME")
    return name
