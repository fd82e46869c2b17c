"""The search for the models of one source: bounded, whatever lies there, and each folder once."""

import os
import re
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from localllm_magics.catalog.header_cache import HeaderCache
from localllm_magics.catalog.inspect import is_first_present_part, model_stem
from localllm_magics.catalog.sources.home import Home
from localllm_magics.core.model_info import ModelInfo, Source
from localllm_magics.core.sanitizer.control import to_printable
from localllm_magics.core.table import to_size
from localllm_magics.engines.file_stamp import read_stamp

MOST_ENTRIES = 50_000
"""How many files and folders of one source are looked at."""
DEEPEST = 8
"""How many folders below each other are looked into."""
_MODEL = re.compile(r"\.(gguf|llamafile)$", re.IGNORECASE)
_UNFINISHED = re.compile(
    r"(?:incomplete-)?(?P<name>.+\.gguf)(?:\.(?:part|partial|incomplete|crdownload|tmp|download(?:ing|InProgress)?))?",
    re.IGNORECASE | re.DOTALL,
)


class Search:
    """What a source searches with.

    Args:
        source: Its name.
        headers: What is known of files.
        home: Whose models are searched for.
    """

    def __init__(self, source: Source, headers: HeaderCache, home: Home, most_entries: int = MOST_ENTRIES) -> None:
        self.source = source
        self.home = home
        self.headers = headers
        self.is_cut = False
        """Whether there is more than was looked at."""
        self.problem = ""
        """Why there is nothing to look at, in a sentence."""
        self.contents: dict[str, set[str]] = {}
        """What is in the folders that were looked into."""
        self.heard = time.monotonic()
        """When the system answered last."""
        self._left = most_entries
        self._seen: set[tuple[int, int] | None] = {None}  # those that cannot be read

    def below(self, folder: Path) -> list[Path]:
        """The folders in FOLDER, by name; hidden ones are not."""
        return self._read(folder)[0]

    def folders(self, folder: Path, depth: int = 0) -> Iterator[tuple[Path, list[str]]]:
        """FOLDER and those below it down to DEPTH, each once, with the names of the other things in it."""
        if (identity := _identity(folder)) in self._seen:
            return
        self._seen.add(identity)
        below, names = self._read(folder)
        yield folder, names
        for path in below if depth else ():
            yield from self.folders(path, depth - 1)

    def models(self, folder: Path, to_reference: Callable[[Path], str], depth: int = 0) -> Iterator[ModelInfo]:
        """The models in FOLDER and those below it down to DEPTH, half-downloaded ones too."""
        for path, names in self.folders(folder, depth):
            for name in names:
                yield from self.model(path / name, to_reference)

    def model(self, path: Path, to_reference: Callable[[Path], str]) -> Iterator[ModelInfo]:
        """The model that a file is, or will be when its download has ended; nothing where it is none."""
        finished = _when_finished(path)
        if finished != path:
            if read_stamp(finished) is None:
                yield self.unfinished(path, to_reference(finished))
            return
        if _MODEL.search(path.name) and is_first_present_part(path):
            yield self.inspect(path, to_reference(path))

    def inspect(self, path: Path, reference: str) -> ModelInfo:
        """The description of a file, which may be a problem."""
        info = self.headers.inspect(path, reference=to_printable(reference), source=self.source)
        self.heard = time.monotonic()
        return info

    def unfinished(self, path: Path, reference: str) -> ModelInfo:
        """A file whose download has not ended."""
        stamp = read_stamp(path)
        so_far = f": {to_size(stamp.size_bytes)} so far" if stamp else ""
        name = to_printable(reference)
        return ModelInfo(
            reference=name,
            name=model_stem(Path(reference)),
            source=self.source,
            path=path,
            size_bytes=stamp.size_bytes if stamp else None,
            problem=f"{name} is not downloaded completely{so_far}.",
            files=(stamp,) if stamp else (),
        )

    def _read(self, folder: Path) -> tuple[list[Path], list[str]]:
        """The folders in FOLDER, and the names of what else is in it; nothing once enough was looked at."""
        try:
            with os.scandir(folder) as found:
                entries = list(islice(found, self._left + 1))
        except (OSError, ValueError):
            return [], []
        self.heard = time.monotonic()
        if len(entries) > self._left:
            self.is_cut = True
        else:
            self.contents[str(folder)] = {entry.name for entry in entries}
        entries = entries[: self._left]
        self._left -= len(entries)
        below, names = [], []
        for entry in sorted(entries, key=lambda entry: (entry.name.casefold(), entry.name)):
            if not entry.name.startswith("."):
                below.append(folder / entry.name) if _is_folder(entry) else names.append(entry.name)
        return below, names


def is_unfinished(path: Path) -> bool:
    """Whether a file has the name of one whose download has not ended, whatever its size."""
    return _when_finished(path) != path


def _when_finished(path: Path) -> Path:
    """What the file at PATH will be called when its download has ended."""
    name = _UNFINISHED.fullmatch(path.name)
    return path.with_name(name["name"]) if name else path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, for one
        return False


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
