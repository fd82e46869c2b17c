"""A llamafile as the server of an engine: started at first use, and shared by all who use it alike."""

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from localllm_magics.core.errors import DaemonNotReachable, LoadFailed
from localllm_magics.core.events import Event, Loading
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.daemon.address import Address
from localllm_magics.engines.daemon.connection import Connection, Cut
from localllm_magics.engines.llamafile.process import ServerProcess
from localllm_magics.engines.llamafile.running import Running, running

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

    def connect(self, options: LoadOptions, stop: Stop) -> Generator[Event, None, Connection]:
        """Start it if need be, and wait until it answers."""
        yield Loading(0.0)
        if self._process is None or not self._process.is_running:
            self.close()
            self._process = self._acquire(options, stop)
        waited = 0.0
        # Looked at before and after: another server may have taken the port and answer in its place.
        self._process.require_running()
        while not _answers(connection := Connection(Address.from_text(self._process.address)), stop):
            self._process.require_running()
            if stop.wait(_POLL_SECONDS):
                raise Cut
            waited += _POLL_SECONDS
            if waited > _MOST_LOAD_SECONDS:
                raise LoadFailed(f"{self._file.name} still loads its model.", f"Its log is {self._process.log}")
        self._process.require_running()
        yield Loading(1.0)
        return connection

    def close(self) -> None:
        """Give the process back; it ends if nobody else uses it."""
        process, self._process = self._process, None
        if process is not None:
            self._processes.release(process)

    def _acquire(self, options: LoadOptions, stop: Stop) -> ServerProcess:
        """The process; it is given back when it comes after a stop."""
        executor = ThreadPoolExecutor(1, "localllm-llamafile")
        starting = executor.submit(self._processes.acquire, self._file, options)
        executor.shutdown(wait=False)
        try:
            while not (starting.done() or stop.wait(_POLL_SECONDS / 2)):
                pass
        except BaseException:
            starting.add_done_callback(self._give_back)
            raise
        if not starting.done():
            starting.add_done_callback(self._give_back)
            raise Cut
        return starting.result()

    def _give_back(self, starting: "Future[ServerProcess]") -> None:
        if starting.exception() is None:
            self._processes.release(starting.result())


def _answers(connection: Connection, stop: Stop) -> bool:
    try:
        return connection.ask("GET", "/health", stop=stop, seconds=2.0).status == 200
    except DaemonNotReachable:
        return False
