"""What probes found, kept from one process to the next."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from localllm_magics.engines.cache_folder import cache_folder, read_json, remove_file, write_private
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.machine import cpu_name

_MOST_RESULTS = 1000
_MOST_BYTES = 1 << 20


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
        with suppress(OSError):
            kept = [item for item in self._read().items() if _has_subject(item[0])]
            write_private(self._path, json.dumps(dict([*kept, (key, passed)][-_MOST_RESULTS:])).encode())

    def clear(self) -> int:
        """Remove all results; the bytes that were freed."""
        return remove_file(self._path)

    def _read(self) -> dict[str, bool]:
        stored = read_json(self._path, _MOST_BYTES)
        return {key: value is True for key, value in stored.items()} if isinstance(stored, dict) else {}


def key_of(lib: Library, *more: str | int | None, subject: Path | None = None) -> str:
    """Names a build on a CPU, and MORE: the files of the build's folder, and the CPU's features.

    The result of a SUBJECT, a file, is forgotten when that is gone.
    """
    path = lib.path
    files = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in path.parent.iterdir())
    digest = hashlib.sha256(repr((str(path), files, cpu_name(), *more)).encode()).hexdigest()
    return digest if subject is None else f"{digest} {os.fsencode(subject).hex()}"


def _has_subject(key: str) -> bool:
    subject = key.partition(" ")[2]
    with suppress(ValueError):
        return not subject or os.path.lexists(bytes.fromhex(subject))
    return False
