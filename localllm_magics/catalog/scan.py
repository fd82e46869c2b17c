"""The search of one source in a thread of its own, for a folder on a dead network mount never answers."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import suppress
from dataclasses import dataclass

from localllm_magics.catalog.header_cache import HeaderCache
from localllm_magics.catalog.sources.home import Home
from localllm_magics.catalog.sources.search import MOST_ENTRIES, Search
from localllm_magics.core.model_info import ModelInfo, Source
from localllm_magics.engines.background import in_background


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A place with models.

    Args:
        title: The place in words.
        find: Finds the models in it.
    """

    name: Source
    title: str
    find: Callable[[Search], Iterator[ModelInfo]]


class Scan:
    """A search that has begun.

    Args:
        source: Where.
        search: What it searches with.
    """

    def __init__(self, source: ModelSource, search: Search) -> None:
        self.source = source
        self.search = search
        self.found: list[ModelInfo] = []
        """What was found so far, in order."""
        self._problem = ""
        self._is_late = False
        self._late = ""
        self._begun = time.monotonic()
        self._end = self._start()

    @classmethod
    def begin(cls, source: ModelSource, headers: HeaderCache, home: Home) -> "Scan":
        """Begin to search SOURCE."""
        return cls(source, Search(source.name, headers, home))

    @property
    def hangs(self) -> bool:
        """Whether somebody has waited in vain for its end, which has not come since."""
        return self._is_late and not self._end.done()

    def wait(self, silence: float, most: float) -> None:
        """Wait for its end: at most until nothing was heard of it for SILENCE seconds, or MOST seconds have passed."""
        while not self._end.done():
            now = time.monotonic()
            silent_for, lasted = now - self.search.heard, now - self._begun
            left = min(silence - silent_for, most - lasted)
            self._is_late = left <= 0
            if self._is_late:
                silent = f"did not answer within {silent_for:.1f} seconds"
                long = f"was not searched to the end within {lasted:.1f} seconds"
                self._late = silent if silent_for >= silence else long
                return
            with suppress(NotInTime):
                self._end.result(left)
        self._end.result()  # raises what was raised there

    def notes(self) -> list[str]:
        """What a list of the models that were found so far leaves out."""
        if not self._end.done():
            return [f"{self.source.title} {self._late}: what is missing may come next time."]
        cut = f"{self.source.title} has more than {MOST_ENTRIES:,} files; the others are not listed."
        return list(filter(None, [self._problem, self.search.problem, cut if self.search.is_cut else ""]))

    def _start(self) -> Future[None]:
        try:
            return in_background(self._run, f"localllm-search-{self.source.name}")
        except RuntimeError:  # the system allows no more threads
            self._run()
            end: Future[None] = Future()
            end.set_result(None)
            return end

    def _run(self) -> None:
        try:
            for info in self.source.find(self.search):
                self.found.append(info)
        except (OSError, MemoryError) as exc:
            why = "there is not enough memory" if isinstance(exc, MemoryError) else exc
            self._problem = f"{self.source.title} could not be searched to the end: {why}."
