"""The models of the servers that run: all known places are asked at once."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.engines.local_servers import LOCAL_SERVERS, how_to_start
from localllm_magics.engines.ollama.address import ollama_address
from localllm_magics.engines.server.address import Address
from localllm_magics.engines.server.settings import ServerSettings

if TYPE_CHECKING:
    from localllm_magics.engines.openai.identity import ServedModel

SECONDS = 0.5
"""How long all servers together have to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownServer:
    """A place where a server may be, and what was found there.

    Args:
        name: What is there, else what is usually there.
        models: What it has.
        problem: Why there is nothing, in words, or None.
        is_named: Whether the user has named it, and so will miss it.
        is_loading: It answers, but its model is still on its way into memory.
    """

    address: Address
    name: str
    models: tuple[ModelInfo, ...] = ()
    problem: str | None = None
    is_named: bool = False
    is_loading: bool = False


def known_places(settings: ServerSettings) -> dict[Address, str]:
    """Where to look, each with the usual name of what is there."""
    places = {ollama_address(): "Ollama"}
    for text in settings.addresses:
        places.setdefault(Address.from_text(text), "server")
    for usual in LOCAL_SERVERS:
        for port in usual.ports:
            places.setdefault(Address("http", "127.0.0.1", port), usual.name)
    return places


def find_servers(settings: ServerSettings, seconds: float = SECONDS) -> list[KnownServer]:
    """Ask all known places at once; whoever has not answered after SECONDS is taken as silent."""
    from localllm_magics.engines.openai import identity  # imported before the clock runs

    del identity
    places = known_places(settings)
    found: dict[Address, KnownServer] = {}
    named = {Address.from_text(text) for text in settings.addresses}

    def nothing(address: Address, problem: str) -> KnownServer:
        return KnownServer(address=address, name=places[address], problem=problem, is_named=address in named)

    def ask(address: Address) -> None:
        try:
            found[address] = inspect_server(address, settings, is_named=address in named, seconds=seconds)
        except LocalLLMError as exc:
            found[address] = nothing(address, exc.message)

    threads = [threading.Thread(target=ask, args=(address,), daemon=True) for address in places]
    until = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0))
    return [
        found.get(address, nothing(address, f"{address.url} did not answer within {seconds:g} seconds."))
        for address in places
    ]


def inspect_server(address: Address, settings: ServerSettings, *, is_named: bool, seconds: float) -> KnownServer:
    """What runs at ADDRESS.

    Raises:
        LocalLLMError: Nothing, or nothing of use.
    """
    from localllm_magics.engines.ollama import api as ollama
    from localllm_magics.engines.openai.identity import ServerKind, identify
    from localllm_magics.engines.server.connection import Connection

    connection = Connection.to(address, settings, to_start=how_to_start(address), is_named=is_named)
    if address.port == ollama_address().port:
        version = ollama.version(connection, seconds=seconds)
        if version is not None:
            models = _short(ollama.list_models(connection, seconds), address)
            return KnownServer(address=address, name=f"Ollama {version}", models=models, is_named=is_named)
    identity = identify(connection, seconds=seconds)
    if identity.kind is ServerKind.OLLAMA:
        models = _short(ollama.list_models(connection, seconds), address)
    else:
        models = tuple(_to_info(served, address) for served in identity.models)
    return KnownServer(
        address=address, name=identity.name, models=models, is_named=is_named, is_loading=identity.is_loading
    )


def _to_info(served: "ServedModel", address: Address) -> ModelInfo:
    return ModelInfo(
        # A model without a name of its own is listed with its file's path, of which the last part will do.
        reference=f"openai:{served.label}@{address.url}",
        name=served.label,
        source="daemon",
        size_bytes=served.size_bytes,
        parameters=served.parameters,
        quantization=served.quantization,
        context=served.context,
        kind="chat",
        engine="openai",
        address=address.url,
    )


def _short(models: Sequence[ModelInfo], address: Address) -> tuple[ModelInfo, ...]:
    """MODELS of Ollama; at its usual place they need no address."""
    if address != ollama_address():
        return tuple(models)
    return tuple(replace(info, reference=f"ollama:{info.name}") for info in models)
