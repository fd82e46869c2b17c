"""What a chat template says about the answers of its model: where its reasoning is, and how its turn ends."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from localllm_magics.core.errors import BadTemplate
from localllm_magics.core.messages import Message
from localllm_magics.engines.kernel.tokenizer import Tokenizer
from localllm_magics.engines.reasoning_sections import Section, sections_of

_ANSWER, _NEXT = "\ue000answer\ue001", "\ue000next\ue001"
_TALK = (
    Message.from_text("user", "\ue000question\ue001"),
    Message.from_text("assistant", _ANSWER),
    Message.from_text("user", _NEXT),
)
_MARK = re.compile(r"\s*(<[^<>\s]{1,60}>|\[[^\[\]\s]{1,60}\])")

_TOLD_ENDS = ("[END FINAL RESPONSE]",)
"""Ends that a template's system prompt asks for: Apriel 1.5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerMarks:
    """The marks that a model may write.

    Args:
        sections: Reasoning and answer.
        control: The marks of sections that are control tokens, which are not shown otherwise, by their tokens.
        end_tokens: Tokens that end the turn, whether or not the file says so.
        end_texts: Texts that end it, in a vocabulary without a token for them.
    """

    sections: tuple[Section, ...] = ()
    control: Mapping[int, bytes] = field(default_factory=dict)
    end_tokens: frozenset[int] = frozenset()
    end_texts: tuple[str, ...] = ()


NO_MARKS = AnswerMarks()


def find_marks(source: str, render: Callable[[Sequence[Message]], str], tokenizer: Tokenizer) -> AnswerMarks:
    """The marks in a chat template.

    Args:
        source: The template, empty where the file has none.
        render: Writes a conversation with it.
        tokenizer: The model's.
    """
    sections = sections_of(source)
    marks = dict.fromkeys(mark for section in sections for mark in section.marks)
    ends = [mark for mark in _end_marks(render) if mark not in marks][:1]
    end_tokens = [token for mark in ends for token in _tokens_of(tokenizer, mark)]
    return AnswerMarks(
        sections=sections,
        control=_control(marks, tokenizer),
        end_tokens=frozenset(end_tokens),
        end_texts=(*(() if end_tokens else ends), *_told_ends(source)),
    )


def _control(marks: Iterable[str], tokenizer: Tokenizer) -> dict[int, bytes]:
    return {token: mark.encode() for mark in marks for token in _tokens_of(tokenizer, mark, only_control=True)}


def _told_ends(source: str) -> Iterator[str]:
    return (end for end in _TOLD_ENDS if end in source)


def _end_marks(render: Callable[[Sequence[Message]], str]) -> Iterator[str]:
    """The marks that are directly behind an answer, before the next question."""
    try:
        text = render(_TALK)
    except BadTemplate:
        return
    behind = text.rpartition(_ANSWER)[2].partition(_NEXT)[0]
    while mark := _MARK.match(behind):
        yield mark[1]
        behind = behind[mark.end() :]


def _tokens_of(tokenizer: Tokenizer, mark: str, *, only_control: bool = False) -> list[int]:
    """The one token that MARK is, none if it takes several; control tokens are those that are not shown."""
    tokens = tokenizer.tokenize(mark, add_special=False, parse_special=True)
    is_shown = only_control and any(map(tokenizer.token_to_piece, tokens))
    return [] if len(tokens) != 1 or is_shown else tokens
