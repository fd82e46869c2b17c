"""What an engine reports of itself and its model."""

from dataclasses import dataclass

from localllm_magics.core.completion import ModelUsed
from localllm_magics.core.request import LoadOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """An engine at one moment.

    Args:
        model: The model and its placement, as far as known.
        options: How it is, or will be, loaded.
        memory_bytes: Bytes that it holds now, 0 when it is not loaded or where that is not known.
        notices: What the user should know about how it runs, in sentences.
        detail: What else there is to say of a model on a server, in one sentence, or nothing.
    """

    model: ModelUsed
    options: LoadOptions
    memory_bytes: int = 0
    notices: tuple[str, ...] = ()
    detail: str = ""
