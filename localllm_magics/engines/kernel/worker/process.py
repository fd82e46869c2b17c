"""A subprocess for what may crash, within limits of time and memory; a probe reports that it passed."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from localllm_magics.core.stop import Stop, poll
from localllm_magics.engines.kernel.machine import private_memory

Exceeded: TypeAlias = Literal["time", "memory", "output"]
_LAST_WORDS = 10_000
_PASSED = '{"event": "passed"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a subprocess may take; None is no limit.

    Args:
        memory_bytes: Memory of its own, without the pages of mapped files.
        output_bytes: Of its standard output, and of its standard error.
    """

    seconds: float | None = None
    memory_bytes: int | None = None
    output_bytes: int = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a subprocess ended.

    Args:
        code: Its exit status, or the negative number of a signal.
        exceeded: The limit for which it was killed.
        stdout: The last that it wrote there.
        stderr: The last that it wrote there.
    """

    code: int
    exceeded: Exceeded | None = None
    stdout: str = ""
    stderr: str = ""

    @property
    def is_success(self) -> bool:
        """Whether nothing went wrong."""
        return self.code == 0 and self.exceeded is None

    @property
    def is_crash(self) -> bool:
        """Whether a signal or a limit ended it; any other status is an error of Python's."""
        # On Windows a signal is an exception, with a large number.
        return self.exceeded is not None or self.code < 0 or self.code > 255


def run_probe(command: Sequence[str], stop: Stop, limits: Limits) -> Exit | None:
    """Run a probe: it passed, or it crashed, or there is no result, because it could not be run to its end.

    Raises:
        Stopped: STOP was set.
    """
    try:
        end = run_in_subprocess(command, stop, limits)
    except OSError:
        return None
    return end if end.is_crash or (end.is_success and _PASSED in end.stdout.splitlines()) else None


def run_in_subprocess(command: Sequence[str], stop: Stop, limits: Limits = Limits()) -> Exit:
    """Run COMMAND to its end; whatever happens meanwhile, the process is killed and reaped.

    The process gets this one's `sys.path`, no interrupt of this one's terminal, and the end of its standard input when
    this one dies.

    Raises:
        OSError: It cannot be started.
        Stopped: STOP was set.
    """
    # Files and no pipes: nobody has to read them while the process writes, or to wait for who else holds them open.
    with tempfile.TemporaryDirectory(prefix="localllm-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        with _start(command, folder) as process:
            try:
                exceeded = _wait(process, folder, stop, limits)
            finally:
                process.kill()
        stdout, stderr = (_last_words(folder / name) for name in ("stdout", "stderr"))
        return Exit(code=process.returncode, exceeded=exceeded, stdout=stdout, stderr=stderr)


def begin_worker() -> None:
    """Make this process one that may crash: without a core dump of gigabytes, and ended when its parent is gone."""
    if sys.platform != "win32":  # pragma: no branch - Windows has no core dumps
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def end_with_parent() -> None:  # pragma: no cover - it ends with the process, and so does its measuring
        while os.read(0, 1):  # and not sys.stdin, whose lock would be held when this process ends
            pass
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def report_pass() -> None:
    """Report, from inside a probe, that it passed."""
    sys.stdout.write(f"{_PASSED}\n")


def _start(command: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    # Python's -m puts the working folder first, where a user's own random.py may lie: here it is an empty one.
    paths = [str(Path(path).resolve()) for path in (*filter(None, sys.path), ".")]
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
        )


def _wait(process: subprocess.Popen[bytes], folder: Path, stop: Stop, limits: Limits) -> Exceeded | None:
    """Wait for the end of PROCESS, and kill it where it exceeds LIMITS."""
    exceeded: Exceeded | None = None
    for seconds in poll(lambda step: _has_ended(process, step), stop):
        exceeded = exceeded or _exceeded(process.pid, seconds, folder, limits)
        if exceeded:
            process.kill()
    return exceeded


def _has_ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.returncode is not None


def _exceeded(process: int, seconds: float, folder: Path, limits: Limits) -> Exceeded | None:
    if limits.seconds is not None and seconds > limits.seconds:
        return "time"
    # Looked at from here: RLIMIT_AS counts mapped model files, RLIMIT_DATA what was reserved and never used, as
    # CUDA does; both make an allocation fail somewhere in llama.cpp, and neither is there on every system.
    if limits.memory_bytes is not None and private_memory(process) > limits.memory_bytes:
        return "memory"
    if any((folder / name).stat().st_size > limits.output_bytes for name in ("stdout", "stderr")):
        return "output"
    return None


def _last_words(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_WORDS))
        return file.read(_LAST_WORDS).decode("utf-8", "replace")
