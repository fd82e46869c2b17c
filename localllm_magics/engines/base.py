"""The seam: what an engine is, and what it reports."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from localllm_magics.core.completion import FinishReason, ModelUsed
from localllm_magics.core.events import Loading, ProgressEvent
from localllm_magics.core.generation import Generation
from localllm_magics.core.memory_plan import Compared, MemoryPlan
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.stop import Stop

MakeRoom: TypeAlias = Callable[[Callable[[], MemoryPlan], bool], None]
"""Called before a load, with what plans it for the memory that is free at the moment, and whether it is forced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """An engine at one moment.

    Args:
        model: The model and its placement, as far as known.
        options: How it is, or will be, loaded.
        is_loading: Whether it is being loaded now, where that is in this process.
        memory_bytes: Bytes that it holds now, 0 when it is not loaded or where that is not known.
        device_bytes: Those of them that are on GPUs, by the device's name.
        planned_bytes: Bytes that its plan expected, 0 where there was none.
        unreturned_bytes: Bytes that did not come back when it was unloaded.
        compared: The rate of its last answer that was long enough, where that was forecast.
        notices: What the user should know about how it runs, in sentences.
        detail: What else there is to say of a model on a server, in one sentence, or nothing.
    """

    model: ModelUsed
    options: LoadOptions
    is_loading: bool = False
    memory_bytes: int = 0
    device_bytes: tuple[tuple[str, int], ...] = ()
    planned_bytes: int = 0
    unreturned_bytes: int = 0
    compared: Compared | None = None
    notices: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The exact prompt of a request.

    Args:
        prompt: The text after the chat template, with its special tokens; empty where a server does not show it.
        tokens: Id and text of each token, which may be part of a character.
        context: The size of the context window, in tokens.
        sampling: The options with the model's defaults filled in.
        sent: The body of the request to a server, as JSON.
        notices: What had to be done for the chat template, in sentences.
    """

    prompt: str
    tokens: tuple[tuple[int, str], ...]
    context: int
    sampling: Sampling
    sent: str = ""
    notices: tuple[str, ...] = ()


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
        terminal event. It is called in the thread that asks, and iterated over in another.

        Returns:
            Why the answer ended.
        """

    def preview(self, request: Request, stop: Stop) -> Preview:
        """The prompt as the model would read it; generates nothing."""

    def with_options(self, options: LoadOptions) -> "Engine":
        """A new engine for the same model, not loaded yet, to be loaded with OPTIONS.

        Raises:
            LocalLLMError: It cannot be loaded with them, as far as can be known while this engine stays as it is.
        """

    def close(self) -> None:
        """Stop what runs and give the memory back; again is no error."""
