"""What would be sent to a model, for a look before anything is generated."""

from dataclasses import dataclass

from localllm_magics.core.sampling import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The exact prompt of a request.

    Args:
        prompt: The text that the model would read, with the chat template's marks.
        tokens: Id and text of each token; text is not always whole characters.
        context: How many tokens the context holds.
        sampling: What would be used, with the model's defaults filled in.
        sent: What would be sent to a server, as JSON.
    """

    prompt: str
    tokens: tuple[tuple[int, str], ...]
    context: int
    sampling: Sampling
    sent: str = ""
