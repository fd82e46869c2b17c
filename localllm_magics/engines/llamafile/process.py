"""A llamafile that runs as a server, and never outlives this process."""

import contextlib
import os
import re
import secrets
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from localllm_magics.core.address import Address
from localllm_magics.core.errors import LoadFailed
from localllm_magics.engines.cache_folder import make_private
from localllm_magics.engines.llamafile.exit_reason import exit_error, is_port_taken
from localllm_magics.engines.llamafile.program import SUPERVISED, command_for, environment_for, is_before_0_10

HOST = "127.0.0.1"
_STARTED = re.compile(rb"^started (\d{1,9})\n")
_EXITED = re.compile(rb"^exited (-?\d{1,9})\n", re.MULTILINE)
_LISTENING = re.compile(rb"listening at http://127\.0\.0\.1:(\d{1,5})\b")
_STOP_SECONDS = 10.0  # the supervisor itself takes up to 4
_REAP_SECONDS = 0.5  # until the system has reaped the killed processes
_LOG_TAIL_BYTES = 1 << 16
_SEARCHED_LINES = 200


def free_port() -> int:
    """A port of this machine that no program listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """A llamafile that was started as a server; all methods may be called from any thread.

    It may take minutes until it answers. Who waits for that calls `require_running` and reads `address` again each
    time, for a server whose port was taken is started once more. It answers only requests with its `key`: web pages
    in a browser on this machine reach its port, too.

    Args:
        arguments: Follow those for host and port.
        log: The file for its output.
        find_port: Returns the port to listen on.
        stop_seconds: How long the supervisor has to stop it.

    Raises:
        ModelNotFound: Nothing is there.
        LoadFailed: It is not a llamafile, or it cannot be started.
    """

    def __init__(
        self,
        file: Path,
        arguments: Sequence[str],
        log: Path,
        *,
        find_port: Callable[[], int] = free_port,
        stop_seconds: float = _STOP_SECONDS,
    ) -> None:
        self.file = file
        self.log = log
        self.key = secrets.token_urlsafe(24)
        self._command = command_for(file)
        self._arguments = tuple(arguments)
        self._find_port = find_port
        self._stop_seconds = stop_seconds
        self._lock = threading.Lock()
        self._may_restart = True
        self._was_stopped = False
        self._start()

    def __repr__(self) -> str:
        state = "running" if self.is_running else f"exited {self.exit_status}"
        return f"<ServerProcess {self.file.name} at {self.address}, {state}>"

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> Address:
        """Where it listens, or will; an old llamafile may choose another port, which its log names."""
        found = _LISTENING.search(self._read_log(0)) if self._is_old else None
        return Address("http", HOST, int(found[1]) if found else self._port)

    @property
    def is_running(self) -> bool:
        """Whether it has not exited yet."""
        with self._lock:
            return not self._wait_for_exit(0)

    @property
    def exit_status(self) -> int | None:
        """As `Popen.returncode`: None while it runs, and less than 0 for the signal that killed it."""
        with self._lock:
            return self._status() if self._wait_for_exit(0) else None

    def last_lines(self, count: int) -> list[str]:
        """The last lines of its log, without control characters."""
        start = max(0, self.log.stat().st_size - _LOG_TAIL_BYTES) if self.log.exists() else 0
        lines = self._read_log(start).decode("utf-8", "replace").split("\n")
        shown = ("".join(c if c.isprintable() else " " for c in line[:300]).rstrip() for line in lines)
        return [line for line in shown if line][-count:]

    def require_running(self) -> None:
        """Start it again, once, if another program took its port first.

        Raises:
            LoadFailed: It has exited; the message has the reason, as far as its log does.
        """
        with self._lock:
            if not self._wait_for_exit(0):
                return
            if self._was_stopped:
                raise LoadFailed(f"{self.file.name} was stopped.", "Load it again.")
            lines = self.last_lines(_SEARCHED_LINES)
            if not (self._may_restart and is_port_taken(lines)):
                raise exit_error(self.file.name, self._status(), lines)
            self._may_restart = False
            self._end()
            self._start()

    def stop(self) -> None:
        """End it and all processes that it started, and wait until that is done; again is no error."""
        with self._lock:
            self._was_stopped = True
            self._end()

    def _start(self) -> None:
        try:
            make_private(self.log.parent)
            os.close(os.open(self.log, os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600))
            self._is_old = is_before_0_10(self._command, self.log)
            self._start_supervisor()
        except OSError as exc:
            exc.__traceback__ = None  # the frames of `subprocess` hold the key in their local variables
            raise LoadFailed(f"{self.file.name} cannot be started: {exc}.", "`%llm doctor` shows the set-up.") from exc

    def _start_supervisor(self) -> None:
        self._port = self._find_port()
        self._output = b""
        self._has_exited = False
        # Where it can be, the key is in the environment, which other users of this machine cannot read.
        only_old = ["--nobrowser", "--api-key", self.key] if self._is_old else []
        listen = ["--server", "--host", HOST, "--port", str(self._port), *only_old]
        with self.log.open("ab", buffering=0) as log:
            self._supervisor = subprocess.Popen(
                [*SUPERVISED, *self._command, *listen, *self._arguments],
                env=environment_for(self.key),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=True,
            )
        assert self._supervisor.stdin is not None  # noqa: S101 - it is a pipe
        assert self._supervisor.stdout is not None  # noqa: S101 - same
        self._input, self._messages = self._supervisor.stdin, self._supervisor.stdout
        try:
            self.pid = self._wait_for_start()  # the server's own, not its supervisor's
        except BaseException:
            self._end()
            raise

    def _wait_for_start(self) -> int:
        until = time.monotonic() + 30.0
        while b"\n" not in self._output and not self._has_exited and time.monotonic() < until:
            self._read_supervisor(until - time.monotonic())
        started = _STARTED.match(self._output)
        if started is None:
            raise exit_error(self.file.name, self._status(), self.last_lines(_SEARCHED_LINES))
        return int(started[1])

    def _wait_for_exit(self, seconds: float) -> bool:
        """Whether it exits within SECONDS: its supervisor exits right after it."""
        until = time.monotonic() + seconds
        while not self._has_exited and self._read_supervisor(until - time.monotonic()):
            pass
        return self._has_exited

    def _read_supervisor(self, seconds: float) -> bool:
        """Read what the supervisor writes; whether it wrote something, or exited, within SECONDS."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._messages, selectors.EVENT_READ)
            if not selector.select(max(0.0, seconds)):
                return False
        data = os.read(self._messages.fileno(), 512)
        self._output += data
        if not data:
            self._has_exited = True
            self._kill_orphans()
        return True

    def _status(self) -> int:
        """The exit status; a supervisor that was killed took the server with it."""
        exited = _EXITED.search(self._output)
        return int(exited[1]) if exited else -signal.SIGKILL

    def _end(self) -> None:
        """End both processes and close their pipes."""
        with contextlib.suppress(OSError):
            self._input.close()
        if not self._wait_for_exit(self._stop_seconds):
            self._supervisor.kill()
            self._wait_for_exit(self._stop_seconds)
        self._supervisor.wait()
        self._messages.close()
        self._has_exited = True

    def _kill_orphans(self) -> None:
        """Kill the server's process group if its supervisor was killed: Linux kills the server, not its children."""
        started = _STARTED.match(self._output)
        if started is None or _EXITED.search(self._output):
            return
        until = time.monotonic() + _REAP_SECONDS
        with contextlib.suppress(ProcessLookupError, PermissionError):
            while time.monotonic() < until:
                os.killpg(int(started[1]), signal.SIGKILL)
                time.sleep(0.01)

    def _read_log(self, start: int) -> bytes:
        try:
            with self.log.open("rb") as log:
                log.seek(start)
                return log.read(_LOG_TAIL_BYTES)
        except OSError:
            return b""
