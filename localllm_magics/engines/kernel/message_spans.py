"""Finds the messages of a conversation in what a chat template made of it."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import markupsafe

from localllm_magics.core.messages import Message

# Of the private use area, so that neither a template nor a tokenizer has a meaning for them.
PLACEHOLDER = "\ue000{}\ue001"
_PLACEHOLDERS = re.compile(r"(?:\ue000|\\ue000)(\d+)(?:\ue001|\\ue001)")
_AS_CODE = re.compile(r"""["']text["']: ?["'](?:\ue000|\\ue000)(\d+)""")
_SWITCHES = re.compile("/(no_)?think")
_END_OF_REASONING = re.compile(
    r"</[^<>\s]{0,20}think[^<>\s]{0,20}>|\[/THINK\]|<\|END_THINKING\|>|<channel\|>|<\|message\|>"
    r"|\[BEGIN FINAL RESPONSE\]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Where a message is in a text.

    Args:
        number: Which message, from 0.
        is_changed: Whether more than white space is not as it was.
    """

    number: int
    start: int
    end: int
    is_changed: bool = False


def placeholders_in(text: str) -> set[int]:
    """The numbers of the placeholders that TEXT has, without those that are shown as code, in a list of parts."""
    return _numbers(_PLACEHOLDERS, text) - _numbers(_AS_CODE, text)


def find_messages(pattern: str, messages: Sequence[Message], text: str) -> list[Span]:
    """Where MESSAGES are in TEXT, as far as they are there.

    Args:
        pattern: TEXT with placeholders in the messages' place: a search alone could find what the template wrote.
        messages: The conversation.
        text: What the template made of it.
    """
    pieces = _PLACEHOLDERS.split(pattern)
    for contents in ([message.text for message in messages], [message.text.strip() for message in messages]):
        written = [contents[int(piece)] if index % 2 else piece for index, piece in enumerate(pieces)]
        if "".join(written) == text:
            ends = list(accumulate(map(len, written)))
            bounds = zip(pieces[1::2], ends[::2], ends[1::2], strict=False)
            return [Span(number=int(number), start=start, end=end) for number, start, end in bounds]
    return _search(pieces, messages, text)


def _search(pieces: Sequence[str], messages: Sequence[Message], text: str) -> list[Span]:
    """Where MESSAGES are, whatever happened to white space and case, each behind what was before it in PIECES."""
    positions, squeezed = _positions(text), _squeeze(text)
    anchors = [_squeeze(piece) for piece in pieces[::2]]
    spans, position = [], 0
    for index, number in enumerate(map(int, pieces[1::2])):
        before, message = squeezed.find(anchors[index], position), messages[number]
        start = before + len(anchors[index]) if before >= 0 else position
        found = _find(_forms(message.text), squeezed, (start, position, 0))
        if found is None and before >= 0:
            found = _rewritten(message, squeezed, start, anchors[index + 1 :])
        found = found or _without_reasoning(message, squeezed, position, start if before >= 0 else None)
        if found is None:
            continue
        start, position = found
        first = positions[start]
        last = positions[position - 1] + 1 if position > start else first
        is_changed = "".join(text[first:last].split()) not in _faithful(message)
        spans.append(Span(number=number, start=first, end=last, is_changed=is_changed))
    return spans


def _find(forms: Sequence[str], squeezed: str, starts: Sequence[int]) -> tuple[int, int] | None:
    """The first of FORMS that is behind the first of STARTS."""
    for start in starts:
        for form in forms:
            found = squeezed.find(form, start)
            if found >= 0:
                return found, found + len(form)
    return None


def _rewritten(message: Message, squeezed: str, start: int, anchors: Sequence[str]) -> tuple[int, int] | None:
    """What is between START and the next of ANCHORS, if it is no shorter than MESSAGE: replaced, and not cut."""
    end = squeezed.find(anchors[0], start) if len(anchors) > 1 else len(squeezed) - len(anchors[0])
    return (start, end) if end - start >= len(_squeeze(message.text)) else None


def _without_reasoning(message: Message, squeezed: str, position: int, start: int | None) -> tuple[int, int] | None:
    """What an answer has behind its reasoning: from START, if that is known, because what is left of it is data too."""
    answer = [_squeeze(_answer(message))]
    if start is not None and (found := _find(answer, squeezed, (start,))):
        return start, found[1]
    return _find(answer, squeezed, (position,))


def _faithful(message: Message) -> set[str]:
    """The text, and what is left of it where templates leave out what is for them, without white space."""
    return {"".join(text.split()) for text in (message.text, _SWITCHES.sub("", message.text), _answer(message))}


def _answer(message: Message) -> str:
    """The text behind the reasoning, which templates leave out of earlier answers."""
    return _END_OF_REASONING.split(message.text)[-1] if message.role == "assistant" else message.text


def _forms(text: str) -> list[str]:
    return [_squeeze(form) for form in (text, _SWITCHES.sub("", text), *_escaped(text))]


def _escaped(text: str) -> tuple[str, ...]:
    """TEXT as `tojson` and `escape` write it."""
    return json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1], str(markupsafe.escape(text))


def _squeeze(text: str) -> str:
    """TEXT without white space and case."""
    return "".join(text.split()).casefold()


def _positions(text: str) -> list[int]:
    """Where in TEXT each character of `_squeeze` was; at last, its length."""
    kept = ((position, character) for position, character in enumerate(text) if not character.isspace())
    return [*(position for position, character in kept for _ in character.casefold()), len(text)]


def _numbers(pattern: re.Pattern[str], text: str) -> set[int]:
    return {int(number) for number in pattern.findall(text)}
