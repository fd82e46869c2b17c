"""The seam: what an engine is."""

from collections.abc import Iterator
from typing import Protocol

from localllm_magics.core.completion import ModelUsed
from localllm_magics.core.events import Event
from localllm_magics.core.preview import Preview
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.stop import Stop


class Engine(Protocol):
    """One model, ready to be loaded and asked; all methods may be called from any thread."""

    @property
    def used(self) -> ModelUsed:
        """The model and its placement, as far as known."""

    @property
    def options(self) -> LoadOptions:
        """How it is, or will be, loaded."""

    @property
    def memory_bytes(self) -> int:
        """Bytes that it holds now, 0 when it is not loaded."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about how it runs, in sentences."""

    def load(self, stop: Stop) -> Iterator[Event]:
        """Bring the model into memory, if it is not there.

        Yields:
            `Loading` events only; returns early when STOP is set.
        """

    def stream(self, request: Request, stop: Stop) -> Iterator[Event]:
        """Answer REQUEST, loading the model first where needed.

        Yields:
            Events, of which exactly the last one is terminal.

        Raises:
            LocalLLMError: Before the first token; later errors are a `Failed` event.
        """

    def preview(self, request: Request, stop: Stop) -> Preview:
        """The prompt as the model would read it; generates nothing."""

    def with_options(self, options: LoadOptions) -> "Engine":
        """A new engine for the same model, not loaded yet, to be loaded with OPTIONS."""

    def look(self) -> str:
        """Bring `used`, `memory_bytes` and `notices` up to date, within a second or so.

        Returns:
            What else there is to tell of a model on a server, in one sentence, or nothing.
        """

    def close(self) -> None:
        """Stop what runs and give the memory back; again is no error."""
