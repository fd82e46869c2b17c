"""The state of one answer while it is decoded: tokens in, events out, whatever decodes them."""

from localllm_magics.core.completion import FinishReason
from localllm_magics.core.events import Delta, TextDelta
from localllm_magics.engines.detokenizer import Detokenizer
from localllm_magics.engines.reasoning_parser import ReasoningParser


class AnswerState:
    """Detokenizes the tokens of an answer, parts its reasoning, and knows when it is finished.

    Stop strings end the reasoning of a model, too, as they do in llama-server.

    Args:
        max_tokens: The most that the answer may have, 1 or more.
        stop: Texts that end it.
        reasoning: What parts the reasoning from the answer.
    """

    def __init__(self, *, max_tokens: int, stop: tuple[str, ...] = (), reasoning: ReasoningParser) -> None:
        self.finish_reason: FinishReason | None = None  # None while it goes on
        self._tokens_left = max_tokens
        self._detokenizer = Detokenizer(stop)
        self._reasoning = reasoning
        self._unsent = 0  # tokens that no event has counted yet

    def __repr__(self) -> str:
        return f"<AnswerState {self.finish_reason or 'unfinished'}, {self._tokens_left} tokens left>"

    def feed(self, piece: bytes, *, is_eog: bool = False, is_control: bool = False) -> list[Delta]:
        """The events that a token brings; an end-of-generation token is no part of the answer."""
        if is_eog:
            self.finish_reason = "stop"
            return self.close()
        self._tokens_left -= 1
        self._unsent += 1
        text = self._detokenizer.close() if is_control else self._detokenizer.feed(piece)
        deltas = self._to_deltas(text) if text else []
        if is_control:
            deltas += self._to_deltas(piece.decode("utf-8", "replace"), is_control=True)
        if self._detokenizer.stopped:
            self.finish_reason = "stop"
        elif not self._tokens_left:
            self.finish_reason = "length"
        return deltas if self.finish_reason is None else [*deltas, *self.close()]

    def close(self) -> list[Delta]:
        """The events of what was held back, also where the answer was cut short; empty the second time."""
        text = self._detokenizer.close()
        deltas = self._to_deltas(text) if text or self._unsent else []
        return [*deltas, *self._reasoning.end()]

    def _to_deltas(self, text: str, *, is_control: bool = False) -> list[Delta]:
        tokens, self._unsent = self._unsent, 0
        return self._reasoning.feed(TextDelta(text, tokens), is_control=is_control)
