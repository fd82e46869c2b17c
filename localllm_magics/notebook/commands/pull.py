"""`%llm pull`: a model downloaded by an Ollama server, with a bar."""

from pathlib import Path
from typing import TYPE_CHECKING

from localllm_magics.catalog.server_reference import is_server_reference, resolve_server_reference
from localllm_magics.core.address import Address
from localllm_magics.core.errors import BadOption
from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.core.stop import Stop
from localllm_magics.core.table import to_size
from localllm_magics.engines.local_servers import how_to_start
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.notebook.card.surface import LineDisplay
from localllm_magics.notebook.commands.command import Command, Notebook
from localllm_magics.notebook.parser import Parsed

if TYPE_CHECKING:
    from localllm_magics.engines.ollama.pull import PullProgress

_WIDTH = 30


def pull_model(reference: str, settings: ServerSettings, display: LineDisplay) -> str:
    """Have Ollama download the model that REFERENCE names, and say how to use it.

    Args:
        reference: `ollama:NAME`, perhaps with a server.
        settings: For the connection.
        display: Where the bar is shown.

    Raises:
        LocalLLMError: The server or the registry refuses.
        KeyboardInterrupt: It was interrupted; Ollama keeps what it has downloaded.
    """
    from localllm_magics.engines.ollama.pull import pull  # it imports httpcore
    from localllm_magics.engines.server.connection import Connection

    name, address = _to_ollama(reference)
    connection = Connection.to(address, settings, to_start=how_to_start(address, is_ollama=True))
    stop = Stop()
    try:
        for step in pull(connection, name, stop):
            display.show(_line(reference, step))
    except BaseException as exc:
        stop.set()
        display.end(f"{reference} · {'stopped' if isinstance(exc, KeyboardInterrupt) else 'failed'}")
        raise
    display.end(f"{reference} · pulled")
    return f"To use it, type: %%llm {reference}"


def _to_ollama(reference: str) -> tuple[str, Address]:
    info = resolve_server_reference(reference, Path.cwd()) if is_server_reference(reference) else None
    if info is None or info.engine != "ollama" or info.address is None:
        raise BadOption(f"{reference!r} is no model of Ollama.", f"Type: %llm pull ollama:{reference or 'NAME'}")
    return info.name, info.address


def _line(name: str, step: "PullProgress") -> str:
    share = min(step.done / step.total, 1.0) if step.total else 0.0
    bar = "█" * round(share * _WIDTH)
    sizes = f" {bar:░<{_WIDTH}} {share:.0%} · {to_size(step.done)} of {to_size(step.total)}" if step.total else ""
    return f"{name} · {strip_control(step.status)}{sizes}"


def _pull(notebook: Notebook, parsed: Parsed) -> None:
    notebook.write(pull_model(parsed.words[0], notebook.session.settings, LineDisplay(notebook.live_shell)))


COMMAND = Command(
    name="pull",
    words="ollama:NAME",
    needs="a model",
    run=_pull,
    help="have Ollama download a model",
    hint="Type: %llm pull ollama:llama3.2",
)
