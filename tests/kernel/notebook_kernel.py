"""A real kernel, and what a front end sees of it."""

import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from localllm_magics.core.completion import MIME_TYPE

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
"""Enough for any cell of these tests on a machine that does other things too."""
_SILENT = {"status", "execute_input"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message on IOPub; DATE is when the kernel sent it."""

    kind: str
    content: dict[str, Any]
    date: datetime

    @property
    def is_final(self) -> bool:
        """Whether it brings the one output that stays."""
        return MIME_TYPE in self.content.get("data", {})

    @property
    def plain(self) -> str:
        """What a terminal would show of it."""
        text = self.content.get("text") or self.content.get("data", {}).get("text/plain", "")
        return str(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one cell did."""

    messages: tuple[Message, ...]
    reply: dict[str, Any]

    @property
    def kinds(self) -> list[str]:
        """The kinds of its messages, in order."""
        return [message.kind for message in self.messages]

    @property
    def stdout(self) -> str:
        """All that it printed, cleared or not."""
        return "".join(m.content["text"] for m in self.messages if m.content.get("name") == "stdout")

    @property
    def finals(self) -> list[dict[str, Any]]:
        """Every bundle with a completion that it published."""
        return [message.content["data"] for message in self.messages if message.is_final]

    @property
    def bundle(self) -> dict[str, Any]:
        """The one bundle that it published."""
        (bundle,) = self.finals
        return bundle

    @property
    def document(self) -> dict[str, Any]:
        """The completion document of its one bundle."""
        document: dict[str, Any] = self.bundle[MIME_TYPE]
        return document

    @property
    def left(self) -> list[dict[str, Any]]:
        """The outputs that a front end keeps, with `clear_output` and updates carried out."""
        outputs: list[dict[str, Any]] = []
        clears = False
        for message in self.messages:
            content = message.content
            if message.kind == "clear_output":
                clears = True
                continue
            if clears:
                outputs, clears = [], False
            if message.kind == "update_display_data":
                _update(outputs, content)
            else:
                outputs.append({"kind": message.kind, **content})
        return [] if clears else outputs


def _update(outputs: list[dict[str, Any]], content: dict[str, Any]) -> None:
    for output in outputs:
        if output.get("transient", {}).get("display_id") == content["transient"]["display_id"]:
            output["data"] = content["data"]


class Kernel:
    """A kernel of this environment with the extension loaded, as a context manager.

    Args:
        folder: Where it runs and keeps its files.
        variables: More of its environment.
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "LOCALLLM_STREAM"}
        environment |= {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder / ".ipython"), **variables}
        self.manager = KernelManager(kernel_name="python3")
        self._messages: dict[str, list[Message]] = defaultdict(list)
        self._states: dict[str, str] = {}
        self._replies: dict[str, dict[str, Any]] = {}
        self.manager.start_kernel(cwd=str(folder), env=environment)
        self._client: BlockingKernelClient = self.manager.blocking_client()

    def __enter__(self) -> "Kernel":
        try:
            self._client.start_channels()
            self._client.wait_for_ready(timeout=SECONDS)
            self.do("%load_ext localllm_magics")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def do(self, code: str) -> Cell:
        """Run CODE, which must succeed."""
        cell = self.run(code)
        assert cell.reply["status"] == "ok", "\n".join(cell.reply.get("traceback", []))
        return cell

    def run(self, code: str) -> Cell:
        """Run CODE to its end."""
        return self.wait(self.start(code))

    def start(self, code: str) -> str:
        """Send CODE; the id of the cell."""
        return str(self._client.execute(code))

    def wait(self, id_: str) -> Cell:
        """Wait for the end of a cell."""
        self.listen(lambda: self._states.get(id_) == "idle")
        while id_ not in self._replies:
            reply = self._client.get_shell_msg(timeout=SECONDS)
            self._replies[reply["parent_header"]["msg_id"]] = reply["content"]
        return self.seen(id_)

    def seen(self, id_: str) -> Cell:
        """What a cell has done so far."""
        return Cell(messages=tuple(self._messages[id_]), reply=self._replies.get(id_, {}))

    def wait_for_text(self, id_: str, text: str) -> None:
        """Wait until a message of a cell shows TEXT."""
        self.listen(lambda: any(text in message.plain for message in self._messages[id_]))

    def wait_for_final(self, id_: str) -> Cell:
        """Wait until a cell, which may have ended before, has its final output."""
        self.listen(lambda: any(message.is_final for message in self._messages[id_]))
        return self.seen(id_)

    def interrupt(self) -> None:
        """The ■ button."""
        self.manager.interrupt_kernel()

    def listen(self, is_enough: Callable[[], bool]) -> None:
        """Take messages until IS_ENOUGH."""
        deadline = time.monotonic() + SECONDS
        while not is_enough():
            assert self.manager.is_alive(), "the kernel has died"
            assert time.monotonic() < deadline, "the kernel does not answer"
            try:
                message = self._client.get_iopub_msg(timeout=1)
            except Empty:
                continue
            parent = message["parent_header"].get("msg_id", "")
            if message["msg_type"] == "status":
                self._states[parent] = message["content"]["execution_state"]
            if message["msg_type"] not in _SILENT:
                date = message["header"]["date"]
                self._messages[parent].append(Message(kind=message["msg_type"], content=message["content"], date=date))

    def value(self, expression: str) -> str:
        """The repr of EXPRESSION."""
        return self.do(f"print(repr({expression}), end='')").stdout


SCRIPTED = """
from localllm_magics.testing import scripted_model
_scripted = scripted_model({arguments})
_scripted.__enter__()
"""


def say(kernel: Kernel, *answers: str, hangs_after: int | None = None) -> None:
    """Make a model that says ANSWERS the current one of KERNEL."""
    arguments = ", ".join([*map(repr, answers), f"hangs_after={hangs_after}"])
    kernel.do(SCRIPTED.format(arguments=arguments))
