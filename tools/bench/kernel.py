"""A real kernel, and what a front end receives from it while a cell runs."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import Any

from jupyter_client.manager import KernelManager

MIME_TYPE = "application/vnd.localllm.completion+json"
LOAD_EXTENSION = "%load_ext localllm_magics"
_SECONDS = 600
_TICK = 0.01
_NOT_OUTPUT = {"status", "execute_input"}


class CellFailed(Exception):
    """A cell raised, or did not end; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message on IOPub.

    Args:
        at: When it came, on this process's clock.
        sent: When the kernel made it, in seconds of the day's clock.
    """

    kind: str
    content: dict[str, Any]
    at: float
    sent: float

    @property
    def is_output(self) -> bool:
        """Whether a reader of the notebook sees it."""
        return self.kind not in _NOT_OUTPUT

    @property
    def bytes(self) -> int:
        """Size of its content as JSON."""
        return len(json.dumps(self.content, ensure_ascii=False).encode())


@dataclass(slots=True, kw_only=True)
class Cell:
    """What came from one cell."""

    messages: list[Message] = field(default_factory=list)
    stopped_at: float = 0.0

    @property
    def outputs(self) -> list[Message]:
        """What a reader sees, as it came."""
        return [message for message in self.messages if message.is_output]

    @property
    def busy_at(self) -> float:
        """When the kernel took it up."""
        return self.messages[0].at

    @property
    def idle_at(self) -> float:
        """When the kernel was done with it."""
        return self.messages[-1].at

    @property
    def document(self) -> dict[str, Any]:
        """The completion that stays in the notebook."""
        for message in reversed(self.outputs):
            if MIME_TYPE in message.content.get("data", {}):
                return dict(message.content["data"][MIME_TYPE])
        raise CellFailed("A cell left no completion.")


class Kernel:
    """A kernel on this Python, with ENVIRONMENT on top of this process's own; a context manager that ends it."""

    def __init__(self, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="localllm-bench-")
        self._manager = KernelManager(kernel_name="python3")
        # Whatever kernel the user registered, it is this environment that is measured.
        spec = self._manager.kernel_spec
        assert spec is not None
        spec.argv[0] = sys.executable
        # No start-up files of the user's.
        self._manager.start_kernel(
            env={**os.environ, **environment, "IPYTHONDIR": self._home.name},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=_SECONDS)

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def process_id(self) -> int:
        """Of the kernel."""
        return int(getattr(self._manager.provisioner, "pid", 0) or 0)

    def close(self) -> None:
        """End it."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._home.cleanup()

    def run(self, source: str, stop_when: Callable[[Sequence[Message]], bool] | None = None) -> Cell:
        """Execute SOURCE as a cell.

        Args:
            source: The cell.
            stop_when: Called with what came so far, every now and then; its first True interrupts the kernel.

        Raises:
            CellFailed: It raised, and not because it was interrupted.
        """
        cell = Cell()
        id_ = self._client.execute(source, allow_stdin=False)
        deadline = time.perf_counter() + _SECONDS
        while not _is_idle(cell.messages):
            self._receive(id_, cell.messages)
            if stop_when is not None and not cell.stopped_at and stop_when(cell.messages):
                cell.stopped_at = time.perf_counter()
                self._manager.interrupt_kernel()
            if time.perf_counter() > deadline:
                raise CellFailed(f"A cell ran for more than {_SECONDS} seconds: {source}")
        self._client.get_shell_msg(timeout=_SECONDS)
        error = next((message.content for message in cell.messages if message.kind == "error"), None)
        if error is not None and not cell.stopped_at:
            raise CellFailed(f"{error['ename']}: {error['evalue']}")
        return cell

    def _receive(self, id_: str, messages: list[Message]) -> None:
        try:
            raw = self._client.get_iopub_msg(timeout=_TICK)
        except queue.Empty:
            return
        if raw["parent_header"].get("msg_id") != id_:
            return
        sent = raw["header"]["date"].timestamp()
        messages.append(Message(kind=raw["msg_type"], content=raw["content"], at=time.perf_counter(), sent=sent))


def _is_idle(messages: Sequence[Message]) -> bool:
    return bool(messages) and messages[-1].content.get("execution_state") == "idle"
