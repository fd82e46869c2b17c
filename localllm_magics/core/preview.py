"""What a request would send to a model, without generating."""

from dataclasses import dataclass

from localllm_magics.core.sampling import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The exact prompt of a request.

    Args:
        prompt: The text after the chat template, with its special tokens.
        tokens: Id and text of each token, which may be part of a character.
        context: The size of the context window, in tokens.
        sampling: The options with the model's defaults filled in.
        sent: The body of the request to a server, as JSON.
    """

    prompt: str
    tokens: tuple[tuple[int, str], ...]
    context: int
    sampling: Sampling
    sent: str = ""
