"""The server processes of llamafiles, one for each file and options, and their logs."""

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from localllm_magics.core.fork import new_lock, repair_after_fork
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.cache_folder import cache_folder
from localllm_magics.engines.llamafile.process import ServerProcess
from localllm_magics.engines.llamafile.program import arguments_for

MAX_LOGS = 20


@dataclass(slots=True)
class _Pooled:
    process: ServerProcess
    users: int = 0


class ProcessPool:
    """Counts the users of each process, whose log is in LOGS; all methods may be called from any thread."""

    def __init__(self, logs: Path | None = None) -> None:
        self._logs = logs
        self._lock = new_lock()
        self._pooled: dict[tuple[str, LoadOptions], _Pooled] = {}
        repair_after_fork(self)

    def after_fork(self) -> None:
        """Leave the processes to the one that was forked."""
        self._pooled = {}

    def acquire(self, file: Path, options: LoadOptions) -> ServerProcess:
        """Return the process that runs FILE with OPTIONS, started now if there is none; `release` gives it back.

        Raises:
            ModelNotFound: Nothing is there.
            LoadFailed: It is not a llamafile, or it cannot be started.
        """
        key = (os.path.realpath(file), options)
        with self._lock:
            pooled = self._pooled.get(key)
            if pooled is None or not pooled.process.is_running:
                log = new_log(self._logs or default_logs(), file)
                exited, pooled = pooled, _Pooled(ServerProcess(file, arguments_for(options), log))
                self._pooled[key] = pooled
                if exited is not None:
                    exited.process.stop()
            pooled.users += 1
            return pooled.process

    def release(self, process: ServerProcess) -> None:
        """Give PROCESS back; the last one to do so ends it."""
        with self._lock:
            key = next((key for key, pooled in self._pooled.items() if pooled.process is process), None)
            if key is None:  # it was replaced, or is that of the process that was forked
                return
            self._pooled[key].users -= 1
            if self._pooled[key].users:
                return
            del self._pooled[key]
        process.stop()


shared_pool = ProcessPool()
"""That of this Python process."""


def default_logs() -> Path:
    """The folder of this user's logs."""
    return cache_folder() / "logs"


def new_log(folder: Path, file: Path) -> Path:
    """The path of a new log of FILE in FOLDER; old logs there are removed."""
    with contextlib.suppress(OSError):
        logs = sorted(folder.glob("*.log"), key=lambda log: log.lstat().st_mtime)
        for log in logs[: max(0, len(logs) - MAX_LOGS + 1)]:
            log.unlink()
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", file.stem)[:60]
    return folder / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns() % 10**9}.log"


def clean_logs(folder: Path | None = None) -> int:
    """Remove all logs; returns the freed bytes."""
    freed = 0
    with contextlib.suppress(OSError):
        for log in (folder or default_logs()).glob("*.log"):
            size = log.lstat().st_size
            log.unlink()
            freed += size
    return freed
