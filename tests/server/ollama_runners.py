"""The llama-server processes behind the stand-in of Ollama, one for each loaded model."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.server.http_server import Connection
from tests.server.llama_server import LlamaServer
from tests.server.ollama_store import StoredModel
from tests.server.ollama_wire import DEFAULT_CTX, Refusal
from tests.server.server_process import ServerDied


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The options that a model was loaded with; another value of one of them means loading it again."""

    model: str
    num_ctx: int
    num_gpu: int = -1
    num_thread: int = 0
    num_batch: int = 512

    @property
    def arguments(self) -> list[str]:
        """The options of llama-server that follow from them."""
        given = {"-c": self.num_ctx, "-b": self.num_batch}
        given |= {"-ngl": self.num_gpu} if self.num_gpu >= 0 else {}
        given |= {"-t": self.num_thread if self.num_thread > 0 else 1}  # two that spin starve each other on two cores
        return ["-np", "1", "--context-shift", *(str(part) for pair in given.items() for part in pair)]


class Runner:
    """A model in memory."""

    def __init__(self, model: StoredModel, load: Load, server: LlamaServer) -> None:
        self.model = model
        self.load = load
        self.server = server
        self.users = 1
        """How many requests it serves now; it is loaded for one."""
        self.keep_alive = 0.0
        self.last_used = time.time()

    @property
    def expires_at(self) -> float:
        """When it will leave memory, in seconds since the epoch."""
        return self.last_used + self.keep_alive

    @property
    def has_expired(self) -> bool:
        return self.users == 0 and time.time() >= self.expires_at

    def serves(self, load: Load) -> bool:
        """Whether a request for LOAD needs no other process."""
        # Asking for no number of layers never loads a model again.
        wanted = replace(load, num_gpu=self.load.num_gpu) if load.num_gpu < 0 else load
        return self.load == wanted and self.server.is_running


class Runners:
    """All models in memory.

    Args:
        program: The llama-server to start.
    """

    def __init__(self, program: Path) -> None:
        self.loads: list[Load] = []
        """Every load that came to its end, oldest first."""
        self.load_seconds = 0.0
        """How much longer than it needs a load takes."""
        self._program = program
        self._runners: dict[str, Runner] = {}
        self._lock = threading.RLock()
        self._loading = threading.Lock()

    @contextmanager
    def use(self, model: StoredModel, load: Load, keep_alive: float, client: Connection) -> Iterator[Runner]:
        """MODEL in memory, loaded if need be; it goes back to waiting for others afterwards.

        Raises:
            Refusal: It cannot be loaded.
            ConnectionAbortedError: CLIENT left before it was.
        """
        with self._loading:
            runner = self._claim(load) or self._load(model, load, client)
        try:
            runner.keep_alive = keep_alive
            yield runner
        finally:
            with self._lock:
                runner.users -= 1
                runner.last_used = time.time()
            self.loaded()

    def loaded(self) -> list[Runner]:
        """The models in memory now, after those whose time is over have left."""
        with self._lock:
            for name, runner in list(self._runners.items()):
                if runner.has_expired or not runner.server.is_running:
                    self._remove(name)
            return list(self._runners.values())

    def unload(self, name: str) -> None:
        """Let a model leave memory as soon as it answers nobody."""
        with self._lock:
            if name in self._runners:
                self._runners[name].keep_alive = 0.0
        self.loaded()

    def busy_slots(self) -> int:
        """How many slots of all processes are at work."""
        with self._lock:
            return sum(runner.server.busy_slots for runner in self.loaded())

    def kill(self) -> None:
        """End all processes at once, as the system does when memory is short."""
        with self._lock:
            for runner in self._runners.values():
                runner.server.kill()

    def close(self) -> None:
        """Stop all processes."""
        with self._lock:
            for name in list(self._runners):
                self._remove(name)

    def _claim(self, load: Load) -> Runner | None:
        with self._lock:
            runner = self._runners.get(load.model)
            if runner is None or not runner.serves(load):
                return None
            runner.users += 1
            return runner

    def _load(self, model: StoredModel, load: Load, client: Connection) -> Runner:
        while any(runner.users for runner in self.loaded() if runner.load.model == load.model):
            client.wait(seconds=0.01)
        self.unload(load.model)
        client.wait(seconds=self.load_seconds)
        server = LlamaServer(model.path, *load.arguments, program=self._program)
        try:
            server.__enter__()
        except ServerDied as exc:
            raise Refusal(500, f"llama-server process has terminated: exit status 1: {_reason(str(exc))}") from exc
        runner = Runner(model, load, server)
        with self._lock:
            self._runners[load.model] = runner
            self.loads.append(load)
        return runner

    def _remove(self, name: str) -> None:
        self._runners.pop(name).server.__exit__()


def to_load(model: StoredModel, options: Mapping[str, Any]) -> Load:
    """What OPTIONS of a request for MODEL mean for loading it."""
    asked = {name: int(value) for name, value in options.items() if name in Load.__slots__ and value is not None}
    asked["num_ctx"] = max(4, min(asked.get("num_ctx", DEFAULT_CTX), model.trained_ctx))
    return Load(model=model.name, **asked)


def _reason(log: str) -> str:
    """The first line of LOG that says what is wrong, without the place that printed it."""
    _, sign, reason = log.partition("error loading model: ")
    return sign + reason.partition("\n")[0]
