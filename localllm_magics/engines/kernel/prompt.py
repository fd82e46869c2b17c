"""A request as the model reads it."""

from collections.abc import Sequence
from dataclasses import dataclass

from localllm_magics.engines.kernel.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A request as the model reads it."""

    text: str
    tokens: list[int]
    notices: tuple[str, ...]


def prompt_tokens(vocabulary: Vocabulary, text: str, contents: Sequence[str]) -> list[int]:
    """The tokens of a rendered prompt.

    The marks that the chat template writes, such as `<|im_end|>`, are special
    tokens. The same marks inside a message are text: data that was put into a
    prompt cannot end the user's turn and begin another.

    Args:
        vocabulary: The model's.
        text: What the template rendered.
        contents: The messages in it, in order; whatever is in them is data.
    """
    # A template may have written the beginning-of-sequence token already.
    add_special = not (vocabulary.bos and text.startswith(vocabulary.bos))
    tokens: list[int] = []
    position = 0
    for content in contents:
        data = content.strip()
        start = text.find(data, position)
        if start < 0 or not _has_marks(vocabulary, data):
            continue
        before = text[position:start]
        tokens += vocabulary.tokens(before, add_special=add_special and not tokens, parse_special=True)
        tokens += vocabulary.tokens(data, add_special=False, parse_special=False)
        position = start + len(data)
    rest = text[position:]
    return tokens + vocabulary.tokens(rest, add_special=add_special and not tokens, parse_special=True)


def _has_marks(vocabulary: Vocabulary, data: str) -> bool:
    """Whether DATA would be read as special tokens somewhere."""
    plain = vocabulary.tokens(data, add_special=False, parse_special=False)
    return plain != vocabulary.tokens(data, add_special=False, parse_special=True)
