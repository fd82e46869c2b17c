"""The cache of Hugging Face's library and of newer builds of llama.cpp: `models--ORG--REPO/snapshots/REVISION/FILE`.

A file of a snapshot is a link into `blobs`; where links cannot be made, it is the file itself. The folder is found as
huggingface_hub/constants.py and llama.cpp's common/hf-cache.cpp do.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from localllm_magics.catalog.inspect import model_stem
from localllm_magics.catalog.sources.home import Home, read_text
from localllm_magics.catalog.sources.search import DEEPEST, Search
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.engines.cache_folder import open_regular

_PREFIX, _SNAPSHOTS = "models--", "snapshots"
_MAGIC = b"GGUF"
_SHORT = 7  # characters of a revision, as git shows it


def root(home: Home) -> Path:
    """Where the cache is."""
    named = (
        *home.named("HF_HUB_CACHE"),
        *home.named("HUGGINGFACE_HUB_CACHE"),
        *home.named("HF_HOME", "hub"),
        *home.named("XDG_CACHE_HOME", "huggingface", "hub"),
    )
    return (*named, home.folder / ".cache" / "huggingface" / "hub")[0]


def find(search: Search) -> Iterator[ModelInfo]:
    """The models in the cache."""
    yield from find_in(search, root(search.home))


def find_in(search: Search, cache: Path) -> Iterator[ModelInfo]:
    """The models in a folder that is laid out as that cache: `ORG/REPO:FILE` is what is current, by its main branch."""
    for repository in search.below(cache):
        if repository.name.startswith(_PREFIX):
            name = repository.name.removeprefix(_PREFIX).replace("--", "/")
            yield from _snapshots(search, repository, name)
            yield from _unfinished(search, repository / "blobs", name)


def current_among(models: Sequence[ModelInfo]) -> list[ModelInfo]:
    """MODELS without older revisions of repositories of which they have something current."""
    is_old = [_is_older(info) for info in models]
    current = {_repository(info) for info, old in zip(models, is_old, strict=True) if not old}
    return [info for info, old in zip(models, is_old, strict=True) if not old or _repository(info) not in current]


def _is_older(info: ModelInfo) -> bool:
    """Whether its reference has a revision, as `_snapshots` writes it, of which its path has the whole."""
    _, colon, inside = info.reference.partition(":")
    revision, slash, _ = inside.partition("/")
    folders = () if info.path is None else info.path.parts[:-1]
    is_revision = any(name[:_SHORT] == revision for above, name in pairwise(folders) if above == _SNAPSHOTS)
    return bool(colon and slash) and is_revision


def _repository(info: ModelInfo) -> str:
    return info.reference.partition(":")[0].casefold()


def _snapshots(search: Search, repository: Path, name: str) -> Iterator[ModelInfo]:
    main = read_text(repository / "refs" / "main").strip()
    revisions = sorted(search.below(repository / _SNAPSHOTS), key=lambda path: path.name != main)
    for revision in revisions:
        start = name if revision == revisions[0] else f"{name}:{revision.name[:_SHORT]}"
        yield from search.models(revision, _reference(start, revision), DEEPEST)


def _unfinished(search: Search, blobs: Path, name: str) -> Iterator[ModelInfo]:
    """The models that are being downloaded, of which no file says the name yet."""
    for _, files in search.folders(blobs):
        for file in files:
            if file.endswith(".incomplete") and _is_gguf(blobs / file):
                yield search.unfinished(blobs / file, f"{name}:{file[:_SHORT]}.incomplete")


def _reference(start: str, revision: Path) -> Callable[[Path], str]:
    def to_reference(path: Path) -> str:
        inside = path.relative_to(revision).with_name(model_stem(path)).as_posix()
        return f"{start}/{inside}" if ":" in start else f"{start}:{inside}"

    return to_reference


def _is_gguf(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False
