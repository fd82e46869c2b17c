"""Reasoning that a model writes before its answer, between `<think>` and `</think>`."""

from localllm_magics.core.events import ReasoningDelta, TextDelta
from localllm_magics.engines.detokenizer import overlap

OPENING_TAG, CLOSING_TAG = "<think>", "</think>"


class ReasoningParser:
    """Separates reasoning at the very start of an answer from the answer; an answer without it is not changed.

    Engines pass each `TextDelta` through `feed`, and call `end` after the last. The tokens of a piece are in its
    events, even if its text is held back or is only a tag.

    Args:
        is_raw: Whether the model continues plain text, in which tags have no meaning.
    """

    def __init__(self, *, is_raw: bool = False) -> None:
        self._parse = self._in_answer if is_raw else self._at_start
        self._held = ""

    def feed(self, delta: TextDelta) -> list[TextDelta | ReasoningDelta]:
        """The events of DELTA, at least one."""
        text, self._held = self._held + delta.text, ""
        reasoning, answer = self._parse(text)
        tokens, estimated = delta.tokens, delta.estimated
        if not reasoning:
            return [TextDelta(answer, tokens, estimated)]
        first = ReasoningDelta(reasoning, tokens, estimated)
        return [first, TextDelta(answer, 0, estimated)] if answer else [first]

    def end(self) -> list[TextDelta | ReasoningDelta]:
        """The text that was held back as a possible start of a tag; empty the second time."""
        held, self._held = self._held, ""
        if not held:
            return []
        return [ReasoningDelta(held, 0) if self._parse == self._in_reasoning else TextDelta(held, 0)]

    def _at_start(self, text: str) -> tuple[str, str]:
        start = text.lstrip()
        if start.startswith(OPENING_TAG):
            self._parse = self._in_reasoning
            return self._in_reasoning(start.removeprefix(OPENING_TAG))
        if OPENING_TAG.startswith(start) and len(text) <= 100:
            self._held = text
            return "", ""
        self._parse = self._in_answer
        return "", text

    def _in_reasoning(self, text: str) -> tuple[str, str]:
        reasoning, tag, rest = text.partition(CLOSING_TAG)
        if tag:
            self._parse = self._before_answer
            return reasoning, self._before_answer(rest)[1]
        shown = len(text) - overlap(text, CLOSING_TAG)
        self._held = text[shown:]
        return text[:shown], ""

    def _before_answer(self, text: str) -> tuple[str, str]:
        """Leave out the empty lines between the two."""
        text = text.lstrip()
        if text:
            self._parse = self._in_answer
        return "", text

    def _in_answer(self, text: str) -> tuple[str, str]:
        return "", text
