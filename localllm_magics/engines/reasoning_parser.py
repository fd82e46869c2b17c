"""Reasoning that a model writes in front of its answer, between `<think>` and `</think>`."""

from localllm_magics.core.events import ReasoningDelta, TextDelta

_OPEN, _CLOSE = "<think>", "</think>"
_MOST_SPACE = 100


class ReasoningParser:
    """Parts the reasoning at the very start of an answer from the answer; one that begins otherwise is left as it is.

    Engines send each `TextDelta` through `feed`, and call `end` once after the last. The tokens of a piece go out with
    it, even if its text is held back or is nothing but a tag.

    Args:
        is_raw: Whether the model continues plain text, in which tags mean nothing.
    """

    def __init__(self, *, is_raw: bool = False) -> None:
        self._split = self._in_answer if is_raw else self._at_start
        self._held = ""

    def feed(self, delta: TextDelta) -> list[TextDelta | ReasoningDelta]:
        """What DELTA brings, at least one event."""
        text, self._held = self._held + delta.text, ""
        thought, said = self._split(text)
        tokens, estimated = delta.tokens, delta.estimated
        if not thought:
            return [TextDelta(said, tokens, estimated)]
        reasoning = ReasoningDelta(thought, tokens, estimated)
        return [reasoning, TextDelta(said, 0, estimated)] if said else [reasoning]

    def end(self) -> list[TextDelta | ReasoningDelta]:
        """What was held back because it might have been the start of a tag; again is nothing."""
        held, self._held = self._held, ""
        if not held:
            return []
        return [ReasoningDelta(held, 0) if self._split == self._in_reasoning else TextDelta(held, 0)]

    def _at_start(self, text: str) -> tuple[str, str]:
        found = text.lstrip()
        if found.startswith(_OPEN):
            self._split = self._in_reasoning
            return self._in_reasoning(found.removeprefix(_OPEN))
        if _OPEN.startswith(found) and len(text) <= _MOST_SPACE:
            self._held = text
            return "", ""
        self._split = self._in_answer
        return "", text

    def _in_reasoning(self, text: str) -> tuple[str, str]:
        thought, tag, rest = text.partition(_CLOSE)
        if tag:
            self._split = self._before_answer
            return thought, self._before_answer(rest)[1]
        cut = next((length for length in range(len(_CLOSE) - 1, 0, -1) if text.endswith(_CLOSE[:length])), 0)
        thought, self._held = text[: len(text) - cut], text[len(text) - cut :]
        return thought, ""

    def _before_answer(self, text: str) -> tuple[str, str]:
        """Leave out the empty lines that part the two."""
        text = text.lstrip()
        if text:
            self._split = self._in_answer
        return "", text

    def _in_answer(self, text: str) -> tuple[str, str]:
        return "", text
