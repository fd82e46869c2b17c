"""llama-server on a free port of this machine, with one slot whose answers never end by themselves."""

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

CONTEXT = 2048
_PROGRAM = Path(sys.executable).with_name("llama-server")
_SECONDS = 120
_LOOK, _POLL = 0.05, 0.002


class ServerFailed(Exception):
    """There is no llama-server, or it died; the message says which."""


class LlamaServer:
    """A server with the model at PATH; a context manager that ends it.

    Args:
        path: A GGUF file.
        arguments: More of its options.
    """

    def __init__(self, path: Path, *arguments: str) -> None:
        if not _PROGRAM.exists():
            raise ServerFailed(f"there is no {_PROGRAM}. Type: make bench")
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        place = ["--host", "127.0.0.1", "--port", str(port), "--offline"]
        # Without --cache-ram 0 each new prompt has the state of the one before copied away.
        kept = ["-np", "1", "-c", str(CONTEXT), "--ignore-eos", "--cache-ram", "0"]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        self._process = subprocess.Popen(
            [_PROGRAM, "-m", path, *place, *kept, *arguments], stdout=self._log, stderr=subprocess.STDOUT
        )

    def __enter__(self) -> "LlamaServer":
        try:
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def free_at(self) -> float:
        """Wait until its slot is free; when that was, on this process's clock."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=_SECONDS)
        deadline = time.perf_counter() + _SECONDS
        try:
            while _is_busy(connection):
                if time.perf_counter() > deadline:
                    raise ServerFailed(f"its slot is busy after {_SECONDS} seconds")
                time.sleep(_POLL)
            return time.perf_counter()
        finally:
            connection.close()

    def _wait_until_ready(self) -> None:
        deadline = time.perf_counter() + _SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.perf_counter() > deadline:
                self._log.seek(0)
                raise ServerFailed(f"llama-server did not start: {self._log.read()[-500:].decode(errors='replace')}")
            time.sleep(_LOOK)

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=_SECONDS)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()


def _is_busy(connection: http.client.HTTPConnection) -> bool:
    connection.request("GET", "/slots")
    return any(slot["is_processing"] for slot in json.loads(connection.getresponse().read()))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
