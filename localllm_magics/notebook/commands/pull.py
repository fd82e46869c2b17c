"""Getting a model onto an Ollama server, with a bar."""

from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.catalog.server_reference import is_served, to_served
from localllm_magics.core.errors import BadOption
from localllm_magics.core.sanitizer.markdown import strip_control
from localllm_magics.core.stop import Stop
from localllm_magics.core.table import to_size
from localllm_magics.engines.local_servers import how_to_start
from localllm_magics.engines.ollama.pull import PullProgress, pull
from localllm_magics.engines.server.address import Address
from localllm_magics.engines.server.connection import Connection
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.notebook.card.surface import LineDisplay

_WIDTH = 30


def pull_model(reference: str, settings: ServerSettings, shell: InteractiveShell | None) -> str:
    """Have Ollama get the model that REFERENCE names, and say how to use it.

    Args:
        reference: `ollama:NAME`, perhaps with a server.
        settings: For the connection.
        shell: Where the bar is shown, if anywhere.

    Raises:
        LocalLLMError: The server or the registry refuses.
        KeyboardInterrupt: Somebody stopped it; what was loaded so far is kept by Ollama.
    """
    info = to_served(reference, Path.cwd()) if is_served(reference) else None
    if info is None or info.engine != "ollama" or info.address is None:
        raise BadOption(f"{reference!r} is no model of Ollama.", f"Type: %llm pull ollama:{reference or 'NAME'}")
    display = LineDisplay(shell) if shell is not None else None
    stop = Stop()
    address = Address.from_text(info.address)
    connection = Connection.to(address, settings, to_start=how_to_start(address, is_ollama=True))
    try:
        for step in pull(connection, info.name, stop):
            if display is not None:
                display.show(_line(info.reference, step))
    except BaseException as exc:
        stop.set()
        if display is not None:
            display.end(f"{info.reference} · {'stopped' if isinstance(exc, KeyboardInterrupt) else 'failed'}")
        raise
    if display is not None:
        display.end(f"{info.reference} · pulled")
    return f"To use it, type: %%llm {info.reference}"


def _line(name: str, step: PullProgress) -> str:
    share = min(step.done / step.total, 1.0) if step.total else 0.0
    bar = "█" * round(share * _WIDTH)
    sizes = f" {bar:░<{_WIDTH}} {share:.0%} · {to_size(step.done)} of {to_size(step.total)}" if step.total else ""
    return f"{name} · {strip_control(step.status)}{sizes}"
