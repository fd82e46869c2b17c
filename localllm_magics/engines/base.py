"""The seam: what an engine is."""

from collections.abc import Generator, Iterator
from typing import Protocol

from localllm_magics.core.completion import FinishReason
from localllm_magics.core.engine_status import EngineStatus
from localllm_magics.core.events import Loading, ProgressEvent
from localllm_magics.core.generation import Generation
from localllm_magics.core.preview import Preview
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.stop import Stop


class Engine(Protocol):
    """One model, ready to be loaded and asked; all methods may be called from any thread.

    What fails raises `LocalLLMError`, and what ends because its stop was set raises `Stopped`.
    """

    def status(self, *, refresh: bool = False) -> EngineStatus:
        """What is known of the model; REFRESH asks its server, which takes up to a second."""

    def load(self, stop: Stop) -> Iterator[Loading]:
        """Bring the model into memory, if it is not there."""

    def stream(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        """Answer the generation's request, loading the model first where needed.

        The events feed GENERATION; what they do not say, the engine sets there. The stream that runs this makes the
        terminal event.

        Returns:
            Why the answer ended.
        """

    def preview(self, request: Request, stop: Stop) -> Preview:
        """The prompt as the model would read it; generates nothing."""

    def with_options(self, options: LoadOptions) -> "Engine":
        """A new engine for the same model, not loaded yet, to be loaded with OPTIONS."""

    def close(self) -> None:
        """Stop what runs and give the memory back; again is no error."""
