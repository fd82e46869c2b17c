"""A request as the model reads it."""

from collections.abc import Iterable
from dataclasses import dataclass

from localllm_magics.engines.kernel.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The text of a request in its chat template, and its tokens.

    Args:
        generation_prompt: The end of the text, behind the last message.
    """

    text: str
    generation_prompt: str
    tokens: list[int]
    notices: tuple[str, ...]


def prompt_tokens(tokenizer: Tokenizer, text: str, spans: Iterable[tuple[int, int]] = ()) -> list[int]:
    """The tokens of a conversation, behind the beginning-of-sequence token where the model wants one.

    What the chat template writes, such as `<|im_end|>`, are special tokens. The same characters inside a message are
    text: data that was put into a prompt cannot end the user's turn and begin another.

    Args:
        tokenizer: The model's.
        text: What the chat template wrote.
        spans: Where in it the messages are; whatever is in them is data.
    """
    messages = sorted(spans)
    if not any(_has_special_tokens(tokenizer, text[start:end]) for start, end in messages):
        messages = []  # in one piece, as the model was trained
    tokens: list[int] = []
    position = 0
    for start, end in messages:
        tokens += tokenizer.tokenize(text[position:start], add_special=False, parse_special=True)
        tokens += tokenizer.tokenize(text[max(position, start) : end], add_special=False, parse_special=False)
        position = max(position, end)
    tokens += tokenizer.tokenize(text[position:], add_special=False, parse_special=True)
    # The template may have written it already, or the user of --raw.
    return tokens if tokens[:1] == tokenizer.beginning else [*tokenizer.beginning, *tokens]


def _has_special_tokens(tokenizer: Tokenizer, data: str) -> bool:
    """Whether a part of DATA would be read as a special token."""
    plain = tokenizer.tokenize(data, add_special=False, parse_special=False)
    return plain != tokenizer.tokenize(data, add_special=False, parse_special=True)
