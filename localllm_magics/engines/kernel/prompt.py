"""A request as the model reads it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

from localllm_magics.engines.kernel.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The text of a request in its chat template, and its tokens."""

    text: str
    tokens: list[int]
    notices: tuple[str, ...]


Render: TypeAlias = Callable[[Sequence[str]], str]  # a conversation, with the given contents in the place of its own
# Of the private use area, so that neither a template nor a tokenizer has a meaning for them.
_PLACEHOLDER = "\ue000{}\ue001"
_PLACEHOLDERS = re.compile("\ue000(\\d+)\ue001")


def prompt_tokens(tokenizer: Tokenizer, render: Render, contents: Sequence[str]) -> list[int]:
    """The tokens of a conversation.

    What the chat template writes, such as `<|im_end|>`, are special tokens. The same characters inside a message are
    text: data that was put into a prompt cannot end the user's turn and begin another.

    Args:
        tokenizer: The model's.
        render: The chat template.
        contents: The messages in it, in order; whatever is in them is data.
    """
    text = render(contents)
    # A template may have written the beginning-of-sequence token already.
    add_special = not (tokenizer.bos and text.startswith(tokenizer.bos))
    injected = [content for content in contents if _has_special_tokens(tokenizer, content)]
    spans = (_spans_of_all(text, render, contents) or _spans_of(injected, text)) if injected else []
    tokens: list[int] = []
    position = 0
    for start, end in spans:
        before = text[position:start]
        tokens += tokenizer.tokenize(before, add_special=add_special and not tokens, parse_special=True)
        tokens += tokenizer.tokenize(text[start:end], add_special=False, parse_special=False)
        position = end
    rest = text[position:]
    return tokens + tokenizer.tokenize(rest, add_special=add_special and not tokens, parse_special=True)


def _has_special_tokens(tokenizer: Tokenizer, data: str) -> bool:
    """Whether a part of DATA would be read as a special token."""
    plain = tokenizer.tokenize(data, add_special=False, parse_special=False)
    return plain != tokenizer.tokenize(data, add_special=False, parse_special=True)


def _spans_of_all(text: str, render: Render, contents: Sequence[str]) -> list[tuple[int, int]]:
    """Where CONTENTS are in TEXT; nowhere if the template does more with them than trim.

    A search for them could find what the template itself wrote, so placeholders are rendered to find where they are.
    """
    parts = _PLACEHOLDERS.split(render([_PLACEHOLDER.format(number) for number in range(len(contents))]))
    for written in (contents, [content.strip() for content in contents]):
        pieces = [written[int(part)] if index % 2 else part for index, part in enumerate(parts)]
        if "".join(pieces) == text:
            ends = list(accumulate(map(len, pieces)))
            return [(end - len(piece), end) for piece, end in zip(pieces[1::2], ends[1::2], strict=True)]
    return []


def _spans_of(contents: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Where those of CONTENTS are that a search in TEXT finds, each behind the one before."""
    spans, position = [], 0
    for content in contents:
        data = content.strip()
        start = text.find(data, position)
        if start >= 0:
            position = start + len(data)
            spans.append((start, position))
    return spans
