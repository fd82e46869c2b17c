"""A llamafile as the server of an engine: started at first use, and shared by all engines that use it alike."""

import time
from collections.abc import Generator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from pathlib import Path

from localllm_magics.core.errors import DaemonNotReachable, LoadFailed, StreamBroken
from localllm_magics.core.events import Loading
from localllm_magics.core.fork import new_lock, repair_after_fork
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop, Stopped, poll
from localllm_magics.engines.background import in_background
from localllm_magics.engines.llamafile.pool import ProcessPool, shared_pool
from localllm_magics.engines.llamafile.process import ServerProcess
from localllm_magics.engines.server.connection import Connection


class LlamafileServer:
    """Runs FILE, which may load its model for MAX_LOAD_SECONDS; see `engines.openai.server_handle.ServerHandle`."""

    def __init__(self, file: Path, pool: ProcessPool = shared_pool, *, max_load_seconds: float = 600.0) -> None:
        self._file = file
        self._pool = pool
        self._max_load_seconds = max_load_seconds
        self._process: ServerProcess | None = None
        self._lock = new_lock()
        repair_after_fork(self)

    def after_fork(self) -> None:
        """Leave the process to the one that was forked, and start another when it is next used."""
        self._process = None

    @property
    def has_exited(self) -> bool:
        """Whether the process was started and has exited since."""
        process = self._process
        return process is not None and not process.is_running

    def connect(self, options: LoadOptions, stop: Stop) -> Generator[Loading, None, Connection]:
        """Start it if need be, and wait until it answers."""
        yield Loading(0.0)
        process = self._process
        if process is None or not process.is_running:
            process = self._acquire(options, stop)
            self._replace(process)
            if stop.is_set():  # `close` in another thread may have found nothing to close
                self.close()
                raise Stopped
        until = time.monotonic() + self._max_load_seconds
        while (connection := _connection_to(process, stop)) is None:
            if time.monotonic() > until:
                raise LoadFailed(f"{self._file.name} is still loading its model.", f"Check its log: {process.log}")
            stop.sleep(0.1)
        yield Loading(1.0)
        return connection

    def with_options(self, options: LoadOptions) -> "LlamafileServer":  # noqa: ARG002 - it starts with any
        """The same file, with a process of its own or one shared with engines of the same options."""
        return LlamafileServer(self._file, self._pool)

    def close(self) -> None:
        """Give the process back; it ends if nobody else uses it."""
        self._replace(None)

    def _replace(self, process: ServerProcess | None) -> None:
        """Use PROCESS from here on, and give back the one before; two threads may have got the same one."""
        with self._lock:
            before, self._process = self._process, process
        if before is not None:
            self._pool.release(before)

    def _acquire(self, options: LoadOptions, stop: Stop) -> ServerProcess:
        """The process; it is given back when it comes after a stop."""
        starting = in_background(lambda: self._pool.acquire(self._file, options), "localllm-llamafile")
        try:
            list(poll(lambda seconds: bool(wait_for([starting], seconds).done), stop))
        except BaseException:
            starting.add_done_callback(self._give_back)
            raise
        return starting.result()

    def _give_back(self, starting: "Future[ServerProcess]") -> None:
        if starting.exception() is None:
            self._pool.release(starting.result())


def _connection_to(process: ServerProcess, stop: Stop) -> Connection | None:
    """The connection to PROCESS, once it answers."""
    # Required before and after: another server may have taken the port and answer in its place.
    process.require_running()
    connection = Connection(process.address, process.key)
    try:
        is_ready = connection.ask("GET", "/health", stop=stop, seconds=2.0).status == 200
    except (DaemonNotReachable, StreamBroken):
        is_ready = False
    process.require_running()
    return connection if is_ready and process.address == connection.address else None
