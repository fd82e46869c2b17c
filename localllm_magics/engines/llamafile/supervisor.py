"""Runs a server that must not outlive the kernel: `python -I -S supervisor.py COMMAND...`.

The kernel may be killed at any moment, without any cleanup. So it starts this process, and this one starts the
server. There are three cases:

- the kernel exits, closes the standard input of this process, or sends it a signal: the server is stopped;
- the server exits: so does this process;
- this process is killed: Linux kills the server.

It writes the lines `started PID` and `exited STATUS` to its standard output; its standard error is the server's log.
It is one file that imports only the standard library, so that it starts fast, and has one thread, so that it may fork.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

_REAP_SECONDS = 0.5  # until the system has reaped the killed processes
_MAX_LOG_BYTES = 1 << 26
_PR_SET_PDEATHSIG = 1
_STDIN, _STDERR = 0, 2


def main(command: Sequence[str]) -> None:
    """Run COMMAND until it exits, the kernel does, or a signal asks to end."""
    parent = os.getppid()
    signals: list[int] = []
    wakeup = _wake_on_signals(signals)
    try:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=_STDERR,
            start_new_session=True,
            preexec_fn=_die_with_parent(),  # noqa: PLW1509 - there is one thread
        )
    except OSError as exc:
        sys.stderr.write(f"{exc}\n")
        _report("exited 126")
        return
    _report(f"started {server.pid}")
    # The end of the standard input is not enough: a process that the kernel forked may hold the pipe open.
    while server.poll() is None and not signals and os.getppid() == parent:
        ready, _, _ = select.select([_STDIN, wakeup], [], [], 1.0)
        if wakeup in ready:
            os.read(wakeup, 512)
        if _STDIN in ready and not os.read(_STDIN, 512):
            break
        if os.fstat(_STDERR).st_size > _MAX_LOG_BYTES:
            os.ftruncate(_STDERR, 0)  # the log is open for appending, so the server goes on at its start
    _terminate(server)
    _report(f"exited {server.returncode}")


def _wake_on_signals(signals: list[int]) -> int:
    """Return a file that is readable once a signal came; those that ask to end are appended to SIGNALS."""
    wakeup, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signals.append(number))
    return wakeup


def _die_with_parent() -> Callable[[], None]:
    """What the child runs before it executes the server, so that Linux kills it when this process dies."""
    if sys.platform != "linux":  # pragma: no cover - tests run on Linux
        return lambda: None
    libc, supervisor = ctypes.CDLL(None), os.getpid()

    def set_death_signal() -> None:  # pragma: no cover - the child executes the server before it could be measured
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:  # it died before the call
            os._exit(1)

    return set_death_signal


def _terminate(server: "subprocess.Popen[bytes]") -> None:
    """Stop the server and all processes that it started: SIGTERM first, then SIGKILL."""
    _signal_group(server.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(3.0)
    until = time.monotonic() + _REAP_SECONDS
    while _signal_group(server.pid, signal.SIGKILL) and time.monotonic() < until:
        server.poll()
        time.sleep(0.01)
    server.wait()


def _signal_group(leader: int, number: int) -> bool:
    """Whether the group has a process to get the signal; macOS forbids to signal a group of zombies."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _report(line: str) -> None:
    """Write LINE to the kernel, if it is still there."""
    with contextlib.suppress(OSError):
        os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1:])
