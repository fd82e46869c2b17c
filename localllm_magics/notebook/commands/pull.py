"""`%llm pull`: a model downloaded by an Ollama server, with a bar."""

from localllm_magics.catalog.discover import DEMO, running_folder
from localllm_magics.catalog.reference import is_path_like
from localllm_magics.catalog.server_reference import is_server_reference, resolve_server_reference
from localllm_magics.core.address import Address
from localllm_magics.core.errors import BadOption
from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.core.stop import Stop
from localllm_magics.core.table import to_size
from localllm_magics.engines.local_servers import how_to_start
from localllm_magics.engines.ollama.name import parse_name
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.notebook.ask import Notebook
from localllm_magics.notebook.card.display import Display
from localllm_magics.notebook.commands.command import Command
from localllm_magics.notebook.commands.instead import is_known
from localllm_magics.notebook.parser import Parsed, quoted

_WIDTH = 30


def pull_model(reference: str, settings: ServerSettings, display: Display) -> str:
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
    stop, outcome = Stop(), "pulled"
    try:
        for step in pull(connection, name, stop):
            display.update({"text/plain": f"{reference} · {_progress(step.status, step.done, step.total)}"})
    except BaseException as exc:
        outcome = "stopped" if isinstance(exc, KeyboardInterrupt) else "failed"
        stop.set()
        raise
    finally:
        display.publish({"text/plain": f"{reference} · {outcome}"})
    return f"To use it, type: %%llm {reference}"


def _to_ollama(reference: str) -> tuple[str, Address]:
    folder = running_folder()
    info = resolve_server_reference(reference, folder) if is_server_reference(reference, folder) else None
    if info is not None and info.engine == "ollama" and info.address is not None:
        return info.name, info.address
    hint = f"Type: %llm pull ollama:{reference}"
    if parse_name(reference) is None or "://" in reference:
        hint = "Type, for example: %llm pull ollama:llama3.2"
    elif (reference == DEMO or is_path_like(reference)) and is_known(reference):
        hint = f"It is here already. To use it, type: %%llm {quoted(reference)}"
    raise BadOption(f"{reference!r} is no model of Ollama.", hint)


def _progress(status: str, done: int, total: int) -> str:
    share = min(done / total, 1.0) if total else 0.0
    bar = "█" * round(share * _WIDTH)
    sizes = f" {bar:░<{_WIDTH}} {share:.0%} · {to_size(done)} of {to_size(total)}" if total else ""
    return f"{strip_control(status)}{sizes}"


def _pull(notebook: Notebook, parsed: Parsed) -> None:
    notebook.write(pull_model(parsed.words[0], notebook.session.settings, notebook.front_end.new_display()))


COMMAND = Command(
    name="pull",
    words="ollama:NAME",
    needs="a model",
    run=_pull,
    help="have Ollama download a model",
    hint="Type: %llm pull ollama:llama3.2",
)
