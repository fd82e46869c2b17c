"""The real servers of llama.cpp: llama-server, and that of llama-cpp-python."""

import shutil
import sys
from pathlib import Path
from typing import Any

from tests.server.server_process import ServerProcess, fetch
from tests.server.waiting import wait_until

HERE = Path(sys.executable).parent
"""Where the set-up puts the programs that it compiles."""


def llama_server_program() -> Path:
    """The compiled llama-server."""
    found = shutil.which("llama-server", path=str(HERE))
    assert found is not None, f"no llama-server in {HERE}: run `make setup-tests`"
    return Path(found)


class LlamaServer(ServerProcess):
    """llama-server with MODEL, or as a router over the models in the folder MODEL.

    Args:
        arguments: More of its options, such as "-c", "512".
        program: Another binary than the one that the set-up compiled.
    """

    def __init__(self, model: Path, *arguments: str, program: Path | None = None) -> None:
        super().__init__()
        self._program = llama_server_program() if program is None else program
        self._model = model
        self._arguments = arguments

    @property
    def is_busy(self) -> bool:
        """Whether a slot is at work."""
        return self.busy_slots > 0

    @property
    def busy_slots(self) -> int:
        """How many slots are at work."""
        return sum(slot["is_processing"] for slot in self.slots())

    def command(self) -> list[str]:
        model = ["--models-dir" if self._model.is_dir() else "-m", str(self._model)]
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        # One thread, unless a test wants more: threads that spin starve each other where cores are few.
        return [str(self._program), *model, *address, "--metrics", "--offline", "-t", "1", *self._arguments]

    def is_ready(self) -> bool:
        return fetch(self.port, "GET", "/health").status == 200

    def slots(self) -> list[dict[str, Any]]:
        """What it says about its slots."""
        slots: list[dict[str, Any]] = fetch(self.port, "GET", "/slots").json
        return slots

    def wait_until_idle(self) -> None:
        """Wait until no slot is at work."""
        wait_until(lambda: not self.is_busy, f"{self.address} idle")


class LlamaCppServer(ServerProcess):
    """`python -m llama_cpp.server` with MODEL.

    Args:
        arguments: More of its options, such as "--n_ctx", "512".
    """

    def __init__(self, model: Path, *arguments: str) -> None:
        super().__init__()
        self._model = model
        self._arguments = arguments

    def command(self) -> list[str]:
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        return [sys.executable, "-m", "llama_cpp.server", "--model", str(self._model), *address, *self._arguments]

    def is_ready(self) -> bool:
        return fetch(self.port, "GET", "/v1/models").status == 200
