"""What the headers of files say, kept for as long as the files stay as they are, also for the next kernel.

The stored file is untrusted like any other: what is not right in it is read anew from the models. Two kernels may
write it: each puts a whole file in the place of the other's, with what that had found.
"""

import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import get_args

from localllm_magics.catalog.inspect import describe_file, model_parts, model_stem, with_problem
from localllm_magics.catalog.shape import shape_from_json, shape_to_json
from localllm_magics.core.errors import BadOption, LoadFailed, LocalLLMError, NotAGGUF, TruncatedFile
from localllm_magics.core.fork import new_lock
from localllm_magics.core.model_info import FileStamp, Kind, ModelDefaults, ModelInfo, Source
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.sanitizer.control import to_printable
from localllm_magics.core.version import __version__
from localllm_magics.engines.cache_folder import cache_folder, open_regular, write_private
from localllm_magics.engines.file_stamp import read_stamp

FORMAT = f"1, localllm-magics {__version__}"
"""A stored file of another format is not read."""
MOST_FILES = 20_000
_MOST_BYTES = 1 << 26
_LONGEST_TEXT = 2_000
_MOST = 1 << 63
_FIELDS: Mapping[type, tuple[str, ...]] = {
    str: ("name", "architecture", "quantization", "problem", "kind"),
    int: ("size_bytes", "parameters", "context", "layers"),
    bool: ("has_chat_template",),
}
"""The fields of `ModelInfo` that are stored as they are."""
_OF_THE_FILE = (NotAGGUF, TruncatedFile, LoadFailed)  # what else is wrong may be right the next time


class HeaderCache:
    """The descriptions of files by their paths.

    Args:
        path: Where they are stored; by default in the user's cache folder.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = new_lock()
        self._infos: dict[str, ModelInfo] = {}
        self._stored: dict[str, object] | None = None
        self._unsaved: dict[str, None] = {}
        self._gone: set[str] = set()

    @property
    def path(self) -> Path:
        """Where the descriptions are stored."""
        return self._path or cache_folder() / "headers.json"

    def inspect(self, path: Path, *, reference: str, source: Source) -> ModelInfo:
        """Describe a model; one that cannot be loaded has a `problem`. A file that has not changed is not read."""
        stamps = _stamps(path)
        if stamps:
            known = self._find(str(path), stamps)
            if known is not None:
                return replace(known, reference=reference, source=source, files=stamps)
        try:
            info, is_kept = describe_file(path, reference=reference, source=source), True
        except LocalLLMError as error:
            info = with_problem(path, error.message, reference=reference, source=source)
            is_kept = isinstance(error, _OF_THE_FILE)
        except MemoryError:
            problem = f"There is not enough memory to read the header of {to_printable(path.name)}."
            info, is_kept = with_problem(path, problem, reference=reference, source=source), False
        # A file that grows has changed since.
        if is_kept and stamps and info.files == stamps == _stamps(path):
            self._infos[str(path)] = info
            self._unsaved[str(path)] = None
        return info

    def forget_missing(self, contents: Mapping[str, Collection[str]]) -> None:
        """Drop the descriptions of files that are gone, as the names of what is in some folders tell."""
        for key in {*self._infos, *self._load()}:
            if _is_gone(key, contents):
                self._infos.pop(key, None)
                self._gone.add(key)

    def save(self) -> None:
        """Store what is new; where that cannot be done, the next kernel reads it again."""
        with self._lock:
            if not self._unsaved and self._gone.isdisjoint(self._stored or ()):
                return
            new, gone, self._unsaved, self._gone = tuple(self._unsaved), self._gone, {}, set()
            stored = _read(self.path)
            for key in (*gone, *new):
                stored.pop(key, None)
            stored |= {key: _to_json(info) for key in new if (info := self._infos.get(key)) is not None}
            self._stored = dict(list(stored.items())[-MOST_FILES:])
            with suppress(OSError, RecursionError):
                while len(text := _to_text(self._stored)) > _MOST_BYTES:  # the older half leaves
                    self._stored = dict(list(self._stored.items())[len(self._stored) // 2 + 1 :])
                write_private(self.path, text.encode())

    def _find(self, key: str, stamps: tuple[FileStamp, ...]) -> ModelInfo | None:
        known = self._infos.get(key) or self._from_stored(key)
        if known is None or known.files != stamps:
            return None
        self._infos[key] = known
        return known

    def _from_stored(self, key: str) -> ModelInfo | None:
        try:
            return _from_json(Path(key), self._load()[key])
        except (KeyError, ValueError, TypeError, BadOption):
            return None

    def _load(self) -> Mapping[str, object]:
        with self._lock:
            if self._stored is None:
                self._stored = _read(self.path)
            return self._stored


def _stamps(path: Path) -> tuple[FileStamp, ...]:
    """The stamps of all parts of a model; none where one is missing."""
    stamps = [read_stamp(part) for part in model_parts(path)]
    found = tuple(stamp for stamp in stamps if stamp is not None)
    return found if len(found) == len(stamps) else ()


def _is_gone(path: str, contents: Mapping[str, Collection[str]]) -> bool:
    """Whether the nearest folder of which the contents are known does not lead to PATH."""
    folder, name = os.path.split(path)
    while folder not in contents:
        if folder == os.path.dirname(folder):  # noqa: PTH120 - there are many, and a Path costs more
            return False
        folder, name = os.path.split(folder)
    return name not in contents[folder]


def _read(path: Path) -> dict[str, object]:
    """What is stored; nothing where it is of another version, or damaged."""
    try:
        with open_regular(path) as file:
            content = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError, MemoryError):
        return {}
    files = content.get("files") if isinstance(content, dict) and content.get("format") == FORMAT else None
    return files if isinstance(files, dict) else {}


def _to_text(files: Mapping[str, object]) -> str:
    return json.dumps({"format": FORMAT, "files": files}, separators=(",", ":"))


def _to_json(info: ModelInfo) -> dict[str, object]:
    values = {name: getattr(info, name) for names in _FIELDS.values() for name in names}
    return {
        **{name: value for name, value in values.items() if value is not None},
        "stamps": [[stamp.size_bytes, stamp.modified_ns, stamp.inode] for stamp in info.files],
        "sampling": {option.name: value for option, value in info.defaults.sampling.items()},
        "shape": None if info.shape is None else shape_to_json(info.shape),
    }


def _from_json(path: Path, value: object) -> ModelInfo:
    """What `_to_json` made VALUE of.

    Raises:
        ValueError, TypeError, KeyError, BadOption: It is not right.
    """
    if not isinstance(value, dict):
        raise TypeError(value)
    fields = {name: _checked(value.get(name), kind) for kind, names in _FIELDS.items() for name in names}
    if fields["kind"] not in (None, *get_args(Kind)):
        raise ValueError(value)
    shape, stamps = value["shape"], zip(model_parts(path), value["stamps"], strict=True)
    described = ModelInfo(
        reference="",
        name=model_stem(path),
        source="folder",
        path=path,
        files=tuple(
            FileStamp(path=part, size_bytes=size, modified_ns=modified, inode=inode)
            for part, (size, modified, inode) in stamps
        ),
        defaults=ModelDefaults(sampling=_sampling(value["sampling"])),
        shape=None if shape is None else shape_from_json(shape),
    )
    known = {name: value for name, value in fields.items() if value is not None}
    return replace(described, **known)  # type: ignore[arg-type] # their types were checked


def _checked(value: object, kind: type) -> object:
    if value is not None and type(value) is not kind:
        raise TypeError(value)
    if isinstance(value, str) and not (len(value) <= _LONGEST_TEXT and value.isprintable()):
        raise ValueError(value)
    if isinstance(value, int) and not 0 <= value < _MOST:
        raise ValueError(value)
    return value


def _sampling(value: object) -> Sampling:
    if not isinstance(value, dict) or not all(map(_is_number, value.values())):
        raise TypeError(value)
    return Sampling.from_options(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and -_MOST < value < _MOST
