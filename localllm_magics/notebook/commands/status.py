"""`%llm status`: what is loaded where, and what runs."""

from textwrap import shorten

from localllm_magics.core.completion import ModelUsed
from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.core.table import Table, to_size
from localllm_magics.engines.base import EngineStatus
from localllm_magics.engines.stream import Stream
from localllm_magics.model import Model
from localllm_magics.notebook.commands.command import Command
from localllm_magics.session import Session

_MAX_PROMPT, _MAX_SHOWN = 1_000, 60


def status_table(session: Session) -> Table:
    """The models in use, and below them what their servers report and which answers are generated."""
    statuses = {model: model.status(refresh=True) for model in session.models}
    rows = tuple(_row(model, status, session) for model, status in statuses.items())
    details = [status.detail for status in statuses.values() if status.detail]
    notices = dict.fromkeys(notice for status in statuses.values() for notice in status.notices)
    running = map(_running, session.running)
    headers = ("Model", "Engine", "Memory", "Layers on GPU", "Context", "Last answer")
    empty = () if rows else ("No model is loaded. Type: %llm load demo",)
    return Table(headers=headers, rows=rows, notes=(*details, *notices, *running, *empty))


def _running(stream: Stream) -> str:
    """What is asked, of which model, and how to stop it."""
    prompt = shorten(strip_control(stream.request.messages[-1].text)[:_MAX_PROMPT], _MAX_SHOWN, placeholder=" …")
    return f"{stream.generation.model.reference} answers “{prompt}”. To stop it, type: %llm stop {stream.request.id}"


def _row(model: Model, status: EngineStatus, session: Session) -> tuple[str, ...]:
    used, last = status.model, session.last(model.info.reference)
    return (
        f"{model.info.reference} (current)" if model is session.current else model.info.reference,
        _engine(used),
        to_size(status.memory_bytes or None),
        f"{used.gpu_layers} of {(used.layers or 0) + 1}" if used.gpu_layers is not None else "",
        f"{used.context:,}" if used.context else "",
        last.stats.rate if last else "",
    )


def _engine(used: ModelUsed) -> str:
    if used.device is not None:
        return f"{used.engine} on {used.device}"
    return "not in memory yet" if used.engine == "kernel" else str(used.engine)


COMMAND = Command(
    name="status",
    run=lambda notebook, _parsed: status_table(notebook.session),
    help="show what is loaded where, and what runs",
)
