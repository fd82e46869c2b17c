"""`%llm connect`: what a server is and has."""

import time
from collections.abc import Sequence

from localllm_magics.catalog.model_list import ModelList
from localllm_magics.catalog.server_reference import has_scheme
from localllm_magics.catalog.servers import ServerStatus, inspect_server
from localllm_magics.core.address import Address
from localllm_magics.core.errors import BadOption
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.notebook.ask import Notebook
from localllm_magics.notebook.commands.command import Command
from localllm_magics.notebook.parser import Parsed


def _connect(notebook: Notebook, parsed: Parsed) -> ModelList:
    """Learn what runs at an address, and remember it; if it has one model, that becomes the current one."""
    session, config = notebook.session, notebook.config
    address = _address(parsed.words[0])
    while (server := inspect_server(address, session.settings, is_named=True, seconds=5.0)).is_loading:
        time.sleep(0.1)
    if address not in map(Address.from_text, config.daemons):
        config.daemons = [*config.daemons, address.url]
    session.listed = tuple(dict.fromkeys([*session.listed, *(info.reference for info in server.models)]))
    if len(server.models) == 1:
        session.use(_alone(server), LoadOptions()).keep()
    found = ModelList(server.models, command=f"%llm connect {address.url}").with_name("".join(parsed.words[1:]))
    found.notes = (*found.notes, _sentence(server, found))
    return found


def _address(word: str) -> Address:
    try:
        return Address.from_typed(word)
    except BadOption as exc:
        if not has_scheme(word):  # `ollama:11434` is the port of a machine
            raise
        message = f"An address is wanted, and {word.partition(':')[0]}: begins the name of a model."
        raise BadOption(
            message, "To use a model, type %llm load and its name. To connect: %llm connect http://127.0.0.1:8080"
        ) from exc


def _sentence(server: ServerStatus, found: Sequence[ModelInfo]) -> str:
    start = f"{server.name} runs at {server.address.url}"
    if not server.models:
        return f"{start}, and has no model."
    if len(server.models) == 1:
        return f"{start}; {_alone(server)} is the current model now."
    example = f" To use one of its models, type for example: %llm load {found[0].reference}" if found else ""
    return f"{start}.{example}"


def _alone(server: ServerStatus) -> str:
    """The shortest reference to the only model of a server."""
    model = server.models[0]
    return server.address.url if model.engine == "openai" else model.reference


COMMAND = Command(
    name="connect",
    words="URL [WORD]",
    needs="an address",
    run=_connect,
    help="see what a server has, or what of it has WORD in its name, and remember the server",
    hint="Type: %llm connect http://127.0.0.1:8080",
)
