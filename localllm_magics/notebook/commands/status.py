"""`%llm status`: what is loaded where, and what runs."""

from textwrap import shorten

from localllm_magics.core.completion import Completion, ModelUsed
from localllm_magics.core.presentation import to_duration, to_two_digits
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
    statuses = {model: model.status(refresh=True) for model in session.in_use}
    rows = tuple(_row(model, status, session) for model, status in statuses.items())
    details = [status.detail for status in statuses.values() if status.detail]
    notices = dict.fromkeys(notice for status in statuses.values() for notice in status.notices)
    absences = (_absence(model, status) for model, status in statuses.items())
    running = map(_running, session.running)
    headers = ("Model", "Engine", "Memory", "Layers on GPU", "Context", "Idle", "Last answer")
    empty = "" if rows else "No model is loaded. Type: %llm load demo"
    notes = (*details, *notices, *absences, *running, _limits(session), empty)
    return Table(headers=headers, rows=rows, notes=tuple(filter(None, notes)))


def _absence(model: Model, status: EngineStatus) -> str:
    """Why MODEL is not in memory, where it has left."""
    if not model.absence or status.is_loading or status.model.context is not None:
        return ""
    return f"{model.info.reference} has left memory: {model.absence}. It is loaded again when it is next asked."


def _limits(session: Session) -> str:
    """What models may take, where that is limited."""
    limits, held = session.residency.limits, session.residency.memory_bytes
    parts = [
        f"{to_size(held)} of {to_size(limits.memory_bytes)} are in use" if limits.memory_bytes is not None else "",
        f"what nothing uses leaves after {to_duration(limits.idle_seconds)}" if limits.idle_seconds is not None else "",
    ]
    said = "; ".join(filter(None, parts))
    return f"Limits: {said}." if said else ""


def _running(stream: Stream) -> str:
    """What is asked, of which model, and how to stop it."""
    prompt = shorten(strip_control(stream.request.messages[-1].text)[:_MAX_PROMPT], _MAX_SHOWN, placeholder=" …")
    return f"{stream.generation.model.reference} answers “{prompt}”. To stop it, type: %llm stop {stream.request.id}"


def _row(model: Model, status: EngineStatus, session: Session) -> tuple[str, ...]:
    used, last = status.model, session.last(model.info.reference)
    said = {"current": model is session.current, "pinned": model.is_pinned, "loading": status.is_loading}
    states = ", ".join(state for state, is_so in said.items() if is_so)
    idle = model.activity.idle_seconds
    return (
        f"{model.info.reference} ({states})" if states else model.info.reference,
        _engine(used) if not _absence(model, status) else "not in memory",
        _memory(status),
        f"{used.gpu_layers} of {(used.layers or 0) + 1}" if used.gpu_layers is not None else "",
        f"{used.context:,}" if used.context else "",
        "in use" if idle is None else to_duration(idle) if status.model.context is not None else "",
        _rate(last, status),
    )


def _rate(last: Completion | None, status: EngineStatus) -> str:
    """That of the last answer, and what was forecast for it."""
    if last is None:
        return ""
    forecast = status.compared
    return last.stats.rate + (f", forecast {to_two_digits(forecast.forecast)}" if forecast is not None else "")


def _memory(status: EngineStatus) -> str:
    """What it takes of the host, and of each GPU."""
    host = status.memory_bytes - sum(size for _, size in status.device_bytes)
    on_devices = (f"{to_size(size)} on {name}" for name, size in status.device_bytes)
    return " + ".join([*([to_size(host)] if host else []), *on_devices])


def _engine(used: ModelUsed) -> str:
    if used.device is not None:
        return f"{used.engine} on {used.device}"
    return "not in memory yet" if used.engine == "kernel" else str(used.engine)


COMMAND = Command(
    name="status",
    run=lambda notebook, _parsed: status_table(notebook.session),
    help="show what is loaded where, and what runs",
)
