"""A subprocess for what may crash: it reports JSON lines on its standard output, within limits of time and memory."""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Literal, TypeAlias

from localllm_magics.core.stop import Stop, poll
from localllm_magics.engines.kernel.machine import private_memory

Record: TypeAlias = Mapping[str, object]
MEMORY_HINT = "Close what needs much of it, or choose a smaller model: %llm models"
_LONGEST_LINE = 1 << 20
_LAST_WORDS = 10_000
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}  # numpy reserves memory for each, and a worker computes nothing with it


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
        stderr: The last that it wrote there.
    """

    code: int
    exceeded: Literal["time", "memory", "output"] | None = None
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

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether it was killed for that; only the system kills one that has exceeded no limit of ours."""
        return self.exceeded == "memory" or (self.code == -9 and self.exceeded is None)

    @property
    def reason(self) -> str:
        """The last line that it wrote, without the folders of the machine that built the library."""
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        line = re.sub(r"^\S*[/\\]", "", lines[-1].strip()) if lines else ""
        return "".join(character for character in line if character.isprintable())[:200]


class Subprocess:
    """A running subprocess, from `run_in_subprocess`."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, stop: Stop, limits: Limits) -> None:
        self._process = process
        self._folder = folder
        self._stop = stop
        self._limits = limits
        self.exit: Exit | None = None
        """How it ended, once `records` has."""

    def __repr__(self) -> str:
        return f"<Subprocess {self._process.pid} {self.exit or 'running'}>"

    def records(self) -> Iterator[Record]:
        """The JSON objects that it writes, one a line, as they come, until it ends; other lines are skipped.

        Raises:
            Stopped: The stop was set.
        """
        exceeded: Literal["time", "memory", "output"] | None = None
        with (self._folder / "stdout").open("rb") as stdout:
            for seconds in poll(self._wait, self._stop):
                exceeded = exceeded or self._exceeded(seconds)
                if exceeded:
                    self._process.kill()
                yield from _read_records(stdout, self._limits.output_bytes)
            yield from _read_records(stdout, self._limits.output_bytes)
        self.exit = Exit(code=self._process.returncode, exceeded=exceeded, stderr=self._last_words())

    def _wait(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _exceeded(self, seconds: float) -> Literal["time", "memory", "output"] | None:
        limits = self._limits
        if limits.seconds is not None and seconds > limits.seconds:
            return "time"
        # Looked at from here: RLIMIT_AS counts mapped model files, RLIMIT_DATA what was reserved and never used, as
        # CUDA does; both make an allocation fail somewhere in llama.cpp, and neither is there on every system.
        if limits.memory_bytes is not None and private_memory(self._process.pid) > limits.memory_bytes:
            return "memory"
        if any((self._folder / name).stat().st_size > limits.output_bytes for name in ("stdout", "stderr")):
            return "output"
        return None

    def _last_words(self) -> str:
        with (self._folder / "stderr").open("rb") as stderr:
            stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - _LAST_WORDS))
            return stderr.read(_LAST_WORDS).decode("utf-8", "replace")


@contextmanager
def run_in_subprocess(command: Sequence[str], stop: Stop, limits: Limits = Limits()) -> Iterator[Subprocess]:
    """Run COMMAND while the block runs; at its end, however it comes, the process is killed and reaped.

    The process gets this one's `sys.path`, no interrupt of this one's terminal, and the end of its standard input when
    this one dies.

    Raises:
        OSError: It cannot be started.
    """
    # Python's -m puts the working folder first, where a user's own random.py may lie: here it is an empty one.
    paths = list(map(_absolute, (*filter(None, sys.path), ".")))
    # Files and no pipes: nobody has to read them while the process writes, or to wait for who else holds them open.
    with tempfile.TemporaryDirectory(prefix="localllm-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                cwd=folder,
                env={**os.environ, **_ONE_THREAD, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,
            )
        with process:
            try:
                _offer_to_end(process.pid)
                yield Subprocess(process, folder, stop, limits)
            finally:
                process.kill()


def _offer_to_end(process: int) -> None:
    """Where memory runs out, let the system end PROCESS, and not this one, which shares its limits."""
    with suppress(OSError):
        Path(f"/proc/{process}/oom_score_adj").write_text("1000")


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)  # noqa: PTH100 - what Path has for that follows links
    except OSError:  # the working folder was deleted
        return path


def run_probe(command: Sequence[str], stop: Stop, limits: Limits) -> Exit | None:
    """Run a probe, which reports `{"event": "passed"}`; None where there is no result, for it could not be run.

    Raises:
        Stopped: STOP was set.
    """
    try:
        with run_in_subprocess(command, stop, limits) as process:
            has_passed = {"event": "passed"} in list(process.records())
    except OSError:
        return None
    end = process.exit
    return end if end is not None and (end.is_crash or (end.is_success and has_passed)) else None


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


def report(**record: object) -> None:
    """Write RECORD to the standard output, for `Subprocess.records`."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def _read_records(file: BufferedReader, most: int) -> Iterator[Record]:
    """The records in the whole lines that FILE has by now; what begins another line is left for later.

    After MOST bytes it ends, for a process can write faster than its lines are read.
    """
    size = min(os.fstat(file.fileno()).st_size, most)
    while file.tell() < size:
        start, line = file.tell(), file.readline(_LONGEST_LINE)
        if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
            file.seek(start)
            return
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record
