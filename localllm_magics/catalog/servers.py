"""The running servers and their models: all candidate addresses are asked at the same time."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from localllm_magics.core.address import Address
from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.exhausted import in_words
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.engines.background import in_background
from localllm_magics.engines.local_servers import LOCAL_SERVERS, LocalServer, how_to_start
from localllm_magics.engines.ollama.address import ollama_address
from localllm_magics.engines.served_models import openai_model
from localllm_magics.engines.server.settings import ServerSettings

if TYPE_CHECKING:
    from localllm_magics.engines.openai.identity import ServedModel

SECONDS = 0.5
"""How long all servers together have to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """An address where a server may listen, and which server answered.

    Args:
        name: The server with its version, else the one that listens there by default.
        models: The models that it lists.
        problem: Why there is no server, in words, or None.
        is_named: Whether the user has configured the address, so that a missing server is reported.
        is_loading: It answers, but is still loading its model.
    """

    address: Address
    name: str
    models: tuple[ModelInfo, ...] = ()
    problem: str | None = None
    is_named: bool = False
    is_loading: bool = False


def candidate_addresses(
    settings: ServerSettings, local_servers: Iterable[LocalServer] = LOCAL_SERVERS
) -> dict[Address, str]:
    """Where a server may listen, each with the name of the server that does so by default."""
    names = {ollama_address(): "Ollama"}
    for text in settings.addresses:
        names.setdefault(Address.from_text(text), "server")
    for server in local_servers:
        for port in server.ports:
            names.setdefault(Address("http", "127.0.0.1", port), server.name)
    return names


def find_servers(
    settings: ServerSettings, seconds: float = SECONDS, local_servers: Iterable[LocalServer] = LOCAL_SERVERS
) -> list[ServerStatus]:
    """Ask all candidate addresses at the same time; a server that has not answered after SECONDS is a problem."""
    from localllm_magics.engines.openai import identity  # imported before the clock starts

    del identity
    names = candidate_addresses(settings, local_servers)
    found: dict[Address, ServerStatus] = {}
    named = {Address.from_text(text) for text in settings.addresses}

    def missing(address: Address, problem: str) -> ServerStatus:
        return ServerStatus(address=address, name=names[address], problem=problem, is_named=address in named)

    def ask(address: Address) -> None:
        with answering(address):
            found[address] = inspect_server(address, settings, is_named=address in named, seconds=seconds)

    @contextmanager
    def answering(address: Address) -> Iterator[None]:
        try:
            with in_words():
                yield
        except LocalLLMError as exc:
            found[address] = missing(address, exc.message)

    deadline, asked = time.monotonic() + seconds, []
    for address in names:
        with answering(address):  # there may be no more threads
            asked.append(in_background(partial(ask, address), "localllm-servers"))
    wait_for(asked, max(deadline - time.monotonic(), 0))
    return [
        found.get(address, missing(address, f"{address.url} did not answer within {seconds:g} seconds."))
        for address in names
    ]


def inspect_server(address: Address, settings: ServerSettings, *, is_named: bool, seconds: float) -> ServerStatus:
    """Which server listens at ADDRESS, and its models.

    Raises:
        LocalLLMError: There is no server, or not one of language models.
    """
    from localllm_magics.engines.ollama import api as ollama
    from localllm_magics.engines.openai.identity import ServerKind, identify, questions
    from localllm_magics.engines.server.connection import Connection

    connection = Connection.to(address, settings, to_start=how_to_start(address), is_named=is_named)
    # All at once: together they have half a second.
    replies = connection.ask_all([*questions(address), "/", "/api/tags"], seconds=seconds)
    version = ollama.to_version(replies["/api/version"]) if address.port == ollama_address().port else None
    if version is None:
        identity = identify(connection, seconds=seconds, replies=replies)
        name, is_loading = identity.name, identity.is_loading
        is_ollama = identity.kind is ServerKind.OLLAMA
        models = () if is_ollama else tuple(_to_info(served, address) for served in identity.models)
    else:
        name, is_loading, is_ollama, models = f"Ollama {version}", False, True, ()
    if is_ollama:
        models = tuple(ollama.to_models(replies["/api/tags"], connection))
    return ServerStatus(address=address, name=name, models=models, is_named=is_named, is_loading=is_loading)


def _to_info(served: "ServedModel", address: Address) -> ModelInfo:
    return replace(
        openai_model(served.label, address),
        size_bytes=served.size_bytes,
        parameters=served.parameters,
        quantization=served.quantization,
        context=served.context,
    )
