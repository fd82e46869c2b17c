"""A llamafile that runs as a server, and ends with this process whatever happens to either."""

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
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from localllm_magics.core.errors import LoadFailed
from localllm_magics.engines.llamafile.exit_reason import is_port_taken, why_it_ended
from localllm_magics.engines.llamafile.program import SUPERVISED, command_for, is_of_old_generation

HOST = "127.0.0.1"
_KEY_VARIABLE = "LLAMA_API_KEY"
_STARTED = re.compile(rb"^started (\d{1,9})\n")
_EXITED = re.compile(rb"^exited (-?\d{1,9})\n", re.MULTILINE)
_LISTENING = re.compile(rb"listening at (http://127\.0\.0\.1:\d{1,5})\b")
_PATIENCE = 10.0  # the supervisor itself takes up to 4 seconds
_MOMENT = 0.5  # for the system to collect those that were killed
_START = 30.0
_TAIL = 1 << 16
_READ = 200
_LONGEST_LINE = 300


class ServerProcess:
    """A llamafile that was started; all methods may be called from any thread.

    It may take minutes until it answers. Whoever waits for that calls `require_running` and reads `address` again
    each time, for a server whose port was taken is started once more. It answers only those who have `key`: pages in
    a browser on this machine reach its port, too.
    """

    def __init__(self, file: Path, arguments: Sequence[str], log: Path) -> None:
        self.file = file
        self.log = log
        self.key = secrets.token_urlsafe(24)
        self._command = command_for(file)
        self._arguments = tuple(arguments)
        self._lock = threading.Lock()
        self._may_retry = True
        self._was_stopped = False
        log.parent.mkdir(parents=True, exist_ok=True)
        self._is_old = is_of_old_generation(self._command, log)
        self._launch()

    @classmethod
    def start(cls, file: Path, arguments: Sequence[str], log: Path) -> "ServerProcess":
        """Start FILE as a server on a free port of this machine; LOG gets what it writes.

        Raises:
            ModelNotFound: Nothing is there.
            LoadFailed: It is no llamafile, or it cannot be started.
        """
        try:
            return cls(file, arguments, log)
        except OSError as exc:
            raise LoadFailed(f"{file.name} cannot be started: {exc}.", "`%llm doctor` shows the set-up.") from exc

    def __repr__(self) -> str:
        state = "running" if self.is_running else f"exited {self.exit_status}"
        return f"<ServerProcess {self.file.name} at {self.address}, {state}>"

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """Where it answers, or will; an old llamafile may choose another port and tell so."""
        told = _LISTENING.search(self._read_log(0)) if self._is_old else None
        return told[1].decode() if told else f"http://{HOST}:{self._port}"

    @property
    def pid(self) -> int:
        """The server's own, not that of what watches over it."""
        return self._pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        with self._lock:
            return not self._has_ended(0)

    @property
    def exit_status(self) -> int | None:
        """As `Popen.returncode`: None while it runs, and less than 0 for the signal that killed it."""
        with self._lock:
            return self._status() if self._has_ended(0) else None

    def last_lines(self, count: int) -> list[str]:
        """The last lines of its log, made fit to be shown."""
        start = max(0, self.log.stat().st_size - _TAIL) if self.log.exists() else 0
        lines = self._read_log(start).decode("utf-8", "replace").split("\n")
        shown = ("".join(c if c.isprintable() else " " for c in line[:_LONGEST_LINE]).rstrip() for line in lines)
        return [line for line in shown if line][-count:]

    def require_running(self) -> None:
        """Start it again, once, if another program took its port first.

        Raises:
            LoadFailed: It has ended; the message tells why, as far as its log does.
        """
        with self._lock:
            if not self._has_ended(0):
                return
            if self._was_stopped:
                raise LoadFailed(f"{self.file.name} was stopped.", "Load it again.")
            lines = self.last_lines(_READ)
            if not (self._may_retry and is_port_taken(lines)):
                raise why_it_ended(self.file.name, self._status(), lines)
            self._may_retry = False
            self._clean_up()
            self._launch()

    def stop(self) -> None:
        """End it and all that it started, and wait until that is done; again is no error."""
        with self._lock:
            self._was_stopped = True
            self._clean_up()

    def _launch(self) -> None:
        self._port = _free_port()
        self._said = b""
        self._is_over = False
        # Where it can be, the key is in the environment, which other users of this machine cannot read.
        only_old = ["--nobrowser", "--api-key", self.key] if self._is_old else []
        place = ["--server", "--host", HOST, "--port", str(self._port), *only_old]
        with self.log.open("ab", buffering=0) as log:
            self._supervisor = subprocess.Popen(
                [*SUPERVISED, *self._command, *place, *self._arguments],
                env={**os.environ, _KEY_VARIABLE: self.key},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=True,
            )
        try:
            self._pid = self._wait_for_start()
        except BaseException:
            self._clean_up()
            raise

    def _wait_for_start(self) -> int:
        until = time.monotonic() + _START
        while b"\n" not in self._said and not self._is_over and time.monotonic() < until:
            self._listen(until - time.monotonic())
        started = _STARTED.match(self._said)
        if started is None:
            raise why_it_ended(self.file.name, self._status(), self.last_lines(_READ))
        return int(started[1])

    def _has_ended(self, seconds: float) -> bool:
        """Whether it has, after at most SECONDS; what watches over it ends after it, and right away."""
        until = time.monotonic() + seconds
        while not self._is_over and self._listen(until - time.monotonic()):
            pass
        return self._is_over

    def _listen(self, seconds: float) -> bool:
        """Take in what the supervisor says; whether it said something, or ended, within SECONDS."""
        pipe = self._supervisor.stdout
        if pipe is None or pipe.closed:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            if not selector.select(max(0.0, seconds)):
                return False
        data = os.read(pipe.fileno(), 512)
        self._said += data
        if not data:
            self._is_over = True
            self._kill_what_is_left()
        return True

    def _status(self) -> int:
        """How it ended; a supervisor that was killed took it along."""
        exited = _EXITED.search(self._said)
        return int(exited[1]) if exited else -signal.SIGKILL

    def _clean_up(self) -> None:
        """End it, and close what was open for it."""
        supervisor = self._supervisor
        if supervisor.stdin is not None:
            with contextlib.suppress(OSError):
                supervisor.stdin.close()
        if not self._has_ended(_PATIENCE):
            supervisor.kill()
            self._has_ended(_PATIENCE)
        supervisor.wait()
        if supervisor.stdout is not None:
            supervisor.stdout.close()

    def _kill_what_is_left(self) -> None:
        """Kill the server's group if its supervisor ended without a word: only Linux kills the server, not its kin."""
        started = _STARTED.match(self._said)
        if started is None or _EXITED.search(self._said):
            return
        until = time.monotonic() + _MOMENT
        with contextlib.suppress(ProcessLookupError, PermissionError):
            while time.monotonic() < until:
                os.killpg(int(started[1]), signal.SIGKILL)
                time.sleep(0.01)

    def _read_log(self, start: int) -> bytes:
        try:
            with self.log.open("rb") as log:
                log.seek(start)
                return log.read(_TAIL)
        except OSError:
            return b""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
