"""Searches of folders that tests have made."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from localllm_magics.catalog.header_cache import HeaderCache
from localllm_magics.catalog.sources.home import Home
from localllm_magics.catalog.sources.search import MOST_ENTRIES, Search
from localllm_magics.core.model_info import ModelInfo, Source


def home_at(folder: Path, system: str = "linux", **variables: str) -> Home:
    return Home(folder=folder, system=system, variables=variables)


def new_search(
    folder: Path, source: Source = "folder", variables: Mapping[str, str] | None = None, most: int = MOST_ENTRIES
) -> Search:
    """A search for a user whose home is FOLDER."""
    home = home_at(folder, **(variables or {}))
    return Search(source, HeaderCache(folder / ".cache" / "headers.json"), home, most)


def references(find: Callable[[Search], Iterator[ModelInfo]], folder: Path, **variables: str) -> list[str]:
    """What FIND finds for a user whose home is FOLDER."""
    return [info.reference for info in find(new_search(folder, variables=variables))]
