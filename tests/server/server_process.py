"""A server in a process of its own, on a free port of 127.0.0.1."""

import http.client
import json
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
from typing_extensions import Self

from tests.server.waiting import PATIENCE, wait_until

_GRACE = 10.0
"""Seconds that a server gets to end by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An answer, read whole."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - what a server answers may be anything
        """The body, parsed."""
        return json.loads(self.body)


def fetch(port: int, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Fetched:
    """Ask the server on PORT of 127.0.0.1; BODY goes as JSON.

    Raises:
        OSError: There is no such server, or it went away.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, None if body is None else json.dumps(body).encode(), dict(headers or {}))
        response = connection.getresponse()
        return Fetched(status=response.status, body=response.read())
    except http.client.HTTPException as exc:
        raise ConnectionResetError(str(exc)) from exc
    finally:
        connection.close()


class ServerDied(Exception):
    """The process ended by itself; the message is all that it printed."""


class ServerProcess(ABC):
    """Started and ready inside `with`; its port stays the same when it is started again."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: psutil.Popen | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end of `with`

    @property
    def address(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All that it printed."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._log.close()

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers as it should; an OSError means no."""

    def start(self) -> None:
        """Start the process, and do not wait for its answers."""
        self._process = psutil.Popen(self.command(), stdout=self._log, stderr=subprocess.STDOUT)

    def wait_until_ready(self) -> None:
        """Wait for the first good answer."""
        wait_until(self._looks_ready, f"{self.address} ready")

    def stop(self) -> None:
        """End it as a service manager would: politely first."""
        self._end(by_force=False)

    def kill(self) -> None:
        """End it and its children at once, as the system does when memory is short."""
        self._end(by_force=True)

    def restart(self) -> None:
        """Start it again on the same port, and wait until it is ready."""
        self.stop()
        self.start()
        self.wait_until_ready()

    def _looks_ready(self) -> bool:
        if not self.is_running:
            raise ServerDied(self.log)
        try:
            return self.is_ready()
        except OSError:
            return False

    def _end(self, *, by_force: bool) -> None:
        if self._process is None:
            return
        family = [self._process, *_children(self._process)]
        with suppress(psutil.NoSuchProcess):
            self._process.kill() if by_force else self._process.terminate()
        _, left = psutil.wait_procs(family, timeout=0 if by_force else _GRACE)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        self._process = None


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
