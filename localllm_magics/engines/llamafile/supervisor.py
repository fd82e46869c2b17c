"""Runs a server that must not outlive the kernel: `python -I -S supervisor.py COMMAND...`.

The kernel may be killed at any moment, and then it tidies nothing up. So it starts this process, and this one starts
the server. There are three cases:

- the kernel ends, or closes the standard input of this process, or asks by a signal: the server is stopped;
- the server ends: so does this process;
- this process is killed: Linux kills the server.

It writes `started PID` and `exited STATUS`, a line each, to the standard output; its standard error is the server's
log. It is one file of the standard library only, with one thread, so that it starts at once and may fork.
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

_PATIENCE = 3.0
_MOMENT = 0.5  # for the system to collect those that were killed
_TICK = 1.0
_LARGEST_LOG = 1 << 26
_PR_SET_PDEATHSIG = 1
_STDIN, _STDERR = 0, 2


def main(command: Sequence[str]) -> None:
    """Run COMMAND until it ends or nobody wants it any more."""
    parent = os.getppid()
    wishes: list[int] = []
    woken = _wake_on_signals(wishes)
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
        _tell("exited 126")
        return
    _tell(f"started {server.pid}")
    # Not the end of the standard input alone: a process that the kernel forked may hold its other end open.
    while server.poll() is None and not wishes and os.getppid() == parent:
        ready, _, _ = select.select([_STDIN, woken], [], [], _TICK)
        if woken in ready:
            os.read(woken, 512)
        if _STDIN in ready and not os.read(_STDIN, 512):
            break
        _keep_log_small()
    _end(server)
    _tell(f"exited {server.returncode}")


def _wake_on_signals(wishes: list[int]) -> int:
    """Return what can be read from once a signal came; those that ask for the end are put into WISHES."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: wishes.append(number))
    return woken


def _die_with_parent() -> Callable[[], None]:
    """What the server does before it becomes the server, so that Linux kills it when this process dies."""
    if sys.platform != "linux":
        return lambda: None
    libc, supervisor = ctypes.CDLL(None), os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:  # it died before the question
            os._exit(1)

    return ask


def _keep_log_small() -> None:
    """Begin the log anew when it is long; it is open for appending, so the server goes on at its start."""
    if os.fstat(_STDERR).st_size > _LARGEST_LOG:
        os.ftruncate(_STDERR, 0)


def _end(server: "subprocess.Popen[bytes]") -> None:
    """Stop the server and all that it started, patiently at first."""
    _signal_group(server.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(_PATIENCE)
    late = time.monotonic() + _MOMENT
    while _signal_group(server.pid, signal.SIGKILL) and time.monotonic() < late:
        server.poll()
        time.sleep(0.01)
    server.wait()


def _signal_group(leader: int, number: int) -> bool:
    """Whether anybody was there to get the signal; macOS forbids to signal a group of the dead."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _tell(line: str) -> None:
    """Tell the kernel, if it is still there."""
    with contextlib.suppress(OSError):
        os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1:])
