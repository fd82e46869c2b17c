"""The engine for a server that was named alone: which kind it is, is found out again after each failure."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

from localllm_magics.core.completion import FinishReason
from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.events import Loading, ProgressEvent
from localllm_magics.core.generation import Generation
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.stop import Stop
from localllm_magics.engines.base import Engine, EngineStatus, Preview


class DetectedEngine:
    """Another program may listen at the address by now; see `engines.base.Engine`.

    Args:
        detect: Makes the engine for the server that is there.
        engine: What it has made.
    """

    def __init__(self, detect: Callable[[LoadOptions], Engine], engine: Engine) -> None:
        self._detect = detect
        self._engine = engine
        self._has_failed = False
        self._is_closed = False

    def __repr__(self) -> str:
        return repr(self._engine)

    def status(self, *, refresh: bool = False) -> EngineStatus:
        """That of the engine; see `Engine.status`."""
        return self._engine.status(refresh=refresh)

    def load(self, stop: Stop) -> Iterator[Loading]:
        """Bring the model into memory; see `Engine.load`."""
        with self._current() as engine:
            yield from engine.load(stop)

    def stream(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        """Answer a request; see `Engine.stream`."""
        with self._current() as engine:
            return (yield from engine.stream(generation, stop))

    def preview(self, request: Request, stop: Stop) -> Preview:
        """The prompt as the model would read it; see `Engine.preview`."""
        with self._current() as engine:
            return engine.preview(request, stop)

    def with_options(self, options: LoadOptions) -> "DetectedEngine":
        """A new engine; see `Engine.with_options`."""
        return DetectedEngine(self._detect, self._engine.with_options(options))

    def close(self) -> None:
        """Give the memory back; see `Engine.close`."""
        self._is_closed = True
        self._engine.close()

    @contextmanager
    def _current(self) -> Iterator[Engine]:
        """The engine for the server that is there now."""
        if self._has_failed and not self._is_closed:
            self._engine, self._has_failed = self._detect(self._engine.status().options), False
        try:
            yield self._engine
        except LocalLLMError:
            self._has_failed = True
            raise
