"""Processes that tests start, none of which outlives them."""

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


@contextmanager
def started(
    command: Sequence[str], *, cwd: Path | None = None, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """COMMAND in a process of its own, with pipes; afterwards it has ended, and so has all that it started."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=cwd, env=env, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            end([*descendants(process.pid), psutil.Process(process.pid)] if process.poll() is None else [])


def descendants(of: int | None = None, *, since: float = 0.0) -> list[psutil.Process]:
    """What the process OF, by default this one, has started, what that has started, and so on, from SINCE on."""
    with suppress(psutil.NoSuchProcess):
        return [child for child in psutil.Process(of).children(recursive=True) if _runs(child, since)]
    return []


def end(processes: Iterable[psutil.Process]) -> None:
    """End them at once; whoever started them learns it."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def is_gone(pid: int) -> bool:
    """Whether the process has ended, also where nobody collects the dead."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_running(process: psutil.Process, words: str) -> bool:
    """Whether WORDS are in the command that PROCESS was started with."""
    with suppress(psutil.NoSuchProcess):
        return words in " ".join(process.cmdline())
    return False


def _runs(process: psutil.Process, since: float) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.create_time() >= since and not is_gone(process.pid)
    return False
