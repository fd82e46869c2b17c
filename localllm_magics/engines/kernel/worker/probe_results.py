"""What probes found, kept from one process to the next."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from localllm_magics.engines.cache_folder import cache_folder
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.machine import cpu_name

_MOST_RESULTS = 1000


class ProbeResults:
    """Whether what was probed passed, by key, in a file.

    Args:
        path: The file; without it, the user's own.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or cache_folder() / "probes.json"

    def __repr__(self) -> str:
        return f"<ProbeResults {self._path}>"

    def get(self, key: str) -> bool | None:
        """Whether KEY passed; None where it was not probed yet."""
        return self._read().get(key)

    def store(self, key: str, *, passed: bool) -> None:
        """Keep the result of KEY; where that is impossible, it is found again next time."""
        newest = [*self._read().items(), (key, passed)][-_MOST_RESULTS:]
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(dict(newest)))

    def clear(self) -> int:
        """Remove all results; the bytes that were freed."""
        try:
            size = self._path.stat().st_size
            self._path.unlink()
        except OSError:
            return 0
        return size

    def _read(self) -> dict[str, bool]:
        try:
            stored = json.loads(self._path.read_text())
        except (OSError, ValueError, RecursionError):
            return {}
        return {key: value is True for key, value in stored.items()} if isinstance(stored, dict) else {}


def key_of(lib: Library, *more: str | int | None) -> str:
    """Names a build on a CPU, and MORE: the files of the build's folder, and the CPU's features."""
    path = lib.path
    files = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in path.parent.iterdir())
    return hashlib.sha256(repr((str(path), files, cpu_name(), *more)).encode()).hexdigest()
