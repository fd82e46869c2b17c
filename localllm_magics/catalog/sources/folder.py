"""The running folder, without those below it, and the folders that are set with `model_folders`, with those below."""

from collections.abc import Iterator
from pathlib import Path

from localllm_magics.catalog.sources.search import DEEPEST, Search
from localllm_magics.core.model_info import ModelInfo


def to_reference(path: Path) -> str:
    """What a user types for a file in the running folder: one whose name begins with a dash would be an option."""
    return f"./{path.name}" if path.name.startswith("-") else path.name


def find_here(search: Search, folder: Path) -> Iterator[ModelInfo]:
    """The models in the running folder, by the names of their files."""
    yield from search.models(folder, to_reference)


def find_below(search: Search, folder: Path) -> Iterator[ModelInfo]:
    """The models in a folder that is set, by their paths from there."""
    if not folder.is_dir():
        search.problem = f"The setting model_folders names {folder}, which is no folder."
    yield from search.models(folder, lambda path: path.relative_to(folder).as_posix(), DEEPEST)
