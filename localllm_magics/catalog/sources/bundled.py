"""The model in the package."""

from collections.abc import Iterator
from dataclasses import replace

from localllm_magics import demo
from localllm_magics.catalog.sources.search import Search
from localllm_magics.core.model_info import ModelInfo

DEMO = "demo"


def find(search: Search) -> Iterator[ModelInfo]:
    """That model."""
    yield replace(search.inspect(demo.PATH, DEMO), name=DEMO)
