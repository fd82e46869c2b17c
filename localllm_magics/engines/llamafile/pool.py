"""The llamafiles that this process runs, one for each file and settings, and their logs."""

import contextlib
import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.cache_folder import cache_folder
from localllm_magics.engines.llamafile.process import ServerProcess
from localllm_magics.engines.llamafile.program import arguments_for

KEPT_LOGS = 20


@dataclass(slots=True)
class _Shared:
    process: ServerProcess
    users: int


class Running:
    """Counts who uses which process; all methods may be called from any thread.

    Args:
        logs: The folder of the logs; without it, the user's own.
    """

    def __init__(self, logs: Path | None = None) -> None:
        self._logs = logs
        self._lock = threading.Lock()
        self._shared: dict[tuple[str, LoadOptions], _Shared] = {}

    def acquire(self, file: Path, options: LoadOptions) -> ServerProcess:
        """Return the process that runs FILE with OPTIONS, started now if there is none; `release` gives it back.

        Raises:
            ModelNotFound: Nothing is there.
            LoadFailed: It is no llamafile, or it cannot be started.
        """
        key = (os.path.realpath(file), options)
        with self._lock:
            shared = self._shared.get(key)
            if shared is None or not shared.process.is_running:
                log = new_log(self._logs or default_logs(), file)
                shared = _Shared(process=ServerProcess.start(file, arguments_for(options), log), users=0)
                self._replace(key, shared)
            shared.users += 1
            return shared.process

    def release(self, process: ServerProcess) -> None:
        """Give PROCESS back; the last one to do so ends it."""
        with self._lock:
            key, shared = next(
                ((key, shared) for key, shared in self._shared.items() if shared.process is process), (None, None)
            )
            if key is not None and shared is not None:
                shared.users -= 1
                if shared.users > 0:
                    return
                del self._shared[key]
        process.stop()

    def _replace(self, key: tuple[str, LoadOptions], shared: _Shared) -> None:
        """Put SHARED in the place of a process that has ended."""
        ended = self._shared.pop(key, None)
        self._shared[key] = shared
        if ended is not None:
            ended.process.stop()


running = Running()
"""Those of this process."""


def default_logs() -> Path:
    """The folder of this user's logs."""
    return cache_folder() / "logs"


def new_log(folder: Path, file: Path) -> Path:
    """A name for the log of FILE in FOLDER, from which old logs are removed."""
    with contextlib.suppress(OSError):
        logs = sorted(folder.glob("*.log"), key=lambda log: log.lstat().st_mtime)
        for log in logs[: max(0, len(logs) - KEPT_LOGS + 1)]:
            log.unlink()
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", file.stem)[:60]
    return folder / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns() % 10**9}.log"


def clean_logs(folder: Path | None = None) -> int:
    """Remove all logs; the bytes that were freed."""
    freed = 0
    with contextlib.suppress(OSError):
        for log in (folder or default_logs()).glob("*.log"):
            size = log.lstat().st_size
            log.unlink()
            freed += size
    return freed
