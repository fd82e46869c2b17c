"""What llama.cpp downloaded: older builds into a folder of its own, newer ones as Hugging Face's library does.

See `fs_get_cache_directory` in its common/common.cpp, and common/hf-cache.cpp, in which LLAMA_CACHE comes first.
"""

from collections.abc import Iterator
from pathlib import Path

from localllm_magics.catalog.sources import huggingface
from localllm_magics.catalog.sources.home import Home
from localllm_magics.catalog.sources.search import Search
from localllm_magics.core.model_info import ModelInfo


def root(home: Home) -> Path:
    """Where its cache is."""
    return (*home.named("LLAMA_CACHE"), home.cache / "llama.cpp")[0]


def find(search: Search) -> Iterator[ModelInfo]:
    """The models in the cache, older ones by the names of their files."""
    cache = root(search.home)
    yield from huggingface.find_in(search, cache)
    yield from search.models(cache, lambda path: path.name)
