"""A llamafile as the server of an engine: started at first use, and shared by all who use it alike."""

import threading
from collections.abc import Generator
from concurrent.futures import Future
from pathlib import Path

from localllm_magics.core.errors import DaemonNotReachable, LoadFailed, StreamBroken
from localllm_magics.core.events import Loading
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.background import in_background
from localllm_magics.engines.llamafile.pool import Running, running
from localllm_magics.engines.llamafile.process import ServerProcess
from localllm_magics.engines.server.address import Address
from localllm_magics.engines.server.connection import Connection

_POLL_SECONDS = 0.1
_MOST_LOAD_SECONDS = 600.0


class LlamafileServer:
    """Runs FILE; see `engines.openai.found.Server`.

    Args:
        file: The llamafile.
        processes: Those that run already.
    """

    def __init__(self, file: Path, processes: Running = running) -> None:
        self._file = file
        self._processes = processes
        self._process: ServerProcess | None = None
        self._lock = threading.Lock()

    @property
    def has_ended(self) -> bool:
        """Whether the process was started and has ended since."""
        process = self._process
        return process is not None and not process.is_running

    def connect(self, options: LoadOptions, stop: Stop) -> Generator[Loading, None, Connection]:
        """Start it if need be, and wait until it answers."""
        yield Loading(0.0)
        process = self._process
        if process is None or not process.is_running:
            process = self._acquire(options, stop)
            self._replace(process)
            if stop.is_set():  # who closed this meanwhile has found nothing to close
                self.close()
                raise Stopped
        waited = 0.0
        while (connection := _way_to(process, stop)) is None:
            if stop.wait(_POLL_SECONDS):
                raise Stopped
            waited += _POLL_SECONDS
            if waited > _MOST_LOAD_SECONDS:
                raise LoadFailed(f"{self._file.name} still loads its model.", f"Its log is {process.log}")
        yield Loading(1.0)
        return connection

    def another(self, options: LoadOptions) -> "LlamafileServer":  # noqa: ARG002 - it is started with any
        """The same file, with a process of its own or shared with whoever uses it alike."""
        return LlamafileServer(self._file, self._processes)

    def close(self) -> None:
        """Give the process back; it ends if nobody else uses it."""
        self._replace(None)

    def _replace(self, process: ServerProcess | None) -> None:
        """Use PROCESS from here on, and give back the one before; two threads may have got the same one."""
        with self._lock:
            before, self._process = self._process, process
        if before is not None:
            self._processes.release(before)

    def _acquire(self, options: LoadOptions, stop: Stop) -> ServerProcess:
        """The process; it is given back when it comes after a stop."""
        starting = in_background(lambda: self._processes.acquire(self._file, options), "localllm-llamafile")
        try:
            while not (starting.done() or stop.wait(_POLL_SECONDS / 2)):
                pass
        except BaseException:
            starting.add_done_callback(self._give_back)
            raise
        if stop.is_set():
            starting.add_done_callback(self._give_back)
            raise Stopped
        return starting.result()

    def _give_back(self, starting: "Future[ServerProcess]") -> None:
        if starting.exception() is None:
            self._processes.release(starting.result())


def _way_to(process: ServerProcess, stop: Stop) -> Connection | None:
    """The way to PROCESS, once it answers."""
    # Looked at before and after: another server may have taken the port and answer in its place.
    process.require_running()
    connection = Connection(Address.from_text(process.address), process.key)
    try:
        is_ready = connection.ask("GET", "/health", stop=stop, seconds=2.0).status == 200
    except (DaemonNotReachable, StreamBroken):
        is_ready = False
    process.require_running()
    return connection if is_ready and Address.from_text(process.address) == connection.address else None
