"""`%llm connect`: what a server is and has."""

import time

from localllm_magics.catalog.discover import ModelList
from localllm_magics.catalog.servers import KnownServer, inspect_server
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.server.address import Address
from localllm_magics.notebook.config import LocalLLM
from localllm_magics.session import Session

_SECONDS = 5.0
_POLL_SECONDS = 0.1


def connect(text: str, session: Session, config: LocalLLM) -> ModelList:
    """Learn what runs at the address TEXT, and remember it; if it has one model, that becomes the current one.

    Raises:
        LocalLLMError: It cannot be reached, or is no model server.
    """
    address = Address.from_typed(text)
    daemon = inspect_server(address, session.settings, is_named=True, seconds=_SECONDS)
    while daemon.is_loading:
        time.sleep(_POLL_SECONDS)
        daemon = inspect_server(address, session.settings, is_named=True, seconds=_SECONDS)
    if address not in map(Address.from_text, config.daemons):
        config.daemons = [*config.daemons, address.url]
    session.listed = tuple(dict.fromkeys([*session.listed, *(info.reference for info in daemon.models)]))
    if len(daemon.models) == 1:
        session.use(_alone(daemon), LoadOptions()).keep()
    return ModelList(daemon.models, notes=(_sentence(daemon),))


def _sentence(daemon: KnownServer) -> str:
    start = f"{daemon.name} runs at {daemon.address.url}"
    if not daemon.models:
        return f"{start}, and has no model."
    if len(daemon.models) == 1:
        return f"{start}; {_alone(daemon)} is the current model now."
    return f"{start}. To use one of its models, type for example: %llm load {daemon.models[0].reference}"


def _alone(daemon: KnownServer) -> str:
    """The shortest reference to the only model of a server."""
    model = daemon.models[0]
    return daemon.address.url if model.engine == "openai" else model.reference
