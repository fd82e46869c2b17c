"""Models in Ollama's store, used in file: nothing is ever written into it.

A store has a JSON file for each name, `manifests/<host>/<namespace>/<model>/<tag>`, which lists files of `blobs/` by
digest: the weights, and the system prompt and the parameters that go with them.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from glob import iglob
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from localllm_magics.catalog.inspect import describe_file
from localllm_magics.catalog.ollama_manifest import Manifest, ManifestFile, load_command, pull_command
from localllm_magics.catalog.sources.search import Search
from localllm_magics.core.errors import LocalLLMError, ModelError, ModelNotFound, UnsupportedArchitecture
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.engines.file_stamp import read_stamp
from localllm_magics.engines.ollama.name import name_of_parts, parse_name

_SERVICE_FOLDERS = (
    Path("/usr/share/ollama/.ollama/models"),  # Ollama's own installer
    Path("/var/lib/ollama/.ollama/models"),
    Path("/var/lib/ollama/models"),
    Path("/var/lib/ollama"),
)
_MAX_MANIFESTS = 10_000
_SMALLEST_WEIGHTS = 1 << 20
_SHOWN_DIGITS = 12  # of a digest, as `ollama list` shows them
_OLLAMA_ONLY_ARCHITECTURES = {"deepseekocr", "glm4moelite", "gptoss", "mllama", "qwen25vl"}
"""Architectures that llama.cpp does not have, or has under another name and with other tensors."""


Describe: TypeAlias = Callable[[Path], ModelInfo]
"""Describes a blob, or raises LocalLLMError."""


def find(search: Search, folders: Sequence[Path] | None = None) -> Iterator[ModelInfo]:
    """The models in FOLDERS, or in all stores, sorted by name, and the weights that are being downloaded."""

    def describe(path: Path) -> ModelInfo:
        info = search.inspect(path, path.name)
        if info.problem is not None:
            raise ModelError(info.problem)
        return info

    folders = store_folders() if folders is None else folders
    yield from (_inspect(manifest, describe) for manifest in _manifests(folders))
    for folder in folders:
        yield from _unfinished(search, folder / "blobs")


def _unfinished(search: Search, blobs: Path) -> Iterator[ModelInfo]:
    for _, names in search.folders(blobs):
        partial = (read_stamp(blobs / name) for name in names if name.endswith("-partial"))
        for stamp in filter(None, partial):
            if stamp.size_bytes >= _SMALLEST_WEIGHTS:
                yield search.unfinished(stamp.path, f"{stamp.path.name[: len('sha256-') + _SHOWN_DIGITS]}-partial")


def store_folders() -> list[Path]:
    """The stores that can be read: the one that OLLAMA_MODELS names, else the user's own and those of services."""
    named = os.environ.get("OLLAMA_MODELS", "").strip().strip("\"'")
    home = os.path.expanduser("~")  # noqa: PTH111 - unlike Path's, it does not fail where there is no home
    candidates = (Path(named),) if named else (Path(home, ".ollama", "models"), *_SERVICE_FOLDERS)
    return [folder for folder in candidates if any(iglob("*/", root_dir=folder / "manifests"))]  # noqa: PTH207 - see below


def describe_stored(name: str, folders: Sequence[Path] | None = None) -> ModelInfo:
    """Describe the model of that name.

    Raises:
        LocalLLMError: Why it cannot be loaded.
    """
    wanted = parse_name(name)
    for manifest in _manifests(folders):
        if wanted is not None and manifest.name.key == wanted.key:
            return _describe(manifest, _describe_blob)
    raise ModelNotFound(f"Ollama's store has no model {name!r}.", "%llm models")


def find_stored(text: str, models: Sequence[ModelInfo]) -> list[ModelInfo]:
    """Those of MODELS to which Ollama would resolve TEXT."""
    wanted = parse_name(text)
    if wanted is None:
        return []
    names = ((info, parse_name(info.name)) for info in models if info.source == "ollama")
    return [info for info, name in names if name is not None and name.key == wanted.key]


def _manifests(folders: Sequence[Path] | None) -> list[ManifestFile]:
    """The manifests of all stores, sorted by name; of two with the same name, that of the first store."""
    found: dict[tuple[str, ...], ManifestFile] = {}
    for store in store_folders() if folders is None else folders:
        # Limited, for a link among them can lead anywhere.
        paths = iglob("*/*/*/*", root_dir=store / "manifests")  # noqa: PTH207 - unlike Path's, it skips what it cannot read
        for path in sorted(store / "manifests" / path for path in islice(paths, _MAX_MANIFESTS)):
            name = name_of_parts(*path.parts[-4:])
            if name is not None and not path.is_dir():
                found.setdefault(name.key, ManifestFile(name=name, path=path, store=store))
    return sorted(found.values(), key=lambda manifest: manifest.name.reference.casefold())


def _inspect(file: ManifestFile, describe: Describe) -> ModelInfo:
    try:
        return _describe(file, describe)
    except LocalLLMError as error:
        name = file.name
        return ModelInfo(reference=name.reference, name=str(name), source="ollama", problem=error.message)


def _describe(file: ManifestFile, describe: Describe) -> ModelInfo:
    name, stamp, manifest = file.name, read_stamp(file.path), Manifest(file)
    path = manifest.weights()
    try:
        info = describe(path)
    except LocalLLMError as error:
        raise type(error)(error.message.replace(path.name, str(name)), pull_command(name)) from error
    if info.architecture in _OLLAMA_ONLY_ARCHITECTURES:
        message = f"{name} has a tensor layout of Ollama's own ({info.architecture}), which llama.cpp cannot read."
        raise UnsupportedArchitecture(message, load_command(name))
    defaults = manifest.defaults()
    return replace(
        info,
        reference=name.reference,
        name=str(name),
        defaults=replace(defaults, sampling=defaults.sampling.or_else(info.defaults.sampling)),
        files=(*filter(None, [stamp]), *info.files),
    )


def _describe_blob(path: Path) -> ModelInfo:
    return describe_file(path, reference=path.name, source="ollama")
